"""Bubbles followed from frame to frame: localizations in, tracks with smoothed positions and velocities out.

Localizations of one block are linked by assignment (Kuhn–Munkres, as in Heiles et al. 2022, DOI
10.1038/s41551-021-00824-8), short tracks dropped, positions and velocities smoothed along each track. Metres from
here on; `ulmpipe.track_maps` draws them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

TRACK = np.dtype(
    [
        ("track", np.int32),
        ("frame", np.int32),
        ("z", np.float64),
        ("x", np.float64),
        ("vz", np.float64),
        ("vx", np.float64),
        ("speed", np.float64),
        ("value", np.float32),
    ]
)
"""A bubble in one frame of its track: position in m, velocity in m/s, |χ|, NaN where it was missed."""

TABLE_COLUMNS = ("track", "frame", "time_s", "z_um", "x_um", "vz_mm_s", "vx_mm_s", "speed_mm_s", "value")
DECIMALS = 4


def track_localizations(
    localizations: NDArray[np.void],
    *,
    spacing: tuple[float, float],
    frame_rate: float,
    maximum_distance: float,
    origin: tuple[float, float] = (0.0, 0.0),
    largest_gap: int = 0,
    minimum_length: int = 5,
    memory: int = 0,
    smoothing_window: int = 5,
    smoothing_order: int = 1,
) -> NDArray[np.void]:
    """Link the localizations of a block into tracks, and give each its position and velocity in every frame.

    A track has a row for every frame from its first to its last. Frames in which it was missed are filled in
    on the straight line, before smoothing.

    Parameters
    ----------
    localizations
        Records with frame, z, x (pixels) and value, as `ulmpipe.localization.localize` gives them.
    spacing
        Pixel along z and x, m.
    frame_rate
        Frames per second, Hz.
    maximum_distance, largest_gap, memory
        See `link`.
    origin
        Centre of the first pixel, z and x, m.
    minimum_length
        Localizations that a track has at least, from 2; shorter ones are dropped.
    smoothing_window, smoothing_order
        See `smooth`.

    Returns
    -------
    Records of dtype `TRACK`, in the order of track and frame; tracks are numbered from 0 in the order in
    which they begin.

    Raises
    ------
    InputError
        A parameter is out of range.

    """
    if not (min(spacing) > 0 and frame_rate > 0):
        raise InputError(f"spacing, frame_rate: {spacing} m, {frame_rate} Hz, expected positive numbers")
    if minimum_length < 2:
        raise InputError(f"minimum_length: {minimum_length} localizations, expected at least 2")
    position = np.asarray(origin) + np.asarray(spacing) * np.stack(
        [localizations["z"], localizations["x"]], axis=1, dtype=np.float64
    )
    frame = localizations["frame"].astype(np.int64)
    track = link(frame, position, maximum_distance=maximum_distance, largest_gap=largest_gap, memory=memory)
    long_enough = np.flatnonzero(np.bincount(track)[track] >= minimum_length)
    chosen = long_enough[np.lexsort((frame[long_enough], track[long_enough]))]
    number = np.unique(track[chosen], return_inverse=True)[1]
    tracks = _filled_in(number, frame[chosen], position[chosen], localizations["value"][chosen])

    place = np.stack([tracks["z"], tracks["x"]], axis=1)
    place, velocity = smooth(
        tracks["track"], place, interval=1 / frame_rate, window=smoothing_window, order=smoothing_order
    )
    tracks["z"], tracks["x"] = place.T
    tracks["vz"], tracks["vx"] = velocity.T
    tracks["speed"] = np.hypot(tracks["vz"], tracks["vx"])
    return tracks


def link(
    frame: NDArray[np.integer],
    position: NDArray[np.floating],
    *,
    maximum_distance: float,
    largest_gap: int = 0,
    memory: int = 0,
) -> NDArray[np.int64]:
    """Number the track of each localization.

    Frame after frame, the tracks that are still open are paired with the frame's localizations by `pair`.
    A localization without a track opens one; a track that is missed in more than ``largest_gap`` frames
    running is closed.

    Parameters
    ----------
    frame
        (localization,), in any order.
    position
        (localization, axis) in m, or any other length.
    maximum_distance
        Largest distance, in the unit of ``position``, between a localization and where its track is
        expected.
    largest_gap
        Missed frames after which a track may go on.
    memory
        0: a track is expected where it was last seen. Otherwise it is expected to go on at the velocity of
        its last ``memory`` steps (a running mean over all steps so far, but the latest weighs 1/``memory``
        at least).

    Returns
    -------
    (localization,) tracks from 0, in the order in which they begin.

    Raises
    ------
    InputError
        A parameter is out of range, or a position is not finite.

    """
    if not maximum_distance > 0:
        raise InputError(f"maximum_distance: {maximum_distance}, expected a positive length")
    if largest_gap < 0 or memory < 0:
        raise InputError(f"largest_gap, memory: {largest_gap}, {memory} frames, expected 0 or more")
    if not np.isfinite(position).all():
        raise InputError("position: NaN or infinite, expected finite localizations")
    track = np.empty(len(frame), dtype=np.int64)
    n_tracks = 0
    # of the open tracks: number, last localization, velocity by frame and the steps it is a mean of
    number, last = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    velocity, n_steps = np.empty((0, position.shape[1])), np.empty(0, dtype=np.int64)
    order = np.argsort(frame, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1) if len(order) else ():
        elapsed = frame[here[0]] - frame[last]
        still = elapsed <= largest_gap + 1
        number, last, velocity = number[still], last[still], velocity[still]
        n_steps, elapsed = n_steps[still], elapsed[still]

        expected = position[last] + elapsed[:, None] * velocity
        old, new = pair(expected, position[here], maximum_distance=maximum_distance).T
        seen = here[new]
        track[seen] = number[old]
        if memory:
            step = (position[seen] - position[last[old]]) / elapsed[old, None]
            n_steps[old] = np.minimum(n_steps[old] + 1, memory)
            velocity[old] += (step - velocity[old]) / n_steps[old, None]
        last[old] = seen

        first = np.delete(here, new)
        track[first] = n_tracks + np.arange(len(first))
        n_tracks += len(first)
        number, last = np.concatenate([number, track[first]]), np.concatenate([last, first])
        velocity = np.concatenate([velocity, np.zeros((len(first), position.shape[1]))])
        n_steps = np.concatenate([n_steps, np.zeros(len(first), dtype=np.int64)])
    return track


def pair(
    first: NDArray[np.floating], second: NDArray[np.floating], *, maximum_distance: float
) -> NDArray[np.int64]:
    """Pair the points of two sets, each at most once and none over more than ``maximum_distance`` D.

    Of all such pairings this is the one with the least cost: the squared distance of each pair, and D² for
    each point of either set without a partner (the linear assignment problem of Jaqaman et al. 2008, DOI
    10.1038/nmeth.1237). Points that no chain of possible pairs joins don't concern each other; each such
    group is solved alone (Kuhn–Munkres), which keeps the problems small.

    Parameters
    ----------
    first, second
        (point, axis) positions.
    maximum_distance
        Largest distance of a pair, in their unit.

    Returns
    -------
    (pair, 2) indices into ``first`` and ``second``, ordered by the former.

    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import cKDTree

    if len(first) == 0 or len(second) == 0:
        return np.empty((0, 2), dtype=np.int64)
    near = cKDTree(first).sparse_distance_matrix(cKDTree(second), maximum_distance, output_type="ndarray")
    i, j, cost = near["i"], near["j"], near["v"] ** 2 - 2 * maximum_distance**2  # against no partner: below 0
    lonely = (np.bincount(i, minlength=len(first))[i] == 1) & (np.bincount(j, minlength=len(second))[j] == 1)
    pairs = [np.stack([i[lonely], j[lonely]], axis=1)]
    i, j, cost = i[~lonely], j[~lonely], cost[~lonely]
    for group in _groups(i, j, len(first), len(second)):
        rows, row = np.unique(i[group], return_inverse=True)
        columns, column = np.unique(j[group], return_inverse=True)
        costs = np.zeros((len(rows), len(columns)))
        costs[row, column] = cost[group]
        row, column = linear_sum_assignment(costs)
        taken = costs[row, column] < 0
        pairs.append(np.stack([rows[row[taken]], columns[column[taken]]], axis=1))
    found = np.concatenate(pairs).astype(np.int64)
    return found[np.argsort(found[:, 0])]


