from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import point_spread_function
from ulmpipe.errors import InputError


def make(**change):
    probe = named_probe("L22-14v")
    transmit = PlaneWaves(angles=tuple(np.deg2rad([-1, 0, 1])), transmit_frequency=15e6, n_cycles=3)
    settings = {
        "grid_step": 25e-6,
        "shape": (9, 9),
        "depth": 8e-3,
        "wavenumber": 2 * np.pi * 14e6 / 1540,
        "start_time": 9e-6,
        "n_samples": 96,
        "sampling_frequency": 15.625e6,
        "demodulation_frequency": 15.625e6,
        "speed_of_sound": 1540.0,
    }
    return point_spread_function(probe, transmit, **(settings | change))


def test_it_peaks_in_the_middle_with_unit_energy_and_left_right_symmetry():
    psf = make()
    assert psf.dtype == np.complex64
    assert np.unravel_index(np.abs(psf).argmax(), psf.shape) == (4, 4)
    assert np.sum(np.abs(psf) ** 2) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(psf, psf[:, ::-1], atol=1e-3)


def test_its_phase_hardly_turns_over_the_spot_once_the_carrier_is_gone():
    psf = make()
    spot = np.abs(psf) > 0.5 * np.abs(psf).max()
    assert spot.sum() >= 9
    assert np.abs(np.angle(psf[spot] / psf[4, 4])).max() < 0.3


def test_a_smaller_aperture_widens_the_spot_sideways_only():
    def half_width(profile):
        return (np.abs(profile) > np.abs(profile).max() / 2).sum()

    full, narrow = make(shape=(9, 21)), make(shape=(9, 21), f_number=3.0)
    assert half_width(narrow[4]) > 1.5 * half_width(full[4])
    assert abs(half_width(narrow[:, 10]) - half_width(full[:, 10])) <= 2


@pytest.mark.parametrize(
    ("change", "message"), [({"shape": (8, 9)}, "two odd"), ({"shape": (0, 9)}, "two odd")]
)
def test_an_even_shape_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        make(**change)
