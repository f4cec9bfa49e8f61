"""Pictures of track maps: how many bubbles passed, which way and how fast.

Every function takes maps (z, x) as `ulmpipe.track_maps` makes them, draws one matplotlib figure to scale (without
pyplot: no global state) and leaves the saving to its caller. Lengths come in metres, speeds in m/s, and are shown in
mm, µm and mm/s here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

Compression = Literal["log", "gamma"]

_LEFT, _RIGHT, _BOTTOM, _TOP = 0.85, 1.4, 0.75, 0.6  # margins, inches
_BAR, _BAR_GAP = 0.16, 0.15  # width of a colour bar and its distance from the panel, inches
_APART = 0.2  # least distance of two ticks, inches
_WHEEL = 1.1  # diameter of the wheel of directions, inches
_LIGHTNESS, _CHROMA = 72.0, 60.0  # of the directions' colours
_FAINTEST = 0.4  # brightness of a single track, of which the colour is still to be seen
_DARKEST = 0.35  # luma of colours that are still to be told apart when they are dimmed
_FLUX_COLORS = ("#7fe7ff", "#1877c9", "#000000", "#cf5a14", "#ffd27f")  # up … down


def density_figure(
    density: NDArray[np.integer],
    *,
    extent: Extent,
    title: str,
    compression: Compression = "log",
    gamma: float = 0.5,
    colormap: str = "inferno",
    panel_width: float = 6.5,
    dpi: int = 160,
) -> Figure:
    """Tracks per pixel.

    Parameters
    ----------
    density
        (z, x) counts.
    extent
        Outer edges of the field: x left, right, z top, bottom (m).
    title
        One line.
    compression
        Brightness goes with ``log``: log(1 + N), or ``gamma``: N to the power of ``gamma``.
    gamma
        More than 0; less than 1 lifts what is faint.
    colormap
        Matplotlib's name of it.
    panel_width
        Inches; the height follows from the extent.
    dpi
        Pixels an inch.

    Raises
    ------
    InputError
        The extent is not ascending, the map is not (z, x), the compression unknown or gamma not positive.

    """
    norm = _count_norm(density, compression, gamma)
    figure, axes = _page(density, extent, title, panel_width, dpi)
    shown = axes.imshow(density, norm=norm, cmap=colormap, extent=millimetre_extent(extent), aspect="auto")
    scale_bar(axes, extent)
    label = "tracks N,  log(1 + N)" if compression == "log" else f"tracks N,  N^{gamma:g}"
    _color_bar(figure, shown.cmap, norm, label, ticks=_round_counts(norm), part=(0, 1))
    return figure


def speed_figure(
    speed: NDArray[np.floating],
    density: NDArray[np.integer],
    *,
    extent: Extent,
    title: str,
    limits: tuple[float, float] | None = None,
    scale: Literal["log", "linear"] = "log",
    compression: Compression = "log",
    gamma: float = 0.5,
    colormap: str = "turbo",
    panel_width: float = 6.5,
    dpi: int = 160,
) -> Figure:
    """Colour tells the mean speed; where fewer tracks passed, it is darker.

    Parameters
    ----------
    speed
        (z, x), m/s; NaN where no track passed.
    density
        (z, x) counts, which give the brightness.
    limits
        m/s at the ends of the colours; the 1st and 99th percentile where not given.
    scale
        Of the colours.
    extent, title, compression, gamma, colormap, panel_width, dpi
        See `density_figure`.

    Raises
    ------
    InputError
        As `density_figure`; or the limits are not ascending, for ``log`` not positive.

    """
    norm, bright = _speed_norm(speed, limits, scale), _bright_part(colormap)
    count_norm = _count_norm(density, compression, gamma)
    figure, axes = _page(speed, extent, title, panel_width, dpi)
    colors = bright(norm(1e3 * np.nan_to_num(speed)))[..., :3]
    _show_colors(axes, colors * _brightness(density, count_norm)[..., None], extent)
    ticks = _round_speeds(norm, scale)
    _color_bar(figure, bright, norm, "mean speed (mm/s)", ticks=ticks, part=(0.38, 1))
    _brightness_bar(figure, count_norm, part=(0, 0.3))
    return figure


def direction_figure(
    direction: NDArray[np.floating],
    density: NDArray[np.integer],
    *,
    extent: Extent,
    title: str,
    compression: Compression = "log",
    gamma: float = 0.5,
    panel_width: float = 6.5,
    dpi: int = 160,
) -> Figure:
    """Colour tells which way bubbles move, as the wheel beside it shows; where fewer passed, it is darker.

    All directions are equally light (CIE L*a*b*), so that brightness speaks of the density alone.

    Parameters
    ----------
    direction
        (z, x), rad: 0 to the right (+x), π/2 down (+z); NaN where no track passed.
    density
        (z, x) counts, which give the brightness.
    extent, title, compression, gamma, panel_width, dpi
        See `density_figure`.

    Raises
    ------
    InputError
        As `density_figure`.

    """
    count_norm = _count_norm(density, compression, gamma)
    figure, axes = _page(direction, extent, title, panel_width, dpi)
    _show_colors(axes, direction_colors(direction) * _brightness(density, count_norm)[..., None], extent)
    _direction_wheel(figure)
    _brightness_bar(figure, count_norm, part=(0, 0.3))
    return figure


def flux_figure(
    flux: NDArray[np.floating],
    *,
    duration: float,
    extent: Extent,
    title: str,
    compression: Compression = "log",
    gamma: float = 0.5,
    panel_width: float = 6.5,
    dpi: int = 160,
) -> Figure:
    """Net tracks per second: warm where more go down, cold where more go up, black where as many do.

    A single track is bright enough for its colour to be seen.

    Parameters
    ----------
    flux
        (z, x) downward less upward tracks per second.
    duration
        How long was recorded (s): one track is 1 / duration.
    extent, title, compression, gamma, panel_width, dpi
        See `density_figure`; compression is that of the modulus.

    Raises
    ------
    InputError
        As `density_figure`; or the duration is not positive.

    """
    from matplotlib.colors import LinearSegmentedColormap

    if not duration > 0:
        raise InputError(f"duration: {duration} s, expected a positive time")
    counts = np.rint(np.abs(flux) * duration).astype(np.int64)
    norm = _flux_norm(_count_norm(counts, compression, gamma), duration)
    colormap = LinearSegmentedColormap.from_list("flux", _FLUX_COLORS, N=511)  # odd: 0 is black
    figure, axes = _page(flux, extent, title, panel_width, dpi)
    _show_colors(axes, colormap(norm(flux))[..., :3], extent)
    rates = _round_rates(norm, duration)
    bar = _color_bar(figure, colormap, norm, "net tracks per second", ticks=rates, part=(0, 1))
    bar.set_yticks(bar.get_yticks(), [_with_arrow(rate) for rate in bar.get_yticks()])
    bar.invert_yaxis()  # down is down
    return figure


def direction_colors(direction: NDArray[np.floating]) -> NDArray[np.float64]:
    """RGB, (…, 3) from 0 to 1, of directions (…) in rad: red to the right, then round the hues; black where NaN."""
    from skimage.color import lab2rgb

    angle = np.nan_to_num(np.asarray(direction, dtype=np.float64)) + np.radians(25)  # a red, in this space
    lightness = np.full(angle.shape, _LIGHTNESS)
    lab = np.stack([lightness, _CHROMA * np.cos(angle), _CHROMA * np.sin(angle)], axis=-1)
    colors = np.clip(lab2rgb(lab), 0, 1)
    return np.where(np.isnan(direction)[..., None], 0.0, colors)


def _page(
    image: NDArray[np.generic], extent: Extent, title: str, panel_width: float, dpi: int
) -> tuple[Figure, Axes]:
    """A figure with one panel to scale and room for a legend at its right."""
    left, right, top, bottom = extent
    if image.ndim != 2:
        raise InputError(f"map: shape {image.shape}, expected (z, x)")
    if right <= left or bottom <= top:
        raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
    panel_height = panel_width * (bottom - top) / (right - left)
    width, height = _LEFT + panel_width + _RIGHT, _BOTTOM + panel_height + _TOP
    figure = dark_figure(width, height, dpi)
    axes = figure.add_axes((_LEFT / width, _BOTTOM / height, panel_width / width, panel_height / height))
    dress(axes, title)
    millimetre_ticks(axes, extent)
    axes.set_xlabel("lateral (mm)", fontsize=12, color=TEXT)
    axes.set_ylabel("depth (mm)", fontsize=12, color=TEXT)
    return figure, axes


def _show_colors(axes: Axes, colors: NDArray[np.floating], extent: Extent) -> None:
    axes.imshow(colors, extent=millimetre_extent(extent), aspect="auto")
    scale_bar(axes, extent)


def _color_bar(
    figure: Figure,
    colormap: Colormap,
    norm: Normalize,
    label: str,
    *,
    ticks: Sequence[float],
    part: tuple[float, float],
) -> Axes:
    """At the right of the panel, along a part of its height (0 is its bottom); of two near ticks the first stays."""
    from matplotlib.cm import ScalarMappable

    panel, (page_width, page_height) = figure.axes[0].get_position(), figure.get_size_inches()
    low, high = (panel.y0 + share * panel.height for share in part)
    axes = figure.add_axes((panel.x1 + _BAR_GAP / page_width, low, _BAR / page_width, high - low))
    bar = figure.colorbar(ScalarMappable(norm, colormap), cax=axes)
    length = (high - low) * page_height
    kept: dict[float, float] = {}  # ticks and their places in inches
    for tick in ticks:
        place = float(norm(tick)) * length
        if all(abs(place - other) >= _APART for other in kept.values()):
            kept[tick] = place
    bar.set_ticks(list(kept), labels=[f"{tick:g}".replace("-", "−") for tick in kept])
    bar.minorticks_off()
    bar.set_label(label, fontsize=12, color=TEXT)
    axes.tick_params(colors=FAINT, labelsize=11)
    for spine in axes.spines.values():
        spine.set_color(FRAME)
    return axes


def _brightness_bar(figure: Figure, count_norm: Normalize, *, part: tuple[float, float]) -> None:
    """Greys of the counts from 1, which colours are multiplied by; none if there are no more."""
    from matplotlib.colors import FuncNorm, ListedColormap

    limit = _limits(count_norm)[1]
    if limit == 1:
        return
    greys = ListedColormap(np.repeat(np.linspace(_FAINTEST, 1, 256)[:, None], 3, axis=1))
    norm = FuncNorm((count_norm, count_norm.inverse), vmin=1, vmax=limit)
    _color_bar(figure, greys, norm, "tracks N", ticks=_round_counts(norm), part=part)


def _direction_wheel(figure: Figure) -> None:
    """A ring in the colours of the directions as they are on the page, with z down."""
    panel, (page_width, page_height) = figure.axes[0].get_position(), figure.get_size_inches()
    width, height = _WHEEL / page_width, _WHEEL / page_height
    axes = figure.add_axes((panel.x1 + _BAR_GAP / page_width, panel.y1 - height, width, height))
    x, z = np.meshgrid(*[np.linspace(-1, 1, 400)] * 2)
    radius = np.hypot(x, z)
    # edges one pixel soft
    inside = np.clip((0.98 - radius) * 200, 0, 1) * np.clip((radius - 0.55) * 200, 0, 1)
    ring = np.concatenate([direction_colors(np.arctan2(z, x)), inside[..., None]], axis=-1)
    axes.imshow(ring, extent=(-1, 1, 1, -1), aspect="equal")
    axes.set_axis_off()
    for right, down, arrow in ((0.3, 0.0, "→"), (0.0, 0.3, "↓"), (-0.3, 0.0, "←"), (0.0, -0.3, "↑")):
        axes.text(right, down, arrow, color=TEXT, fontsize=13, ha="center", va="center")
    axes.text(0, 1.12, "direction", color=TEXT, fontsize=12, ha="center", va="top")


def _bright_part(name: str) -> Colormap:
    """A colour map without its dark ends: brightness is to speak of the density alone."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colors = colormaps[name](np.linspace(0, 1, 512))[:, :3]
    bright = np.flatnonzero(colors @ [0.2126, 0.7152, 0.0722] >= _DARKEST)
    return ListedColormap(colors[bright[0] : bright[-1] + 1] if bright.size else colors)


