"""Picture of a vascular volume: what a person looks at to tell whether a network is cortex.

Two projections, vessels drawn at their own width and coloured by native diameter, beside the distribution of
vessel length over diameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ulmpipe.vessels.graph import VesselGraph, edge_lengths
from ulmpipe.vessels.morphometry import morphometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

_SIZE = (13.5, 4.9)  # inches
_INK = "#333333"
_PAPER = "#f7f7f5"
_HAZE = 0.75  # share of the background's colour in the farthest vessels


def vessel_figure(
    graph: VesselGraph, *, side: float | None = None, title: str = "", colour_map: str = "viridis"
) -> Figure:
    """Draw a volume.

    Parameters
    ----------
    graph : VesselGraph
        Network in a cube centred on the origin, dilated or not.
    side : float, optional
        Side of that cube, metres, at the graph's own scale; the one the network reaches if not given.
    title : str
        Written above the projections.
    colour_map : str
        Name of a matplotlib colour map for the native diameter.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown and not saved.

    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    if side is None:
        side = 2 * float(np.abs(graph.positions).max())
    figure = Figure(figsize=_SIZE, dpi=120, facecolor="white")
    front, top, bar, counts = (
        figure.add_axes(place)
        for place in (
            (0.02, 0.06, 0.3085, 0.85),
            (0.345, 0.06, 0.3085, 0.85),
            (0.667, 0.06, 0.009, 0.85),
            (0.77, 0.13, 0.215, 0.78),
        )
    )
    diameter = 2e6 * graph.radius / graph.dilation
    low, high = np.quantile(diameter, [0.001, 1.0]).tolist()
    high = max(high, 1.5 * low)
    norm = LogNorm(low, high)
    _draw_projection(
        front, graph, side, plane=(0, 2), norm=norm, colour_map=colour_map, figure_width=_SIZE[0]
    )
    front.invert_yaxis()
    front.set_title("x, z (seen by the probe)", color=_INK, fontsize=11)
    _draw_projection(top, graph, side, plane=(0, 1), norm=norm, colour_map=colour_map, figure_width=_SIZE[0])
    top.set_title("x, y (seen from above)", color=_INK, fontsize=11)
    _draw_scale_bar(front, side)

    colour_bar = figure.colorbar(ScalarMappable(norm, colour_map), cax=bar)
    ticks = [tick for tick in (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80) if low <= tick <= high]
    colour_bar.set_ticks(ticks, labels=[str(tick) for tick in ticks], minor=False)
    colour_bar.minorticks_off()
    colour_bar.set_label("native diameter (µm)", color=_INK)
    _draw_distribution(counts, graph, norm=norm, colour_map=colour_map, ticks=ticks)
    found = morphometry(graph, side=side)
    counts.text(
        0.97,
        0.97,
        f"{found['length_density_m_per_mm3']:.2f} m/mm³\n{found['branches']:.0f} branches\n"
        f"{found['loops']:.0f} loops\ncapillaries {found['capillary_diameter_median_um']:.1f} µm wide\n"
        f"branches {found['branch_length_mean_um']:.0f} µm long",
        transform=counts.transAxes,
        ha="right",
        va="top",
        fontsize=9,
        color=_INK,
    )
    if title:
        figure.suptitle(title, x=0.02, y=0.995, ha="left", fontsize=12, color=_INK)
    return figure


def _draw_projection(
    plot: Axes,
    graph: VesselGraph,
    side: float,
    *,
    plane: tuple[int, int],
    norm: LogNorm,
    colour_map: str,
    figure_width: float,
) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    hidden = 3 - sum(plane)
    depth = graph.positions[graph.edges, hidden].mean(axis=1)
    order = np.argsort(-depth)  # far vessels first, near ones over them
    segments = graph.positions[graph.edges[order]][..., list(plane)]
    radius = graph.radius[graph.edges[order]].mean(axis=1)
    colours = colormaps[colour_map](norm(2e6 * radius / graph.dilation))[:, :3]
    haze = _HAZE * np.clip(depth[order] / side + 0.5, 0, 1)[:, None]
    width_inches = plot.get_position().width * figure_width
    lines = LineCollection(
        list(segments),
        colors=(1 - haze) * colours + haze * np.array(to_rgb(_PAPER)),
        linewidths=2 * radius * 72 * width_inches / side,
        capstyle="round",
    )
    plot.add_collection(lines)
    plot.set(xlim=(-side / 2, side / 2), ylim=(-side / 2, side / 2), aspect="equal", xticks=[], yticks=[])
    plot.set_facecolor(_PAPER)
    for spine in plot.spines.values():
        spine.set_visible(False)


def _draw_scale_bar(axes: Axes, side: float) -> None:
    """A bar of about a fifth of the side, of a round length, in the corner."""
    decade = 10.0 ** np.floor(np.log10(side / 5))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= side / 5)
    left, height = -0.47 * side, 0.46 * side
    axes.plot([left, left + length], [height, height], color="black", linewidth=3, solid_capstyle="butt")
    axes.text(
        left + length / 2,
        height - 0.012 * side,
        f"{1e6 * length:.0f} µm",
        ha="center",
        va="bottom",
        fontsize=10,
        bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def _draw_distribution(
    axes: Axes, graph: VesselGraph, *, norm: LogNorm, colour_map: str, ticks: list[int]
) -> None:
    from matplotlib import colormaps

    diameter = 2e6 * graph.radius[graph.edges].mean(axis=1) / graph.dilation
    length = edge_lengths(graph) / graph.dilation
    bins = norm.inverse(np.linspace(0, 1, 31))
    share = np.histogram(np.clip(diameter, bins[0], bins[-1]), bins, weights=length / length.sum())[0]
    middles = np.sqrt(bins[1:] * bins[:-1])
    colours = colormaps[colour_map](norm(middles))
    axes.bar(bins[:-1], 100 * share, width=np.diff(bins), align="edge", color=colours)
    # Few but wide vessels carry the blood: logarithmic, or they would not be seen.
    axes.set(xscale="log", yscale="log", xlabel="native diameter (µm)", ylabel="share of vessel length (%)")
    axes.set_ylim(0.02, 200)
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks([0.1, 1, 10, 100], labels=["0.1", "1", "10", "100"])
    for name in ("top", "right"):
        axes.spines[name].set_visible(False)
    axes.tick_params(colors=_INK)
