"""What the network learns and what every method is measured against: the tracks of a block on the fine grid.

From bubble trajectories (`ulmpipe.flow`) to binary images; Milecki et al. 2021, section II-C
(DOI 10.1109/TMI.2021.3056951): the positions of all bubbles of a block, projected along y. And, beyond the paper,
which lost it, the velocity on these tracks.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

FRAMES_OF_A_PART = 16  # what a network may be given: a multiple of these
PARTS_OF_A_WINDOW = 8  # a byte of `timed_track_map`: the 128 frames that `ulmpipe.network.light` has in one

_BACKWARDS = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)), bitorder="little")  # bits of a byte

Tracks = TypeVar("Tracks", np.bool_, np.uint8)


def track_map(
    position: NDArray[np.floating],
    visible: NDArray[np.bool_],
    *,
    x: NDArray[np.floating],
    z: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """Pixels of the (z, x) grid that at least one visible bubble passed.

    Parameters
    ----------
    position : (event, bubble, 3) float
        x, y, z in m; a NaN position is absent.
    visible : (event, bubble) bool, or anything that broadcasts to it
        Bubbles to draw (a limit on the elevation gain, a cut of the rank).
    x, z : (nx,) and (nz,) float
        Pixel centres in m, evenly spaced. Positions outside the grid's pixels are dropped.

    Returns
    -------
    (nz, nx) bool

    Raises
    ------
    InputError
        If an axis is not evenly spaced and increasing.
    """
    _, _, row, column = _visits(position, visible, x, z)
    tracks = np.zeros((len(z), len(x)), dtype=bool)
    tracks[row, column] = True
    return tracks


def timed_track_map(
    position: NDArray[np.floating],
    visible: NDArray[np.bool_],
    *,
    x: NDArray[np.floating],
    z: NDArray[np.floating],
    n_frames: int,
) -> NDArray[np.uint8]:
    """When the pixels of `track_map` were passed, to 16 frames.

    Parameters
    ----------
    position, visible, x, z
        As for `track_map`.
    n_frames
        Frames of the block, a multiple of 16, of as many events each.

    Returns
    -------
    (window, nz, nx) uint8
        See `windows_of_parts`: bits are the parts of 16 frames.

    Raises
    ------
    InputError
        If an axis is not evenly spaced and increasing, or `n_frames` does not divide the events, or 16 not it.
    """
    n_parts, rest = divmod(n_frames, FRAMES_OF_A_PART)
    if rest or len(position) % n_frames:
        raise InputError(
            f"{len(position)} events in {n_frames} frames, expected as many in each of a multiple of 16"
        )
    event, _, row, column = _visits(position, visible, x, z)
    passed = np.zeros((n_parts, len(z), len(x)), dtype=bool)
    passed[event // (len(position) // n_parts), row, column] = True
    return windows_of_parts(passed)


def count_windows(n_frames: int) -> int:
    """How many windows of `timed_track_map` a block of frames has."""
    return -(-n_frames // (FRAMES_OF_A_PART * PARTS_OF_A_WINDOW))


def windows_of_parts(passed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Parts of a block (part, z, x) as bytes (window, z, x): bit k of byte w is part 8 w + k.

    What is missing of the last window is what networks see there, who continue their time by its mirror image: first
    that of a part if their number is odd, then of pairs of them.
    """
    n_parts = len(passed)
    n_pairs, wanted = -(-n_parts // 2), count_windows(n_parts * FRAMES_OF_A_PART) * PARTS_OF_A_WINDOW // 2
    pair = np.arange(wanted) % (2 * n_pairs)
    pair = np.minimum(pair, 2 * n_pairs - 1 - pair)
    index = np.minimum(2 * pair[:, None] + np.arange(2), n_parts - 1).ravel()
    return np.packbits(passed[index], axis=0, bitorder="little")


def parts_of_windows(windows: NDArray[np.uint8], n_parts: int) -> NDArray[np.bool_]:
    """The inverse of `windows_of_parts`."""
    return np.unpackbits(windows, axis=0, count=n_parts, bitorder="little").astype(bool)


def reverse_windows(windows: NDArray[np.uint8], n_parts: int) -> NDArray[np.uint8]:
    """Windows of the same block played backwards."""
    if n_parts % PARTS_OF_A_WINDOW == 0:  # in a tenth of the time
        return _BACKWARDS[windows[::-1]]
    return windows_of_parts(parts_of_windows(windows, n_parts)[::-1])


def velocity_map(
    position: NDArray[np.floating],
    velocity: NDArray[np.floating],
    visible: NDArray[np.bool_],
    *,
    x: NDArray[np.floating],
    z: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Mean velocity in the image plane on the pixels of `track_map`.

    The mean over the bubbles of a pixel, each with its own mean over the time it spent there: as in
    `ulmpipe.track_maps`, a slow bubble, which stays longer, does not outweigh a fast one.

    Parameters
    ----------
    position, visible, x, z
        As for `track_map`.
    velocity : (event, bubble, 3) float
        x, y, z in m/s at these positions.

    Returns
    -------
    (2, nz, nx) float32
        Components along z and x, m/s; 0 where there is no track.

    Raises
    ------
    InputError
        If an axis is not evenly spaced and increasing, or the velocities do not fit the positions.
    """
    if velocity.shape != position.shape:
        raise InputError(f"velocity: shape {velocity.shape}, expected that of the positions {position.shape}")
    event, bubble, row, column = _visits(position, visible, x, z)
    shape, n_bubbles = (len(z), len(x)), position.shape[1]
    stay, of_stay, n_events = np.unique(
        (row * shape[1] + column) * n_bubbles + bubble, return_inverse=True, return_counts=True
    )
    pixel = stay // n_bubbles
    n_stays = np.maximum(np.bincount(pixel, minlength=shape[0] * shape[1]), 1)
    means = [
        np.bincount(
            pixel,
            np.bincount(of_stay, velocity[event, bubble, axis], len(stay)) / n_events,
            shape[0] * shape[1],
        )
        for axis in (2, 0)
    ]
    return (np.stack(means) / n_stays).reshape(2, *shape).astype(np.float32)


def dilate_tracks(tracks: NDArray[Tracks], *, radius: float) -> NDArray[Tracks]:
    """Thicken tracks with a disk, the targets of the first training phase.

    Parameters
    ----------
    tracks : (…, z, x) bool or uint8
        One or several track maps; of bytes each bit is a map.
    radius : float
        Radius of the disk in pixels: neighbours no farther than this are set.

    Returns
    -------
    (…, z, x) as `tracks`

    Raises
    ------
    InputError
        If the radius is negative.
    """
    if not radius >= 0:
        raise InputError(f"radius is {radius} px, expected 0 or more")
    reach = int(radius)
    offset = np.arange(-reach, reach + 1)
    thick = np.zeros_like(tracks)
    for down, right in np.argwhere(offset[:, None] ** 2 + offset**2 <= radius**2) - reach:
        thick[..., _moved(down), _moved(right)] |= tracks[..., _moved(-down), _moved(-right)]
    return thick


def _moved(by: int) -> slice:
    """What an axis still shows of an image that was moved along it."""
    return slice(max(by, 0), min(by, 0) or None)


def _visits(
    position: NDArray[np.floating],
    visible: NDArray[np.bool_],
    x: NDArray[np.floating],
    z: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Event, bubble, row and column of every position of a visible bubble inside the grid."""
    kept = (
        np.broadcast_to(visible, position.shape[:2])
        & np.isfinite(position[..., 0])
        & np.isfinite(position[..., 2])
    )
    event, bubble = np.nonzero(kept)
    points = position[kept]
    column, row = _pixel(points[:, 0], x, "x"), _pixel(points[:, 2], z, "z")
    inside = (column >= 0) & (column < len(x)) & (row >= 0) & (row < len(z))
    return event[inside], bubble[inside], row[inside], column[inside]


def _pixel(coordinate: NDArray[np.floating], centres: NDArray[np.floating], name: str) -> NDArray[np.int64]:
    centres = np.asarray(centres, dtype=np.float64)
    step = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 0.0
    if not step > 0 or not np.allclose(np.diff(centres), step, rtol=1e-3, atol=0):
        raise InputError(
            f"{name} has {len(centres)} pixel centres, expected at least 2, increasing and evenly spaced"
        )
    return np.floor((coordinate.astype(np.float64) - centres[0]) / step + 0.5).astype(np.int64)