def _brightness(density: NDArray[np.integer], count_norm: Normalize) -> NDArray[np.float64]:
    """0 where no track passed, and from `_FAINTEST` for one to 1; all 1 if nowhere more than one passed."""
    single = float(count_norm(1))
    if single == 1:
        return (density > 0).astype(np.float64)
    above = (np.asarray(count_norm(density), dtype=np.float64) - single) / (1 - single)
    return np.where(density > 0, _FAINTEST + (1 - _FAINTEST) * above, 0.0)


def _count_norm(counts: NDArray[np.integer], compression: Compression, gamma: float) -> Normalize:
    """From 0 to above 99.5 % of the pixels with a track, so that one hot pixel dims nothing."""
    from matplotlib.colors import FuncNorm, PowerNorm

    positive = counts[counts > 0]
    limit = max(1.0, float(np.percentile(positive, 99.5))) if positive.size else 1.0
    if compression == "log":
        return FuncNorm((np.log1p, np.expm1), vmin=0, vmax=limit, clip=True)
    if compression != "gamma":
        raise InputError(f"compression: {compression!r}, expected 'log' or 'gamma'")
    if not gamma > 0:
        raise InputError(f"gamma: {gamma}, expected more than 0")
    return PowerNorm(gamma, vmin=0, vmax=limit, clip=True)


