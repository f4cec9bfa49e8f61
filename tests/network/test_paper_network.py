"""The paper's network against the table of its stages and its published number of parameters."""

from __future__ import annotations

import shutil

import pytest
import torch

from ulmpipe.network import DeepSTULM, paper

PUBLISHED_PARAMETERS = 1_038_065


def test_the_number_of_parameters_is_the_published_one() -> None:
    assert sum(parameter.numel() for parameter in DeepSTULM().parameters()) == PUBLISHED_PARAMETERS


def test_every_stage_has_the_shape_of_the_published_table() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.inference_mode(), torch.device("meta"):  # shapes only: nothing is computed
        network = DeepSTULM()
        for name, stage in [
            *((name, stage) for name, stage in network.named_children() if name != "resize"),
            *((f"resize_{number}", stage) for number, stage in enumerate(network.resize, start=1)),
        ]:
            stage.register_forward_hook(lambda _, __, maps, name=name: shapes.update({name: maps.shape[1:]}))
        network(torch.empty(1, 2, 512, 32, 32))
    # inside, time comes last
    assert {
        name: tuple(shape) if name == "output" else (shape[0], shape[3], *shape[1:3])
        for name, shape in shapes.items()
    } == {
        "input": (16, 512, 32, 32),
        "down_1": (32, 128, 16, 16),
        "down_2": (64, 32, 8, 8),
        "up_1": (64, 32, 16, 16),
        "up_2": (32, 32, 32, 32),
        "transition_1": (16, 8, 32, 32),
        "resize_1": (16, 8, 64, 64),
        "resize_2": (16, 8, 128, 128),
        "resize_3": (16, 8, 256, 256),
        "transition_2": (16, 2, 256, 256),
        "output": (1, 256, 256),
    }


@pytest.mark.parametrize(
    ("n_frames", "height", "width"), [(400, 32, 32), (16, 8, 12), (48, 4, 8), (512, 512, 512)]
)
def test_any_multiple_of_16_frames_and_4_pixels_works(n_frames: int, height: int, width: int) -> None:
    with torch.inference_mode(), torch.device("meta"):
        logits = DeepSTULM()(torch.empty(2, 2, n_frames, height, width))
    assert logits.shape == (2, 1, 8 * height, 8 * width)


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as a GPU does them."""
    monkeypatch.setattr(paper, "_folding_pays", lambda maps: True)


@pytest.mark.parametrize(
    ("n_channels", "kernel", "n_frames"),
    [(3, 3, 8), (3, 3, 1), (3, 3, 16), (2, 5, 32), (2, 5, 16), (3, 3, 20)],
)
@pytest.mark.usefixtures("folding")
def test_a_convolution_with_frames_folded_into_channels_is_the_convolution(
    n_channels: int, kernel: int, n_frames: int
) -> None:
    torch.manual_seed(0)
    layer = paper._Convolution(n_channels, 4, kernel).eval()
    correlation = torch.randn(2, n_channels, n_frames, 5, 6, dtype=torch.float64)
    layer.double()
    folded = layer(paper._time_last(correlation)).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(folded, layer[1](layer[0](correlation)))


def test_the_network_answers_alike_whether_it_folds_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    network = DeepSTULM(width=4).double().eval()
    correlation = torch.randn(1, 2, 144, 8, 12, dtype=torch.float64)
    with torch.inference_mode():
        plain = network(correlation)
        monkeypatch.setattr(paper, "_folding_pays", lambda maps: True)
        torch.testing.assert_close(network(correlation), plain)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.usefixtures("folding")  # and since a processor has no gradient of 3-D convolutions in bfloat16
def test_compiled_in_bfloat16_the_last_stage_has_the_gradients_that_it_has_in_float32() -> None:
    torch.manual_seed(0)
    stage, maps = paper._Output(4), torch.randn(1, 4, 8, 8, 2)
    weights = [weight for weight in stage.parameters() if weight.requires_grad]
    expected = torch.autograd.grad(stage(maps).square().mean(), weights)  # the largest is 0.8
    with torch.autocast("cpu", torch.bfloat16):
        logits = torch.compile(stage)(maps)
    found = torch.autograd.grad(logits.float().square().mean(), weights)
    for gradient, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=0.0, atol=3e-3)


def test_no_frame_is_lost_when_the_number_of_windows_is_not_a_power_of_four() -> None:
    network = DeepSTULM().eval()
    correlation = torch.zeros(1, 2, 400, 8, 8)
    changed = correlation.clone()
    changed[:, :, -1] = 5.0
    with torch.inference_mode():
        assert not torch.allclose(network(changed), network(correlation), atol=1e-5)
