"""Speckle moved by known amounts is found to have moved by them."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ulmpipe.angiogram import accumulate, register_maps
from ulmpipe.errors import InputError
from ulmpipe.figures import drift_figure
from ulmpipe.registration import (
    Drift,
    drift_rows,
    estimate_shift,
    interpolate_outliers,
    measure_drift,
    no_drift,
    peak_correlation,
    shift_map,
)

CARRIER = 0.5  # cycles a pixel: two-way phase at λ/4 pixels


def moved_speckle(rng, shifts, *, shape=(80, 80), noise=0.1, margin=12):
    """Complex band-limited speckle at each shift: new tissue enters, the carrier turns, the noise is new."""
    full = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    z, x = np.fft.fftfreq(full[0])[:, None], np.fft.fftfreq(full[1])[None, :]
    band = np.exp(-2 * np.pi**2 * ((1.6 * z) ** 2 + (2.0 * x) ** 2))
    spectrum = band * np.fft.fft2(rng.normal(size=full) + 1j * rng.normal(size=full))
    images = []
    for dz, dx in shifts:
        image = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (z * dz + x * dx)))[
            margin:-margin, margin:-margin
        ]
        image = image / np.sqrt(np.mean(np.abs(image) ** 2)) * np.exp(-2j * np.pi * CARRIER * dz)
        receiver = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
        images.append(image + noise * receiver)
    return np.array(images)


def errors(rng, n, **options):
    found = []
    for _ in range(n):
        shift = rng.uniform(-5, 5, 2)
        fixed, moving = moved_speckle(rng, [(0, 0), shift], **options)
        found.append(np.array(estimate_shift(fixed, moving)) - shift)
    return np.sqrt(np.mean(np.square(found), axis=0))


@pytest.mark.parametrize(("noise", "limit"), [(0.0, 0.02), (0.1, 0.03), (0.3, 0.1)])
def test_shifts_up_to_five_pixels_are_found_to_a_tenth(noise, limit):
    error = errors(np.random.default_rng(0), 20, noise=noise)
    print(f"noise {noise}: RMS error {error.round(4)} px")
    assert np.all(error < limit)


def test_a_narrow_field_is_registered_too():
    assert np.all(errors(np.random.default_rng(1), 20, shape=(40, 64)) < 0.1)


def test_the_sign_is_that_of_the_displacement():
    image = np.zeros((40, 50))
    image[15:19, 20:26] = 1.0
    moving = shift_map(image, (3, -2))
    assert estimate_shift(image, moving) == pytest.approx((3, -2), abs=0.05)
    assert estimate_shift(moving, image) == pytest.approx((-3, 2), abs=0.05)
    assert estimate_shift(image, image) == pytest.approx((0, 0), abs=1e-9)


def test_the_envelope_alone_counts_whatever_the_carrier_does():
    rng = np.random.default_rng(2)
    fixed, moving = moved_speckle(rng, [(0, 0), (1.3, -0.7)])
    turned = moving * np.exp(1j * np.linspace(0, 40, 80))[:, None]
    assert estimate_shift(fixed, turned) == estimate_shift(fixed, moving)


def test_drift_is_measured_from_the_first_block():
    rng = np.random.default_rng(3)
    true = np.concatenate([np.zeros((1, 2)), np.cumsum(rng.uniform(-1, 1, (6, 2)), axis=0)])
    found = measure_drift(moved_speckle(rng, true)).displacement
    assert np.all(found[0] == 0)
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.03
    assert np.abs(true).max() > 0.5


def test_a_ruined_first_block_does_not_spoil_the_others():
    rng = np.random.default_rng(4)
    true = np.array([[0.0, 0.0], [1.0, -1.5], [2.0, 0.5], [1.5, 1.0], [0.5, 2.0]])
    images = moved_speckle(rng, true)
    images[0] += 3 * moved_speckle(rng, [(0, 0)])[0]
    found = measure_drift(images).displacement
    relative = (found[1:] - found[1]) - (true[1:] - true[1])
    assert np.abs(relative).max() < 0.1


def test_a_moved_map_does_not_wrap():
    image = np.arange(1, 13).reshape(3, 4)
    np.testing.assert_array_equal(shift_map(image, (1, -2)), [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]])
    np.testing.assert_array_equal(shift_map(image, (0, 0)), image)
    for far in ((3, 0), (0, -4), (50, 50), (-50, 1)):
        assert not shift_map(image, far).any()
    assert shift_map(image > 5, (1, 1)).dtype == bool


@pytest.mark.parametrize(
    "images",
    [
        (np.ones((5, 5)), np.ones((5, 6))),
        (np.ones((5, 5)), np.eye(5)),
        (np.eye(5), np.full((5, 5), np.nan)),
    ],
)
def test_images_that_cannot_be_registered_are_refused(images):
    with pytest.raises(InputError):
        estimate_shift(*images)


FIELD = 128  # pixels, of the vessels below
DRIFT = np.array([[0.0, 0.0], [0.4, -0.3], [1.3, -1.1], [1.9, -2.0], [2.6, -2.9], [1.7, -2.2]])


def draw_vessels(rng, n_vessels=50, n_steps=400, step=0.25):
    """Center lines (vessel, step, 2) in pixels that wander through the field in all directions, and their radii."""
    angles = rng.uniform(0, 2 * np.pi, (n_vessels, 1)) + np.cumsum(
        rng.normal(0, 0.06, (n_vessels, n_steps)), 1
    )
    steps = step * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return rng.uniform(-10, FIELD + 10, (n_vessels, 1, 2)) + np.cumsum(steps, axis=1), rng.uniform(
        0.2, 0.8, n_vessels
    )


def bubble_tracks(rng, vessels, displacement, *, n_bubbles, length=100, upsampling):
    """Binary map of other bubbles in every block: each runs along a part of a vessel, off its axis."""
    lines, radii = vessels
    vessel = rng.integers(len(lines), size=n_bubbles)
    first = rng.integers(lines.shape[1] - length, size=n_bubbles)
    along = np.arange(0, length, 0.25)
    place = first[:, None] + along
    whole = place.astype(int)
    part = (place - whole)[..., None]
    path = (1 - part) * lines[vessel[:, None], whole] + part * lines[vessel[:, None], whole + 1]
    heading = np.gradient(path, axis=1)
    normal = np.stack([heading[..., 1], -heading[..., 0]], -1) / np.linalg.norm(heading, axis=-1)[..., None]
    offset = rng.uniform(-1, 1, n_bubbles) * radii[vessel]
    fine = np.floor((path + offset[:, None, None] * normal + displacement + 0.5) * upsampling).astype(int)
    inside = np.all((fine >= 0) & (fine < FIELD * upsampling), axis=-1)
    tracks = np.zeros((FIELD * upsampling, FIELD * upsampling), dtype=bool)
    tracks[tuple(fine[inside].T)] = True
    return tracks


def power_image(rng, vessels, displacement, *, n_bubbles):
    """Bubbles' tracks as a probe sees their power, over a floor of noise."""
    tracks = bubble_tracks(rng, vessels, displacement, n_bubbles=n_bubbles, upsampling=4)
    density = tracks.reshape(FIELD, 4, FIELD, 4).sum(axis=(1, 3)).astype(float)
    power = gaussian_filter(density, (2 / np.sqrt(2), 3 / np.sqrt(2)))
    return power + 0.02 * power.mean() * rng.exponential(size=power.shape)


