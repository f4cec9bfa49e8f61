"""Known spots come back where they are."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ulmpipe.errors import InputError
from ulmpipe.localization import brightness_map, localizations_to_map, localize

SIGMA = (1.5, 2.0)


def spot(z, x, *, shape=(21, 21), sigma=SIGMA):
    """Complex Gaussian spots, one a frame, at the sub-pixel positions z and x."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    away_z, away_x = row - np.asarray(z)[:, None, None], column - np.asarray(x)[:, None, None]
    return np.exp(-(away_z**2) / (2 * sigma[0] ** 2) - away_x**2 / (2 * sigma[1] ** 2)).astype(np.complex64)


def smooth_noise(rng, shape):
    """Complex noise as smooth as the spots, of unit variance: what is left of noise in a correlation map."""
    width = (0, SIGMA[0] / np.sqrt(2), SIGMA[1] / np.sqrt(2))
    noise = gaussian_filter(rng.normal(size=shape), width) + 1j * gaussian_filter(
        rng.normal(size=shape), width
    )
    return noise / np.sqrt(np.mean(np.abs(noise) ** 2))


def root_mean_square_error(images, z, x, **options):
    found = localize(images, threshold=0.6, **options)
    keep = np.hypot(found["z"] - z[found["frame"]], found["x"] - x[found["frame"]]) < 2
    found = found[keep]
    assert len(np.unique(found["frame"])) >= 0.97 * len(images)
    return np.sqrt(np.mean((found["z"] - z[found["frame"]]) ** 2 + (found["x"] - x[found["frame"]]) ** 2) / 2)


def random_positions(rng, n):
    return 10 + rng.uniform(-0.5, 0.5, n), 10 + rng.uniform(-0.5, 0.5, n)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_a_gaussian_spot_comes_back_exactly(window):
    z, x = random_positions(np.random.default_rng(0), 50)
    found = localize(0.8 * spot(z, x), threshold=0.5, window=window)
    assert list(found["frame"]) == list(range(50))
    np.testing.assert_allclose(found["z"], z, atol=1e-4)
    np.testing.assert_allclose(found["x"], x, atol=1e-4)
    assert np.all((found["value"] > 0.7) & (found["value"] <= 0.8))


def test_noise_of_a_correlation_map_costs_less_than_a_tenth_of_a_pixel():
    rng = np.random.default_rng(1)
    z, x = random_positions(rng, 1000)
    images = spot(z, x) + 0.05 * smooth_noise(rng, (1000, 21, 21))
    error = root_mean_square_error(images, z, x)
    print(f"RMSE {error:.3f} px at 26 dB")
    assert error < 0.075
    nearest_pixel = np.sqrt(np.mean((z - 10) ** 2 + (x - 10) ** 2) / 2)
    assert error < 0.3 * nearest_pixel


def test_the_narrow_window_is_the_better_one_in_smooth_noise_and_beside_a_neighbour():
    rng = np.random.default_rng(2)
    z, x = random_positions(rng, 1000)
    noise = 0.05 * smooth_noise(rng, (1000, 21, 21))
    angle = rng.uniform(0, 2 * np.pi, 1000)
    neighbour = spot(z + 3 * SIGMA[0] * np.sin(angle), x + 3 * SIGMA[1] * np.cos(angle))
    phase = np.exp(2j * np.pi * rng.uniform(size=1000))[:, None, None]
    for images in (spot(z, x) + noise, spot(z, x) + 0.5 * phase * neighbour + noise):
        assert root_mean_square_error(images, z, x, window=3) < root_mean_square_error(images, z, x, window=5)


def test_the_wide_window_is_the_better_one_in_white_noise():
    rng = np.random.default_rng(3)
    z, x = random_positions(rng, 1000)
    white = rng.normal(size=(1000, 21, 21)) + 1j * rng.normal(size=(1000, 21, 21))
    images = spot(z, x) + 0.03 * white
    assert root_mean_square_error(images, z, x, window=5) < 0.7 * root_mean_square_error(
        images, z, x, window=3
    )


def test_two_bubbles_apart_are_two_and_a_dim_one_is_none():
    image = spot([6], [6], shape=(30, 30)) + 0.7 * spot([20.25], [21.5], shape=(30, 30))
    image = image + 0.2 * spot([6], [22], shape=(30, 30))
    found = localize(image, threshold=0.5)
    np.testing.assert_allclose(np.stack([found["z"], found["x"]], 1), [[6, 6], [20.25, 21.5]], atol=1e-3)
    assert len(localize(image, threshold=0.1)) == 3


