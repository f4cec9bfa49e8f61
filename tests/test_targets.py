from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from ulmpipe.errors import InputError
from ulmpipe.targets import (
    dilate_tracks,
    parts_of_windows,
    reverse_windows,
    timed_track_map,
    track_map,
    velocity_map,
    windows_of_parts,
)

STEP = 3.125e-6
X = (np.arange(16) - 7.5) * STEP
Z = 8e-3 + (np.arange(12) - 5.5) * STEP


def test_a_position_marks_the_pixel_whose_centre_is_nearest() -> None:
    position = np.full((2, 2, 3), np.nan, dtype=np.float32)
    position[0, 0] = X[3] + 0.4 * STEP, 1.0, Z[5] - 0.4 * STEP
    position[1, 0] = X[4] - 0.4 * STEP, -1.0, Z[5]
    tracks = track_map(position, np.ones((2, 2), bool), x=X, z=Z)
    assert tracks.shape == (12, 16)
    assert tracks.dtype == bool
    assert np.argwhere(tracks).tolist() == [[5, 3], [5, 4]]


def test_invisible_bubbles_and_those_outside_leave_no_track() -> None:
    position = np.zeros((1, 4, 3))
    position[0, :, 0] = X[0], X[0] - 0.6 * STEP, X[-1] + 0.6 * STEP, X[2]
    position[0, :, 2] = Z[0], Z[1], Z[1], Z[-1] + 0.6 * STEP
    assert track_map(position, np.array([True, True, True, True]), x=X, z=Z).sum() == 1
    assert track_map(position, np.array([[False, True, True, True]]), x=X, z=Z).sum() == 0


def test_a_disk_of_two_pixels_has_thirteen() -> None:
    tracks = np.zeros((3, 9, 9), dtype=bool)
    tracks[1, 4, 4] = tracks[2, 0, 0] = True
    dilated = dilate_tracks(tracks, radius=2)
    assert dilated.sum(axis=(1, 2)).tolist() == [0, 13, 6]
    assert dilated[1, 2:7, 4].all()
    assert not dilated[1, 2, 3]
    np.testing.assert_array_equal(dilate_tracks(tracks, radius=0), tracks)


@pytest.mark.parametrize("radius", [0, 1, 1.5, 2, 5, 30])
def test_bits_of_bytes_are_dilated_apart_as_scipy_would(radius: float) -> None:
    maps = np.random.default_rng(1).random((8, 3, 17, 11)) < 0.03
    packed = np.packbits(maps, axis=0, bitorder="little")[0]
    grown = np.unpackbits(dilate_tracks(packed, radius=radius)[None], axis=0, bitorder="little")
    reach = np.arange(-int(radius), int(radius) + 1)
    disk = reach[:, None] ** 2 + reach**2 <= radius**2
    expected = binary_dilation(maps, disk[None, None])
    np.testing.assert_array_equal(grown, expected)
    np.testing.assert_array_equal(dilate_tracks(maps, radius=radius), expected)


