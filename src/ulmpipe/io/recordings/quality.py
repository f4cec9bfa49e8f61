"""Whether a block of samples is worth having: what is not a number, clipped, dropped or repeated. Pure, no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class BlockQuality:
    """What is wrong with a block.

    Parameters
    ----------
    not_finite
        Share of samples that are NaN or infinite, 0 to 1.
    saturated
        Share of samples of which the real or imaginary part is at full scale, 0 to 1.
    dropped_frames
        Indices of frames that are zero, constant or without a finite sample: the scanner lost them.
    repeated_frames
        Indices of frames that are bit for bit the one before.
    """

    not_finite: float
    saturated: float
    dropped_frames: tuple[int, ...]
    repeated_frames: tuple[int, ...]

    @property
    def flawless(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.not_finite or self.saturated or self.dropped_frames or self.repeated_frames)


def examine_block(samples: NDArray[Any], *, full_scale: float | None = None) -> BlockQuality:
    """Count what is wrong with a block.

    Clipped samples show in what a scanner stored; a filter afterwards, such as an importer's demodulation, smears them.

    Parameters
    ----------
    samples
        (frame, …) real or complex, integer or floating.
    full_scale
        Modulus of a part from which it counts as clipped. By default the limits of an integer type; for floating
        types the largest modulus of a part, if more than one has it.

    Returns
    -------
    BlockQuality
    """
    n_samples = max(samples.size, 1)
    n_not_finite, n_saturated = 0, 0
    dropped, repeated = [], []
    limits = _limits(samples, full_scale)
    for index, frame in enumerate(samples):
        finite = np.isfinite(frame)
        n_not_finite += int(finite.size - np.count_nonzero(finite))
        values = frame[finite]
        if values.size == 0 or (values == values.flat[0]).all():
            dropped.append(index)
        elif index and np.array_equal(frame, samples[index - 1]):
            repeated.append(index)
        if limits is not None:
            n_saturated += int(np.count_nonzero(_beyond(values, limits)))
    if full_scale is None and samples.dtype.kind in "fc" and n_saturated < 2:
        n_saturated = 0  # the largest sample alone is no clipping
    return BlockQuality(
        not_finite=n_not_finite / n_samples,
        saturated=n_saturated / n_samples,
        dropped_frames=tuple(dropped),
        repeated_frames=tuple(repeated),
    )


def _limits(samples: NDArray[Any], full_scale: float | None) -> tuple[float, float] | None:
    """Values of a part from which down, and up, it is clipped; None: nothing can be."""
    if full_scale is not None:
        return -full_scale, full_scale
    if samples.dtype.kind in "iu":
        limits = np.iinfo(samples.dtype)
        return limits.min, limits.max
    largest = 0.0
    for frame in samples:
        parts = (frame.real, frame.imag) if np.iscomplexobj(frame) else (frame,)
        for part in parts:
            moduli = np.abs(part[np.isfinite(part)])
            largest = max(largest, float(moduli.max(initial=0)))
    return (-largest, largest) if largest > 0 else None


def _beyond(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = limits
    parts = (values.real, values.imag) if np.iscomplexobj(values) else (values,)
    beyond = np.zeros(values.shape, dtype=bool)
    for part in parts:
        beyond |= part >= high
        if low < 0:  # the least of an unsigned type is silence
            beyond |= part <= low
    return beyond
