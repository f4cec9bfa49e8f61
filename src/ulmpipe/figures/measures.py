"""What was measured of an angiogram: resolution, saturation, vessel widths, profiles along a line, local resolution.

One figure each, several methods or acquisitions in one. Metres become µm or mm, fractions per cent here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.profiles import Peaks
from ulmpipe.evaluation.regions import Image
from ulmpipe.evaluation.resolution import (
    ONE_SEVENTH,
    THRESHOLDS,
    LocalResolution,
    Resolution,
    RingCorrelation,
    resolution_at,
)
from ulmpipe.evaluation.saturation import Saturation
from ulmpipe.evaluation.vessel_widths import VesselWidths, width_distribution
from ulmpipe.figures.canvas import (
    COLORS,
    FAINT,
    FRAME,
    TEXT,
    Extent,
    dark_figure,
    dress,
    legend_beside,
    millimetre_extent,
    millimetre_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.floating], NDArray[np.floating]]

_SIZE = (11.0, 5.0)  # inches
_BOX = (0.075, 0.135, 0.575, 0.755)  # of the axes; the legend stands right of it
_BINS = 40
_SHOWN = "half_bit"  # of the thresholds
_GROUND = 0.22  # brightness of a tile where there is no vessel


@dataclass(frozen=True)
class LocalPanel:
    """One method in a figure of local resolution.

    Attributes
    ----------
    image
        (z, x) counts over the whole field.
    local
        Resolution of its tiles, if there are any.
    regions
        Resolution of the named regions, metres; infinite: none.

    """

    image: Image
    local: LocalResolution | None = None
    regions: Mapping[str, float] = field(default_factory=dict)


def ring_correlation_figure(
    curves: Mapping[str, RingCorrelation], *, title: str = "Fourier ring correlation", dpi: int = 130
) -> Figure:
    """Ring correlation with its spread over the splits, both thresholds, and the resolution at each.

    Parameters
    ----------
    curves
        By name of the method or region.
    title
        One line.
    dpi
        Pixels an inch.

    """
    figure, axes = _page(
        curves, title, "spatial frequency (cycles per mm)", "correlation of the two halves", dpi
    )
    farthest = 0.0
    for number, (name, curve) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        frequency, mean = 1e-3 * curve.frequency, curve.correlation.mean(axis=0)
        found = {threshold: resolution_at(curve, threshold) for threshold in THRESHOLDS}
        label = f"{name}\n½ bit: {_size(found['half_bit'])}\n1/7: {_size(found['one_seventh'])}"
        axes.plot(frequency, mean, color=color, linewidth=2, label=label)
        if len(curve.correlation) > 1:
            spread = curve.correlation.std(axis=0, ddof=1)
            axes.fill_between(frequency, mean - spread, mean + spread, color=color, alpha=0.25, linewidth=0)
        for threshold, limit in (
            ("half_bit", curve.half_bit),
            ("one_seventh", np.full_like(mean, ONE_SEVENTH)),
        ):
            crossing = 1e-3 / found[threshold].size
            if crossing > 0:
                level = np.interp(crossing, frequency, limit)
                axes.plot(
                    crossing, level, "o", color=color, markersize=9, fillstyle="none", markeredgewidth=2
                )
            farthest = max(farthest, crossing)
    # images of one shape and pixel have one half-bit curve
    limits = {curve.frequency.tobytes(): curve for curve in curves.values()}
    for number, curve in enumerate(limits.values()):
        label = "½ bit of information" if number == 0 else "_"
        axes.plot(1e-3 * curve.frequency, curve.half_bit, "--", color=FAINT, label=label)
    axes.axhline(ONE_SEVENTH, color=FAINT, linestyle=":", label="1/7")
    nyquist = max(1e-3 * curve.frequency[-1] for curve in curves.values())
    axes.set_xlim(0, min(nyquist, 2 * farthest) if farthest > 0 else nyquist)
    axes.set_ylim(-0.1, 1.05)
    splits, rings = (
        sorted({value(curve) for curve in curves.values()})
        for value in (lambda curve: len(curve.correlation), lambda curve: curve.smoothing)
    )
    note = f"random splits: {_listed(splits)}; band: ±1 standard deviation" if splits[-1] > 1 else "one split"
    note += f"; smoothed over {_listed(rings)} rings" if rings[-1] > 1 else "; not smoothed"
    _note(axes, note)
    legend_beside(axes)
    return figure


def saturation_figure(
    curves: Mapping[str, Curve],
    fits: Mapping[str, Saturation] | None = None,
    *,
    title: str = "filling of the image",
    dpi: int = 130,
) -> Figure:
    """Filled share of the pixels against the time of acquisition, and the fitted model beyond its end.

    Parameters
    ----------
    curves
        Name → (time in seconds, share 0–1).
    fits
        Model by the same names, of those curves that have one.
    title
        One line.
    dpi
        Pixels an inch.

    """
    figure, axes = _page(curves, title, "time of acquisition (s)", "filled pixels (%)", dpi)
    end = 1.25 * max(float(time[-1]) for time, _ in curves.values())
    for number, (name, (time, share)) in enumerate(curves.items()):
        color, label = COLORS[number % len(COLORS)], name
        fit = (fits or {}).get(name)
        if fit is not None:
            label += f"\nτ = {fit.time_constant:.3g} s, f∞ = {100 * fit.final:.1f} %"
            label += f"\n90 % of it after {fit.time_to(0.9):.3g} s"
            dense = np.linspace(0, end, 400)
            axes.plot(dense, 100 * fit.share(dense), "--", color=color, linewidth=1.2)
        axes.plot(time, 100 * np.asarray(share), color=color, linewidth=2.4, label=label)
    axes.set_xlim(0, end if fits else end / 1.25)
    axes.set_ylim(bottom=0)
    if fits:
        _note(axes, "broken: f∞ (1 − exp(−t/τ))")
    legend_beside(axes)
    return figure


def width_figure(
    widths: Mapping[str, VesselWidths], *, title: str = "vessel widths (FWHM)", dpi: int = 130
) -> Figure:
    """Distribution of the widths over the length of vessel, with median and quartiles.

    Parameters
    ----------
    widths
        By name of the method.
    title
        One line.
    dpi
        Pixels an inch.

    """
    figure, axes = _page(widths, title, "width (µm)", "vessel length (% per µm)", dpi)
    measured = [1e6 * one.width for one in widths.values() if len(one.width)]
    upper = max((float(np.quantile(one, 0.99)) for one in measured), default=1.0)
    edges = np.linspace(0, 1.1 * upper, _BINS + 1)
    for number, (name, one) in enumerate(widths.items()):
        color = COLORS[number % len(COLORS)]
        numbers = width_distribution(one)
        if not len(one.width):
            axes.plot([], [], color=color, label=f"{name}\nnothing measured")
            continue
        low, median, high = (
            1e6 * float(numbers[key] or 0) for key in ("lower_quartile", "median", "upper_quartile")
        )
        counts, _ = np.histogram(1e6 * one.width, edges, weights=one.length)
        label = f"{name}\nmedian {median:.1f} µm\nquartiles {low:.1f} and {high:.1f} µm"
        label += f"\n{1e3 * one.length.sum():.3g} mm of vessel"
        share = 100 * counts / one.length.sum() / np.diff(edges)
        axes.stairs(share, edges, color=color, fill=True, alpha=0.25)
        axes.stairs(share, edges, color=color, linewidth=2, label=label)
        axes.axvline(median, color=color, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(bottom=0)
    legend_beside(axes)
    return figure


def line_profile_figure(
    profiles: Mapping[str, Curve],
    peaks: Mapping[str, Peaks] | None = None,
    *,
    title: str = "profile along the line",
    dpi: int = 130,
) -> Figure:
    """Profiles along one line, each as a part of its own maximum, their peaks marked and how far apart they are.

    Parameters
    ----------
    profiles
        Name → (distance in metres, value).
    peaks
        Peaks by the same names.
    title
        One line.
    dpi
        Pixels an inch.

    """
    figure, axes = _page(profiles, title, "distance along the line (µm)", "part of the maximum", dpi)
    for number, (name, (distance, values)) in enumerate(profiles.items()):
        color, label = COLORS[number % len(COLORS)], name
        greatest = float(np.max(values))
        scale = 1 / greatest if greatest > 0 else 1.0
        found = (peaks or {}).get(name)
        if found is not None:
            axes.plot(1e6 * found.position, scale * found.height, "v", color=color, markersize=9)
            if len(found.separation):
                label += f"\napart: {_listed([f'{1e6 * gap:.1f}' for gap in found.separation])} µm"
                label += f"\ndip: {_listed([f'{100 * dip:.0f}' for dip in found.dip])} %"
        axes.plot(
            1e6 * np.asarray(distance), scale * np.asarray(values), color=color, linewidth=2, label=label
        )
    axes.set_xlim(0, 1e6 * max(float(distance[-1]) for distance, _ in profiles.values()))
    axes.set_ylim(0, 1.12)
    legend_beside(axes)
    return figure


def local_resolution_figure(
    panels: Mapping[str, LocalPanel],
    *,
    extent: Extent,
    regions: Mapping[str, Extent] | None = None,
    title: str = "local resolution",
    panel_width: float = 4.4,
    dpi: int = 150,
) -> Figure:
    """Angiograms in the colours of the resolution where they lie, named regions outlined with their own.

    A tile without a resolution is grey. The colours are those of a logarithmic scale that all panels share.

    Parameters
    ----------
    panels
        By name of the method, from left to right.
    extent
        Outer edges of the field: x left, x right, z top, z bottom (m).
    regions
        Outer edges of each named region (m).
    title
        One line.
    panel_width
        Inches; the height follows from the extent.
    dpi
        Pixels an inch.

    Raises
    ------
    InputError
        There is no panel, or the extent is not ascending.

    """
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    if not panels:
        raise InputError(f"{title}: nothing to draw, expected at least one image")
    if width <= 0 or height <= 0:
        raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
    sizes = [panel.local.size[_SHOWN] for panel in panels.values() if panel.local is not None]
    norm, colors = _size_norm(sizes), _size_colors()
    left, right, bottom, top, gap = 0.8, 1.0 if sizes else 0.05, 0.75, 1.15, 0.2  # inches
    panel_height = panel_width * height / width
    page = (left + len(panels) * (panel_width + gap) + right, bottom + panel_height + top)
    figure = dark_figure(*page, dpi)
    level, tall = bottom / page[1], panel_height / page[1]
    for number, (name, panel) in enumerate(panels.items()):
        place = (left + number * (panel_width + gap)) / page[0]
        axes = figure.add_axes((place, level, panel_width / page[0], tall))
        axes.imshow(_colored(panel, norm, colors), extent=millimetre_extent(extent), aspect="auto")
        dress(axes, name)
        millimetre_ticks(axes, extent)
        axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
        for region, edges in (regions or {}).items():
            _outline(axes, region, edges, panel.regions.get(region))
        if number == 0:
            axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
        else:
            axes.tick_params(labelleft=False)
    if sizes:
        place = (left + len(panels) * (panel_width + gap) - 0.05) / page[0]
        _size_bar(figure, (place, level, 0.16 / page[0], tall), norm, colors)
    figure.text(0.5, 1 - 0.22 / page[1], title, ha="center", va="top", fontsize=15, color=TEXT)
    note = "Fourier ring correlation at ½ bit"
    note += "; grey: too few tracks, or halves that share nothing" if sizes else ""
    figure.text(0.5, 1 - 0.52 / page[1], note, ha="center", va="top", fontsize=10, color=FAINT)
    return figure


def _size_norm(sizes: Sequence[NDArray[np.float64]]) -> Normalize:
    """In µm, over 96 % of what is found."""
    from matplotlib.colors import LogNorm

    together = np.concatenate([np.zeros(0), *(1e6 * size[np.isfinite(size)] for size in sizes)])
    least, most = np.percentile(together, [2, 98]).tolist() if together.size else (10.0, 100.0)
    return LogNorm(least, max(most, 1.2 * least), clip=True)


def _size_colors() -> Colormap:
    """From fine to coarse, all bright: brightness speaks of the counts."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["turbo"](np.linspace(0.22, 0.92, 256)))


