"""Scores of binary track maps against the truth, for every method alike.

Precision, recall and Dice as in Milecki et al. 2021 (DOI 10.1109/TMI.2021.3056951, section IV), and what
that protocol hides once accumulated maps saturate: per-block scores, Matthews correlation, the all-ones
baseline, tolerance, recall of classes at matched precision. All figures are fractions 0–1 (Matthews -1–1),
plain floats that JSON takes.

Conventions: a ratio without cases counts 1 if both maps are empty, else 0; Matthews correlation without
contrast is 0. A score map is set where it is ≥ the threshold. Tolerance and distance count pixels along
each axis (a square).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Maps = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

_N_VALUES = int(np.array(np.inf, np.float16).view(np.uint16)) + 1  # of half-precision numbers from 0 on


def grow(maps: Maps, *, pixels: int) -> Maps:
    """Dilate binary (…, z, x) maps by a square of ``pixels`` on every side, images apart."""
    return _highest_nearby(maps, pixels)


def precision_recall_dice(prediction: Maps, reference: Maps, *, tolerance: int = 0) -> dict[str, float]:
    """Precision, recall and Dice of a binary map.

    With a tolerance a predicted pixel is right if the reference has one within ``tolerance`` pixels, a
    reference pixel is found if the prediction has one, and Dice is the harmonic mean of the two fractions.

    Parameters
    ----------
    prediction, reference
        Binary arrays of equal shape (…, z, x); the pixels of all images are pooled.
    tolerance
        Pixels along each axis.

    """
    prediction, reference = _binary_pair(prediction, reference)
    right = np.count_nonzero(prediction & grow(reference, pixels=tolerance))
    found = np.count_nonzero(reference & grow(prediction, pixels=tolerance))
    n_predicted, n_reference = np.count_nonzero(prediction), np.count_nonzero(reference)
    nothing = 1.0 if n_predicted == n_reference == 0 else 0.0
    precision = right / n_predicted if n_predicted else nothing
    recall = found / n_reference if n_reference else nothing
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "dice": 2 * precision * recall / total if total else 0.0,
    }


def matthews(prediction: Maps, reference: Maps) -> float:
    """Matthews correlation coefficient of two binary arrays: 0 for chance and for a map without contrast."""
    prediction, reference = _binary_pair(prediction, reference)
    n = prediction.size
    both = np.count_nonzero(prediction & reference) / n
    predicted, real = np.count_nonzero(prediction) / n, np.count_nonzero(reference) / n
    spread = predicted * (1 - predicted) * real * (1 - real)
    return float((both - predicted * real) / np.sqrt(spread)) if spread > 0 else 0.0


def score(prediction: Maps, reference: Maps, *, tolerance: int = 1) -> dict[str, float]:
    """Every score of one map: exact, Matthews, with ``tolerance`` pixels, and the hallucinated fraction."""
    tolerant = precision_recall_dice(prediction, reference, tolerance=tolerance)
    return {
        **precision_recall_dice(prediction, reference),
        "matthews": matthews(prediction, reference),
        **{f"{name}_within_{tolerance}_px": value for name, value in tolerant.items()},
        "hallucination": hallucination_fraction(prediction, reference),
    }


def hallucination_fraction(prediction: Maps, reference: Maps, *, distance: int = 2) -> float:
    """Fraction of the predicted pixels further than ``distance`` pixels from any reference pixel."""
    prediction, reference = _binary_pair(prediction, reference)
    n_predicted = np.count_nonzero(prediction)
    if n_predicted == 0:
        return 0.0
    return np.count_nonzero(prediction & ~grow(reference, pixels=distance)) / n_predicted


def evaluate(
    predictions: Iterable[Maps],
    truths: Iterable[Maps],
    *,
    reference: Maps | None = None,
    tolerance: int = 1,
    border: int = 0,
) -> dict[str, dict[str, float]]:
    """Scores of one method, in the layout of the scores file.

    Parameters
    ----------
    predictions, truths
        (z, x) of every block, registered alike; taken one by one, so that memory does not grow with them.
    reference
        (z, x) all simulated positions, many more than these blocks hold; left out, so is its entry.
    tolerance
        Pixels of the tolerant scores.
    border
        Pixels cut off on every side before anything is counted.

    Returns
    -------
    ``per_block`` (means over the blocks), ``accumulated_same_blocks`` (at least one track, against the same
    blocks' truth), ``accumulated_reference`` (against ``reference``); each as `score`.

    Raises
    ------
    InputError
        If there is no block, or a prediction is not (z, x) of its truth's shape.

    """
    each: list[dict[str, float]] = []
    together = truth_together = np.zeros((), dtype=bool)
    for prediction, truth in zip(predictions, truths, strict=True):
        one, real = _binary_pair(crop_border(prediction, border), crop_border(truth, border))
        if one.ndim != 2:
            raise InputError(f"prediction of shape {one.shape}: expected one (z, x) map a block")
        each.append(score(one, real, tolerance=tolerance))
        together, truth_together = together | one, truth_together | real
    if not each:
        raise InputError("predictions: no block, expected at least one")
    result = {
        "per_block": {name: float(np.mean([block[name] for block in each])) for name in each[0]},
        "accumulated_same_blocks": score(together, truth_together, tolerance=tolerance),
    }
    if reference is not None:
        cropped = crop_border(np.asarray(reference, dtype=bool), border)
        result["accumulated_reference"] = score(together, cropped, tolerance=tolerance)
    return result


def recall_at_matched_precision(
    scores: Iterable[NDArray[np.floating]],
    truths: Iterable[Maps],
    class_truths: Mapping[str, Iterable[Maps]] | None = None,
    *,
    precisions: Sequence[float] = (0.5, 0.6, 0.7),
    tolerance: int = 1,
    border: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Recall of all tracks and of classes of tracks where every method is equally precise.

    For each precision the lowest threshold that reaches it is taken, among all half-precision values (in
    which score maps are stored), so nothing is tuned. Precision counts every track as right; a class (fast,
    slow, capillary) has a recall only. The blocks are taken one by one and pooled.

    Parameters
    ----------
    scores
        (z, x) of every block: probability, or |χ| of localizations or tracks; 0 or less is never set.
    truths
        Binary, of the same shapes.
    class_truths
        Binary maps of the tracks of each class, of the same shapes.
    precisions
        Fractions to match.
    tolerance
        Pixels, of precision and recall.
    border
        Pixels cut off on every side before anything is counted.

    Returns
    -------
    For each precision (as text): ``threshold``, ``precision`` reached, ``all`` and each class' recall. A
    precision out of reach has the threshold None and recalls of 0.

    """
    sources = {"all": truths, **(class_truths or {})}
    # how many pixels have each value: set ones, right ones, and for each class the best value near a track
    n_set, n_right = np.zeros(_N_VALUES, np.int64), np.zeros(_N_VALUES, np.int64)
    nearest = {name: np.zeros(_N_VALUES, np.int64) for name in sources}
    for one, *maps in zip(scores, *sources.values(), strict=True):
        values = _half_precision_order(crop_border(one, border))
        classes = dict(zip(sources, (crop_border(each, border).astype(bool) for each in maps), strict=True))
        for name, tracks in classes.items():
            if tracks.shape != values.shape:
                raise InputError(
                    f"truth {name}: shape {tracks.shape}, expected that of the scores {values.shape}"
                )
            nearest[name] += np.bincount(_highest_nearby(values, tolerance)[tracks], minlength=_N_VALUES)
        n_set += np.bincount(values.ravel(), minlength=_N_VALUES)
        n_right += np.bincount(values[grow(classes["all"], pixels=tolerance)], minlength=_N_VALUES)

    occurs = np.flatnonzero(n_set[1:]) + 1
    precision = _at_least(n_right)[occurs] / _at_least(n_set)[occurs]
    recalls = {name: _at_least(counts) / max(counts.sum(), 1) for name, counts in nearest.items()}
    result: dict[str, dict[str, float | None]] = {}
    for target in precisions:
        reached = np.flatnonzero(precision >= target)
        if len(reached) == 0:
            result[f"{target:g}"] = {"threshold": None, "precision": None, **dict.fromkeys(sources, 0.0)}
            continue
        lowest = occurs[reached[0]]
        result[f"{target:g}"] = {
            "threshold": float(lowest.astype(np.uint16).view(np.float16)),
            "precision": float(precision[reached[0]]),
            **{name: float(recall[lowest]) for name, recall in recalls.items()},
        }
    return result


def highest_recall(of_maps: Iterable[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of several maps of one method, at each precision the row of the one that finds most.

    The expert's tracks find more than his localizations do, but are not bright enough for the highest precisions.

    Parameters
    ----------
    of_maps
        Of each map what `recall_at_matched_precision` says, for the same precisions.

    Returns
    -------
    As of one map.

    """
    rows = list(of_maps)
    return {
        precision: max((each[precision] for each in rows), key=itemgetter("all")) for precision in rows[0]
    }


def crop_border(maps: NDArray[Scalar], pixels: int) -> NDArray[Scalar]:
    """Cut ``pixels`` off every side of (…, z, x) images: where a method is blind no method is scored."""
    if pixels < 0 or 2 * pixels >= min(maps.shape[-2:]):
        raise InputError(
            f"border: {pixels} pixels, expected at least 0 and less than half of {maps.shape[-2:]}"
        )
    return maps[..., pixels : maps.shape[-2] - pixels, pixels : maps.shape[-1] - pixels]


def _binary_pair(prediction: NDArray[np.generic], reference: NDArray[np.generic]) -> tuple[Maps, Maps]:
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction of shape {prediction.shape}, reference of shape {reference.shape}: expected equal"
        )
    return np.asarray(prediction, dtype=bool), np.asarray(reference, dtype=bool)


def _half_precision_order(scores: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Scores as whole numbers in the same order: the bits of a positive half-precision number; 0 is never set."""
    return np.maximum(scores, 0).astype(np.float16).view(np.uint16)


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many have each value or a higher one."""
    return np.asarray(np.cumsum(counts[::-1])[::-1])


def _highest_nearby(maps: NDArray[Scalar], pixels: int) -> NDArray[Scalar]:
    """Highest value within ``pixels`` along z and x."""
    highest = maps
    for axis in (-2, -1):
        source, highest = highest, highest.copy()
        for step in range(1, min(pixels, maps.shape[axis] - 1) + 1):
            ahead, behind = (
                np.moveaxis(highest, axis, 0)[s] for s in (slice(step, None), slice(None, -step))
            )
            moved = np.moveaxis(source, axis, 0)
            np.maximum(ahead, moved[:-step], out=ahead)
            np.maximum(behind, moved[step:], out=behind)
    return highest
