"""Mean velocities over blocks."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.velocity_maps import mean_velocity


def test_a_pixel_has_the_mean_of_the_blocks_with_a_track() -> None:
    rng = np.random.default_rng(1)
    tracks = rng.random((5, 6, 7)) < 0.4
    tracks[:, 0, 0] = False
    velocity = rng.normal(0, 1e-3, (5, 2, 6, 7)).astype(np.float32)
    made = mean_velocity(zip(tracks, velocity, strict=True))
    assert made.density.dtype == np.int32
    np.testing.assert_array_equal(made.density, tracks.sum(axis=0))
    for row, column in np.ndindex(6, 7):
        here = velocity[tracks[:, row, column], :, row, column]
        if not len(here):
            assert np.isnan([made.speed[row, column], made.velocity_z[row, column]]).all()
            continue
        assert made.velocity_z[row, column] == pytest.approx(here[:, 0].mean(), abs=1e-9)
        assert made.velocity_x[row, column] == pytest.approx(here[:, 1].mean(), abs=1e-9)
        assert made.speed[row, column] == pytest.approx(np.hypot(*here.T).mean(), rel=1e-5)


def test_directions_are_those_of_the_track_maps() -> None:
    """0 to the right, π/2 down; what goes both ways alike has none."""
    velocity = np.zeros((2, 2, 1, 3), np.float32)
    velocity[:, 1, 0, 0] = 1e-3
    velocity[:, 0, 0, 1] = 1e-3
    velocity[:, 0, 0, 2] = 1e-3, -1e-3
    made = mean_velocity(zip(np.ones((2, 1, 3), bool), velocity, strict=True))
    assert made.direction[0, :2].tolist() == pytest.approx([0, np.pi / 2])
    assert np.isnan(made.direction[0, 2])
    assert made.speed[0, 2] == pytest.approx(1e-3)


def test_no_block_is_refused() -> None:
    with pytest.raises(InputError, match="no block"):
        mean_velocity([])
