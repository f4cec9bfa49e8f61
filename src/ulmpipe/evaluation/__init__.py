"""How good a map of tracks is: scores against the truth, thresholds, resolution."""

from ulmpipe.evaluation.operating_point import (
    CRITERIA,
    OperatingPoint,
    Sweep,
    choose_threshold,
    sweep_thresholds,
)
from ulmpipe.evaluation.resolution import fourier_ring_correlation, resolution
from ulmpipe.evaluation.scores import (
    crop_border,
    evaluate,
    grow,
    hallucination_fraction,
    highest_recall,
    matthews,
    precision_recall_dice,
    recall_at_matched_precision,
    score,
)

__all__ = [
    "CRITERIA",
    "OperatingPoint",
    "Sweep",
    "choose_threshold",
    "crop_border",
    "evaluate",
    "fourier_ring_correlation",
    "grow",
    "hallucination_fraction",
    "highest_recall",
    "matthews",
    "precision_recall_dice",
    "recall_at_matched_precision",
    "resolution",
    "score",
    "sweep_thresholds",
]
