"""Fourier ring correlation of images whose resolution is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ulmpipe.errors import InputError
from ulmpipe.evaluation import fourier_ring_correlation, resolution

PIXEL = 3.125e-6


def test_identical_images_correlate_fully_up_to_nyquist():
    image = np.random.default_rng(0).random((128, 100))
    frequency, correlation = fourier_ring_correlation(image, image, PIXEL)
    np.testing.assert_allclose(correlation, 1.0)
    assert frequency[-1] == pytest.approx(0.5 / PIXEL)
    assert resolution(frequency, correlation) == pytest.approx(2 * PIXEL)


def test_independent_images_do_not_correlate():
    rng = np.random.default_rng(1)
    frequency, correlation = fourier_ring_correlation(rng.random((256, 256)), rng.random((256, 256)), PIXEL)
    assert abs(correlation[10:].mean()) < 0.01
    assert resolution(frequency, correlation) > 100 * PIXEL


def test_the_crossing_of_one_seventh_is_where_theory_puts_it():
    rng = np.random.default_rng(2)
    sigma, noise = 2.0, 0.02
    shared = gaussian_filter(rng.normal(size=(512, 512)), sigma, mode="wrap")
    frequency, correlation = fourier_ring_correlation(
        shared + noise * rng.normal(size=shared.shape), shared + noise * rng.normal(size=shared.shape), PIXEL
    )
    # signal power exp(-4π²σ²ν²), noise power n²: FRC = S / (S + n²) = 1/7 where S = n²/6
    crossing = np.sqrt(np.log(6 / noise**2) / (4 * np.pi**2 * sigma**2)) / PIXEL
    assert 1 / resolution(frequency, correlation) == pytest.approx(crossing, rel=0.05)


def test_a_curve_is_read_between_its_rings():
    frequency = np.array([1e3, 2e3, 3e3])
    assert resolution(frequency, np.array([1.0, 0.6, 0.2]), limit=0.4) == pytest.approx(1 / 2.5e3)
    assert resolution(frequency, np.array([0.1, 0.6, 0.2]), limit=0.4) == np.inf


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="shape"):
        fourier_ring_correlation(np.ones((4, 4)), np.ones((4, 5)), PIXEL)
    with pytest.raises(InputError, match="pixel_size"):
        fourier_ring_correlation(np.ones((4, 4)), np.ones((4, 4)), 0.0)