def _colored(panel: LocalPanel, norm: Normalize, colors: Colormap) -> NDArray[np.float64]:
    """(z, x, 3): the colour of the tile where it has one, grey elsewhere, as bright as log(1 + N), never quite dark."""
    counts = np.asarray(panel.image, dtype=np.float64)
    limit = max(1.0, float(np.percentile(counts[counts > 0], 99))) if np.any(counts > 0) else 1.0
    bright = np.clip(np.log1p(counts) / np.log1p(limit), 0, 1)[..., None]
    color = np.full((*counts.shape, 3), 0.6)
    ground = np.zeros((*counts.shape, 1))
    if panel.local is not None:
        tiles, size = panel.local.tiles, panel.local.size[_SHOWN]
        inner = (tiles.side - tiles.step) // 2
        for row, top in enumerate(tiles.top):
            for column, left in enumerate(tiles.left):
                if np.isfinite(size[row, column]):
                    cell = tuple(slice(first + inner, first + inner + tiles.step) for first in (top, left))
                    color[cell] = colors(norm(1e6 * size[row, column]))[:3]
                    ground[cell] = _GROUND
    return np.asarray(color * (ground + (1 - ground) * bright))


def _outline(axes: Axes, name: str, edges: Extent, size: float | None) -> None:
    """A region's rectangle, and in it its name and its resolution."""
    from matplotlib.patches import Rectangle

    left, right, top, bottom = (1e3 * edge for edge in edges)
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=TEXT, linewidth=1.4)
    )
    said = "none" if size is None or not np.isfinite(size) else f"{1e6 * size:.0f} µm"
    axes.text(
        left + 0.02 * (right - left),
        top + 0.02 * (bottom - top),
        f"{name}\n{said}",
        color=TEXT,
        fontsize=10,
        va="top",
        bbox={"boxstyle": "square,pad=0.15", "facecolor": "#000000", "edgecolor": "none", "alpha": 0.65},
    )


