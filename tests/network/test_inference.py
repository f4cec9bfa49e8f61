"""Inference over fields: tiles, borders, the paper's sliding window, weights on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import awake
from torch import Tensor, nn

from ulmpipe.errors import InputError
from ulmpipe.network import (
    DeepSTULM,
    Light,
    build_network,
    infer_field,
    infer_sliding,
    load_weights,
    save_weights,
)
from ulmpipe.network.complex_valued import complex_light
from ulmpipe.network.light import RealFront, wide
from ulmpipe.network.velocity import build_velocity_network, infer_velocity


@pytest.fixture(autouse=True)
def _same_first_weights() -> None:
    """Whatever ran before."""
    torch.manual_seed(0)


def _trained_like(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and the last layers weights that let every pixel count."""
    torch.manual_seed(5)
    awake(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    if isinstance(network, Light):
        nn.init.normal_(network.window_logits.weight, std=0.2)
        nn.init.zeros_(network.window_logits.bias)
    if isinstance(network, DeepSTULM):
        nn.init.normal_(network.output.plane[-1].weight, std=30.0)
    return network


def _field(n_frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, n_frames, height, width)).astype(np.float32) * 0.5


def _reach(network: nn.Module, field: np.ndarray) -> float:
    """How many pixels away the answer changes, if a pixel of the field does."""
    changed = field.copy()
    changed[:, :, 16, 12] += 3.0
    answers = [infer_field(network, each, precision="float32") for each in (field, changed)]
    places = np.argwhere(np.abs(answers[1] - answers[0]) > 1e-4) / 8
    return float(np.abs(places - np.array([16.5, 12.5])).max())


class _Magnify(nn.Module):
    """A known answer: a pixel is a track (all its 64 fine pixels) if its mean over time is positive."""

    halo = 4

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, correlation: Tensor) -> Tensor:
        mean = self.gain * correlation[:, 0].mean(dim=1, keepdim=True)
        return nn.functional.interpolate(mean, scale_factor=8.0, mode="nearest")


@pytest.mark.parametrize("make", [Light, wide, complex_light])
@pytest.mark.parametrize("tile", [8, 20, 32])
def test_tiles_give_what_the_whole_field_gives(tile: int, make: Callable[[], nn.Module]) -> None:
    network = _trained_like(make())
    field = _field(64, 36, 28)
    whole = infer_field(network, field, precision="float32")
    assert whole.std() > 1e-3
    assert _reach(network, field) > 4
    np.testing.assert_allclose(
        infer_field(network, field, precision="float32", tile=tile), whole, atol=1e-4, rtol=0
    )


def test_tiles_of_the_papers_network_give_what_the_whole_field_gives() -> None:
    network = _trained_like(DeepSTULM(width=4))
    field = _field(16, 8, 144)
    whole = infer_field(network, field, precision="float32")
    assert whole.std() > 1e-3
    np.testing.assert_allclose(
        infer_field(network, field, precision="float32", tile=48), whole, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("n_frames", "height", "width"), [(16, 8, 8), (50, 9, 11), (5, 3, 30)])
def test_any_field_comes_back_at_eight_times_its_pixels(n_frames: int, height: int, width: int) -> None:
    probability = infer_field(Light(), _field(n_frames, height, width))
    assert probability.shape == (8 * height, 8 * width)
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_padding_does_not_shift_the_field() -> None:
    field = np.full((2, 16, 7, 9), -1.0, dtype=np.float32)
    field[0, :, 6, 2] = 1.0
    found = infer_field(_Magnify(), field, precision="float32") > 0.5
    expected = np.zeros((56, 72), dtype=bool)
    expected[48:56, 16:24] = True
    np.testing.assert_array_equal(found, expected)


def test_missing_frames_are_mirrored_not_zero() -> None:
    field = np.zeros((2, 24, 4, 4), dtype=np.float32)
    field[0, 16:] = np.arange(8)[:, None, None]  # 24 frames become 32: the last 8 once more
    logit = np.log(1 / (1 / infer_field(_Magnify(), field / 100, precision="float32") - 1))
    np.testing.assert_allclose(logit, 20 * 2 * 28 / 100 / 32, rtol=1e-4)


