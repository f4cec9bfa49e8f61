"""Training blocks and the symmetries of an ultrasound recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ulmpipe.errors import InputError
from ulmpipe.network import Augmentation, TrackDataset
from ulmpipe.targets import windows_of_parts


def _blocks(n_blocks: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((n_blocks, 2, 16, 4, 8)).astype(np.float16)
    return maps, rng.random((n_blocks, 32, 64)) < 0.1


def test_sources_follow_one_another() -> None:
    (maps_1, tracks_1), (maps_2, tracks_2) = _blocks(3, 1), _blocks(2, 2)
    blocks = TrackDataset([maps_1, maps_2], [tracks_1, tracks_2])
    assert len(blocks) == 5
    correlation, tracks = blocks[3]
    assert correlation.dtype == tracks.dtype == torch.float32
    np.testing.assert_array_equal(correlation.numpy(), maps_2[0].astype(np.float32))
    np.testing.assert_array_equal(tracks[0].numpy(), tracks_2[0])


@pytest.mark.parametrize("n_parts", [16, 19])
def test_windows_follow_their_block_in_time_and_over_the_image(n_parts: int) -> None:
    """What was passed in each 128 frames, of the frames and the image as they were changed."""
    rng = np.random.default_rng(6)
    maps = rng.standard_normal((1, 2, 16 * n_parts, 4, 8)).astype(np.float16)
    passed = rng.random((n_parts, 32, 64)) < 0.02
    stored = windows_of_parts(passed)[None]
    blocks = TrackDataset(
        [maps], [passed.any(axis=0)[None]], windows=[stored], augmentation=Augmentation(rotate_phase=False)
    )
    seen = set()
    for blocks.epoch in range(40):
        found, targets = blocks[0]
        for back, across in np.ndindex(2, 2):
            if np.array_equal(found.numpy(), maps[0, :, :: 1 - 2 * back, :, :: 1 - 2 * across]):
                changed = passed[:: 1 - 2 * back, :, :: 1 - 2 * across]
                seen.add((back, across))
        expected = [changed.any(axis=0), *(window != 0 for window in windows_of_parts(changed))]
        np.testing.assert_array_equal(targets.numpy(), expected)
    assert len(seen) == 4
    with pytest.raises(InputError, match=r"windows \[\(1, 1, 32, 64\)\]; expected"):
        TrackDataset([maps], [passed.any(axis=0)[None]], windows=[stored[:, :1]])


def test_the_fullest_block_is_found_over_all_sources() -> None:
    maps, tracks = _blocks(3)
    empty = np.zeros_like(tracks)
    few, many = empty.copy(), empty.copy()
    few[1, 0, :3] = True
    many[[1, 2], 0, :5] = True
    assert TrackDataset([maps, maps], [few, many]).fullest() == 4  # the first of two
    assert TrackDataset([maps], [empty]).fullest() == 0


def test_a_block_depends_on_seed_phase_epoch_and_index_alone() -> None:
    maps, tracks = _blocks(1)
    maps, tracks = np.repeat(maps, 8, axis=0), np.repeat(tracks, 8, axis=0)

    def look(seed: int, phase: str, epoch: int, index: int, *, before: int = 0) -> torch.Tensor:
        blocks = TrackDataset([maps], [tracks], augmentation=Augmentation(), seed=seed, phase=phase)
        blocks.epoch = epoch
        for other in range(before):
            blocks[other]
        return blocks[index][0]

    reference = look(1, "phase_1", 2, 3)
    assert torch.equal(reference, look(1, "phase_1", 2, 3, before=5))
    for other in (
        look(2, "phase_1", 2, 3),
        look(1, "phase_2", 2, 3),
        look(1, "phase_1", 3, 3),
        look(1, "phase_1", 2, 4),
    ):
        assert not torch.equal(reference, other)


def test_an_epoch_sees_every_block_once_in_an_order_of_its_own() -> None:
    blocks = TrackDataset(*([source] for source in _blocks(20)), seed=3, phase="phase_1")
    first = blocks.order()
    assert sorted(first) == list(range(20))
    assert first == blocks.order()
    blocks.epoch = 1
    assert blocks.order() != first


def _bubble(*, x: float, z: float, speed: float, phase: float = 0.0) -> np.ndarray:
    """A spot whose phase runs with depth about the middle of the field, moving in x and z: (T, Z, X) complex."""
    frames, rows, columns = np.arange(16) - 7.5, np.arange(8) - 3.5, np.arange(8) - 3.5
    depth = z + speed * frames
    spot = np.exp(
        -((rows[None, :, None] - depth[:, None, None]) ** 2)
        - (columns - x - 2 * speed * frames[:, None, None]) ** 2
    )
    return spot * np.exp(1j * (phase - 2.0 * depth[:, None, None]))


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("rotate_phase", {}),
        ("mirror_lateral", {"x": -1}),
        ("reverse_time", {}),
        ("mirror_depth", {"z": -1}),
    ],
)
def test_an_augmented_bubble_is_the_bubble_of_the_mirrored_scene(name: str, mirrored: dict[str, int]) -> None:
    only = dict.fromkeys(("rotate_phase", "mirror_lateral", "reverse_time", "mirror_depth"), False) | {
        name: True
    }
    scene = _bubble(x=1.0, z=0.5, speed=0.0)
    tracks = np.zeros((64, 64), dtype=bool)
    tracks[36, 40] = True  # at (z, x) = (0.5, 1) of the fine grid, near enough to tell sides apart
    correlation = torch.from_numpy(np.stack([scene.real, scene.imag]).astype(np.float32))
    seen = set()
    for seed in range(12):
        change = Augmentation(**only).draw(np.random.default_rng(seed))
        changed, new_tracks = change.of_maps(correlation), change.of_image(tracks)
        found = changed[0].numpy() + 1j * changed[1].numpy()
        row, column = np.argwhere(new_tracks)[0]
        side_z, side_x = (1 if row == 36 else -1), (1 if column == 40 else -1)
        expected = _bubble(x=side_x * 1.0, z=side_z * 0.5, speed=0.0)
        phase = np.vdot(expected, found) / abs(np.vdot(expected, found))
        np.testing.assert_allclose(found, expected * phase, atol=1e-5)
        if name != "rotate_phase":
            assert phase == pytest.approx(1.0, abs=1e-5)
        seen.add((side_z, side_x, round(np.angle(phase), 3)))
    sides = {(side_z, side_x) for side_z, side_x, _ in seen}
    assert sides == {(1, 1), (mirrored.get("z", 1), mirrored.get("x", 1))}
    assert (len(seen) == 12) == (name == "rotate_phase")


def test_reversed_time_is_the_bubble_moving_back() -> None:
    scene, back = (_bubble(x=0.3, z=-0.4, speed=speed) for speed in (0.1, -0.1))
    correlation = torch.from_numpy(np.stack([scene.real, scene.imag]).astype(np.float32))
    only = Augmentation(rotate_phase=False, mirror_lateral=False, reverse_time=True)
    outcomes = [only.draw(np.random.default_rng(seed)).of_maps(correlation).numpy() for seed in range(12)]
    forwards, backwards = (
        sum(np.allclose(found[0] + 1j * found[1], wanted, atol=1e-5) for found in outcomes)
        for wanted in (scene, back)
    )
    assert forwards + backwards == 12
    assert min(forwards, backwards) > 0


@pytest.mark.parametrize(
    ("maps", "tracks", "message"),
    [
        ((3, 2, 16, 4, 8), (2, 32, 64), "source 0"),
        ((3, 1, 16, 4, 8), (3, 32, 64), "source 0"),
        ((3, 2, 16, 4, 8), (3, 64, 64), "source 0"),
    ],
)
def test_sources_that_do_not_fit_are_refused(
    maps: tuple[int, ...], tracks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TrackDataset([np.zeros(maps, np.float16)], [np.zeros(tracks, bool)])


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        TrackDataset([], [])
