"""Pictures of what the pipeline found; each function draws one figure and saves nothing."""

from ulmpipe.figures.angiograms import (
    Panel,
    angiogram_figure,
    block_figure,
    score_caption,
)
from ulmpipe.figures.diagnostics import drift_figure, threshold_figure

__all__ = [
    "Panel",
    "angiogram_figure",
    "block_figure",
    "drift_figure",
    "score_caption",
    "threshold_figure",
]
