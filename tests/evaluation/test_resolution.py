"""Fourier ring correlation of images whose resolution is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ulmpipe.errors import InputError
from ulmpipe.evaluation import fourier_ring_correlation, resolution
from ulmpipe.evaluation.halves import track_halves
from ulmpipe.evaluation.regions import cut_tiles
from ulmpipe.evaluation.resolution import (
    ONE_SEVENTH,
    RingCorrelation,
    half_bit_threshold,
    independent_pixels,
    local_resolution,
    resolution_at,
    ring_correlation,
    ring_correlations,
    smooth_rings,
    summarise_resolution,
)

PIXEL = 3.125e-6
POINT = np.dtype([("track", np.int32), ("z", np.float32), ("x", np.float32)])


def band_limited(rng, side, signal_to_noise):
    """An image whose power per pixel of the spectrum is a function of the ring, that of white noise being 1."""
    ring = side * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) * np.sqrt(signal_to_noise(ring))
    return np.fft.ifft2(spectrum).real


def noisy_copies(rng, image):
    return image + rng.normal(size=image.shape), image + rng.normal(size=image.shape)


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


def test_noisy_copies_correlate_by_their_signal_to_noise_ratio():
    rng = np.random.default_rng(3)

    def signal_to_noise(ring):
        return 4 * np.clip(1 - ring / 50, 0, None)

    curves = [
        fourier_ring_correlation(*noisy_copies(rng, band_limited(rng, 128, signal_to_noise)), PIXEL)[1]
        for _ in range(40)
    ]
    ring = np.arange(1, 65)
    expected = signal_to_noise(ring) / (1 + signal_to_noise(ring))
    np.testing.assert_allclose(np.mean(curves, axis=0)[5:], expected[5:], atol=0.05)
    assert np.abs(np.mean(curves, axis=0) - expected)[5:].mean() < 0.015


def test_a_sharp_cut_off_is_found_within_a_ring():
    rng = np.random.default_rng(4)
    side, cut_off = 256, 40.5
    # not much stronger than the noise at the cut-off: what the taper lets leak beyond stays below the threshold
    image = band_limited(rng, side, lambda ring: np.where(ring < 30, 20.0, 1.5) * (ring < cut_off))
    found = resolution_at(ring_correlation([noisy_copies(rng, image) for _ in range(6)], PIXEL))
    for size in (found.size, *found.each):
        assert side * PIXEL / size == pytest.approx(cut_off, abs=1.0)


def test_the_half_bit_curve_has_the_published_numbers():
    n_pixels = np.array([1, 10, 100, 1e4, 1e16])
    published = (0.2071 + 1.9102 / np.sqrt(n_pixels)) / (1.2071 + 0.9102 / np.sqrt(n_pixels))
    np.testing.assert_allclose(half_bit_threshold(n_pixels), published, atol=1e-4)
    assert half_bit_threshold(np.array([1e16]))[0] == pytest.approx(0.1716, abs=5e-5)
    assert half_bit_threshold(np.array([1.0]))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(64, 64), (96, 63)])
def test_white_noise_correlates_as_its_independent_pixels_let_it_and_stays_below_half_a_bit(shape):
    rng = np.random.default_rng(5)
    curves = np.array(
        [
            fourier_ring_correlation(rng.normal(size=shape), rng.normal(size=shape), PIXEL)[1]
            for _ in range(300)
        ]
    )
    n_pixels = independent_pixels(shape)
    np.testing.assert_allclose(curves.std(axis=0)[4:], 1 / np.sqrt(n_pixels)[4:], rtol=0.2)
    above = curves > half_bit_threshold(n_pixels)
    assert above.mean() < 0.02
    assert above[:, 20:].mean() < 0.003


def test_a_curve_is_read_between_its_rings():
    frequency = np.array([1e3, 2e3, 3e3])
    assert resolution(frequency, np.array([1.0, 0.6, 0.2]), limit=0.4) == pytest.approx(1 / 2.5e3)
    assert resolution(frequency, np.array([0.1, 0.6, 0.2]), limit=0.4) == np.inf
    # a sloping limit: 1 - f/2 and f/4 (in kHz) meet at 4/3
    limit = np.array([0.25, 0.5, 0.75])
    assert resolution(frequency, np.array([0.5, 0.0, 0.0]), limit=limit) == pytest.approx(1 / (4e3 / 3))


def test_the_first_rings_may_be_too_uncertain_to_tell_but_not_the_later_ones():
    frequency, n_pixels = np.arange(1.0, 41.0), 2.5 * np.arange(1, 41)
    limit = half_bit_threshold(n_pixels)
    curve = np.where(frequency < 20.5, 0.6, 0.0)
    assert curve[0] < limit[0]
    assert 20 < 1 / resolution_at(RingCorrelation(frequency, curve[None], n_pixels, 1)).size < 21
    curve[:15] = 0.1
    assert resolution_at(RingCorrelation(frequency, curve[None], n_pixels, 1)).size == np.inf
    rng = np.random.default_rng(11)
    noise = [noisy_copies(rng, np.zeros((128, 128))) for _ in range(50)]
    assert (1 / resolution_at(ring_correlation(noise, 1.0)).each < 12 / 128).all()


def test_smoothing_keeps_a_straight_line_and_averages_noise():
    line = np.linspace(1, 0, 30)
    np.testing.assert_allclose(smooth_rings(line, 7), line)
    np.testing.assert_allclose(smooth_rings(line**2, 1), line**2)
    spike = np.zeros(9)
    spike[4] = 3
    np.testing.assert_allclose(smooth_rings(spike, 3), [0, 0, 0, 1, 1, 1, 0, 0, 0])
    with pytest.raises(InputError, match="odd"):
        smooth_rings(line, 2)


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_localizations_scattered_about_their_places_correlate_as_their_scatter_lets_them(sigma):
    """Of the n localizations of a place, n (n - 1)/4 pairs lie apart and n/2 in each half."""
    rng = np.random.default_rng(7)
    side, n_places, n_each = 128, 300, 40

    def localizations():
        places = np.repeat(rng.uniform(10, side - 10, (n_places, 2)), n_each, axis=0)
        points = np.zeros(n_places * n_each, POINT)
        points["track"] = np.arange(len(points))
        points["z"], points["x"] = (places + sigma * rng.normal(size=places.shape)).T
        return points

    def render(points):
        return np.histogram2d(points["z"], points["x"], bins=side, range=[(0, side)] * 2)[0]

    def pairs_of(points, n_splits):
        return track_halves(lambda: [points], lambda parts: render(*parts), n_splits=n_splits, rng=rng)

    halves = [next(pairs_of(localizations(), 1)) for _ in range(20)]
    curves = ring_correlation(halves, 1.0)
    pairs = (n_each - 1) / 2 * np.exp(-4 * np.pi**2 * sigma**2 * curves.frequency**2)
    np.testing.assert_allclose(curves.correlation.mean(axis=0)[3:], (pairs / (1 + pairs))[3:], atol=0.08)
    # 1/7 where there are 1/6 as many shared pairs as lone localizations
    crossing = np.sqrt(np.log(6 * (n_each - 1) / 2)) / (2 * np.pi * sigma)
    assert 1 / resolution_at(curves, "one_seventh").size == pytest.approx(crossing, rel=0.06)
    same = ring_correlation(pairs_of(localizations(), 6), 1.0, smoothing=3)
    found = resolution_at(same, "one_seventh")
    assert len(set(found.each)) == 6
    assert found.spread < 0.1 * found.size


def test_each_half_of_the_field_has_the_resolution_of_its_own_scatter():
    """As above: 1/7 where there are 1/6 as many shared pairs as lone localizations, by the scatter of each half."""
    rng = np.random.default_rng(9)
    side, n_places, n_each = 128, 300, 40

    def block(left, sigma):
        places = np.repeat(rng.uniform(0, side, (n_places, 2)), n_each, axis=0)
        points = np.zeros(len(places), POINT)
        points["track"] = np.arange(len(points))
        # what is scattered beyond its half comes in again at the other side of it
        z, x = ((places + sigma * rng.normal(size=places.shape)) % side).T
        points["z"], points["x"] = z, left + x
        return points

    def render(parts):
        size, field = (side, 3 * side), ((0, side), (0, 3 * side))  # the last third stays empty
        return sum(np.histogram2d(part["z"], part["x"], bins=size, range=field)[0] for part in parts)

    tiles = cut_tiles((side, 3 * side), side=side, step=side)
    halves = []
    for _ in range(10):
        blocks = [block(0, 2.0), block(side, 4.0)]
        halves += track_halves(lambda blocks=blocks: blocks, render, n_splits=1, rng=rng)
    curves = ring_correlations(halves, PIXEL, tiles.regions)
    found = local_resolution(render(blocks), tiles, curves, least_tracks=1)
    crossing = np.sqrt(np.log(6 * (n_each - 1) / 2)) / (2 * np.pi * np.array([2.0, 4.0]))
    np.testing.assert_allclose(found.size["one_seventh"][0, :2], PIXEL / crossing, rtol=0.06)
    assert found.size["half_bit"][0, 1] > 1.6 * found.size["half_bit"][0, 0]
    np.testing.assert_array_equal(found.tracks, [[n_places * n_each / side] * 2 + [0]])
    assert np.isnan(found.size["half_bit"][0, 2])
    # none where more tracks are asked for than there are; infinite where none are and nothing is shared
    most = local_resolution(render(blocks), tiles, curves, least_tracks=n_places * n_each / side + 1)
    assert np.isnan(most.size["one_seventh"]).all()
    assert np.isinf(local_resolution(render(blocks), tiles, curves).size["half_bit"][0, 2])
    for curve, region in zip(curves, tiles.regions, strict=True):
        alone = ring_correlation(halves, PIXEL, region=region)
        np.testing.assert_array_equal(curve.correlation, alone.correlation)


def test_the_summary_is_plain_numbers():
    rng = np.random.default_rng(10)
    image = gaussian_filter(rng.normal(size=(64, 64)), 2.0, mode="wrap")
    curves = ring_correlation([noisy_copies(rng, 20 * image) for _ in range(3)], PIXEL, smoothing=3)
    numbers = summarise_resolution(curves)
    assert (numbers["splits"], numbers["smoothing_rings"]) == (3, 3)
    assert numbers["one_seventh"] == resolution(
        curves.frequency, curves.correlation.mean(axis=0), limit=ONE_SEVENTH
    )
    each = resolution_at(curves).each
    assert numbers["half_bit_spread"] == pytest.approx(np.std(each, ddof=1))
    nothing = summarise_resolution(ring_correlation([(-image, image)], PIXEL))
    assert (nothing["half_bit"], nothing["half_bit_spread"]) == (None, None)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="shape"):
        fourier_ring_correlation(np.ones((4, 4)), np.ones((4, 5)), PIXEL)
    with pytest.raises(InputError, match="pixel_size"):
        fourier_ring_correlation(np.ones((4, 4)), np.ones((4, 4)), 0.0)
    with pytest.raises(InputError, match="no split"):
        ring_correlation([], PIXEL)
    with pytest.raises(InputError, match="half_bit, one_seventh"):
        resolution_at(ring_correlation([(np.eye(8), np.eye(8))], PIXEL), "half-bit")