def smooth(
    track: NDArray[np.integer],
    position: NDArray[np.floating],
    *,
    interval: float,
    window: int = 5,
    order: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and velocity of the polynomial fitted to the ``window`` frames around each.

    Savitzky and Golay 1964 (DOI 10.1021/ac60214a047); order 1 is a moving average whose velocity is the
    slope. Near its ends a track takes the polynomial of its first or last full window; a track shorter than
    the window is one window of its own length.

    Parameters
    ----------
    track
        (row,) numbers; the rows of a track lie together, one for each frame.
    position
        (row, axis) in m.
    interval
        Time between frames, s.
    window
        Odd number of frames; 1 leaves positions as they are, velocities are then central differences.
    order
        Of the polynomial, from 1 to ``window`` - 1.

    Returns
    -------
    (row, axis) position in m and (row, axis) velocity in m/s. A track of a single row has velocity 0.

    Raises
    ------
    InputError
        A parameter is out of range.

    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"smoothing_window: {window} frames, expected an odd number")
    if window == 1:  # a parabola through three points is as good as none
        window, order = 3, 2
    if not 1 <= order < window:
        raise InputError(f"smoothing_order: {order}, expected 1 to {window - 1} (window - 1)")
    smoothed = np.array(position, dtype=np.float64)
    velocity = np.zeros_like(smoothed)
    start = np.flatnonzero(np.diff(track, prepend=-1)) if len(track) else np.empty(0, dtype=np.int64)
    length = np.diff(start, append=len(track))
    row_length, row_start = np.repeat(length, length), np.repeat(start, length)
    row = np.arange(len(track))
    for width in range(2, window + 1):
        here = row[row_length == width] if width < window else row[row_length >= width]
        if len(here) == 0:
            continue
        within = here - row_start[here]
        opening = np.clip(within - width // 2, 0, row_length[here] - width)
        frames = position[(row_start[here] + opening)[:, None] + np.arange(width)]
        at = within - opening
        smoothed[here] = np.einsum("rw,rwa->ra", _weights(width, order, 0, 1.0)[at], frames)
        velocity[here] = np.einsum("rw,rwa->ra", _weights(width, order, 1, interval)[at], frames)
    return smoothed, velocity


def track_brightness(tracks: NDArray[np.void]) -> NDArray[np.float32]:
    """Mean |χ| of each track over the frames in which it was found.

    Parameters
    ----------
    tracks
        Records of `track_localizations`, numbered from 0.

    Returns
    -------
    (track,) float32.

    """
    found = np.isfinite(tracks["value"])
    sums = np.bincount(tracks["track"], np.where(found, tracks["value"], 0.0))
    return (sums / np.bincount(tracks["track"], found)).astype(np.float32)


def bright_tracks(tracks: NDArray[np.void], *, threshold: float) -> NDArray[np.void]:
    """The tracks that are bright enough.

    Parameters
    ----------
    tracks
        Records of `track_localizations`, numbered from 0.
    threshold
        Least `track_brightness`.

    Returns
    -------
    Their records, numbered anew from 0.

    """
    kept = tracks[track_brightness(tracks)[tracks["track"]] >= threshold]
    kept["track"] = np.unique(kept["track"], return_inverse=True)[1]
    return kept


def tracks_to_table(tracks: NDArray[np.void], *, frame_rate: float) -> list[list[Any]]:
    """Rows of numbers under `TABLE_COLUMNS`, for a CSV file; a missed frame has no value (``None``).

    Parameters
    ----------
    tracks
        Records of dtype `TRACK`.
    frame_rate
        Frames per second, Hz; frame 0 is at time 0.

    """
    micrometres = np.round(1e6 * np.stack([tracks["z"], tracks["x"]], axis=1), DECIMALS)
    millimetres = np.round(1e3 * np.stack([tracks["vz"], tracks["vx"], tracks["speed"]], axis=1), DECIMALS)
    time = np.round(tracks["frame"] / frame_rate, 9)
    value = np.round(tracks["value"].astype(np.float64), DECIMALS)
    return [
        [
            int(tracks["track"][row]),
            int(tracks["frame"][row]),
            float(time[row]),
            *micrometres[row].tolist(),
            *millimetres[row].tolist(),
            None if np.isnan(value[row]) else float(value[row]),
        ]
        for row in range(len(tracks))
    ]


def _groups(
    i: NDArray[np.integer], j: NDArray[np.integer], n_first: int, n_second: int
) -> list[NDArray[np.int64]]:
    """Candidate pairs that share points, directly or by way of others: indices into i and j, group by group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(i) == 0:
        return []
    n_points = n_first + n_second
    graph = coo_array((np.ones(len(i), dtype=bool), (i, n_first + j)), shape=(n_points, n_points))
    group = connected_components(graph, directed=False)[1][i]
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _filled_in(
    track: NDArray[np.int64],
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    value: NDArray[np.float32],
) -> NDArray[np.void]:
    """A record for every frame of every track, missed ones on the straight line between their neighbours."""
    last_of_track = np.diff(track, append=-1) != 0
    following = np.append(frame[1:], 0)
    repeats = np.where(last_of_track, 1, following - frame)
    source = np.repeat(np.arange(len(track)), repeats)
    missed = np.arange(len(source)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    toward = np.minimum(source + 1, len(track) - 1)
    part = (missed / repeats[source])[:, None]
    place = (1 - part) * position[source] + part * position[toward]
    rows = np.zeros(len(source), dtype=TRACK)
    rows["track"] = track[source]
    rows["frame"] = frame[source] + missed
    rows["z"], rows["x"] = place.T
    rows["value"] = np.where(missed == 0, value[source], np.nan)
    return rows


@cache
def _weights(width: int, order: int, derivative: int, interval: float) -> NDArray[np.float64]:
    """(frame, frame) weights of a window's positions in the value, or derivative, at each of its frames."""
    from scipy.signal import savgol_coeffs

    return np.stack(
        [
            savgol_coeffs(width, min(order, width - 1), deriv=derivative, delta=interval, pos=at, use="dot")
            for at in range(width)
        ]
    )