def scatter(found, true):
    """RMS error (z, x) but for what is common to all blocks: which block is the reference is a convention."""
    error = found - true
    return np.sqrt(np.mean((error - error.mean(axis=0)) ** 2, axis=0))


def test_drift_is_found_on_power_doppler_images():
    rng = np.random.default_rng(5)
    vessels = draw_vessels(rng)
    images = np.array([power_image(rng, vessels, by, n_bubbles=1000) for by in DRIFT])
    drift = measure_drift(np.sqrt(images))
    error = scatter(drift.displacement, DRIFT)
    print(f"power Doppler: RMS error {error.round(3)} px, quality {drift.quality.round(2)}")
    assert np.all(error < 0.1)
    assert not drift.outlier.any()


def test_drift_is_found_on_binary_track_maps_of_other_bubbles():
    rng = np.random.default_rng(6)
    vessels = draw_vessels(rng)
    maps = np.array([bubble_tracks(rng, vessels, by, n_bubbles=500, upsampling=2) for by in DRIFT])
    drift = measure_drift(maps, maximum_shift=8, tolerance=1.0)
    error = scatter(drift.displacement / 2, DRIFT)
    print(
        f"track maps: RMS error {error.round(3)} px, quality {drift.quality.round(2)}, filled {maps.mean():.3f}"
    )
    assert np.all(error < 0.1)
    assert not drift.outlier.any()


