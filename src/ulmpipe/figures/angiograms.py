"""The pictures a person opens first: angiograms side by side on one scale, and what is behind their scores.

Every function takes arrays, draws one matplotlib figure (without pyplot: no global state) and leaves the
saving to its caller. Lengths come in metres and are shown in mm or µm; fractions become per cent here and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.figures.canvas import (
    FAINT,
    FRAME,
    TEXT,
    Extent,
    dark_figure,
    dress,
    millimetre_extent,
    millimetre_ticks,
    scale_bar,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


Point = tuple[float, float]
"""x and z in metres."""


@dataclass(frozen=True)
class Panel:
    """One image of an angiogram figure.

    ``image`` is (z, x): counts for a ``density``, shown as log(1 + N) on the scale all densities share, or
    power (any unit) shown in dB below the maximum of all powers. Panels of one figure cover the same field, whatever
    their pixels.
    """

    title: str
    image: NDArray[np.generic]
    quantity: Literal["density", "power"] = "density"
    caption: str = ""


def angiogram_figure(
    panels: Sequence[Panel],
    *,
    extent: Extent,
    title: str,
    colormap: str = "inferno",
    dynamic_range: float = 30.0,
    panel_width: float = 4.6,
    dpi: int = 160,
) -> Figure:
    """Angiograms side by side, to scale, each with its caption below.

    Parameters
    ----------
    panels
        From left to right.
    extent
        Outer edges of the field: x left, x right, z top, z bottom (m).
    title
        One line: concentration and number of blocks.
    colormap
        Matplotlib's name of it, for densities and power alike.
    dynamic_range
        Most dB of power shown; fewer where the noise floor (5th percentile) is higher.
    panel_width
        Inches; the height follows from the extent.
    dpi
        Pixels an inch.

    Raises
    ------
    InputError
        There is no panel, or the extent is not ascending.

    """
    left, right, top, bottom = extent
    if not panels:
        raise InputError("panels: none given, expected at least one image")
    if right <= left or bottom <= top:
        raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
    panel_height = panel_width * (bottom - top) / (right - left)
    lines = max(panel.caption.count("\n") + 1 if panel.caption else 0 for panel in panels)
    margin_left, margin_right, gap, bar_room = 0.85, 1.0, 0.3, 0.85
    margin_bottom, margin_top = 0.8 + 0.24 * lines, 1.05
    rooms = [bar_room if panel.quantity == "power" else 0.0 for panel in panels]
    width = margin_left + len(panels) * panel_width + (len(panels) - 1) * gap + sum(rooms) + margin_right
    height = margin_bottom + panel_height + margin_top
    figure = dark_figure(width, height, dpi)

    shared_limit = max(
        [1.0, *(_density_limit(panel.image) for panel in panels if panel.quantity == "density")]
    )
    power = _power_scale(panels, dynamic_range)
    offset = margin_left
    density_image = None
    for number, (panel, room) in enumerate(zip(panels, rooms, strict=True)):
        box = (offset / width, margin_bottom / height, panel_width / width, panel_height / height)
        axes = figure.add_axes(box)
        shown = _show(axes, panel, extent, colormap=colormap, limit=shared_limit, power=power)
        dress(axes, panel.title)
        millimetre_ticks(axes, extent)
        axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
        if number == 0:
            axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
        else:
            axes.tick_params(labelleft=False)
        figure.text(
            box[0] + box[2] / 2,
            (margin_bottom - 0.68) / height,
            panel.caption,
            ha="center",
            va="top",
            fontsize=12,
            color=TEXT,
            linespacing=1.35,
        )
        if number == 0:
            scale_bar(axes, extent)
        offset += panel_width
        if panel.quantity == "power":
            bar = figure.add_axes(((offset + 0.08) / width, box[1], 0.14 / width, box[3]))
            _color_bar(shown, bar, "power (dB)")
            offset += room
        else:
            density_image = shown
        offset += gap
    if density_image is not None:
        bar_left = (width - margin_right + 0.12) / width
        bar = figure.add_axes((bar_left, margin_bottom / height, 0.16 / width, panel_height / height))
        label = "blocks with a track, N   [log(1 + N)]"
        _color_bar(density_image, bar, label, counts=_count_ticks(shared_limit))
    figure.text(0.5, 1 - 0.3 / height, title, ha="center", va="top", fontsize=17, color=TEXT)
    return figure


def comparison_figure(
    rows: Mapping[str, Sequence[Panel]],
    *,
    extent: Extent,
    title: str,
    line: tuple[Point, Point] | None = None,
    colormap: str = "inferno",
    dynamic_range: float = 30.0,
    panel_width: float = 3.6,
    dpi: int = 140,
) -> Figure:
    """Several acquisitions below each other, the same region of each as several methods see it.

    Parameters
    ----------
    rows
        Name of the acquisition → panels from left to right, alike in every row; captions are not drawn. All densities
        of a row share a scale.
    extent
        Outer edges of the region: x left, x right, z top, z bottom (m).
    title
        One line.
    line
        x and z of the ends of a line that profiles are taken along (m), drawn on every panel.
    colormap, dynamic_range, panel_width, dpi
        See `angiogram_figure`.

    Raises
    ------
    InputError
        There is no panel, or the extent is not ascending.

    """
    left, right, top, bottom = extent
    if not rows or not all(rows.values()):
        raise InputError("rows: none given, expected at least one acquisition with an image")
    if right <= left or bottom <= top:
        raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
    panel_height = panel_width * (bottom - top) / (right - left)
    n_columns = max(len(panels) for panels in rows.values())
    margin_left, margin_top, margin_bottom, gap = 1.25, 1.0 if title else 0.5, 0.75, 0.15
    width = margin_left + n_columns * (panel_width + gap) + 0.1
    height = margin_top + len(rows) * (panel_height + gap) + margin_bottom
    figure = dark_figure(width, height, dpi)
    for row, (name, panels) in enumerate(rows.items()):
        limit = max([1.0, *(_density_limit(each.image) for each in panels if each.quantity == "density")])
        power = _power_scale(panels, dynamic_range)
        below = margin_bottom + (len(rows) - 1 - row) * (panel_height + gap)
        for column, panel in enumerate(panels):
            axes = figure.add_axes(
                (
                    (margin_left + column * (panel_width + gap)) / width,
                    below / height,
                    panel_width / width,
                    panel_height / height,
                )
            )
            _show(axes, panel, extent, colormap=colormap, limit=limit, power=power)
            dress(axes, panel.title if row == 0 else "")
            millimetre_ticks(axes, extent)
            if line is not None:
                axes.plot(*(1e3 * np.array(line).T), color="#ffffff", linewidth=1.2, linestyle=(0, (4, 3)))
            if row == len(rows) - 1:
                axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
            else:
                axes.tick_params(labelbottom=False)
            if column == 0:
                axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
                scale_bar(axes, extent)
                figure.text(
                    0.3 / width,
                    (below + panel_height / 2) / height,
                    name,
                    rotation=90,
                    ha="center",
                    va="center",
                    fontsize=15,
                    color=TEXT,
                )
            else:
                axes.tick_params(labelleft=False)
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", va="top", fontsize=17, color=TEXT)
    return figure


def score_caption(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Lines under an angiogram, from a method's entry of the scores file (`ulmpipe.evaluation.evaluate`)."""
    each, together = scores["per_block"], scores["accumulated_same_blocks"]
    return (
        f"Dice per block {100 * each['dice']:.1f} %   accumulated {100 * together['dice']:.1f} %\n"
        f"Matthews per block {100 * each['matthews']:.1f} %   accumulated {100 * together['matthews']:.1f} %"
    )