@pytest.mark.parametrize(("n_frames", "n_times"), [(16, 4), (13, 4), (12, 5), (17, 1), (40, 1), (80, 1)])
def test_what_fits_into_a_training_block_four_times_is_seen_forth_and_back(
    n_frames: int, n_times: int
) -> None:
    """And never cut; velocities, which would change their sign, are read of the same way again and again."""
    field = _field(n_frames, 16, 16)
    turning = np.concatenate([field, field[:, ::-1], field, field[:, ::-1], field][:n_times], axis=1)
    repeated = np.concatenate(n_times * [field], axis=1)
    shown = {"whole": infer_field, "windows": partial(infer_sliding, window=16, stride=4, crop=8)}
    for name, infer in shown.items():
        network = _trained_like(Light())
        found = infer(network, field, precision="float32", trained_frames=64)
        np.testing.assert_array_equal(found, infer(network, turning, precision="float32"), err_msg=name)
        assert found.std() > 1e-3
    network = awake(build_velocity_network("light", seed=1))
    velocity = infer_velocity(network, field, precision="float32", mirrored=True, trained_frames=64)
    expected = infer_velocity(network, repeated, precision="float32", mirrored=True)
    np.testing.assert_array_equal(velocity, expected)
    for other in (field, turning) if n_times > 1 else ():
        differs = np.abs(infer_velocity(network, other, precision="float32", mirrored=True) - velocity)
        assert differs.max() > 0.01 * velocity.std()


@pytest.mark.parametrize("stride", [2, 3, 8])
def test_sliding_windows_cover_borders_and_corners(stride: int) -> None:
    field = _field(16, 21, 26)
    field[0] += np.random.default_rng(1).standard_normal((21, 26)).astype(np.float32)
    sliding = infer_sliding(_Magnify(), field, window=16, stride=stride, crop=32, precision="float32")
    np.testing.assert_allclose(sliding, infer_field(_Magnify(), field, precision="float32"), rtol=1e-6)


class _Corner(nn.Module):
    """Marks the four corners and the centre of every window, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, correlation: Tensor) -> Tensor:
        batch, _, _, height, width = correlation.shape
        logits = torch.full((batch, 1, 8 * height, 8 * width), -1.0)
        for row in (0, 4 * height, -1):
            for column in (0, 4 * width, -1):
                logits[:, :, row, column] = 1.0
        return self.gain * logits


def test_cropped_margins_are_kept_on_the_border_of_the_field_only() -> None:
    highest = infer_sliding(_Corner(), _field(16, 32, 32), window=16, stride=8, crop=8, precision="float32")
    kept = {tuple(place) for place in np.argwhere(highest > 0.5)}
    border_and_centres = {0, 64, 128, 192, 255}
    assert kept == {(row, column) for row in border_and_centres for column in border_and_centres}


def test_windows_that_leave_gaps_are_refused_and_the_widest_that_do_not_cover_all() -> None:
    field = np.ones((2, 16, 40, 41), dtype=np.float32)
    with pytest.raises(InputError, match="stride 13; expected at most 12 pixels"):
        infer_sliding(_Magnify(), field, window=16, stride=13, crop=13, precision="float32")
    assert infer_sliding(_Magnify(), field, window=16, stride=12, crop=13, precision="float32").min() > 0.99


def test_a_window_wider_than_the_field_is_refused() -> None:
    with pytest.raises(InputError, match="no more than the field's 16"):
        infer_sliding(_Magnify(), _field(16, 16, 16), window=32)


def test_a_field_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(2, T, Z, X\)"):
        infer_field(_Magnify(), np.zeros((16, 8, 8), dtype=np.float32))


def test_weights_and_metadata_come_back(tmp_path: Path) -> None:
    network = _trained_like(build_network("light", seed=1))
    network.to(memory_format=torch.channels_last)
    save_weights(network, tmp_path / "w.safetensors", metadata={"threshold": 0.4, "phase": "phase_2"})
    other = build_network("light", seed=2)
    assert load_weights(other, tmp_path / "w.safetensors") == {"threshold": 0.4, "phase": "phase_2"}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Light(RealFront(n_blocks=2)), path, metadata={})
    with pytest.raises(InputError, match="another network"):
        load_weights(Light(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"w\.safetensors: not a readable"):
        load_weights(Light(), path)
