"""Many blocks into one picture: registered sums of binary track maps, and power Doppler beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.registration import Scalar, shift_map


def accumulate(
    tracks: NDArray[np.bool_], shifts: NDArray[np.floating] | None = None, *, upsampling: int = 8
) -> NDArray[np.int32]:
    """In how many blocks each fine pixel holds a track, after registration.

    Parameters
    ----------
    tracks
        (block, z, x) binary maps on the fine grid.
    shifts
        (block, 2) displacement z, x of every block in *coarse* pixels, as `estimate_drift` finds them: each
        map is moved back by the nearest whole number of fine pixels. ``None``: no motion.
    upsampling
        Fine pixels a coarse pixel.

    Returns
    -------
    (z, x) counts.

    Raises
    ------
    InputError
        There is not one displacement a block, or one is not finite.

    """
    counts = np.zeros(tracks.shape[1:], dtype=np.int32)
    for block, corrected in zip(tracks, _corrections(len(tracks), shifts, upsampling), strict=True):
        counts += shift_map(block, corrected)
    return counts


def register_maps(
    maps: NDArray[Scalar], shifts: NDArray[np.floating] | None, *, upsampling: int = 8
) -> NDArray[Scalar]:
    """Maps (block, z, x) on the fine grid, each moved back by its displacement as `accumulate` does."""
    corrections = _corrections(len(maps), shifts, upsampling)
    return np.stack([shift_map(one, corrected) for one, corrected in zip(maps, corrections, strict=True)])


def power_doppler(iq: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Mean power of the clutter-filtered images of a block: (frame, z, x) → (z, x)."""
    energy = np.zeros(iq.shape[1:], dtype=np.float64)
    for frame in iq:
        energy += frame.real.astype(np.float64) ** 2 + frame.imag.astype(np.float64) ** 2
    return (energy / len(iq)).astype(np.float32)


def mean_power(power: NDArray[np.float32], shifts: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
    """Mean of the blocks' power Doppler images (block, z, x), registered.

    Each is moved back by its displacement (coarse pixels): linear interpolation; beyond the border the
    border's value.
    """
    from scipy.ndimage import shift

    if shifts is None:
        return np.asarray(power.mean(axis=0, dtype=np.float64), dtype=np.float32)
    _check_shifts(len(power), shifts)
    moved = [shift(one, -by, order=1, mode="nearest") for one, by in zip(power, shifts, strict=True)]
    return np.asarray(np.mean(moved, axis=0, dtype=np.float64), dtype=np.float32)


def _corrections(
    n_blocks: int, shifts: NDArray[np.floating] | None, upsampling: int
) -> list[tuple[int, int]]:
    if shifts is None:
        return [(0, 0)] * n_blocks
    _check_shifts(n_blocks, shifts)
    return [(int(z), int(x)) for z, x in np.rint(-upsampling * np.asarray(shifts, dtype=np.float64))]


def _check_shifts(n_blocks: int, shifts: NDArray[np.floating]) -> None:
    if np.shape(shifts) != (n_blocks, 2):
        raise InputError(
            f"shifts: shape {np.shape(shifts)}, expected ({n_blocks}, 2): z and x of every block"
        )
    if not np.isfinite(shifts).all():
        raise InputError("shifts: NaN or infinite displacement, expected finite pixels")
