"""A first picture of a recording: one image, or what the elements received."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.figures.canvas import FAINT, TEXT, dark_figure, dress, scale_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ulmpipe.io.recordings import ScanFacts

RANGE_DB = 60.0  # shown


def quick_look_figure(
    decibels: NDArray[np.floating], kind: str, scan: ScanFacts, *, title: str, dpi: int = 110
) -> Figure:
    """An image in dB with axes in millimetres or microseconds where they are known, in pixels elsewhere.

    Parameters
    ----------
    decibels
        (z, x) of "iq", (time, element) of "channel_data"; 0 is the brightest.
    kind
        "iq" or "channel_data".
    scan
        For the axes.
    title
        Above the picture.
    dpi
        Pixels an inch.
    """
    figure = dark_figure(8.0, 7.0, dpi)
    axes = figure.add_axes((0.12, 0.1, 0.68, 0.8))
    n_rows, n_columns = decibels.shape
    extent = (-0.5, n_columns - 0.5, n_rows - 0.5, -0.5)
    down, across = ("sample", "element") if kind == "channel_data" else ("pixel", "pixel")
    spacings = (scan.spacing_z, scan.spacing_x, scan.origin_z, scan.origin_x)
    in_metres = kind == "iq" and None not in spacings
    if in_metres:
        dz, dx, z, x = (1e3 * value for value in spacings if value is not None)
        extent = (x - dx / 2, x + (n_columns - 0.5) * dx, z + (n_rows - 0.5) * dz, z - dz / 2)
        down, across = "depth (mm)", "lateral (mm)"
    elif kind == "channel_data" and scan.sampling_frequency and scan.start_time is not None:
        step, start = 1e6 / scan.sampling_frequency, 1e6 * scan.start_time
        extent = (-0.5, n_columns - 0.5, start + (n_rows - 0.5) * step, start - step / 2)
        down = "time (µs)"
    picture = axes.imshow(
        decibels,
        extent=extent,
        vmin=-RANGE_DB,
        vmax=0,
        cmap="gray",
        aspect="equal" if kind == "iq" else "auto",
    )
    dress(axes, title if len(title) < 70 else f"…{title[-69:]}")
    axes.title.set_fontsize(11)
    axes.set_xlabel(across, fontsize=12, color=TEXT)
    axes.set_ylabel(down, fontsize=12, color=TEXT)
    if in_metres:
        scale_bar(axes, (1e-3 * extent[0], 1e-3 * extent[1], 1e-3 * extent[3], 1e-3 * extent[2]))
    bar = figure.colorbar(picture, cax=figure.add_axes((0.84, 0.1, 0.025, 0.8)))
    bar.set_label("mean power of the first block (dB)", color=TEXT, fontsize=12)
    bar.ax.tick_params(colors=FAINT, labelsize=10)
    return figure
