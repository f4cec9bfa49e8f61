"""Maps of tracks against straight lines of known speed and angle, and against every pixel clipped by itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmpipe.errors import InputError
from ulmpipe.track_maps import FineGrid, brightest_track_map, track_maps

TRACK = np.dtype(
    [
        ("track", np.int32),
        ("frame", np.int32),
        ("z", np.float32),
        ("x", np.float32),
        ("vz", np.float32),
        ("vx", np.float32),
        ("value", np.float32),
    ]
)
STEP = 2.0**-18  # m, 3.8 µm: a power of two, so that float32 holds the pixels' borders exactly
GRID = FineGrid(shape=(12, 9), spacing=(STEP, STEP), origin=(512.5 * STEP, -3.5 * STEP))
RATE = 500.0  # frames a second


def table(*tracks, rate=RATE):
    """Tracks from points (z, x) in pixels from the grid's corner; velocity is that of the step behind or before."""
    rows = []
    for number, points in enumerate(tracks):
        place = np.asarray(points, float) * STEP + [512 * STEP, -4 * STEP]
        velocity = np.diff(place, axis=0, append=np.nan) * rate
        velocity[-1] = velocity[-2] if len(place) > 1 else 0
        rows += [(number, frame, *place[frame], *velocity[frame], 1.0) for frame in range(len(place))]
    return np.array(rows, dtype=TRACK)


def pixels(image):
    return {(int(z), int(x)) for z, x in np.argwhere(image)}


def test_a_horizontal_track_is_one_row_of_ones_at_its_speed():
    points = [(4.5, 1.5 + 2.25 * i) for i in range(3)]
    maps = track_maps([table(points)], GRID)
    expected = np.zeros(GRID.shape, int)
    expected[4, 1:6] = 1  # the border at its end is not crossed
    np.testing.assert_array_equal(maps.density, expected)
    np.testing.assert_array_equal(np.isnan(maps.speed), expected == 0)
    np.testing.assert_array_equal(np.isnan(maps.direction), expected == 0)
    np.testing.assert_allclose(maps.speed[4, 1:6], 2.25 * STEP * RATE, rtol=1e-6)
    np.testing.assert_allclose(maps.direction[4, 1:6], 0, atol=1e-7)
    assert not maps.flux(1.0).any()


@pytest.mark.parametrize("degrees", [-171, -90, -33, 20, 45, 90, 117, 180])
def test_a_slanted_track_has_its_angle_and_speed_in_every_pixel_of_it(degrees):
    angle = np.radians(degrees)
    along = np.linspace(-3.6, 3.6, 7)[:, None]
    points = [6.2, 4.4] + along * [np.sin(angle), np.cos(angle)]
    maps = track_maps([table(points)], GRID)
    crossed = maps.density == 1
    assert maps.density.max() == 1
    assert 7 <= crossed.sum() <= 14
    # compared as vectors: π and -π are one angle
    np.testing.assert_allclose(np.exp(1j * maps.direction[crossed]), np.exp(1j * angle), atol=2e-4)
    np.testing.assert_allclose(maps.speed[crossed], 1.2 * STEP * RATE, rtol=2e-4)
    if abs(np.sin(angle)) > 0.1:
        np.testing.assert_array_equal(maps.flux(1.0)[crossed], np.sign(np.sin(angle)))


def test_a_line_through_corners_touches_the_diagonal_alone():
    for points in ([(0, 0), (3, 3), (7, 7)], [(7, 0), (3.5, 3.5), (0, 7)], [(8, 8), (1, 1)]):
        low, high = int(np.min(points)), int(np.max(points))
        maps = track_maps([table(points)], GRID)
        rising = points[0][0] > points[0][1]
        assert pixels(maps.density) == {(high - 1 - i if rising else i, i) for i in range(low, high)}


def test_a_track_that_comes_back_counts_once():
    there_and_back = [(4.5, 1.5), (4.5, 5.5), (4.5, 1.2), (4.5, 5.5)]
    maps = track_maps([table(there_and_back)], GRID)
    assert maps.density.max() == 1
    assert pixels(maps.density) == {(4, x) for x in range(1, 6)}


def test_a_bubble_that_stays_counts_where_it_is():
    maps = track_maps([table([(4.5, 1.5)] * 5)], GRID)
    assert pixels(maps.density) == {(4, 1)}
    assert maps.speed[4, 1] == 0
    assert np.isnan(maps.direction[4, 1])


def test_every_track_weighs_the_same_however_many_points_it_has():
    slow = [(4.5, 2.1 + 0.1 * i) for i in range(9)]  # all in one pixel
    fast = [(1.5, 2.5), (7.5, 2.5)]
    maps = track_maps([table(slow, fast)], GRID)
    assert maps.density[4, 2] == 2
    assert maps.speed[4, 2] == pytest.approx((0.1 + 6) / 2 * STEP * RATE, rel=1e-3)
    assert maps.direction[4, 2] == pytest.approx(np.arctan2(6, 0.1), rel=1e-3)


