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

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Maps = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


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
    predictions: Maps, truths: Maps, *, reference: Maps | None = None, tolerance: int = 1, border: int = 0
) -> dict[str, dict[str, float]]:
    """Scores of one method, in the layout of the scores file.

    Parameters
    ----------
    predictions, truths
        (block, z, x), registered alike.
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

    """
    predictions, truths = _binary_pair(crop_border(predictions, border), crop_border(truths, border))
    if predictions.ndim != 3 or len(predictions) == 0:
        raise InputError(
            f"predictions of shape {predictions.shape}: expected (block, z, x) with at least one block"
        )
    each = [score(one, truth, tolerance=tolerance) for one, truth in zip(predictions, truths, strict=True)]
    together, truth_together = (np.logical_or.reduce(maps, axis=0) for maps in (predictions, truths))
    result = {
        "per_block": {name: float(np.mean([block[name] for block in each])) for name in each[0]},
        "accumulated_same_blocks": score(together, truth_together, tolerance=tolerance),
    }
    if reference is not None:
        cropped = crop_border(np.asarray(reference, dtype=bool), border)
        result["accumulated_reference"] = score(together, cropped, tolerance=tolerance)
    return result


def all_ones(
    truths: Maps, *, reference: Maps | None = None, tolerance: int = 1, border: int = 0
) -> dict[str, dict[str, float]]:
    """Scores of the map that claims tracks everywhere: what any method must beat to have said anything."""
    return evaluate(
        np.ones_like(truths, dtype=bool), truths, reference=reference, tolerance=tolerance, border=border
    )


def recall_at_matched_precision(
    scores: NDArray[np.floating],
    truth: Maps,
    class_truths: Mapping[str, Maps] | None = None,
    *,
    precisions: Sequence[float] = (0.5, 0.6, 0.7),
    tolerance: int = 1,
) -> dict[str, dict[str, float | None]]:
    """Recall of all tracks and of classes of tracks where every method is equally precise.

    For each precision the lowest threshold that reaches it is taken, among all values of the score map, so
    nothing is tuned. Precision counts every track as right; a class (fast, slow, capillary) has a recall
    only.

    Parameters
    ----------
    scores
        (…, z, x) of probability, or of |χ| from `ulmpipe.localization.brightness_map`; 0 or less is never
        set.
    truth
        Binary, of the same shape.
    class_truths
        Binary maps of the tracks of each class, of the same shape.
    precisions
        Fractions to match.
    tolerance
        Pixels, of precision and recall.

    Returns
    -------
    For each precision (as text): ``threshold``, ``precision`` reached, ``all`` and each class' recall. A
    precision out of reach has the threshold None and recalls of 0.

    """
    truth = np.asarray(truth, dtype=bool)
    classes = {
        "all": truth,
        **{name: np.asarray(maps, dtype=bool) for name, maps in (class_truths or {}).items()},
    }
    for name, maps in classes.items():
        if maps.shape != scores.shape:
            raise InputError(f"truth {name}: shape {maps.shape}, expected that of the scores {scores.shape}")
    possible = scores > 0
    values = scores[possible]
    right = grow(truth, pixels=tolerance)[possible]
    order = np.argsort(-values, kind="stable")
    values, right = values[order], right[order]
    # one candidate a distinct value: the last pixel that has it
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, int)
    precision = np.cumsum(right)[last] / (last + 1)
    nearby = _highest_nearby(scores, tolerance)

    result: dict[str, dict[str, float | None]] = {}
    for target in precisions:
        reached = np.flatnonzero(precision >= target)
        if len(reached) == 0:
            result[f"{target:g}"] = {"threshold": None, "precision": None, **dict.fromkeys(classes, 0.0)}
            continue
        threshold = values[last[reached[-1]]]
        recalls = {name: _fraction(nearby[maps] >= threshold) for name, maps in classes.items()}
        result[f"{target:g}"] = {
            "threshold": float(threshold),
            "precision": float(precision[reached[-1]]),
            **recalls,
        }
    return result


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


def _fraction(found: Maps) -> float:
    return float(found.mean()) if found.size else 0.0


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
