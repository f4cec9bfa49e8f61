"""How far an acquisition has filled its image: share of the fine pixels with a track after more and more blocks.

A curve that still climbs says that the acquisition was too short for the vessels it shows, whatever the resolution
of single tracks. Without a reference the share is that of the final image, which by itself reaches 1; a mask of
vessels that are known to be there makes it absolute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Saturation:
    """f(t) = final · (1 − exp(−t / time_constant)), fitted.

    Attributes
    ----------
    final
        Share that would be filled in the end; above 1 where the final image is not final yet.
    time_constant
        Seconds. Far beyond the acquisition's length it is not determined: the curve does not bend.
    residual
        Root mean square of share minus fit.

    """

    final: float
    time_constant: float
    residual: float

    def share(self, time: NDArray[np.floating]) -> NDArray[np.float64]:
        """Filled share after so many seconds."""
        return _model(np.asarray(time, dtype=np.float64), self.final, self.time_constant)

    def time_to(self, part: float) -> float:
        """Seconds until ``part`` (0–1) of the final share is filled."""
        return float(-self.time_constant * np.log(1 - part))


def first_blocks(maps: Iterable[Mask]) -> tuple[NDArray[np.int32], int]:
    """In which block each pixel had its first track: (z, x), −1 for never; and how many blocks there are.

    The maps (z, x) are gone through once, in their order.
    """
    first: NDArray[np.int32] = np.full((), -1, np.int32)
    n_blocks = 0
    for number, block in enumerate(maps):
        n_blocks = number + 1
        first = np.where((first < 0) & block, np.int32(number), first)
    if n_blocks == 0:
        raise InputError("maps: no block, expected at least one")
    return first, n_blocks


def filling(maps: Iterable[Mask], *, reference: Mask | None = None) -> NDArray[np.float64]:
    """Share of the pixels that are filled after each block, in the order of the blocks.

    Parameters
    ----------
    maps
        (z, x) binary map of every block, registered; gone through once.
    reference
        (z, x) pixels that count; those of the final image if not given.

    Returns
    -------
    (block) share 0–1 after 1, 2, … blocks.

    Raises
    ------
    InputError
        There is no block, no pixel that counts, or the reference has another shape.

    """
    first, n_blocks = first_blocks(maps)
    counted = _counted(first >= 0, reference)
    filled = first[counted & (first >= 0)]
    return np.cumsum(np.bincount(filled, minlength=n_blocks)) / np.count_nonzero(counted)


def mean_filling(
    counts: NDArray[np.integer], n_blocks: int, *, reference: Mask | None = None
) -> NDArray[np.float64]:
    """Share of the pixels that are filled after so many blocks, averaged over all orders of the blocks.

    No order needs to be drawn: a pixel with tracks in k of N blocks is still empty after n blocks in
    C(N − k, n) / C(N, n) of all orders (sample-based rarefaction, Colwell, Mao and Chang 2004, DOI
    10.1890/03-0557). The angiogram alone is enough.

    Parameters
    ----------
    counts
        (z, x) in how many blocks each pixel has a track.
    n_blocks
        How many blocks were summed.
    reference
        (z, x) pixels that count; those of the final image if not given.

    Returns
    -------
    (block) share 0–1 after 1, 2, … blocks.

    Raises
    ------
    InputError
        A count is negative or above the number of blocks, there is no pixel that counts, or the reference has
        another shape.

    """
    from scipy.special import gammaln

    if n_blocks < 1 or counts.min() < 0 or counts.max() > n_blocks:
        raise InputError(f"counts: {counts.min()} to {counts.max()}, expected 0 to {n_blocks} blocks")
    counted = _counted(counts > 0, reference)
    pixels = np.bincount(counts[counted], minlength=n_blocks + 1)
    present = np.flatnonzero(pixels)
    empty_blocks = n_blocks - present[:, None]
    taken = np.arange(1, n_blocks + 1)
    left = empty_blocks - taken
    # logarithm of C(N − k, n) / C(N, n), both without their n!
    logarithm = (
        gammaln(empty_blocks + 1)
        - gammaln(np.maximum(left, 0) + 1)
        - gammaln(n_blocks + 1)
        + gammaln(n_blocks - taken + 1)
    )
    still_empty = np.where(left >= 0, np.exp(logarithm), 0.0)
    return np.asarray(1 - pixels[present] @ still_empty / pixels.sum(), dtype=np.float64)


def fit_saturation(time: NDArray[np.floating], share: NDArray[np.floating]) -> Saturation:
    """Fit f(t) = f∞ (1 − exp(−t/τ)), least squares.

    One time constant for all vessels is an idealisation: bubbles come to capillaries far less often than to
    arterioles, so real curves rise steeply and then creep. The residual says how well it describes the curve;
    f∞ beyond what was reached is an extrapolation.

    Parameters
    ----------
    time
        (block) seconds of acquisition, ascending and positive.
    share
        (block) filled share, `filling` or `mean_filling`.

    Raises
    ------
    InputError
        There are fewer than three times, they do not ascend from above 0, or nothing is filled.

    """
    from scipy.optimize import curve_fit

    seconds, filled = np.asarray(time, dtype=np.float64), np.asarray(share, dtype=np.float64)
    if seconds.ndim != 1 or seconds.shape != filled.shape or len(seconds) < 3:
        raise InputError(
            f"times {seconds.shape} and shares {filled.shape}: expected two of at least 3 values"
        )
    if seconds[0] <= 0 or np.any(np.diff(seconds) <= 0):
        raise InputError("times: expected positive seconds in ascending order")
    if not filled.max() > 0:
        raise InputError("shares: nothing is filled, expected a share above 0")
    # in units of the acquisition's length and of the share reached, so that both parameters are about 1
    length, reached = seconds[-1], filled.max()
    half = seconds[np.argmax(filled >= 0.63 * reached)] / length
    (final, constant), _ = curve_fit(
        _model,
        seconds / length,
        filled / reached,
        p0=(1.0, half),
        bounds=((0, 1e-6), (1e6, 1e6)),
        max_nfev=2000,
    )
    fitted = _model(seconds / length, final, constant) * reached
    return Saturation(
        final=float(final * reached),
        time_constant=float(constant * length),
        residual=float(np.sqrt(np.mean((filled - fitted) ** 2))),
    )


def _model(time: NDArray[np.float64], final: float, time_constant: float) -> NDArray[np.float64]:
    return np.asarray(-final * np.expm1(-time / time_constant))


def _counted(filled: Mask, reference: Mask | None) -> Mask:
    """Pixels that are looked at: of the reference, or of the final image."""
    if filled.ndim != 2:
        raise InputError(f"maps of shape {filled.shape}: expected (z, x)")
    counted = filled if reference is None else np.asarray(reference, dtype=bool)
    if counted.shape != filled.shape:
        raise InputError(f"reference of shape {counted.shape}: expected {filled.shape} as the maps")
    if not counted.any():
        raise InputError(f"{'final image' if reference is None else 'reference'}: no pixel is set")
    return counted