def test_opposite_tracks_cancel_in_the_flux_but_not_in_the_speed():
    down, up = [(1.5, 2.5), (7.5, 2.5)], [(7.5, 2.5), (1.5, 2.5)]
    maps = track_maps([table(down, up, down)], GRID)
    assert maps.density[4, 2] == 3
    assert (maps.downward[4, 2], maps.upward[4, 2], maps.flux(1.0)[4, 2]) == (2, 1, 1)
    assert maps.speed[4, 2] == pytest.approx(6 * STEP * RATE, rel=1e-6)
    assert maps.velocity_z[4, 2] == pytest.approx(2 * STEP * RATE, rel=1e-6)


def test_flux_is_bubbles_a_second_through_each_pixel_and_added_up_through_the_vessel():
    down = [[(0.5, column), (11.5, column)] for column in (2.5, 2.5, 3.5, 4.5, 4.5)]
    up = [[(11.5, column), (0.5, column)] for column in (4.5, 7.5)]
    blocks = [table(*down[:2], *up), table(*down[2:])]
    flux = track_maps(blocks, GRID).flux(2.0)
    row = [0, 0, 1.0, 0.5, 0.5, 0, 0, -0.5, 0]
    np.testing.assert_array_equal(flux, np.broadcast_to(row, GRID.shape))
    assert flux[6, 2:5].sum() == (5 - 1) / 2.0
    assert flux.dtype == np.float32
    for duration in (0.0, np.nan):
        with pytest.raises(InputError, match="duration"):
            track_maps(blocks, GRID).flux(duration)


def test_a_bend_does_not_slow_a_bubble():
    track = table([(4.5, 1.5), (4.5, 4.5), (7.5, 4.5)])
    track["vz"], track["vx"] = [0, 0, 3e-3], [3e-3, 3e-3, 0]
    maps = track_maps([track], GRID)
    np.testing.assert_allclose(maps.speed[maps.density > 0], 3e-3, rtol=1e-6)


def test_missing_frames_are_bridged_and_short_tracks_left_out():
    track = table([(4.5, 1.5), (4.5, 7.5)], [(2.5, 1.5), (2.5, 4.5), (2.5, 7.5)])
    track["frame"][1] = 3
    assert pixels(track_maps([track], GRID).density) == {(z, x) for z in (2, 4) for x in range(1, 8)}
    assert pixels(track_maps([track], GRID, minimum_points=3).density) == {(2, x) for x in range(1, 8)}
    assert not track_maps([track], GRID, minimum_points=4).density.any()


def test_blocks_add_up_and_their_track_numbers_are_their_own():
    one, other = table([(4.5, 1.5), (4.5, 7.5)]), table([(1.5, 3.5), (8.5, 3.5)])
    maps = track_maps(iter([one, other, one[:0]]), GRID)
    both = np.concatenate([one, other])
    both["track"][2:] = 1
    together = track_maps([both], GRID)
    for name in ("density", "downward", "upward", "speed", "velocity_z", "velocity_x"):
        np.testing.assert_array_equal(getattr(maps, name), getattr(together, name))
    assert maps.density[4, 3] == 2
    assert not track_maps([], GRID).density.any()


def clipped_one_by_one(tracks, grid):
    """Density and sums of velocity and speed, from each segment's time in each pixel taken as a rectangle."""
    edges = [
        grid.origin[axis] + (np.arange(grid.shape[axis] + 1) - 0.5) * grid.spacing[axis] for axis in (0, 1)
    ]
    density = np.zeros(grid.shape, int)
    sums = np.zeros((3, *grid.shape))
    for number in np.unique(tracks["track"]):
        points = tracks[tracks["track"] == number]
        time = np.zeros(grid.shape)
        integral = np.zeros((3, *grid.shape))
        for a, b in pairwise(points):
            enter, leave = np.zeros(grid.shape), np.ones(grid.shape)
            for axis, name in enumerate("zx"):
                step = float(b[name]) - float(a[name])
                to = (edges[axis] - float(a[name])) / step
                first, last = np.minimum(to[:-1], to[1:]), np.maximum(to[:-1], to[1:])
                broad = (slice(None), None) if axis == 0 else (None, slice(None))
                enter, leave = np.maximum(enter, first[broad]), np.minimum(leave, last[broad])
            within = np.maximum(leave - enter, 0) * (int(b["frame"]) - int(a["frame"]))
            middle = (enter + leave) / 2
            time += within
            ends = [
                (float(p["vz"]), float(p["vx"]), np.hypot(float(p["vz"]), float(p["vx"]))) for p in (a, b)
            ]
            for row, (here, there) in enumerate(zip(*ends, strict=True)):
                integral[row] += within * (here + middle * (there - here))
        crossed = time > 0
        density += crossed
        sums[:, crossed] += integral[:, crossed] / time[crossed]
    return density, sums


