"""Distances along a line, of images drawn to measure."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.profiles import line_profile, profile_peaks

PIXEL = 3.125e-6


def gaussian_vessel(distance, width):
    return np.exp(-4 * np.log(2) * (distance / width) ** 2)


@pytest.mark.parametrize("degrees", [0.0, 34.0, 90.0, 200.0])
def test_two_vessels_across_a_line_are_as_far_apart_as_drawn(degrees):
    first_at, gap = 21.3, 13.7  # pixels along the line
    origin = (-1e-3, 4e-3)  # x, z
    angle = np.deg2rad(degrees)
    along = np.array([np.cos(angle), np.sin(angle)])  # x, z
    start = np.array([60.0, 60.0]) - 30 * along
    z, x = np.mgrid[:120, :120].astype(float)
    distance = (x - start[0]) * along[0] + (z - start[1]) * along[1]
    image = 3 * gaussian_vessel(distance - first_at, 5.0) + 2 * gaussian_vessel(
        distance - first_at - gap, 5.0
    )
    ends = [tuple((np.array(origin) + PIXEL * point).tolist()) for point in (start, start + 60 * along)]
    place, profile = line_profile(image, *ends, origin=origin, pixel_size=PIXEL, strip=20 * PIXEL)
    assert place[-1] == pytest.approx(60 * PIXEL)
    peaks = profile_peaks(place, profile)
    np.testing.assert_allclose(peaks.position, np.array([first_at, first_at + gap]) * PIXEL, atol=0.1 * PIXEL)
    np.testing.assert_allclose(peaks.separation, [gap * PIXEL], atol=0.1 * PIXEL)
    np.testing.assert_allclose(peaks.height, [3, 2], rtol=0.05)
    valley = (
        3 * gaussian_vessel(np.linspace(0, gap, 500), 5) + 2 * gaussian_vessel(np.linspace(-gap, 0, 500), 5)
    ).min()
    assert peaks.dip[0] == pytest.approx(1 - valley / 2, abs=0.03)


def test_the_strip_averages_across_the_line_only():
    image = np.add.outer(np.arange(30.0), np.zeros(40)) ** 2  # grows with z
    ends = (5 * PIXEL, 15 * PIXEL), (35 * PIXEL, 15 * PIXEL)
    _, thin = line_profile(image, *ends, origin=(0.0, 0.0), pixel_size=PIXEL)
    np.testing.assert_allclose(thin, 15.0**2)
    _, wide = line_profile(image, *ends, origin=(0.0, 0.0), pixel_size=PIXEL, strip=12 * PIXEL)
    np.testing.assert_allclose(wide, 15.0**2 + 12**2 / 12, rtol=0.01)  # mean of z² over the strip


def test_small_ripples_are_no_peaks():
    place = np.linspace(0, 1e-4, 200)
    profile = gaussian_vessel(place - 5e-5, 2e-5) + 0.05 * np.sin(place * 2e6)
    assert len(profile_peaks(place, profile, prominence=0.3).position) == 1
    assert len(profile_peaks(place, profile, prominence=0.01).position) > 3
    assert len(profile_peaks(place, np.ones(200)).position) == 0


def test_wrong_input_is_refused():
    image = np.zeros((20, 20))
    options = {"origin": (0.0, 0.0), "pixel_size": PIXEL}
    with pytest.raises(InputError, match="within the image"):
        line_profile(image, (0.0, 0.0), (0.0, 30 * PIXEL), **options)
    with pytest.raises(InputError, match="within the image"):
        line_profile(image, (PIXEL, 0.0), (PIXEL, 10 * PIXEL), strip=4 * PIXEL, **options)
    with pytest.raises(InputError, match="two different points"):
        line_profile(image, (0.0, 0.0), (0.0, 0.0), **options)
    with pytest.raises(InputError, match="prominence"):
        profile_peaks(np.arange(9.0), np.ones(9), prominence=0.0)