def test_a_block_that_shows_something_else_is_flagged_and_the_others_are_not():
    rng = np.random.default_rng(7)
    true = np.array([[0.0, 0.0], [0.7, -0.4], [1.1, 0.6], [0.2, 1.3], [-0.8, 0.9], [-1.5, 0.1], [-1.0, -0.6]])
    images = moved_speckle(rng, true, shape=(64, 64))
    images[3] = moved_speckle(rng, [(0, 0)], shape=(64, 64))[0]
    drift = measure_drift(images)
    assert drift.outlier.tolist() == [False, False, False, True, False, False, False]
    assert drift.quality[3] < 0.5 < drift.quality[~drift.outlier].min()
    assert np.abs((drift.displacement - true)[~drift.outlier]).max() < 0.1


def test_either_criterion_alone_flags_a_block():
    rng = np.random.default_rng(8)
    images = moved_speckle(rng, np.zeros((6, 2)), shape=(64, 64))
    images[2] = moved_speckle(rng, [(0, 0)], shape=(64, 64))[0]
    weak = measure_drift(images, tolerance=1e3)
    assert np.flatnonzero(weak.outlier).tolist() == [2]
    assert not measure_drift(images, tolerance=1e3, minimum_quality=0.0).outlier.any()

    # tracks of other vessels lie a different way from those of each other block
    vessels, others = draw_vessels(rng), draw_vessels(rng)
    maps = np.array(
        [
            bubble_tracks(rng, others if block == 2 else vessels, by, n_bubbles=300, upsampling=2)
            for block, by in enumerate(DRIFT)
        ]
    )
    astray = measure_drift(maps, tolerance=1.0, minimum_quality=0.0)
    assert np.flatnonzero(astray.outlier).tolist() == [2]


def test_a_jump_is_motion_and_no_outlier():
    rng = np.random.default_rng(9)
    true = np.array([[0.0, 0.0], [0.2, 0.1], [6.0, -5.0], [6.1, -5.2], [0.1, 0.3]])
    drift = measure_drift(moved_speckle(rng, true, shape=(64, 64)))
    assert not drift.outlier.any()
    assert np.abs(drift.displacement - true).max() < 0.1


def test_an_outlier_at_the_start_is_not_what_the_others_are_measured_from():
    rng = np.random.default_rng(10)
    true = np.array([[9.0, 9.0], [0.0, 0.0], [0.8, -0.5], [1.6, -0.2], [1.1, 0.7]])
    images = moved_speckle(rng, true, shape=(64, 64))
    images[0] = moved_speckle(rng, [(0, 0)], shape=(64, 64))[0]
    drift = measure_drift(images)
    assert drift.outlier.tolist() == [True, False, False, False, False]
    assert np.abs((drift.displacement - true)[1:]).max() < 0.1


@pytest.mark.parametrize("lost", [0.0, np.nan])
def test_a_block_that_holds_nothing_has_no_displacement_and_can_be_filled_in(lost):
    rng = np.random.default_rng(11)
    true = np.array([[0.0, 0.0], [0.5, -1.0], [1.0, -2.0], [1.5, -3.0]])
    images = moved_speckle(rng, true, shape=(64, 64))
    images[2] = lost
    drift = measure_drift(images)
    assert drift.outlier.tolist() == [False, False, True, False]
    assert np.isnan(drift.displacement[2]).all()
    assert drift.quality[2] == 0
    assert np.abs(interpolate_outliers(drift) - true).max() < 0.1


def test_outliers_are_filled_in_on_the_line_between_good_blocks():
    displacement = np.array([[9.0, 9.0], [1.0, 0.0], [7.0, np.nan], [3.0, -4.0], [8.0, 8.0]])
    drift = Drift(displacement, np.ones(5), np.array([True, False, True, False, True]))
    filled = [[1.0, 0.0], [1.0, 0.0], [2.0, -2.0], [3.0, -4.0], [3.0, -4.0]]
    np.testing.assert_allclose(interpolate_outliers(drift), filled)
    with pytest.raises(InputError, match="all 5 blocks"):
        interpolate_outliers(Drift(displacement, np.ones(5), np.ones(5, dtype=bool)))


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_too_few_blocks_have_no_drift(n_blocks):
    drift = measure_drift(np.random.default_rng(0).random((n_blocks, 20, 20)))
    assert drift.displacement.tolist() == [[0.0, 0.0]] * n_blocks
    assert not drift.outlier.any()


