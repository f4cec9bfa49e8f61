"""Film of the bubbles of a block on their way through the vessels: what a person looks at to tell whether they flow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ulmpipe.figures.canvas import FAINT, TEXT, dark_figure
from ulmpipe.vessels.graph import VesselGraph

_SIZE, _DPI = (5.2, 4.8), 100  # inches
_FAR, _NEAR = "#161616", "#5c5c5c"  # of vessels
_COLOUR_MAP = "cool"
_TRAIL_S = 0.06
_SPEEDS = (0.02, 5.0)  # mm/s, of the colours


def bubble_film(
    graph: VesselGraph,
    *,
    position: NDArray[np.floating],
    velocity: NDArray[np.floating],
    times: NDArray[np.float64],
    step: int,
    title: str = "",
) -> Iterator[NDArray[np.uint8]]:
    """Draw every `step`-th frame of a block as the probe sees it: x to the right, z down.

    Each bubble is a dot in the colour of its speed, with a trail of the last 60 ms.

    Parameters
    ----------
    graph : VesselGraph
        Network the bubbles are in, at the same scale.
    position, velocity : (frame, bubble, 3) float
        m and m/s; NaN: no bubble.
    times : (frame,) float64
        s.
    step : int
        Frames from one picture to the next.
    title : str
        Written above.

    Yields
    ------
    (height, width, 3) uint8
        One picture after the other, all of one size.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    side = 2e3 * float(np.abs(graph.positions).max())  # mm
    figure = dark_figure(*_SIZE, _DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.03, 0.04, 0.78, 0.78 * _SIZE[0] / _SIZE[1]))
    axes.set(xlim=(-side / 2, side / 2), ylim=(side / 2, -side / 2), xticks=[], yticks=[], facecolor="black")
    axes.spines[:].set_visible(False)
    points_per_mm = 72 * 0.78 * _SIZE[0] / side
    depth = graph.positions[graph.edges, 1].mean(axis=1)
    order = np.argsort(-depth)  # far vessels first, near ones over them
    edges = graph.edges[order]
    vessels = LineCollection(
        list(1e3 * graph.positions[edges][..., [0, 2]]),
        linewidths=np.maximum(2e3 * graph.radius[edges].min(axis=1) * points_per_mm, 0.4),
        colors=LinearSegmentedColormap.from_list("depth", [_FAR, _NEAR])(np.linspace(0, 1, len(edges))),
        capstyle="round",
    )
    axes.add_collection(vessels)
    norm = LogNorm(*_SPEEDS, clip=True)
    dots = axes.scatter([], [], s=22, c=[], norm=norm, cmap=_COLOUR_MAP, animated=True, zorder=3)
    trails = axes.scatter(
        [], [], s=3, c=[], norm=norm, cmap=_COLOUR_MAP, animated=True, zorder=2, linewidths=0
    )
    bar = figure.colorbar(dots, cax=figure.add_axes((0.83, 0.2, 0.025, 0.55)))
    bar.set_ticks([0.02, 0.1, 0.5, 2.0, 5.0], labels=["0.02", "0.1", "0.5", "2", "5"], minor=False)
    bar.minorticks_off()
    bar.ax.tick_params(colors=FAINT, labelsize=9)
    bar.set_label("speed (mm/s)", color=TEXT)
    bar.outline.set_visible(False)
    axes.set_title(title, color=TEXT, fontsize=11, loc="left")
    length = 10.0 ** np.floor(np.log10(side / 4))
    axes.plot([-0.47 * side, -0.47 * side + length], [0.46 * side] * 2, color=TEXT, linewidth=3)
    axes.text(-0.47 * side, 0.445 * side, f"{1e3 * length:.0f} µm", color=TEXT, fontsize=9)
    clock = axes.text(
        0.47 * side, 0.46 * side, "", color=TEXT, ha="right", fontsize=10, animated=True, family="monospace"
    )
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)

    n_trail = int(np.searchsorted(times, times[0] + _TRAIL_S))
    place = 1e3 * np.asarray(position)[..., [0, 2]]
    speed = 1e3 * np.linalg.norm(velocity, axis=-1)
    for frame in range(0, len(times), step):
        canvas.restore_region(background)
        if frame:
            first = max(0, frame - n_trail)
            trails.set_offsets(place[first:frame].reshape(-1, 2))
            trails.set_array(speed[first:frame].ravel())
            opacity = np.repeat(np.linspace(0.05, 0.6, frame - first), place.shape[1])
            trails.set_alpha(opacity.tolist())
            axes.draw_artist(trails)
        dots.set_offsets(place[frame])
        dots.set_array(speed[frame])
        clock.set_text(f"{1e3 * times[frame]:3.0f} ms")
        axes.draw_artist(dots)
        axes.draw_artist(clock)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