def test_when_a_pixel_was_passed_is_counted_by_hand() -> None:
    """Three events a frame; 304 frames are 19 parts of 16 frames, in three windows."""
    rng = np.random.default_rng(4)
    position = np.zeros((3 * 304, 5, 3), np.float32)
    position[..., 0] = rng.uniform(X[0] - 2 * STEP, X[-1], position.shape[:2])
    position[..., 2] = rng.uniform(Z[0] - 2 * STEP, Z[-1], position.shape[:2])
    visible = rng.random(position.shape[:2]) < 0.1
    timed = timed_track_map(position, visible, x=X, z=Z, n_frames=304)
    assert timed.shape == (3, 12, 16)
    assert timed.dtype == np.uint8
    for part in range(19):
        events = slice(48 * part, 48 * (part + 1))
        expected = track_map(position[events], visible[events], x=X, z=Z)
        assert 0 < expected.sum() < expected.size
        np.testing.assert_array_equal((timed[part // 8] >> part % 8) & 1, expected)
    np.testing.assert_array_equal(timed.any(axis=0), track_map(position, visible, x=X, z=Z))
    with pytest.raises(InputError, match="912 events in 300 frames"):
        timed_track_map(position, visible, x=X, z=Z, n_frames=300)


@pytest.mark.parametrize("n_parts", [1, 3, 8, 19, 32])
def test_parts_are_kept_and_reversed(n_parts: int) -> None:
    passed = np.random.default_rng(5).random((n_parts, 2, 3)) < 0.5
    windows = windows_of_parts(passed)
    np.testing.assert_array_equal(parts_of_windows(windows, n_parts), passed)
    assert len(windows) == -(-n_parts // 8)
    np.testing.assert_array_equal(reverse_windows(windows, n_parts), windows_of_parts(passed[::-1]))


def test_uneven_axes_and_negative_radii_are_refused() -> None:
    position = np.zeros((1, 1, 3))
    with pytest.raises(InputError, match="z has 3 pixel centres"):
        track_map(position, np.ones((1, 1), bool), x=X, z=np.array([0.0, 1.0, 3.0]))
    with pytest.raises(InputError, match="radius is -1"):
        dilate_tracks(np.zeros((2, 2), bool), radius=-1)


def test_velocities_are_those_of_a_count_by_hand() -> None:
    rng = np.random.default_rng(3)
    position = np.zeros((40, 6, 3), np.float32)
    position[..., 0] = rng.uniform(X[0] - 2 * STEP, X[3], (40, 6))
    position[..., 2] = rng.uniform(Z[0] - 2 * STEP, Z[3], (40, 6))
    position[5:9, 2] = np.nan
    velocity = rng.normal(0, 1e-3, position.shape).astype(np.float32)
    velocity[5:9, 2] = np.nan
    visible = rng.random((40, 6)) < 0.7
    found = velocity_map(position, velocity, visible, x=X, z=Z)
    assert found.dtype == np.float32
    tracks = track_map(position, visible, x=X, z=Z)
    assert tracks.sum() >= 16
    for row, column in np.ndindex(tracks.shape):
        means = []
        for bubble in range(6):
            here = [
                velocity[event, bubble, [2, 0]]
                for event in range(40)
                if visible[event, bubble]
                and abs(position[event, bubble, 0] - X[column]) < STEP / 2
                and abs(position[event, bubble, 2] - Z[row]) < STEP / 2
            ]
            if here:
                means.append(np.mean(here, axis=0))
        assert bool(means) == tracks[row, column]
        expected = np.mean(means, axis=0) if means else np.zeros(2)
        np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-5, atol=1e-9)


def test_a_bubble_that_stays_does_not_outweigh_one_that_passes() -> None:
    position = np.full((10, 2, 3), np.nan)
    position[:, 0] = X[4], 0.0, Z[4]
    position[0, 1] = X[4], 0.0, Z[4]
    velocity = np.zeros((10, 2, 3))
    velocity[:, 0, 0], velocity[:, 1, 0] = 1e-4, 5e-3
    found = velocity_map(position, velocity, np.ones((10, 2), bool), x=X, z=Z)
    assert found[1, 4, 4] == pytest.approx(2.55e-3)
    assert np.count_nonzero(found) == 1


def test_velocities_of_other_bubbles_are_refused_and_of_none_are_zero() -> None:
    with pytest.raises(InputError, match=r"velocity: shape \(2, 1, 3\)"):
        velocity_map(np.zeros((2, 2, 3)), np.zeros((2, 1, 3)), np.ones((2, 2), bool), x=X, z=Z)
    nobody = velocity_map(np.zeros((2, 0, 3)), np.zeros((2, 0, 3)), np.ones((2, 0), bool), x=X, z=Z)
    assert not nobody.any()