def _flux_norm(counts: Normalize, duration: float) -> Normalize:
    """Tracks per second with a sign, as their number: one track is at `_FAINTEST` or beyond."""
    from matplotlib.colors import FuncNorm

    limit = _limits(counts)[1] / duration
    single = float(counts(1))
    first = max(_FAINTEST, single)
    slope = (1 - first) / (1 - single) if single < 1 else 1.0

    def squeeze(rates: NDArray[np.floating]) -> NDArray[np.float64]:
        number = np.abs(rates) * duration
        more = first + slope * (np.asarray(counts(number)) - single)
        return np.asarray(np.sign(rates) * np.where(number <= 1, first * number, more))

    def widen(places: NDArray[np.floating]) -> NDArray[np.float64]:
        place = np.abs(places)
        more = counts.inverse(single + np.maximum(place - first, 0) / slope)
        return np.asarray(np.sign(places) * np.where(place <= first, place / first, more) / duration)

    return FuncNorm((squeeze, widen), vmin=-limit, vmax=limit, clip=True)


def _speed_norm(
    speed: NDArray[np.floating], limits: tuple[float, float] | None, scale: Literal["log", "linear"]
) -> Normalize:
    """In mm/s."""
    from matplotlib.colors import LogNorm, Normalize

    if limits is None:
        found = speed[np.isfinite(speed) & (speed > 0)]
        slow, fast = np.percentile(found, [1, 99]).tolist() if found.size else (1e-4, 1e-2)
        limits = (slow, max(fast, 1.01 * slow)) if scale == "log" else (0.0, fast)
    slow, fast = limits
    if not (slow < fast and (scale == "linear" or slow > 0)):
        raise InputError(f"limits: {limits} m/s, expected ascending and, on a log scale, positive speeds")
    return (LogNorm if scale == "log" else Normalize)(1e3 * slow, 1e3 * fast, clip=True)