def random_tracks(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, size=12)
    tracks = np.zeros(lengths.sum(), dtype=TRACK)
    tracks["track"] = np.repeat(np.cumsum(rng.integers(1, 4, size=12)), lengths)
    tracks["frame"] = np.concatenate([np.cumsum(rng.integers(1, 4, size=n)) for n in lengths])
    # a third of the points lie outside
    tracks["z"] = (rng.uniform(-3, 15, size=len(tracks)) + 512) * STEP
    tracks["x"] = (rng.uniform(-2, 11, size=len(tracks)) - 4) * STEP
    tracks["vz"], tracks["vx"] = rng.normal(scale=2e-3, size=(2, len(tracks)))
    return tracks


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_tracks_agree_with_clipping_every_segment_by_every_pixel(seed):
    tracks = random_tracks(seed)
    maps = track_maps([tracks], GRID)
    density, sums = clipped_one_by_one(tracks, GRID)
    np.testing.assert_array_equal(maps.density, density)
    crossed = density > 0
    for image, total in zip((maps.velocity_z, maps.velocity_x, maps.speed), sums, strict=True):
        np.testing.assert_allclose(image[crossed], total[crossed] / density[crossed], rtol=1e-4, atol=1e-9)
        assert np.isnan(image[~crossed]).all()
    assert (maps.downward + maps.upward <= maps.density).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_as_bright_as_a_threshold_is_what_the_tracks_as_bright_cross(seed):
    tracks = random_tracks(seed)
    numbers = np.unique(tracks["track"])
    brightness = np.random.default_rng(seed).uniform(0.2, 0.9, len(numbers)).astype(np.float32)
    brightest = brightest_track_map(tracks, brightness, GRID)
    assert brightest.dtype == np.float32
    for threshold in (0.1, *brightness, 0.95):
        bright = tracks[np.isin(tracks["track"], numbers[brightness >= threshold])]
        np.testing.assert_array_equal(brightest >= threshold, track_maps([bright], GRID).density > 0)


def test_without_tracks_nothing_is_bright_and_each_track_has_one_brightness():
    assert not brightest_track_map(table(), np.empty(0), GRID).any()
    with pytest.raises(InputError, match="brightness: 1 of 2 tracks, expected as many"):
        brightest_track_map(table([(1, 1), (2, 2)], [(3, 3), (4, 4)]), np.ones(1), GRID)


def test_a_segment_far_outside_costs_nothing_and_leaves_nothing():
    maps = track_maps([table([(4.5, 1e9), (4.5, 2e9)], [(-1e9, 2.5), (1e9, 2.5)], [(12, 1), (12, 5)])], GRID)
    assert not maps.density[:, [0, 1, 3, 4, 5, 6, 7, 8]].any()
    np.testing.assert_array_equal(maps.density[:, 2], 1)


def test_the_grid_covers_the_field_from_its_corner():
    grid = FineGrid.covering((-1e-3, 1e-3, 7.2e-3, 8.8e-3), 3.125e-6)
    assert grid.shape == (512, 640)
    assert grid.origin == pytest.approx((7.2e-3 + 1.5625e-6, -1e-3 + 1.5625e-6), rel=1e-12)
    assert grid.extent == pytest.approx((-1e-3, 1e-3, 7.2e-3, 8.8e-3), rel=1e-12)
    assert FineGrid.covering((0, 1.01e-3, 0, 1e-3), 1e-5).shape == (100, 101)
    assert FineGrid.covering((0, 1.004e-3, 0, 1e-3), 1e-5).shape == (100, 101)


def test_oblong_pixels_are_crossed_by_their_own_sides():
    grid = FineGrid(shape=(6, 9), spacing=(2 * STEP, STEP), origin=(513 * STEP, -3.5 * STEP))
    maps = track_maps([table([(0.5, 1.5), (11.5, 1.5)])], grid)
    np.testing.assert_array_equal(maps.density[:, 1], 1)
    assert maps.density.sum() == 6


def test_wrong_input_is_refused_in_one_line():
    good = table([(4.5, 1.5), (4.5, 7.5)], [(1.5, 3.5), (8.5, 3.5)])
    lost, infinite, doubled = good.copy(), good.copy(), good.copy()
    lost["x"][1] = np.nan
    infinite["vz"][0] = np.inf
    doubled["frame"][1] = 0
    for tracks, message in (
        (good[["track", "frame", "z", "x"]], "'vz' is missing"),
        (lost, "infinite x"),
        (infinite, "infinite vz"),
        (doubled, "out of order"),
        (good[::-1], "out of order"),
    ):
        with pytest.raises(InputError, match=message) as error:
            track_maps([tracks], GRID)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="minimum_points"):
        track_maps([good], GRID, minimum_points=1)
    with pytest.raises(InputError, match="extent"):
        FineGrid.covering((1, -1, 0, 1), 0.1)
    with pytest.raises(InputError, match="spacing"):
        FineGrid.covering((0, 1, 0, 1), 0.0)
