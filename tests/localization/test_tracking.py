"""Known tracks come back; linking, smoothing and drawing against independent implementations."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.signal import savgol_filter

from ulmpipe.errors import InputError
from ulmpipe.localization import (
    LOCALIZATION,
    TRACK,
    bright_tracks,
    track_brightness,
    track_localizations,
    tracks_to_table,
)
from ulmpipe.localization.tracking import TABLE_COLUMNS, link, pair, smooth

PIXEL = 25e-6
RATE = 1000.0
SETTINGS = {"spacing": (PIXEL, PIXEL), "frame_rate": RATE, "maximum_distance": 2.5 * PIXEL}


def records(rows):
    """Localizations from rows (frame, z, x) in pixels; the value tells the row."""
    found = np.zeros(len(rows), LOCALIZATION)
    for name, column in zip(("frame", "z", "x"), np.array(rows, dtype=float).reshape(-1, 3).T, strict=True):
        found[name] = column
    found["value"] = 0.5 + np.arange(len(rows)) / 1024
    return found


def line(frames, start, step):
    return [(frame, start[0] + frame * step[0], start[1] + frame * step[1]) for frame in frames]


def in_frame_order(*tracks):
    return records(sorted((row for track in tracks for row in track), key=lambda row: row[0]))


def together(track, frame, position):
    """The rows of each track as a set of (frame, place)."""
    return {
        frozenset(
            (int(f), *np.round(p, 6)) for f, p in zip(frame[track == n], position[track == n], strict=True)
        )
        for n in np.unique(track)
    }


# --- pairing


def cost_of(first, second, pairs, distance):
    unpaired = len(first) + len(second) - 2 * len(pairs)
    return sum(np.sum((first[i] - second[j]) ** 2) for i, j in pairs) + unpaired * distance**2


def least_cost(first, second, distance):
    """Over all ways to pair some of the points."""
    best = np.inf
    for n in range(min(len(first), len(second)) + 1):
        for some in combinations(range(len(first)), n):
            for others in permutations(range(len(second)), n):
                pairs = list(zip(some, others, strict=True))
                if all(np.linalg.norm(first[i] - second[j]) <= distance for i, j in pairs):
                    best = min(best, cost_of(first, second, pairs, distance))
    return best


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.floats(0.05, 1.5), st.integers(0, 10**6))
def test_no_other_pairing_of_few_points_costs_less(n_first, n_second, distance, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random((n_first, 2)), rng.random((n_second, 2))
    pairs = pair(first, second, maximum_distance=distance)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert all(np.linalg.norm(first[i] - second[j]) <= distance for i, j in pairs)
    cost = cost_of(first, second, pairs, distance)
    assert cost == pytest.approx(least_cost(first, second, distance), abs=1e-9)


@pytest.mark.parametrize("distance", [0.01, 0.05, 0.3])
def test_groups_solved_alone_give_what_one_large_problem_gives(distance):
    rng = np.random.default_rng(0)
    first, second = rng.random((120, 2)), rng.random((100, 2))
    pairs = pair(first, second, maximum_distance=distance)
    apart = np.linalg.norm(first[:, None] - second, axis=2)
    cost = np.where(apart <= distance, apart**2 - 2 * distance**2, 0.0)
    row, column = linear_sum_assignment(cost)
    taken = cost[row, column] < 0
    np.testing.assert_array_equal(pairs, np.stack([row[taken], column[taken]], axis=1))


def test_a_chain_moves_on_as_a_whole():
    first = np.array([[0.0], [1.0], [2.0]])
    second = first + 0.7  # the nearest of the last two leave the first without a partner
    np.testing.assert_array_equal(pair(first, second, maximum_distance=1.0), [[0, 0], [1, 1], [2, 2]])


def test_points_of_a_group_without_a_partner_in_reach_stay_alone():
    first = np.array([[0.0], [1.0], [2.0]])  # 0 and 2.9 would be left over, three short steps cost more
    pairs = pair(first, first + 0.9, maximum_distance=1.0)
    np.testing.assert_array_equal(pairs, [[1, 0], [2, 1]])


# --- linking


def test_linear_tracks_come_back_exactly():
    tracks = [line(range(0, 20), (5, 5), (0.5, 1.25)), line(range(4, 30), (40, 10), (-0.75, 0.25))]
    found = track_localizations(in_frame_order(*tracks), **SETTINGS, origin=(1e-3, -2e-3))
    assert found.dtype == TRACK
    assert list(found["track"]) == 20 * [0] + 26 * [1]
    for number, track in enumerate(tracks):
        one = found[found["track"] == number]
        frame, z, x = np.array(track).T
        np.testing.assert_array_equal(one["frame"], frame)
        np.testing.assert_allclose(one["z"], 1e-3 + PIXEL * z, rtol=0, atol=1e-12)
        np.testing.assert_allclose(one["x"], -2e-3 + PIXEL * x, rtol=0, atol=1e-12)
        step = np.array([(0.5, 1.25), (-0.75, 0.25)][number]) * PIXEL * RATE
        np.testing.assert_allclose(one["vz"], step[0], atol=1e-9)
        np.testing.assert_allclose(one["vx"], step[1], atol=1e-9)
        np.testing.assert_allclose(one["speed"], np.hypot(*step), atol=1e-9)


@pytest.mark.parametrize("memory", [0, 3])
def test_a_gap_is_closed_and_filled_in(memory):
    seen = [frame for frame in range(15) if frame not in (6, 7)]
    localizations = records(line(seen, (5, 5), (0.5, 0.5)))
    found = track_localizations(localizations, **SETTINGS, largest_gap=2, memory=memory)
    assert list(found["track"]) == 15 * [0]
    assert list(found["frame"]) == list(range(15))
    np.testing.assert_allclose(found["z"], PIXEL * (5 + 0.5 * np.arange(15)), atol=1e-12)
    np.testing.assert_allclose(found["vx"], 0.5 * PIXEL * RATE, atol=1e-9)
    assert list(np.flatnonzero(np.isnan(found["value"]))) == [6, 7]
    np.testing.assert_array_equal(found["value"][seen], localizations["value"])
    shorter = track_localizations(localizations, **SETTINGS, largest_gap=1, memory=memory)
    assert [np.sum(shorter["track"] == number) for number in (0, 1)] == [6, 7]


def test_a_bubble_that_is_expected_to_go_on_is_found_farther_away_after_a_gap():
    seen = [0, 1, 2, 3, 4, 8, 9, 10]
    frame = np.array(seen)
    position = np.stack([2.0 * frame, 0.0 * frame], axis=1)
    assert link(frame, position, maximum_distance=2.5, largest_gap=3).max() == 1
    assert link(frame, position, maximum_distance=2.5, largest_gap=3, memory=4).max() == 0


def test_the_step_over_a_gap_counts_by_the_frame():
    frame = np.array([0, 1, 2, 5, 6, 7])
    position = np.stack([2.0 * frame, 0.0 * frame], axis=1)
    assert link(frame, position, maximum_distance=2.05, largest_gap=2, memory=1).max() == 0


def test_a_longer_memory_forgives_a_step_that_went_astray():
    frame = np.arange(12)
    position = np.stack([np.where(frame == 6, frame + 1.0, frame), np.zeros(12)], axis=1)
    assert link(frame, position, maximum_distance=1.5, memory=4).max() == 0
    assert link(frame, position, maximum_distance=1.5, memory=1).max() == 1


def test_a_step_beyond_the_largest_distance_ends_a_track():
    frame = np.arange(10)
    position = np.stack([np.where(frame < 5, frame, frame + 1.001), np.zeros(10)], axis=1)
    assert list(link(frame, position, maximum_distance=2.0)) == 5 * [0] + 5 * [1]
    assert list(link(frame, position, maximum_distance=2.002)) == 10 * [0]


def test_two_bubbles_that_pass_the_same_point_at_different_times_keep_their_tracks():
    first, second = line(range(21), (10, 0), (0, 1)), line(range(21), (2, 10), (1, 0))
    found = track_localizations(in_frame_order(first, second), **SETTINGS)
    np.testing.assert_allclose(np.abs(found["vz"]) + np.abs(found["vx"]), PIXEL * RATE, atol=1e-9)
    assert [np.ptp(found["vz"][found["track"] == number]) < 1e-9 for number in (0, 1)] == [True, True]


def test_two_bubbles_that_meet_are_told_apart_by_where_they_were_going():
    # they pass the crossing half a frame early and half a frame late, each nearer to the other's next place
    first, second = line(range(21), (10, -0.5), (0, 1)), line(range(21), (-0.5, 10), (1, 0))
    localizations = in_frame_order(first, second)
    straight = track_localizations(localizations, **SETTINGS, memory=4)
    assert [np.ptp(straight["vz"][straight["track"] == number]) < 1e-9 for number in (0, 1)] == [True, True]
    nearest = track_localizations(localizations, **SETTINGS, memory=0)
    assert all(np.ptp(nearest["vz"][nearest["track"] == number]) > 1e-3 for number in (0, 1))


def test_short_tracks_are_dropped_and_numbers_stay_whole():
    tracks = [line(range(n), (10 * place, 5), (0.3, 0.3)) for place, n in enumerate((4, 5, 3, 9), 1)]
    found = track_localizations(in_frame_order(*tracks), **SETTINGS, minimum_length=5)
    assert [np.sum(found["track"] == number) for number in range(3)] == [5, 9, 0]


def test_a_gap_does_not_count_as_length():
    localizations = records(line([0, 1, 3, 4], (5, 5), (0.1, 0.1)))
    options = {**SETTINGS, "largest_gap": 1}
    assert len(track_localizations(localizations, **options, minimum_length=5)) == 0
    assert len(track_localizations(localizations, **options, minimum_length=4)) == 5


@pytest.mark.parametrize("memory", [0, 3])
def test_the_order_of_localizations_does_not_matter(memory):
    rng = np.random.default_rng(1)
    frame, position = rng.integers(0, 12, 150), rng.uniform(0, 10, (150, 2))
    options = {"maximum_distance": 1.0, "largest_gap": 1, "memory": memory}
    expected = together(link(frame, position, **options), frame, position)
    assert 20 < len(expected) < 130
    shuffled = rng.permutation(150)
    track = link(frame[shuffled], position[shuffled], **options)
    assert together(track, frame[shuffled], position[shuffled]) == expected


def test_a_track_never_has_two_localizations_in_a_frame_nor_a_longer_gap():
    rng = np.random.default_rng(2)
    frame, position = np.sort(rng.integers(0, 40, 800)), rng.uniform(0, 10, (800, 2))
    track = link(frame, position, maximum_distance=1.0, largest_gap=2)
    assert list(np.unique(track)) == list(range(track.max() + 1))
    gaps = np.concatenate([np.diff(frame[track == number]) for number in range(track.max() + 1)])
    assert set(gaps) == {1, 2, 3}


def test_a_track_is_as_bright_as_its_localizations_are_on_average():
    localizations = in_frame_order(
        line([0, 1, 3, 4], (5, 5), (0.1, 0.1)),
        line(range(5), (20, 5), (0, 0.2)),
        line([2, 3, 4], (30, 5), (0, 0)),
    )
    found = track_localizations(localizations, **SETTINGS, largest_gap=1, minimum_length=3)
    assert np.isnan(found["value"]).sum() == 1  # the frame that was missed
    place = localizations["z"] // 10  # the three are apart
    expected = [localizations["value"][place == each].mean() for each in (0, 2, 3)]
    np.testing.assert_allclose(track_brightness(found), expected, rtol=1e-6)

    middle = sorted(expected)[1]
    kept = bright_tracks(found, threshold=middle)
    which = [number for number in range(3) if expected[number] >= middle]
    assert len(which) == 2
    for new, old in enumerate(which):
        for field in ("frame", "z", "x"):
            np.testing.assert_array_equal(
                kept[kept["track"] == new][field], found[found["track"] == old][field]
            )
    assert set(kept["track"]) == {0, 1}
    assert len(bright_tracks(found, threshold=1.0)) == 0


def test_nothing_gives_no_tracks():
    found = track_localizations(records([]), **SETTINGS)
    assert len(found) == 0
    assert len(track_brightness(found)) == 0
    assert len(bright_tracks(found, threshold=0.5)) == 0
    assert found.dtype == TRACK
    assert tracks_to_table(found, frame_rate=RATE) == []


# --- smoothing


@pytest.mark.parametrize(("window", "order"), [(5, 1), (5, 2), (7, 3), (3, 2)])
def test_smoothing_is_that_of_savitzky_and_golay(window, order):
    rng = np.random.default_rng(3)
    lengths = (30, window, 12)
    track, position = np.repeat(np.arange(3), lengths), rng.random((sum(lengths), 2))
    place, velocity = smooth(track, position, interval=0.01, window=window, order=order)
    for number in range(3):
        here = track == number
        options = {"window_length": window, "polyorder": order, "axis": 0, "mode": "interp"}
        np.testing.assert_allclose(place[here], savgol_filter(position[here], **options), atol=1e-10)
        expected = savgol_filter(position[here], **options, deriv=1, delta=0.01)
        np.testing.assert_allclose(velocity[here], expected, atol=1e-8)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_track_shorter_than_the_window_is_one_line(length):
    position = np.random.default_rng(4).random((length, 1))
    place, velocity = smooth(np.zeros(length, int), position, interval=0.5, window=5, order=1)
    slope, intercept = np.polyfit(0.5 * np.arange(length), position[:, 0], 1)
    np.testing.assert_allclose(place[:, 0], intercept + slope * 0.5 * np.arange(length), atol=1e-12)
    np.testing.assert_allclose(velocity[:, 0], slope, atol=1e-12)


def test_a_window_of_one_frame_leaves_positions_and_takes_central_differences():
    position = np.random.default_rng(5).random((9, 2))
    place, velocity = smooth(np.zeros(9, int), position, interval=0.1, window=1)
    np.testing.assert_allclose(place, position, atol=1e-12)
    np.testing.assert_allclose(velocity[1:-1], (position[2:] - position[:-2]) / 0.2, atol=1e-10)


def test_smoothing_takes_off_noise_as_the_window_says():
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(5000, 1))
    place, velocity = smooth(np.zeros(5000, int), noise, interval=1.0, window=5, order=1)
    assert place.std() == pytest.approx(1 / np.sqrt(5), rel=0.1)
    assert velocity.std() == pytest.approx(1 / np.sqrt(10), rel=0.1)  # 1 / √Σ u², u = -2 … 2


# --- tables


def test_a_table_is_in_the_units_of_its_columns():
    tracks = np.array(
        [
            (3, 7, 8.00001e-3, -1.25e-4, 1.5e-3, -2e-3, 2.5e-3, 0.625),
            (3, 8, 8.0e-3, 0.0, 0.0, 0.0, 0.0, np.nan),
        ],
        dtype=TRACK,
    )
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in tracks_to_table(tracks, frame_rate=500.0)]
    assert rows[0] == {
        "track": 3,
        "frame": 7,
        "time_s": 0.014,
        "z_um": 8000.01,
        "x_um": -125.0,
        "vz_mm_s": 1.5,
        "vx_mm_s": -2.0,
        "speed_mm_s": 2.5,
        "value": 0.625,
    }
    assert rows[1]["value"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"maximum_distance": 0.0},
        {"largest_gap": -1},
        {"memory": -1},
        {"minimum_length": 1},
        {"smoothing_window": 4},
        {"smoothing_order": 5},
        {"frame_rate": 0.0},
        {"spacing": (1e-5, 0.0)},
    ],
)
def test_a_wrong_parameter_is_named(wrong):
    localizations = records(line(range(6), (5, 5), (0.1, 0.1)))
    with pytest.raises(InputError, match=next(iter(wrong))):
        track_localizations(localizations, **{**SETTINGS, **wrong})


def test_a_position_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="finite"):
        link(np.array([0, 1]), np.array([[0.0, np.nan], [0.0, 0.0]]), maximum_distance=1.0)
