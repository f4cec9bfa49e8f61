"""What the network learns and what every method is measured against: the tracks of a block on the fine grid.

From bubble trajectories (`ulmpipe.flow`) to binary images; Milecki et al. 2021, section II-C
(DOI 10.1109/TMI.2021.3056951): the positions of all bubbles of a block, projected along y.
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
    kept = (
        np.broadcast_to(visible, position.shape[:2])
        & np.isfinite(position[..., 0])
        & np.isfinite(position[..., 2])
    )
    points = position[kept]
    column, row = _pixel(points[:, 0], x, "x"), _pixel(points[:, 2], z, "z")
    inside = (column >= 0) & (column < len(x)) & (row >= 0) & (row < len(z))
    tracks = np.zeros((len(z), len(x)), dtype=bool)
    tracks[row[inside], column[inside]] = True
    return tracks


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


def _pixel(coordinate: NDArray[np.floating], centres: NDArray[np.floating], name: str) -> NDArray[np.int64]:
    centres = np.asarray(centres, dtype=np.float64)
    step = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 0.0
    if not step > 0 or not np.allclose(np.diff(centres), step, rtol=1e-3, atol=0):
        raise InputError(
            f"{name} has {len(centres)} pixel centres, expected at least 2, increasing and evenly spaced"
        )
    return np.floor((coordinate.astype(np.float64) - centres[0]) / step + 0.5).astype(np.int64)
