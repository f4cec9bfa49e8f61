"""Each localizer against an independent implementation, and against what theory allows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit

from ulmpipe.errors import InputError
from ulmpipe.localization import LOCALIZERS, localize
from ulmpipe.localization.localizers import spot_widths

SIDE = 21


def spots(z, x, sigma=(1.5, 1.5), shape=(SIDE, SIDE)):
    """Gaussian spots of peak 1, one a frame."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    away_z, away_x = row - np.asarray(z)[:, None, None], column - np.asarray(x)[:, None, None]
    exponent = (away_z / sigma[0]) ** 2 + (away_x / sigma[1]) ** 2
    return np.exp(-exponent / 2).astype(np.float32)


def positions(rng, n):
    return 10 + rng.uniform(-0.5, 0.5, n), 10 + rng.uniform(-0.5, 0.5, n)


def centre_pixels(n):
    return np.stack([np.arange(n), np.full(n, 10), np.full(n, 10)], axis=1)


def errors(name, images, z, x, half_window):
    shift = LOCALIZERS[name](images, centre_pixels(len(images)), half_window)
    return 10 + shift - np.stack([z, x], axis=1)


@pytest.mark.parametrize(
    ("name", "half_window", "least", "most"),
    [
        ("no_shift", 2, 0.28, 0.30),  # 1/√12
        ("weighted_average", 3, 0.02, 0.06),
        ("gaussian_fit", 2, 0.0, 1e-5),
        ("radial_symmetry", 2, 0.0, 0.004),
        ("cubic_interpolation", 2, 0.02, 0.05),
        ("lanczos_interpolation", 2, 0.005, 0.03),
        ("spline_interpolation", 2, 0.0, 0.015),
    ],
)
def test_without_noise_each_localizer_errs_as_much_as_its_idea_of_a_spot_is_wrong(
    name, half_window, least, most
):
    z, x = positions(np.random.default_rng(0), 1000)
    error = errors(name, spots(z, x), z, x, half_window)
    assert least <= np.sqrt(np.mean(error**2)) <= most
    z, x = (
        np.concatenate([z, 20 - z]),
        np.concatenate([x, 20 - x]),
    )  # as often to the one side as to the other
    assert np.abs(errors(name, spots(z, x), z, x, half_window).mean(axis=0)).max() < 1e-4


def test_the_table_has_every_localizer_under_its_name():
    assert len(LOCALIZERS) == 7
    assert all(function.__name__ == name for name, function in LOCALIZERS.items())


def fisher_bound(z, x, noise, half_window, sigma):
    """Least standard deviations of z and x (Cramér–Rao): peak, place and widths unknown, white noise."""
    offset = np.arange(-half_window, half_window + 1)
    away_z, away_x = (offset + 10 - z)[:, None], (offset + 10 - x)[None, :]
    value = np.exp(-0.5 * (away_z / sigma[0]) ** 2 - 0.5 * (away_x / sigma[1]) ** 2)
    slopes = [
        value,
        value * away_z / sigma[0] ** 2,
        value * away_x / sigma[1] ** 2,
        value * away_z**2,
        value * away_x**2,
    ]
    jacobian = np.stack([slope.ravel() for slope in slopes], axis=1)
    return noise * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian))[1:3])


