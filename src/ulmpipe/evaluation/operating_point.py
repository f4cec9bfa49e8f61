"""The threshold of a method, chosen on validation blocks, by the same rule for the expert and the network.

A method is a stack of score maps: probabilities of a network, or |χ| of the expert's localizations or tracks, one
stack for each way to count them that is tried. Pure functions: which blocks may be used for tuning is the caller's
matter, and never the test volume's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

CRITERIA = ("per_block", "accumulated")


@dataclass(frozen=True)
class Sweep:
    """Dice (0–1) at each threshold: mean over the blocks, and of all blocks together."""

    thresholds: NDArray[np.float64]
    per_block: NDArray[np.float64]
    accumulated: NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the Dice it had on the tuning blocks."""

    threshold: float
    dice: float


def sweep_thresholds(
    scores: NDArray[np.floating], truths: NDArray[np.bool_], *, thresholds: NDArray[np.floating]
) -> Sweep:
    """Dice of the maps ``scores ≥ threshold`` for every threshold.

    Parameters
    ----------
    scores
        (block, z, x), see `ulmpipe.evaluation.recall_at_matched_precision`.
    truths
        (block, z, x) binary.
    thresholds
        Ascending and positive (0 would set even pixels that the expert never touched).

    Notes
    -----
    The union of thresholded blocks is the thresholded maximum of the blocks, so one sort of each map serves
    all thresholds.

    """
    values = np.asarray(thresholds, dtype=np.float64)
    if scores.shape != truths.shape or scores.ndim != 3 or len(scores) == 0:
        raise InputError(f"scores {scores.shape} and truths {truths.shape}: expected two equal (block, z, x)")
    if values.size == 0 or values[0] <= 0 or np.any(np.diff(values) <= 0):
        raise InputError("thresholds: expected positive values in ascending order")
    per_block = np.mean(
        [_dice(one, truth, values) for one, truth in zip(scores, truths, strict=True)], axis=0
    )
    accumulated = _dice(scores.max(axis=0), np.logical_or.reduce(truths, axis=0), values)
    return Sweep(thresholds=values, per_block=per_block, accumulated=accumulated)


def choose_threshold(sweep: Sweep, *, criterion: str = "per_block") -> OperatingPoint:
    """The threshold of the highest Dice, per block or accumulated (the lowest one if several tie)."""
    if criterion not in CRITERIA:
        raise InputError(f"criterion: {criterion!r}, expected one of {', '.join(CRITERIA)}")
    dice = sweep.per_block if criterion == "per_block" else sweep.accumulated
    best = int(np.argmax(dice))
    return OperatingPoint(threshold=float(sweep.thresholds[best]), dice=float(dice[best]))


def _dice(
    scores: NDArray[np.floating], truth: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Dice of ``scores ≥ threshold`` at each threshold; 1 where map and truth are both empty."""
    real = scores[truth.astype(bool)]
    n_set = scores.size - np.searchsorted(np.sort(scores, axis=None), thresholds.astype(scores.dtype))
    n_right = real.size - np.searchsorted(np.sort(real), thresholds.astype(scores.dtype))
    total = n_set + real.size
    return np.divide(2 * n_right, total, out=np.ones(len(thresholds)), where=total > 0)
