"""The network for CPUs: its interface, its reach, and the symmetry of its memory tricks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import awake
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ulmpipe.errors import InputError
from ulmpipe.network import Light, build_network
from ulmpipe.network import light as module
from ulmpipe.network.complex_valued import ComplexFront, _ComplexConvolution, complex_light
from ulmpipe.network.light import wide
from ulmpipe.targets import windows_of_parts

ALL = pytest.mark.parametrize("make", [Light, wide, complex_light])


@ALL
@pytest.mark.parametrize(
    ("n_frames", "height", "width"), [(512, 8, 8), (400, 8, 12), (16, 4, 4), (48, 12, 4)]
)
def test_any_multiple_of_16_frames_and_4_pixels_works(
    make: Callable[[], Light], n_frames: int, height: int, width: int
) -> None:
    with torch.inference_mode():
        logits = make().eval()(torch.randn(2, 2, n_frames, height, width))
    assert logits.shape == (2, 1, 8 * height, 8 * width)
    assert torch.isfinite(logits).all()


@ALL
@pytest.mark.parametrize("n_frames", [512, 400, 16])
def test_the_joined_tracks_are_the_union_of_the_windows_before_they_are_refined(
    make: Callable[[], Light], n_frames: int
) -> None:
    network = awake(make())
    for parameter in network.refine.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.randn(2, 2, n_frames, 8, 4)
    with torch.inference_mode():
        logits = network(maps, windows=True)
        torch.testing.assert_close(network(maps), logits[:, :1])
    assert logits.shape == (2, 1 + -(-n_frames // 128), 64, 32)
    torch.testing.assert_close(torch.logsumexp(logits[:, 1:], dim=1), logits[:, 0])


@pytest.mark.parametrize("n_parts", range(1, 33))
def test_targets_continue_a_last_window_as_the_network_continues_its_time(n_parts: int) -> None:
    """Each part of 16 frames is a channel of its own; windows are joined by what any of them has."""
    maps = torch.eye(n_parts)[:, :, None, None]
    for stride in (2, 4):
        maps, n_windows = module.mirror_to_multiple(maps, len(maps), stride)
        maps = maps.reshape(n_windows // stride, stride, n_parts, 1, 1).amax(dim=1)
    targets = windows_of_parts(np.eye(n_parts, dtype=bool)[:, None])
    np.testing.assert_array_equal(targets[:, 0] != 0, maps[:, :, 0, 0].numpy() != 0)


@ALL
def test_a_window_tells_of_its_own_frames_first(make: Callable[[], Light]) -> None:
    """Without what looks over time, what changes in the frames of one window changes that window alone."""
    network = make().eval()  # blocks start as the identity
    maps = torch.randn(1, 2, 512, 4, 4)
    other = maps.clone()
    other[:, :, 256:384] = torch.randn(1, 2, 128, 4, 4)
    with torch.inference_mode():
        changed = (network(maps, windows=True) != network(other, windows=True)).flatten(2).any(dim=2)[0]
    assert changed.tolist() == [True, False, False, True, False]


def test_enlarging_is_a_pixel_shuffle_with_reordered_channels() -> None:
    maps = torch.randn(2, 3 * 16, 5, 6)
    ours = module.enlarge(maps, 4)
    reordered = maps.reshape(2, 16, 3, 5, 6).transpose(1, 2).reshape(2, 48, 5, 6)
    torch.testing.assert_close(ours, functional.pixel_shuffle(reordered, 4))


def test_the_view_over_time_is_undone_without_a_copy() -> None:
    maps = torch.randn(6, 5, 4, 8).contiguous(memory_format=torch.channels_last)
    view = module.over_time(maps, 3)
    assert view.shape == (2, 5, 3, 32)
    assert view.data_ptr() == maps.data_ptr()
    back = module.over_image(view, 4)
    assert back.data_ptr() == maps.data_ptr()
    torch.testing.assert_close(back, maps)


def test_a_moment_is_at_its_time_in_the_view_over_time() -> None:
    maps = torch.zeros(6, 1, 4, 8)
    maps[3 + 2, 0, 1, 6] = 1.0  # second block, third window, pixel (1, 6)
    assert module.over_time(maps, 3)[1, 0, 2, 8 + 6] == 1.0


def test_time_is_continued_by_its_mirror_image() -> None:
    maps = torch.arange(6.0).reshape(6, 1, 1, 1)  # two blocks of three windows
    longer, n_windows = module.mirror_to_multiple(maps, 3, 4)
    assert n_windows == 4
    assert longer.flatten().tolist() == [0, 1, 2, 2, 3, 4, 5, 5]


@ALL
def test_nothing_beyond_the_halo_changes_an_output_pixel(make: Callable[[], Light]) -> None:
    network = awake(make())
    size = 2 * network.halo + 12
    correlation = torch.randn(1, 2, 128, 4, size)
    changed = correlation.clone()
    changed[..., : size // 2] += 1.0
    with torch.inference_mode():
        difference = (network(changed) - network(correlation)).abs().amax(dim=(0, 1, 2))
    reached = difference.reshape(size, 8).amax(dim=1) > 0
    first_untouched = size // 2 + network.halo
    assert not reached[first_untouched:].any()
    assert reached[size // 2]


@ALL
def test_every_window_knows_the_whole_block(make: Callable[[], Light]) -> None:
    network = awake(make())
    correlation = torch.randn(1, 2, 512, 8, 8)
    changed = correlation.clone()
    changed[:, :, :8] += 1.0
    with torch.inference_mode():
        features, n_windows = network.features(correlation)
        difference = (network.features(changed)[0] - features).abs().amax(dim=(1, 2, 3))
    assert n_windows == 4
    assert (difference > 1e-6).all()


@ALL
def test_every_parameter_receives_a_gradient(make: Callable[[], Light]) -> None:
    network = awake(make()).train()
    network(torch.randn(2, 2, 128, 8, 8)).square().mean().backward()
    dead = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert dead == []


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (
        build_network("light", seed=seed).state_dict()["front.stem.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"resnet.*expected one of light, wide, complex, paper"):
        build_network("resnet", seed=0)


def test_a_complex_convolution_multiplies_complex_numbers() -> None:
    layer = _ComplexConvolution(2, 3, (1, 1))
    maps = torch.randn(4, 2, 5, 6, dtype=torch.complex64)
    weight = torch.complex(layer.real, layer.imaginary)[..., 0, 0].detach()
    expected = torch.einsum("oi,nizx->nozx", weight, maps)
    found = layer(torch.cat([maps.real, maps.imag], dim=1)).detach()
    torch.testing.assert_close(torch.complex(*found.chunk(2, dim=1)), expected)


@pytest.mark.parametrize("training", [True, False])
def test_a_common_phase_changes_nothing_in_the_complex_network_and_something_in_the_other(
    training: bool,
) -> None:
    torch.manual_seed(0)
    correlation = torch.randn(1, 2, 64, 12, 12)
    turn = torch.tensor([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]], dtype=torch.float32)
    turned = torch.einsum("ij,bjtzx->bitzx", turn, correlation)
    for network, changes in ((complex_light(), False), (Light(), True)):
        front = network.front.train(training)
        with torch.no_grad():
            difference = (front(turned)[0] - front(correlation)[0]).abs().max()
        assert (difference > 1e-2) == changes
        assert changes or difference < 1e-4


def test_complex_costs_what_light_does_and_wide_twice_as_much() -> None:
    real, complex_ = (sum(each.numel() for each in make().parameters()) for make in (Light, complex_light))
    assert 0.6 < complex_ / real < 1.0  # complex weights serve twice
    assert ComplexFront().width == Light().front.width
    multiplications = {}
    for name in ("light", "complex", "wide"):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            build_network(name, seed=0)(torch.zeros(1, 2, 512, 32, 32))
        multiplications[name] = counter.get_total_flops() / 2
    assert multiplications["light"] == pytest.approx(2.5e9, rel=0.02)  # docs/pipeline.md
    assert multiplications["complex"] == pytest.approx(multiplications["light"], rel=0.1)
    assert multiplications["wide"] == pytest.approx(1.9 * multiplications["light"], rel=0.1)


@pytest.mark.parametrize("name", ["light", "wide", "complex"])
def test_what_is_normalised_in_training_is_normalised_alike_afterwards(name: str) -> None:
    torch.manual_seed(0)
    network, maps = build_network(name, seed=0), 3.0 * torch.randn(2, 2, 128, 16, 16)
    before = network.eval()(maps)
    network.train()
    with torch.no_grad():
        for _ in range(100):
            learnt = network(maps)
    after = network.eval()(maps)
    assert (after - learnt).abs().max() < 0.02 * learnt.std()
    assert (before - learnt).abs().max() > 0.2 * learnt.std()