@pytest.mark.parametrize("half_window", [1, 2, 3])
def test_the_gaussian_fit_is_as_exact_as_the_window_allows(half_window):
    rng = np.random.default_rng(1)
    z, x = positions(rng, 3000)
    sigma, noise = (1.5, 2.0), 0.005
    images = spots(z, x, sigma) + noise * rng.normal(size=(len(z), SIDE, SIDE))
    error = errors("gaussian_fit", np.abs(images).astype(np.float32), z, x, half_window)
    bound = np.array(
        [fisher_bound(*place, noise, half_window, sigma) for place in zip(z[:300], x[:300], strict=True)]
    )
    ratio = np.sqrt(np.mean(error**2, axis=0) / np.mean(bound**2, axis=0))
    print("RMSE over the Cramér–Rao bound", ratio)
    assert np.all((ratio > 0.93) & (ratio < 1.12))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_gaussian_fit_is_that_of_a_general_least_squares_program(noise):
    rng = np.random.default_rng(2)
    z, x = positions(rng, 40)
    images = (spots(z, x, (1.3, 1.8)) + noise * rng.normal(size=(40, SIDE, SIDE))).astype(np.float32)
    row, column = np.mgrid[8:13, 8:13]

    def gaussian(_, peak, z, x, sigma_z, sigma_x):
        return peak * np.exp(-0.5 * ((row - z) / sigma_z) ** 2 - 0.5 * ((column - x) / sigma_x) ** 2).ravel()

    fitted = np.array(
        [
            curve_fit(gaussian, None, image[8:13, 8:13].ravel().astype(float), p0=(1, 10, 10, 1.5, 1.5))[0]
            for image in images
        ]
    )
    shift = LOCALIZERS["gaussian_fit"](images, centre_pixels(40), 2)
    width = spot_widths(images, centre_pixels(40), 2)
    if noise == 0:
        np.testing.assert_allclose(10 + shift, fitted[:, 1:3], atol=1e-4)
        np.testing.assert_allclose(width, 2.3548 * np.abs(fitted[:, 3:]), rtol=1e-3)
    else:  # the same to first order in the noise: what they differ by is small against what both err by
        error = np.sqrt(np.mean((fitted[:, 1:3] - np.stack([z, x], axis=1)) ** 2))
        assert np.sqrt(np.mean((10 + shift - fitted[:, 1:3]) ** 2)) < 0.3 * error