def _round_counts(norm: Normalize) -> list[int]:
    least, most = _limits(norm)
    counts = [0, *(step * 10**decade for decade in range(7) for step in (1, 2, 5))]
    return [count for count in counts if least <= count <= most]


def _round_speeds(norm: Normalize, scale: Literal["log", "linear"]) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    slow, fast = _limits(norm)
    decades = [step * 10.0**decade for decade in range(-6, 6) for step in (1, 2, 5)]
    speeds = decades if scale == "log" else MaxNLocator(5).tick_values(slow, fast)
    return [float(speed) for speed in speeds if slow <= speed <= fast]


def _round_rates(norm: Normalize, duration: float) -> list[float]:
    """0, then pairs of either sign from the largest down to one track: of two near ticks of a bar the first stays."""
    most, single = _limits(norm)[1], 1 / duration
    rates = [step * 10.0**decade for decade in range(6, -7, -1) for step in (5, 2, 1)]
    pairs = [*(rate for rate in rates if single <= rate <= most), single]
    return [0.0, *(sign * rate for rate in pairs for sign in (1, -1))]


def _with_arrow(rate: float) -> str:
    return f"{abs(rate):.2g}" + (" ↓" if rate > 0 else " ↑" if rate < 0 else "")


def _limits(norm: Normalize) -> tuple[float, float]:
    return float(norm.vmin or 0.0), float(norm.vmax or 0.0)
