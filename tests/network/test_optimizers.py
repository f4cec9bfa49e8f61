"""Muon against the optimizers of torch, and against what an orthogonal matrix is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ulmpipe.network.optimizers import Muon, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(64, 576), (256, 64), (16, 16), (2, 32)])
def test_singular_values_are_brought_to_about_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal([torch.randn(shape)])[0])
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_singular_vectors_stay() -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(8, 20), full_matrices=False)
    (found,) = orthogonal([left * torch.logspace(-2, 3, 8) @ right])
    turned = left.T @ found @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), atol=1e-4, rtol=0)


def test_each_of_several_matrices_is_made_orthogonal_by_itself() -> None:
    torch.manual_seed(0)
    shapes, scales = ((24, 40), (24, 90), (40, 24), (6, 40)), (1e-3, 1.0, 1e3, 1.0)
    matrices = [scale * torch.randn(shape) for shape, scale in zip(shapes, scales, strict=True)]
    for found, matrix in zip(orthogonal(matrices), matrices, strict=True):
        torch.testing.assert_close(found, orthogonal([matrix])[0])


def test_singular_values_follow_the_quintic() -> None:
    """The published iteration of each singular value by itself, from large ones to those of rounding errors."""
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(32, 90), full_matrices=False)
    values = torch.logspace(0, -6, 32, dtype=torch.float64)
    (found,) = orthogonal([left * values.float() @ right])
    expected = values / values.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close((left.T @ found @ right.T).diagonal().double(), expected, atol=1e-5, rtol=0)


def test_steps_of_a_matrix_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(24, 40))
    theirs = nn.Parameter(ours.detach().clone())
    settings = {"lr": 0.01, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    pairs = ((ours, Muon([ours], 0.01, weight_decay=0.1)), (theirs, torch.optim.Muon([theirs], **settings)))
    start = ours.detach().clone()
    for _ in range(5):
        gradient = torch.randn(24, 40)
        for weight, optimizer in pairs:
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # torch iterates in bfloat16


def test_a_convolution_steps_as_the_matrix_of_its_output_channels() -> None:
    torch.manual_seed(0)
    flat = nn.Parameter(torch.randn(6, 4 * 9))
    layer = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layer.weight.data.copy_(flat.detach().view(6, 4, 3, 3))
    gradient = torch.randn(6, 36)
    flat.grad, layer.weight.grad = gradient.clone(), gradient.clone().view(6, 4, 3, 3)
    for weight in (flat, layer.weight):
        Muon([weight], 0.1).step()
    torch.testing.assert_close(layer.weight.detach().flatten(1), flat.detach())


@pytest.mark.parametrize("shape", [(5,), (1, 16, 3, 3), (7, 1, 1, 1)])
def test_what_is_no_matrix_takes_the_steps_of_adam(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    assert not is_matrix(ours)
    pairs = (
        (ours, Muon([ours], 0.01, weight_decay=0.1)),
        (theirs, torch.optim.AdamW([theirs], 0.01, weight_decay=0.1)),
    )
    for _ in range(5):
        gradient = torch.randn(shape)
        for weight, optimizer in pairs:
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_weight_without_a_gradient_stays() -> None:
    weight = nn.Parameter(torch.ones(3, 4))
    Muon([weight], 1.0, weight_decay=0.5).step()
    assert torch.equal(weight, torch.ones(3, 4))


def test_a_state_that_is_loaded_goes_to_the_device_of_its_weight() -> None:
    shapes = ((3, 4), (5,))
    here = Muon([nn.Parameter(torch.ones(shape)) for shape in shapes], 0.1)
    for weight in here.param_groups[0]["params"]:
        weight.grad = torch.ones_like(weight)
    here.step()
    there = Muon([nn.Parameter(torch.ones(shape, device="meta")) for shape in shapes], 0.1)
    there.load_state_dict(here.state_dict())
    devices = {value.device.type for state in there.state.values() for value in state.values()}
    assert devices == {"meta"}