def test_the_weighted_average_is_the_centre_of_mass():
    rng = np.random.default_rng(3)
    images = rng.random((20, SIDE, SIDE)).astype(np.float32)
    offset = np.arange(-2, 3)
    window = images[:, 8:13, 8:13].astype(float)
    expected = np.stack([window.sum(2) @ offset, window.sum(1) @ offset], 1) / window.sum((1, 2))[:, None]
    found = LOCALIZERS["weighted_average"](images, centre_pixels(20), 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("half_window", [1, 2])
def test_radial_symmetry_is_the_point_nearest_to_all_gradient_lines(half_window):
    rng = np.random.default_rng(4)
    z, x = positions(rng, 20)
    images = (spots(z, x) + 0.02 * rng.normal(size=(20, SIDE, SIDE))).astype(np.float32)
    found = LOCALIZERS["radial_symmetry"](images, centre_pixels(20), half_window)
    middle = np.arange(-half_window + 0.5, half_window)
    points = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    near = slice(10 - half_window, 10 + half_window + 1)
    for image, place in zip(images[:, near, near].astype(float), found, strict=True):
        along_z, along_x = np.diff(image, axis=0), np.diff(image, axis=1)
        gradient = np.stack(
            [(along_z[:, 1:] + along_z[:, :-1]).ravel() / 2, (along_x[1:] + along_x[:-1]).ravel() / 2], axis=1
        )
        size = np.linalg.norm(gradient, axis=1)
        distance = np.linalg.norm(points - size @ points / size.sum(), axis=1)
        normal = np.stack([-gradient[:, 1], gradient[:, 0]], axis=1) / size[:, None]
        root = size / np.sqrt(np.maximum(distance, 0.1))
        expected = np.linalg.lstsq(
            root[:, None] * normal, root * np.sum(normal * points, axis=1), rcond=None
        )[0]
        np.testing.assert_allclose(place, expected, atol=1e-6)


def test_radial_symmetry_averages_gradients_in_windows_from_seven_pixels():
    rng = np.random.default_rng(5)
    z, x = positions(rng, 1000)
    images = (spots(z, x) + 0.1 * rng.normal(size=(1000, SIDE, SIDE))).astype(np.float32)
    narrow, wide = (np.sqrt(np.mean(errors("radial_symmetry", images, z, x, half) ** 2)) for half in (2, 3))
    assert wide < 0.7 * narrow


def pillow(image, resample, factor=32):
    """The image interpolated by Pillow, and the coordinates of its fine pixels."""
    fine = Image.fromarray(image, mode="F").resize((SIDE * factor, SIDE * factor), resample)
    return np.asarray(fine), (np.arange(SIDE * factor) + 0.5) / factor - 0.5


def scipy_spline(image, factor=32):
    at = np.arange(9 * factor, 11 * factor + 1) / factor
    fine = map_coordinates(image.astype(float), np.meshgrid(at, at, indexing="ij"), order=3, mode="mirror")
    return fine, at


@pytest.mark.parametrize(
    ("name", "interpolated"),
    [
        ("cubic_interpolation", lambda image: pillow(image, Image.Resampling.BICUBIC)),
        ("lanczos_interpolation", lambda image: pillow(image, Image.Resampling.LANCZOS)),
        ("spline_interpolation", scipy_spline),
    ],
)
def test_the_interpolated_peak_is_that_of_other_programs(name, interpolated):
    rng = np.random.default_rng(6)
    z, x = positions(rng, 40)
    images = (spots(z, x, (1.3, 1.8)) + 0.01 * rng.normal(size=(40, SIDE, SIDE))).astype(np.float32)
    found = 10 + LOCALIZERS[name](images, centre_pixels(40), 1)
    for image, place in zip(images, found, strict=True):
        if not np.isfinite(place).all():
            continue
        fine, at = interpolated(image)
        near = np.flatnonzero(np.abs(at - 10) <= 1)
        peak = np.unravel_index(fine[np.ix_(near, near)].argmax(), (len(near), len(near)))
        np.testing.assert_allclose(place, at[near[np.array(peak)]], atol=0.035)  # 1/64 from their grid
    assert np.isfinite(found).all(axis=1).sum() >= 38


def test_cubic_interpolation_finds_the_top_of_a_parabola_exactly():
    row, column = np.mgrid[:SIDE, :SIDE]
    image = (1 - 0.002 * (row - 10.23) ** 2 - 0.003 * (column - 9.61) ** 2).astype(np.float32)
    found = LOCALIZERS["cubic_interpolation"](image[None], centre_pixels(1), 1)
    np.testing.assert_allclose(found, [[0.23, -0.39]], atol=1e-4)


@pytest.mark.parametrize("name", ["cubic_interpolation", "lanczos_interpolation", "spline_interpolation"])
def test_beyond_the_border_an_image_goes_on_as_bright_as_at_it(name):
    corners = [(1.3, 1.2), (1.3, 7.6), (7.8, 1.2), (7.8, 7.6)]
    images = spots(*np.array(corners).T, shape=(10, 10))
    pixels = np.array([(frame, *np.rint(corner)) for frame, corner in enumerate(corners)], dtype=int)
    padded = np.pad(images, ((0, 0), (9, 9), (9, 9)), mode="edge")
    expected = LOCALIZERS[name](padded, pixels + np.array([0, 9, 9]), 1)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(LOCALIZERS[name](images, pixels, 1), expected, atol=1e-12)


def test_widths_are_those_of_the_spots():
    z, x = positions(np.random.default_rng(7), 30)
    width = spot_widths(spots(z, x, (1.2, 2.1)), centre_pixels(30), 2)
    np.testing.assert_allclose(width, 30 * [[2.35482 * 1.2, 2.35482 * 2.1]], rtol=1e-3)


@pytest.mark.parametrize("name", LOCALIZERS)
def test_localize_adds_the_shift_to_the_maximum(name):
    z, x = np.array([10.2, 12.9, 7.0]), np.array([9.7, 3.1, 15.4])
    images = 0.8 * spots(z, x) * np.exp(1j * np.array([0, 1, 2]))[:, None, None]
    found = localize(images, threshold=0.5, window=5, localizer=name)
    pixels = np.stack([np.arange(3), np.rint(z), np.rint(x)], axis=1).astype(int)
    shift = LOCALIZERS[name](np.abs(images).astype(np.float32), pixels, 2)
    expected = (pixels[:, 1:] + shift).astype(np.float32)
    np.testing.assert_allclose(np.stack([found["z"], found["x"]], axis=1), expected, atol=1e-6)
    assert np.abs(expected - np.stack([z, x], axis=1)).max() < (0.5 if name == "no_shift" else 0.25)


def test_wide_and_narrow_spots_are_rejected():
    image = np.concatenate([spots([10], [10], (width, 1.5)) for width in (0.8, 1.5, 3.0)])
    bounds = (2.355 * 1.2, 2.355 * 2.0)
    assert list(localize(image, threshold=0.5)["frame"]) == [0, 1, 2]
    assert list(localize(image, threshold=0.5, width_bounds=bounds)["frame"]) == [1]
    assert list(localize(image, threshold=0.5, width_bounds=(0.1, bounds[1]))["frame"]) == [0, 1]
    flipped = image.swapaxes(1, 2)
    assert list(localize(flipped, threshold=0.5, width_bounds=bounds, localizer="no_shift")["frame"]) == [1]


def test_a_spot_that_is_placed_too_far_away_is_rejected():
    z, x = np.array([10.1, 10.4, 10.4]), np.array([10.0, 10.0, 9.6])
    images = spots(z, x)
    assert list(localize(images, threshold=0.5, largest_shift=0.45)["frame"]) == [0, 1, 2]
    assert list(localize(images, threshold=0.5, largest_shift=0.3)["frame"]) == [0]


def test_a_spot_without_a_centre_stays_on_its_pixel_unless_shifts_are_bounded():
    image = np.full((1, 9, 9), 0.1, np.float32)
    image[0, 4] = np.linspace(0.2, 0.4, 9)  # a ridge, highest in its middle by hardly anything
    image[0, 4, 4] = 0.4
    image[0, 4, 3] = image[0, 4, 5] = 0.399
    image[0, 3:6:2, 3:6:2] = 0.39
    image[0, 3:6:2, 4] = 0.2
    (found,) = localize(image, threshold=0.4)
    assert (found["z"], found["x"]) == (4, 4)
    assert len(localize(image, threshold=0.4, largest_shift=1.0)) == 0


def test_only_the_brightest_of_each_frame_are_kept_in_their_order():
    peaks = np.array([[0.6, 0.9, 0.7, 0.8], [0.9, 0.0, 0.0, 0.0]])
    image = np.zeros((2, 20, 20), np.float32)
    for frame in range(2):
        image[frame, [4, 4, 12, 12], [4, 12, 4, 12]] = peaks[frame]
    found = localize(image, threshold=0.5, brightest_per_frame=2, localizer="no_shift")
    assert [tuple(one) for one in found[["frame", "z", "x"]]] == [(0, 4, 12), (0, 12, 12), (1, 4, 4)]
    assert len(localize(image, threshold=0.5, brightest_per_frame=9)) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"localizer": "guess"},
        {"brightest_per_frame": 0},
        {"width_bounds": (3.0, 2.0)},
        {"largest_shift": -1.0},
    ],
)
def test_a_wrong_rule_is_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        localize(np.zeros((1, 9, 9), np.float32), threshold=0.3, **options)


@pytest.mark.parametrize("name", LOCALIZERS)
def test_a_hundred_thousand_bubbles_take_less_than_a_core_second(name):
    z, x = positions(np.random.default_rng(8), 500)
    images, pixels = spots(z, x), np.tile(centre_pixels(500), (40, 1))
    LOCALIZERS[name](images, pixels[:1], 2)
    start = time.process_time()
    LOCALIZERS[name](images, pixels, 2)
    seconds = time.process_time() - start
    print(f"{name}: {len(pixels) / max(seconds, 1e-9):.2g} bubbles a core-second")
    assert seconds < len(pixels) / 1e5