def test_tissue_at_rest_leaves_the_angiogram_as_it_is():
    rng = np.random.default_rng(13)
    drift = measure_drift(moved_speckle(rng, np.zeros((8, 2)), noise=0.1))
    error = np.sqrt(np.mean(drift.displacement**2, axis=0))
    print(f"at rest: RMS {error.round(4)} px")
    assert np.all(error < 0.02)
    tracks = rng.random((8, 64, 64)) < 0.05
    registered = accumulate(register_maps(tracks, drift.displacement, upsampling=8))
    np.testing.assert_array_equal(registered, accumulate(register_maps(tracks, no_drift(8).displacement)))
    np.testing.assert_array_equal(registered, tracks.sum(axis=0))


def test_the_peak_correlation_is_one_where_the_images_are_the_same_and_none_where_they_are_not():
    rng = np.random.default_rng(14)
    fixed, moved = moved_speckle(rng, [(0, 0), (2.4, -1.7)], noise=0.0)
    assert peak_correlation(fixed, fixed, (0.0, 0.0)) == pytest.approx(1.0)
    assert peak_correlation(fixed, moved, (2.4, -1.7)) > 0.98
    assert peak_correlation(fixed, moved, (2.4, 3.0)) < 0.3
    other = moved_speckle(rng, [(0, 0)], noise=0.0)[0]
    assert abs(peak_correlation(fixed, other, (0.0, 0.0))) < 0.3
    assert peak_correlation(fixed, moved, (90.0, 0.0)) == 0.0
    # two images with the same part a fraction r of the variance each correlate by r
    same, first, second = (rng.normal(size=(80, 80)) for _ in range(3))
    half = peak_correlation(20 + same + first, 20 + same + second, (0.0, 0.0))
    assert half == pytest.approx(0.5, abs=0.05)


def test_rows_of_the_drift_table():
    drift = Drift(np.array([[0.0, 0.0], [2.0, -0.5]]), np.array([1.0, 0.25]), np.array([False, True]))
    rows = drift_rows(drift, [0.0, 1.5], pixel_size=25e-6)
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    lines = table.getvalue().splitlines()
    assert lines == ["block,time_s,z_um,x_um,quality,outlier", "0,0.0,0.0,0.0,1.0,False", lines[2]]
    assert rows[1] == {
        "block": 1,
        "time_s": 1.5,
        "z_um": pytest.approx(50.0),
        "x_um": pytest.approx(-12.5),
        "quality": 0.25,
        "outlier": True,
    }
    with pytest.raises(InputError, match="expected one for each of 2 blocks"):
        drift_rows(drift, [0.0], pixel_size=25e-6)


@pytest.mark.parametrize(
    ("shape", "options", "word"),
    [
        ((4, 4), {}, "images"),
        ((2, 9, 9), {"lags": 0}, "lags"),
        ((2, 9, 9), {"tolerance": 0.0}, "tolerance"),
        ((2, 9, 9), {"smoothing": -1.0}, "smoothing"),
    ],
)
def test_a_drift_that_cannot_be_measured_is_refused(shape, options, word):
    with pytest.raises(InputError, match=word):
        measure_drift(np.random.default_rng(0).random(shape), **options)


def test_the_figure_marks_outliers_and_leaves_them_out_of_the_error():
    true = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    found = true + np.array([[0.01, 0.02], [0.01, 0.02], [50.0, np.nan]])
    axes = drift_figure(found, true, pixel_size=25e-6, outlier=np.array([False, False, True])).axes[0]
    assert "0.25 µm in depth, 0.50 µm lateral" in axes.get_title()
    crosses = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "x"]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert crosses == [[2], [2]]
    assert dots == [[0, 1], [0, 1]]
    assert axes.get_ylim()[1] < 100  # µm: not the outlier's 1300, which is shown on the edge
    depth = next(line for line in axes.lines if line.get_marker() == "x")
    assert depth.get_ydata()[0] == axes.get_ylim()[1]
