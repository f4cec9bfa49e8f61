"""Registered sums of blocks."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.angiogram import accumulate, mean_power, power_doppler, register_maps
from ulmpipe.errors import InputError
from ulmpipe.registration import shift_map


def test_without_motion_the_angiogram_is_the_sum():
    tracks = np.random.default_rng(0).random((5, 30, 20)) < 0.3
    np.testing.assert_array_equal(accumulate(tracks), tracks.sum(axis=0))
    still = accumulate(register_maps(iter(tracks), np.zeros((5, 2))))
    np.testing.assert_array_equal(still, tracks.sum(axis=0))


def test_blocks_that_moved_are_laid_on_each_other():
    still = np.zeros((80, 80), bool)
    still[30:50, 40] = True
    shifts = np.array([[0.0, 0.0], [1.25, -0.5], [-0.63, 0.88]])
    tracks = np.stack([shift_map(still, (int(z), int(x))) for z, x in np.rint(8 * shifts)])
    np.testing.assert_array_equal(list(register_maps(tracks, shifts)), np.stack([still] * 3))
    np.testing.assert_array_equal(accumulate(register_maps(tracks, shifts)), 3 * still)


def test_power_doppler_is_the_mean_of_the_squared_magnitude():
    rng = np.random.default_rng(1)
    iq = (rng.normal(size=(40, 6, 7)) + 1j * rng.normal(size=(40, 6, 7))).astype(np.complex64)
    np.testing.assert_allclose(power_doppler(iq), np.mean(np.abs(iq) ** 2, axis=0), rtol=1e-5)


def test_power_images_are_registered_below_the_pixel():
    power = np.zeros((2, 9, 9), np.float32)
    power[0, 4, 4] = 1.0
    power[1, 4, 4] = power[1, 5, 4] = 0.5
    registered = mean_power(power, np.array([[0.0, 0.0], [0.5, 0.0]]))
    assert np.unravel_index(registered.argmax(), registered.shape) == (4, 4)
    assert registered[4, 4] == pytest.approx(0.75)
    np.testing.assert_allclose(mean_power(power, np.zeros((2, 2))), power.mean(axis=0))


@pytest.mark.parametrize("shifts", [np.zeros((2, 2)), np.zeros((4, 2)), np.zeros(3), np.full((3, 2), np.nan)])
def test_wrong_displacements_are_refused(shifts):
    with pytest.raises(InputError, match="shifts"):
        list(register_maps(np.zeros((3, 8, 8), bool), shifts))