def block_figure(
    correlation: NDArray[np.complex64],
    truth: NDArray[np.bool_],
    expert: NDArray[np.bool_],
    probability: NDArray[np.floating],
    *,
    extent: Extent,
    title: str,
    colormap: str = "inferno",
    dpi: int = 130,
) -> Figure:
    """One block as the expert sees it and as both methods answer: max |χ| over the frames, truth, expert, network.

    Parameters
    ----------
    correlation
        (frame, z, x) complex.
    truth, expert
        (z, x) binary, on the fine grid.
    probability
        (z, x) 0–1, on the fine grid.
    extent
        Outer edges, see `angiogram_figure`.
    title
        One line.
    colormap
        Matplotlib's name of it.
    dpi
        Pixels an inch.

    """
    images = (
        ("max |χ| over the frames", np.abs(correlation).max(axis=0), None),
        ("truth", truth.astype(float), 1.0),
        ("expert ULM", expert.astype(float), 1.0),
        ("network, probability", probability, 1.0),
    )
    side = 4.4
    panel_height = side * (extent[3] - extent[2]) / (extent[1] - extent[0])
    width, height = 0.85 + 4 * (side + 0.3), panel_height + 1.65
    figure = dark_figure(width, height, dpi)
    for number, (name, image, limit) in enumerate(images):
        left = 0.85 + number * (side + 0.3)
        axes = figure.add_axes((left / width, 0.65 / height, side / width, panel_height / height))
        axes.imshow(image, cmap=colormap, vmin=0, vmax=limit, extent=millimetre_extent(extent), aspect="auto")
        dress(axes, name)
        millimetre_ticks(axes, extent)
        axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
        if number == 0:
            axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
            scale_bar(axes, extent)
        else:
            axes.tick_params(labelleft=False)
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", va="top", fontsize=16, color=TEXT)
    return figure


