"""Bubbles outside the image plane: gain and apparent depth."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, apparent_depth, elevation_gain, named_probe
from ulmpipe.acoustics.slice_thickness import half_thickness
from ulmpipe.errors import InputError

PROBE = named_probe("L22-14v")
PULSE = PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3)
AT = {"transmit": PULSE, "speed_of_sound": 1540.0}


def test_the_image_plane_has_gain_one_and_true_depth() -> None:
    depth = np.array([5e-3, 8e-3, 12e-3])
    np.testing.assert_allclose(elevation_gain(0.0, depth, PROBE, **AT), 1.0)
    np.testing.assert_allclose(apparent_depth(0.0, depth, PROBE, **AT), depth)


@pytest.mark.parametrize(("y", "gain", "shift"), [(0.3e-3, 0.36, 12e-6), (0.5e-3, 0.03, 30e-6)])
def test_bubbles_off_the_plane_come_back_weaker_and_deeper(y: float, gain: float, shift: float) -> None:
    # Figures measured on PyMUST's RF signals, so over the whole band.
    assert elevation_gain(y, 8e-3, PROBE, **AT) == pytest.approx(gain, rel=0.05, abs=0.015)
    assert apparent_depth(y, 8e-3, PROBE, **AT) - 8e-3 == pytest.approx(shift, rel=0.1)


def test_gain_falls_monotonically_and_is_even_in_y() -> None:
    y = np.linspace(0, 0.5e-3, 26)
    gain = elevation_gain(y, 8e-3, PROBE, **AT)
    assert np.all(np.diff(gain) < 0)
    np.testing.assert_allclose(elevation_gain(-y, 8e-3, PROBE, **AT), gain)


def test_one_frequency_and_the_band_agree_near_the_plane() -> None:
    single = elevation_gain(0.1e-3, 8e-3, PROBE, frequency=15e6, speed_of_sound=1540.0)
    assert single == pytest.approx(float(elevation_gain(0.1e-3, 8e-3, PROBE, **AT)), rel=0.02)


def test_neither_pulse_nor_frequency_is_refused() -> None:
    with pytest.raises(InputError, match="exactly one"):
        elevation_gain(0.1e-3, 8e-3, PROBE, speed_of_sound=1540.0)


@pytest.mark.parametrize("z", [6e-3, 8e-3, 9.5e-3])
def test_at_half_the_slice_thickness_the_gain_is_the_limit(z: float) -> None:
    depths = np.array([6e-3, z, 10e-3])
    y = half_thickness(depths, PROBE, gain=0.1, greatest=1e-3, **AT)[1]
    assert elevation_gain(y, z, PROBE, **AT) == pytest.approx(0.1, abs=0.005)


def test_a_limit_that_is_never_reached_returns_the_greatest_elevation() -> None:
    assert half_thickness([8e-3], PROBE, gain=1e-9, greatest=2e-4, **AT) == pytest.approx(2e-4)
