"""Many blocks into one picture: registered sums of binary track maps, and power Doppler beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.registration import Scalar, shift_map


def register_maps(
    maps: Iterable[NDArray[Scalar]], shifts: NDArray[np.floating], *, upsampling: int = 8
) -> Iterator[NDArray[Scalar]]:
    """Maps on the fine grid, each moved back by its displacement.

    Parameters
    ----------
    maps
        (z, x) of every block, one after the other.
    shifts
        (block, 2) displacement z, x of every block in *coarse* pixels, as `measure_drift` finds them: each
        map is moved back by the nearest whole number of fine pixels.
    upsampling
        Fine pixels a coarse pixel.

    Yields
    ------
    (z, x) of the same dtype; what enters the field is zero.

    Raises
    ------
    InputError
        There is not one displacement a block, or one is not finite.

    """
    _check_shifts(shifts)
    corrections = np.rint(-upsampling * np.asarray(shifts, dtype=np.float64)).astype(int)
    n_blocks = 0
    for n_blocks, one in enumerate(maps, start=1):
        if n_blocks <= len(corrections):
            z, x = corrections[n_blocks - 1]
            yield shift_map(one, (int(z), int(x)))
    if n_blocks != len(corrections):
        raise InputError(f"shifts: {len(corrections)} displacements for {n_blocks} blocks, expected as many")


def accumulate(tracks: Iterable[NDArray[np.bool_]]) -> NDArray[np.int32]:
    """In how many blocks each fine pixel holds a track: (z, x) binary maps to (z, x) counts."""
    counts = np.zeros((), dtype=np.int32)
    for block in tracks:
        counts = counts + block
    return counts


def power_doppler(iq: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Mean power of the clutter-filtered images of a block: (frame, z, x) → (z, x)."""
    energy = np.zeros(iq.shape[1:], dtype=np.float64)
    for frame in iq:
        energy += frame.real.astype(np.float64) ** 2 + frame.imag.astype(np.float64) ** 2
    return (energy / len(iq)).astype(np.float32)


def mean_power(power: Iterable[NDArray[np.float32]], shifts: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean of the blocks' power Doppler images (z, x), registered.

    Each is moved back by its displacement (coarse pixels): linear interpolation; beyond the border the
    border's value.
    """
    from scipy.ndimage import shift

    _check_shifts(shifts)
    total = np.zeros((), dtype=np.float64)
    for one, by in zip(power, shifts, strict=True):
        total = total + shift(one.astype(np.float64), -by, order=1, mode="nearest")
    return np.asarray(total / len(shifts), dtype=np.float32)


def _check_shifts(shifts: NDArray[np.floating]) -> None:
    if np.ndim(shifts) != 2 or np.shape(shifts)[1] != 2:
        raise InputError(f"shifts: shape {np.shape(shifts)}, expected (block, 2): z and x of every block")
    if not np.isfinite(shifts).all():
        raise InputError("shifts: NaN or infinite displacement, expected finite pixels")
