"""Whether a block of samples is worth having: what is no number, clipped, lost, damaged or repeated. Pure, no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A damaged file system leaves zeros in units of its pages. Frames of a block are alike: what all have is no damage.
SMALLEST_HOLE = 256  # samples
HOLE_RATIO = 8.0  # of the longest run of zeros of a frame over that of three quarters of the frames
ABSURD_RATIO = 1e4  # of the largest sample of a frame over that of the middle frame


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
    torn_frames
        Indices of frames with a run of zeros that most frames do not have.
    absurd_frames
        Indices of frames with a sample 80 dB over the largest one of most frames: bytes that are no samples.
    """

    not_finite: float
    saturated: float
    dropped_frames: tuple[int, ...]
    repeated_frames: tuple[int, ...]
    torn_frames: tuple[int, ...] = ()
    absurd_frames: tuple[int, ...] = ()

    @property
    def flawless(self) -> bool:
        """Whether nothing is wrong."""
        frames = self.dropped_frames + self.repeated_frames + self.torn_frames + self.absurd_frames
        return not (self.not_finite or self.saturated or frames)


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
    largest = np.array([_largest(frame) for frame in samples])
    limits = _limits(samples.dtype, largest, full_scale)
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
        torn_frames=_torn(samples, dropped),
        absurd_frames=_absurd(largest),
    )


def _torn(samples: NDArray[Any], dropped: list[int]) -> tuple[int, ...]:
    """Frames, but for those that are zero altogether, with a hole of zeros."""
    runs = np.array([_longest_run_of_zeros(frame) for frame in samples])
    holes = (runs >= SMALLEST_HOLE) & (runs > HOLE_RATIO * np.quantile(runs, 0.75))
    return tuple(index for index in np.flatnonzero(holes).tolist() if index not in dropped)


def _longest_run_of_zeros(frame: NDArray[Any]) -> int:
    if np.count_nonzero(frame) == frame.size:
        return 0
    others = np.concatenate([[-1], np.flatnonzero(frame), [frame.size]])
    return int(np.diff(others).max()) - 1


def _absurd(largest: NDArray[np.float64]) -> tuple[int, ...]:
    usual = np.median(largest)
    return tuple(np.flatnonzero((largest > ABSURD_RATIO * usual) & (usual > 0)).tolist())


def _largest(frame: NDArray[Any]) -> float:
    """The largest modulus of a part, of those that are finite."""
    largest = 0.0
    for part in (frame.real, frame.imag) if np.iscomplexobj(frame) else (frame,):
        finite = part[np.isfinite(part)]
        largest = max(largest, float(finite.max(initial=0)), -float(finite.min(initial=0)))
    return largest


def _limits(
    dtype: np.dtype[Any], largest: NDArray[np.float64], full_scale: float | None
) -> tuple[float, float] | None:
    """Values of a part from which down, and up, it is clipped; None: nothing can be."""
    if full_scale is not None:
        return -full_scale, full_scale
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return limits.min, limits.max
    highest = float(largest.max(initial=0))
    return (-highest, highest) if highest > 0 else None


def _beyond(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = limits
    parts = (values.real, values.imag) if np.iscomplexobj(values) else (values,)
    beyond = np.zeros(values.shape, dtype=bool)
    for part in parts:
        beyond |= part >= high
        if low < 0:  # the least of an unsigned type is silence
            beyond |= part <= low
    return beyond
