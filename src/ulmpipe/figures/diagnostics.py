"""How a result came about: drift between blocks, and where each method's threshold was put.

Fractions become per cent and pixels µm here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.figures.canvas import COLORS, TEXT, dark_figure, dress, legend_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drift_figure(
    found: NDArray[np.floating],
    true: NDArray[np.floating] | None,
    *,
    pixel_size: float,
    outlier: NDArray[np.bool_] | None = None,
    dpi: int = 130,
) -> Figure:
    """Displacement of every block as registration found it, the true one beside it where it is known.

    Outliers are crosses, and count neither in the error nor in the range of the axis: those beyond it are on its edge.
    Blocks of which nothing was found (NaN) are left blank.

    Parameters
    ----------
    found, true
        (block, 2) displacement z, x in pixels.
    pixel_size
        Metres.
    outlier
        (block,) blocks not to be believed, as `ulmpipe.registration.measure_drift` flags them; default: none.
    dpi
        Pixels an inch.

    """
    from matplotlib.ticker import MaxNLocator

    figure = dark_figure(10.0, 4.6, dpi)
    axes = figure.add_axes((0.09, 0.14, 0.71, 0.74))
    blocks = np.arange(len(found))
    good = np.ones(len(found), dtype=bool) if outlier is None else ~outlier
    directions = list(enumerate(("depth", "lateral")))
    for axis, name in directions:
        if true is not None:
            values = 1e6 * pixel_size * true[:, axis]
            axes.plot(blocks, values, color=COLORS[axis], linewidth=2, alpha=0.75, label=f"{name}, true")
        values = 1e6 * pixel_size * found[:, axis]
        axes.plot(blocks[good], values[good], "o", color=COLORS[axis], markersize=6, label=f"{name}, found")
    if not good.all():
        limits = axes.get_ylim()
        for axis, name in directions:
            values = 1e6 * pixel_size * found[~good, axis]
            values = np.clip(values, *limits) if good.any() else values
            axes.plot(
                blocks[~good],
                values,
                "x",
                color=COLORS[axis],
                markersize=7,
                clip_on=False,
                label=f"{name}, outlier",
            )
        if good.any():
            axes.set_ylim(limits)
    heading = "drift between blocks"
    if true is not None and good.any():
        error = 1e6 * pixel_size * np.sqrt(np.mean((found - true)[good] ** 2, axis=0))
        heading += f": error {error[0]:.2f} µm in depth, {error[1]:.2f} µm lateral (RMS)"
    dress(axes, "")
    axes.set_title(heading, fontsize=13, color=TEXT, pad=12)
    axes.set_xlabel("block", fontsize=12, color=TEXT)
    axes.set_ylabel("displacement (µm)", fontsize=12, color=TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#33333a")
    legend_beside(axes)
    return figure


def threshold_figure(
    curves: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    *,
    title: str,
    chosen: Mapping[str, tuple[float, float]] | None = None,
    dpi: int = 130,
) -> Figure:
    """Dice against the threshold, one curve a method or variant, a ring where each is operated.

    Parameters
    ----------
    curves
        Name → (thresholds, Dice 0–1).
    title
        One line.
    chosen
        Name → (threshold, Dice) to mark.
    dpi
        Pixels an inch.

    """
    figure = dark_figure(11.0, 5.0, dpi)
    axes = figure.add_axes((0.07, 0.13, 0.58, 0.76))
    for number, (name, (thresholds, dice)) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        label = name
        if chosen and name in chosen:
            threshold, best = chosen[name]
            axes.plot(
                threshold, 100 * best, "o", color=color, markersize=11, fillstyle="none", markeredgewidth=2
            )
            label += f": {100 * best:.1f} % at {threshold:.2f}"
        axes.plot(thresholds, 100 * np.asarray(dice), color=color, linewidth=2, label=label)
    dress(axes, "")
    axes.set_title(title, fontsize=14, color=TEXT, pad=10)
    axes.set_xlabel("threshold", fontsize=12, color=TEXT)
    axes.set_ylabel("Dice (%)", fontsize=12, color=TEXT)
    axes.set_ylim(bottom=0)
    axes.grid(color="#33333a")
    legend_beside(axes)
    return figure
