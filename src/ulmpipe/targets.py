"""What the network learns and what every method is measured against: the tracks of a block on the fine grid.

From bubble trajectories (`ulmpipe.flow`) to binary images; Milecki et al. 2021, section II-C
(DOI 10.1109/TMI.2021.3056951): the positions of all bubbles of a block, projected along y. And, beyond the paper,
which lost it, the velocity on these tracks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from ulmpipe.errors import InputError


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


def dilate_tracks(tracks: NDArray[np.bool_], *, radius: float) -> NDArray[np.bool_]:
    """Thicken tracks with a disk, the targets of the first training phase.

    Parameters
    ----------
    tracks : (…, z, x) bool
        One or several track maps.
    radius : float
        Radius of the disk in pixels: neighbours no farther than this are set.

    Returns
    -------
    (…, z, x) bool

    Raises
    ------
    InputError
        If the radius is negative.
    """
    if not radius >= 0:
        raise InputError(f"radius is {radius} px, expected 0 or more")
    reach = int(radius)
    offset = np.arange(-reach, reach + 1)
    disk = offset[:, None] ** 2 + offset**2 <= radius**2
    return np.asarray(binary_dilation(tracks, disk.reshape((1,) * (tracks.ndim - 2) + disk.shape)))


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