def test_a_plateau_counts_once_and_the_minimum_distance_is_kept():
    image = np.zeros((1, 12, 12), np.float32)
    image[0, 5, 5:7] = 1.0
    assert len(localize(image, threshold=0.5)) == 1
    image[0, 5, 8] = 0.9
    assert len(localize(image, threshold=0.5, minimum_distance=1)) == 2
    assert len(localize(image, threshold=0.5, minimum_distance=2)) == 1


def test_a_fit_never_leaves_the_neighbourhood_of_its_pixel():
    rng = np.random.default_rng(4)
    image = rng.random((40, 20, 20)).astype(np.float32)
    found = localize(image, threshold=0.0)
    pixel = np.abs(found["value"][:, None, None] - image[found["frame"]]).reshape(len(found), -1).argmin(1)
    assert np.abs(found["z"] - pixel // 20).max() <= 1
    assert np.abs(found["x"] - pixel % 20).max() <= 1
    assert found["z"].min() > 0


def test_the_middle_of_a_coarse_pixel_lies_between_its_fine_pixels_four_and_five():
    z, x = np.array([3.0 - 0.5 / 8, 3.0 + 0.5 / 8]), np.array([2.0 - 3.5 / 8, 2.0 + 3.5 / 8])
    found = localize(spot(z, x, shape=(8, 9), sigma=(1.0, 1.0)), threshold=0.5)
    fine = localizations_to_map(found, shape=(8, 9), upsampling=8)
    assert fine.shape == (64, 72)
    assert [tuple(p) for p in np.argwhere(fine)] == [(27, 16), (28, 23)]


@pytest.mark.parametrize("upsampling", [1, 4, 8])
def test_the_map_marks_the_fine_pixel_whose_centre_is_nearest(upsampling):
    rng = np.random.default_rng(5)
    found = localize(spot(*random_positions(rng, 30)), threshold=0.5)
    centres = (np.arange(21 * upsampling) - (upsampling - 1) / 2) / upsampling
    fine = localizations_to_map(found, shape=(21, 21), upsampling=upsampling)
    expected = np.zeros_like(fine)
    for one in found:
        expected[np.abs(centres - one["z"]).argmin(), np.abs(centres - one["x"]).argmin()] = True
    np.testing.assert_array_equal(fine, expected)


def test_the_brightness_map_answers_for_every_threshold():
    rng = np.random.default_rng(6)
    images = rng.uniform(0.2, 1, 400)[:, None, None] * spot(*random_positions(rng, 400), shape=(22, 20))
    everything = localize(images, threshold=0.05)
    for radius, minimum_count in ((0, 1), (1, 1), (1, 2), (2, 3)):
        options = {"shape": (22, 20), "radius": radius, "minimum_count": minimum_count}
        brightness = brightness_map(everything, **options)
        for threshold in (0.1, 0.4, 0.7):
            alone = localizations_to_map(localize(images, threshold=threshold), **options)
            np.testing.assert_array_equal(brightness >= np.float32(threshold), alone)
            assert alone.any() or threshold > 0.5


def test_a_radius_of_one_draws_a_cross():
    found = localize(spot([10.0 + 0.5 / 8], [10.0 + 0.5 / 8]), threshold=0.5)
    assert localizations_to_map(found, shape=(21, 21)).sum() == 1
    cross = localizations_to_map(found, shape=(21, 21), radius=1)
    assert {(84, 84), (83, 84), (85, 84), (84, 83), (84, 85)} == {tuple(p) for p in np.argwhere(cross)}


def test_no_bubble_gives_an_empty_map():
    found = localize(np.zeros((3, 10, 10), np.complex64), threshold=0.1)
    assert len(found) == 0
    assert not localizations_to_map(found, shape=(10, 10)).any()


@pytest.mark.parametrize(
    "options", [{"threshold": 0.3, "window": 4}, {"threshold": 0.3, "minimum_distance": 0}]
)
def test_a_wrong_parameter_is_named(options):
    with pytest.raises(InputError, match=r"window|minimum_distance"):
        localize(np.zeros((1, 9, 9), np.complex64), **options)


def test_a_single_image_is_refused():
    with pytest.raises(InputError, match="expected 3"):
        localize(np.zeros((9, 9), np.complex64), threshold=0.3)


def test_a_block_of_a_wide_field_takes_half_a_core_second():
    rng = np.random.default_rng(7)
    correlation = np.tile(0.2 * smooth_noise(rng, (64, 80, 80)), (8, 1, 1)).astype(np.complex64)
    localize(correlation[:1], threshold=0.2)
    start = time.process_time()
    found = localize(correlation, threshold=0.2)
    seconds = time.process_time() - start
    print(f"{len(found)} localizations in {seconds:.3f} core-s")
    assert len(found) > 20_000
    assert seconds < 0.5