def _show(
    axes: Axes,
    panel: Panel,
    extent: Extent,
    *,
    colormap: str,
    limit: float,
    power: tuple[float, float],
) -> AxesImage:
    if panel.quantity == "density":
        shown, low, high, interpolation = np.log1p(panel.image), 0.0, float(np.log1p(limit)), None
    else:
        highest, low = power
        faintest = highest * 10 ** (low / 10)
        shown = 10 * np.log10(np.maximum(np.asarray(panel.image, np.float64), faintest) / highest)
        high, interpolation = 0.0, "bilinear"
    return axes.imshow(
        shown,
        cmap=colormap,
        vmin=low,
        vmax=high,
        interpolation=interpolation,
        extent=millimetre_extent(extent),
        aspect="auto",
    )


def _power_scale(panels: Sequence[Panel], dynamic_range: float) -> tuple[float, float]:
    """Power of 0 dB, and the dB shown black: the noise beside the vessels of the brightest panel, if that is nearer."""
    images = [np.asarray(panel.image, np.float64) for panel in panels if panel.quantity == "power"]
    brightest = max(images, key=lambda image: float(image.max()), default=np.ones((1, 1)))
    highest = float(brightest.max())
    if highest <= 0:
        return 1.0, -dynamic_range
    noise = float(np.percentile(brightest[brightest > 0], 5))
    return highest, max(-dynamic_range, 10 * float(np.log10(noise / highest)))


def _density_limit(counts: NDArray[np.generic]) -> float:
    """Top of the scale: above 99.5 % of the pixels with a track, so that one hot pixel dims nothing."""
    positive = np.asarray(counts)[np.asarray(counts) > 0]
    return float(np.percentile(positive, 99.5)) if positive.size else 1.0


def _count_ticks(limit: float) -> list[int]:
    counts = [0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    return [count for count in counts if count <= limit]


def _color_bar(image: AxesImage, axes: Axes, label: str, *, counts: Sequence[int] = ()) -> None:
    """Colour bar in its own axes; ``counts``: a density, marked where log(1 + N) has these N."""
    bar = axes.figure.colorbar(image, cax=axes)
    if counts:
        bar.set_ticks([float(np.log1p(count)) for count in counts], labels=[str(count) for count in counts])
    bar.set_label(label, fontsize=12, color=TEXT)
    axes.tick_params(colors=FAINT, labelsize=11)
    for spine in axes.spines.values():
        spine.set_color(FRAME)
