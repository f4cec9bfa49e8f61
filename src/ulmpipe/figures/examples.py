"""How a network comes to its answer: one validation block after more and more epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.figures.canvas import TEXT, dark_figure, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IN_A_ROW = 5
_SIDE, _GAP = 2.3, 0.12  # inches


def examples_figure(
    moduli: NDArray[np.floating],
    target: NDArray[np.bool_],
    probabilities: Mapping[int, NDArray[np.generic]],
    *,
    title: str,
    colormap: str = "inferno",
) -> Figure:
    """Draw input, target and answers side by side.

    Parameters
    ----------
    moduli : (T, Z, X) float
        Of what the network sees of the block's frames: the middle one is drawn, and the largest over all.
    target : (8Z, 8X) bool
        What is to be found.
    probabilities : mapping of int to (8Z, 8X)
        Answers by epoch, 0 to 255.
    title : str
        One line.
    colormap : str
        Matplotlib's name of it.

    """
    strongest, middle = moduli.max(axis=0), len(moduli) // 2
    panels = [
        (f"input, frame {middle + 1}", moduli[middle], strongest.max()),
        ("largest over the frames", strongest, strongest.max()),
        ("target", target.astype(float), 1.0),
    ]
    panels += [(f"epoch {epoch}", answer, 255.0) for epoch, answer in probabilities.items()]
    n_rows = -(-len(panels) // _IN_A_ROW)
    step, row_height = _SIDE + _GAP, _SIDE + 0.42
    width, height = _GAP + min(len(panels), _IN_A_ROW) * step, n_rows * row_height + 0.5
    figure = dark_figure(width, height, 110)
    for number, (name, image, limit) in enumerate(panels):
        row, column = divmod(number, _IN_A_ROW)
        bottom = height - 0.5 - (row + 1) * row_height + _GAP
        axes = figure.add_axes(
            ((_GAP + column * step) / width, bottom / height, _SIDE / width, _SIDE / height)
        )
        axes.imshow(image, cmap=colormap, vmin=0, vmax=limit, aspect="auto")
        dress(axes, "")
        axes.set_title(name, fontsize=11, color=TEXT, pad=4)
        axes.set(xticks=[], yticks=[])
    figure.text(_GAP / width, 1 - 0.12 / height, title, va="top", fontsize=13, color=TEXT)
    return figure
