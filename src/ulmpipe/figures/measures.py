"""What was measured of an angiogram: resolution, saturation, vessel widths, profiles along a line.

One figure each, several methods or acquisitions in one. Metres become µm or mm, fractions per cent here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.resolution import (
    ONE_SEVENTH,
    THRESHOLDS,
    LocalResolution,
    Resolution,
    RingCorrelation,
    resolution_at,
)
from ulmpipe.evaluation.saturation import Saturation
from ulmpipe.evaluation.vessel_widths import Peaks, VesselWidths, width_distribution
from ulmpipe.figures.canvas import (
    COLORS,
    FAINT,
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
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.floating], NDArray[np.floating]]

_SIZE = (11.0, 5.0)  # inches
_BOX = (0.075, 0.135, 0.575, 0.755)  # of the axes; the legend stands right of it
_BINS = 40


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
    tiles: LocalResolution,
    extent: Extent,
    *,
    pixel_size: float,
    title: str = "local resolution",
    colormap: str = "viridis",
    dpi: int = 130,
) -> Figure:
    """Resolution of every tile where it lies in the field; grey where there is none.

    Parameters
    ----------
    tiles
        See `ulmpipe.evaluation.resolution.local_resolution`.
    extent
        Outer edges of the field: x left, x right, z top, z bottom (m).
    pixel_size
        Of the image, metres.
    title
        One line.
    colormap
        Matplotlib's name of it.
    dpi
        Pixels an inch.

    """
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    if width <= 0 or height <= 0:
        raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
    inches = 6.0
    page = (inches + 2.0, inches * height / width + 1.5)
    figure = dark_figure(*page, dpi)
    axes = figure.add_axes((0.85 / page[0], 0.75 / page[1], inches / page[0], (page[1] - 1.5) / page[1]))
    steps = [float(np.diff(middles)[0]) if len(middles) > 1 else None for middles in (tiles.z, tiles.x)]
    # a lone tile along an axis is as wide as it lies symmetrical in the field: twice its centre, about
    half_z, half_x = (
        (step or 2 * (middles[0] + 0.5)) / 2 for step, middles in zip(steps, (tiles.z, tiles.x), strict=True)
    )
    inside = (
        extent[0] + (tiles.x[0] + 0.5 - half_x) * pixel_size,
        extent[0] + (tiles.x[-1] + 0.5 + half_x) * pixel_size,
        extent[2] + (tiles.z[0] + 0.5 - half_z) * pixel_size,
        extent[2] + (tiles.z[-1] + 0.5 + half_z) * pixel_size,
    )
    shown = np.ma.masked_invalid(1e6 * tiles.size)
    image = axes.imshow(shown, cmap=colormap, extent=millimetre_extent(inside), interpolation="nearest")
    dress(axes, title)
    axes.set_facecolor("#33333a")
    axes.set_xlim(1e3 * extent[0], 1e3 * extent[1])
    axes.set_ylim(1e3 * extent[3], 1e3 * extent[2])
    millimetre_ticks(axes, extent)
    axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
    axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
    bar = figure.add_axes(
        ((0.85 + inches + 0.1) / page[0], 0.75 / page[1], 0.16 / page[0], (page[1] - 1.5) / page[1])
    )
    figure.colorbar(image, cax=bar)
    bar.set_ylabel("resolution (µm)", fontsize=12, color=TEXT)
    bar.tick_params(colors=FAINT, labelsize=11)
    return figure


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
