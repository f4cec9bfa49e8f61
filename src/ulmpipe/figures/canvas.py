"""What all figures share: dark page, type, ticks in millimetres, scale bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND = "#111114"
TEXT = "#ececec"
FAINT = "#9a9aa2"
FRAME = "#44444b"
COLORS = ("#ffb454", "#5ccfe6", "#bae67e", "#f28779", "#d4bfff", "#ffffff")

Extent = tuple[float, float, float, float]
"""Outer edges of an image in metres: x of its left and right, z of its top and bottom."""


def dark_figure(width: float, height: float, dpi: int) -> Figure:
    """Empty page; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, facecolor=BACKGROUND)


def dress(axes: Axes, title: str) -> None:
    """Black axes with light type."""
    axes.set_facecolor("#000000")
    axes.set_title(title, fontsize=15, color=TEXT, pad=9)
    axes.tick_params(colors=FAINT, labelsize=11)
    for spine in axes.spines.values():
        spine.set_color(FRAME)


def legend_beside(axes: Axes) -> None:
    """Right of the axes, where it covers no curve."""
    axes.legend(
        fontsize=11,
        facecolor=BACKGROUND,
        edgecolor="none",
        labelcolor=TEXT,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
    )


def millimetre_extent(extent: Extent) -> Extent:
    """Edges as ``imshow`` wants them: left, right, bottom, top, in millimetres."""
    left, right, top, bottom = (1e3 * edge for edge in extent)
    return left, right, bottom, top


def millimetre_ticks(axes: Axes, extent: Extent) -> None:
    """Round ticks on both axes; none so near a side that its number would run into the next panel's."""
    step = _round_length(1e3 * max(extent[1] - extent[0], extent[3] - extent[2]) / 4)
    for axis, first, last in ((axes.xaxis, *extent[:2]), (axes.yaxis, *extent[2:])):
        room = 0.06 * (last - first)
        ticks = step * np.arange(
            np.ceil(1e3 * (first + room) / step), np.floor(1e3 * (last - room) / step) + 1
        )
        axis.set_ticks(
            ticks, labels=[f"{tick:.{_decimals(step)}f}".replace("-", "−") for tick in ticks + 0.0]
        )


def _decimals(step: float) -> int:
    return max(0, -int(np.floor(np.log10(step) + 1e-9)))


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``length``."""
    decade = 10.0 ** np.floor(np.log10(length))
    return float(decade * max(step for step in (1, 2, 5) if step * decade <= length * (1 + 1e-9)))


def scale_bar(axes: Axes, extent: Extent) -> None:
    """A white bar of a round length in the lower left corner."""
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    length = _round_length(width / 4)
    left, level = 1e3 * (extent[0] + 0.04 * width), 1e3 * (extent[3] - 0.05 * height)
    outline = {"boxstyle": "round,pad=0.25", "facecolor": "#000000", "edgecolor": "none", "alpha": 0.65}
    axes.plot(
        [left, left + 1e3 * length], [level, level], color="#000000", linewidth=7, solid_capstyle="butt"
    )
    axes.plot(
        [left, left + 1e3 * length], [level, level], color="#ffffff", linewidth=4, solid_capstyle="butt"
    )
    axes.text(
        left + 5e2 * length,
        level - 1e3 * 0.018 * height,
        f"{1e6 * length:.0f} µm" if length < 1e-3 else f"{1e3 * length:.0f} mm",
        color="#ffffff",
        fontsize=12,
        ha="center",
        va="bottom",
        bbox=outline,
    )
    axes.set_xlim(1e3 * extent[0], 1e3 * extent[1])
    axes.set_ylim(1e3 * extent[3], 1e3 * extent[2])