def _size_bar(
    figure: Figure, box: tuple[float, float, float, float], norm: Normalize, colors: Colormap
) -> None:
    from matplotlib.cm import ScalarMappable

    axes = figure.add_axes(box)
    bar = figure.colorbar(ScalarMappable(norm, colors), cax=axes)
    least, most = float(norm.vmin or 0), float(norm.vmax or 0)
    ticks = [step * 10.0**decade for decade in range(5) for step in (1, 2, 3, 5, 7)]
    ticks = [tick for tick in ticks if least <= tick <= most]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.set_label("resolution (µm)", fontsize=12, color=TEXT)
    axes.tick_params(colors=FAINT, labelsize=11)
    for spine in axes.spines.values():
        spine.set_color(FRAME)


def _page(
    shown: Mapping[str, object], title: str, horizontal: str, vertical: str, dpi: int
) -> tuple[Figure, Axes]:
    """Page with one pair of axes and room for a legend beside it."""
    if not shown:
        raise InputError(f"{title}: nothing to draw, expected at least one curve")
    figure = dark_figure(*_SIZE, dpi)
    axes = figure.add_axes(_BOX)
    dress(axes, "")
    axes.set_title(title, fontsize=14, color=TEXT, pad=10)
    axes.set_xlabel(horizontal, fontsize=12, color=TEXT)
    axes.set_ylabel(vertical, fontsize=12, color=TEXT)
    axes.grid(color="#33333a")
    axes.set_axisbelow(True)
    return figure, axes


def _note(axes: Axes, text: str) -> None:
    """Small print below the legend, at the foot of the axes."""
    axes.text(
        1.025, 0.0, text.replace("; ", "\n"), transform=axes.transAxes, color=FAINT, fontsize=10, va="bottom"
    )


def _size(found: Resolution) -> str:
    if not np.isfinite(found.size):
        return "none"
    spread = f" ± {1e6 * found.spread:.1f}" if np.isfinite(found.spread) else ""
    return f"{1e6 * found.size:.1f}{spread} µm"


def _listed(numbers: Sequence[object], *, most: int = 4) -> str:
    """As many of them as the legend has room for."""
    return ", ".join(str(number) for number in numbers[:most]) + (", …" if len(numbers) > most else "")
