"""Figures of measures show the numbers that were measured, within the page."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.text import Text

from ulmpipe.errors import InputError
from ulmpipe.evaluation.profiles import Peaks
from ulmpipe.evaluation.regions import cut_tiles
from ulmpipe.evaluation.resolution import (
    LocalResolution,
    RingCorrelation,
    half_bit_threshold,
    resolution_at,
)
from ulmpipe.evaluation.saturation import Saturation
from ulmpipe.evaluation.vessel_widths import VesselWidths
from ulmpipe.figures.measures import (
    LocalPanel,
    line_profile_figure,
    local_resolution_figure,
    ring_correlation_figure,
    saturation_figure,
    width_figure,
)

UM = 1e-6


def texts(figure):
    """Every visible text but the ticks', once it is known that all of them lie on the page."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
    }
    found = [
        text
        for text in figure.findobj(lambda artist: isinstance(artist, Text))
        if text not in ticks and text.get_visible() and text.get_text().strip()
    ]
    for text in found:
        box = text.get_window_extent(canvas.get_renderer())
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text
    return "\n".join(text.get_text() for text in found)


def line_named(axes, name):
    return next(line for line in axes.get_lines() if str(line.get_label()).startswith(name))


def curve(cut_off, *, n_splits=1, smoothing=1):
    """Falls from 1 at frequency 0 straight to 0 at the cut-off (1/m)."""
    frequency = np.linspace(1e3, 160e3, 160)
    cut_offs = cut_off * (1 + 0.02 * (np.arange(n_splits) - (n_splits - 1) / 2))
    falls = np.clip(1 - frequency / cut_offs[:, None], 0, 1)
    return RingCorrelation(frequency, falls, np.full(160, 1e6), smoothing)


def widths(values, length):
    n_sites = len(values)
    return VesselWidths(
        width=np.asarray(values, float) * UM,
        position=np.zeros((n_sites, 2)),
        tangent=np.tile([0.0, 1.0], (n_sites, 1)),
        length=np.full(n_sites, length),
        left_out={},
    )


def test_the_ring_correlation_is_marked_where_it_crosses_both_thresholds():
    sharp, blurred = curve(100e3), curve(50e3, n_splits=5, smoothing=3)
    figure = ring_correlation_figure({"network": sharp, "expert": blurred})
    words = texts(figure)
    (axes,) = figure.axes
    np.testing.assert_allclose(line_named(axes, "network").get_ydata(), sharp.correlation[0])
    np.testing.assert_allclose(line_named(axes, "expert").get_ydata(), blurred.correlation.mean(axis=0))
    rings = [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_marker() == "o"
    ]
    limit = float(half_bit_threshold(np.array(1e6)))
    expected = [(100 * (1 - limit), limit), (600 / 7, 1 / 7), (50 * (1 - limit), limit), (300 / 7, 1 / 7)]
    np.testing.assert_allclose(rings, expected, rtol=0.01)
    assert f"1/7: {1e6 / 600e3 * 7:.1f} µm" in words
    found = resolution_at(blurred)
    assert f"½ bit: {1e6 * found.size:.1f} ± {1e6 * found.spread:.1f} µm" in words
    assert "smoothed over 1, 3 rings" in words


def test_halves_that_share_nothing_have_no_resolution_in_the_figure():
    nothing = RingCorrelation(np.linspace(1e3, 160e3, 160), np.zeros((1, 160)), np.full(160, 1e3), 1)
    figure = ring_correlation_figure({"noise": nothing})
    words = texts(figure)
    assert "½ bit: none" in words
    assert "not smoothed" in words
    assert not any(line.get_marker() == "o" for line in figure.axes[0].get_lines())


def test_the_saturation_is_drawn_in_per_cent_with_its_model_beyond_the_end():
    time = np.arange(1.0, 21.0)
    fit = Saturation(final=0.8, time_constant=10.0, residual=0.0)
    figure = saturation_figure({"20 MB": (time, fit.share(time)), "1 MB": (time, time / 100)}, {"20 MB": fit})
    words = texts(figure)
    (axes,) = figure.axes
    np.testing.assert_allclose(line_named(axes, "20 MB").get_ydata(), 100 * fit.share(time))
    model = next(line for line in axes.get_lines() if line.get_linestyle() == "--")
    assert model.get_xdata()[-1] == pytest.approx(25.0)
    assert model.get_ydata()[-1] == pytest.approx(80 * (1 - np.exp(-2.5)))
    assert "τ = 10 s, f∞ = 80.0 %\n90 % of it after 23 s" in words


def test_the_histogram_of_widths_has_the_whole_length_of_vessel_under_it():
    rng = np.random.default_rng(0)
    figure = width_figure({"network": widths(rng.uniform(5, 15, 4000), 3e-6), "expert": widths([], 3e-6)})
    words = texts(figure)
    (axes,) = figure.axes
    values, edges, _ = axes.patches[0].get_data()
    assert np.sum(values * np.diff(edges)) == pytest.approx(100.0, abs=0.1)
    within = (edges[:-1] > 5.5) & (edges[1:] < 14.5)
    np.testing.assert_allclose(values[within], 10.0, rtol=0.4)  # per cent of 10 µm each
    assert "median 10." in words or "median 9.9" in words
    assert "12 mm of vessel" in words
    assert "nothing measured" in words


def test_profiles_are_parts_of_their_maximum_and_name_the_gaps():
    place = np.linspace(0, 100 * UM, 101)
    values = 40 * np.exp(-(((place - 30 * UM) / (5 * UM)) ** 2)) + 20 * np.exp(
        -(((place - 60 * UM) / (5 * UM)) ** 2)
    )
    peaks = Peaks(np.array([30, 60]) * UM, np.array([40.0, 20.0]), np.array([30 * UM]), np.array([0.98]))
    many = Peaks(np.linspace(5, 95, 10) * UM, np.ones(10), np.full(9, 10 * UM), np.full(9, 0.5))
    figure = line_profile_figure(
        {"network": (place, values), "expert": (place, values)}, {"network": peaks, "expert": many}
    )
    words = texts(figure)
    (axes,) = figure.axes
    assert max(line_named(axes, "network").get_ydata()) == pytest.approx(1.0)
    marks = next(line for line in axes.get_lines() if line.get_marker() == "v")
    np.testing.assert_allclose(marks.get_xdata(), [30, 60])
    np.testing.assert_allclose(marks.get_ydata(), [1.0, 0.5])
    assert "apart: 30.0 µm\ndip: 98 %" in words
    assert "apart: 10.0, 10.0, 10.0, 10.0, … µm" in words


def local_panel():
    """Two by three tiles of 32 pixels; all pixels of the image are vessel but those of the first tile's right half."""
    tiles = cut_tiles((70, 96), side=32, step=32)
    size = np.array([[10.0, np.inf, 20.0], [80.0, np.nan, 40.0]]) * UM
    image = np.full((70, 96), 5)
    image[3:35, 16:32] = 0
    found = LocalResolution(tiles, np.full((2, 3), 99.0), {"half_bit": size, "one_seventh": size / 2})
    return LocalPanel(image, found, {"mine": 33 * UM, "theirs": np.inf})


def test_tiles_have_the_colour_of_their_resolution_where_they_lie():
    field = (-0.48e-3, 0.48e-3, 7e-3, 7.7e-3)
    regions = {"mine": (-0.4e-3, 0.0, 7.1e-3, 7.3e-3), "theirs": (0.1e-3, 0.3e-3, 7.4e-3, 7.6e-3)}
    figure = local_resolution_figure({"network": local_panel()}, extent=field, regions=regions)
    words = texts(figure)
    assert "mine\n33 µm" in words
    assert "theirs\nnone" in words
    axes, bar = figure.axes
    image = axes.get_images()[0]
    np.testing.assert_allclose(image.get_extent(), [-0.48, 0.48, 7.7, 7.0])
    shown = image.get_array()
    (mesh,) = (mesh for mesh in bar.collections if isinstance(mesh, QuadMesh))

    def color(size):
        return mesh.cmap(mesh.norm(size))[:3]

    # the tiles begin three pixels from the top: (70 − 64) / 2
    for (row, column), size in {(5, 5): 10, (5, 70): 20, (40, 5): 80, (40, 70): 40}.items():
        np.testing.assert_allclose(shown[row, column], color(size))
    assert len({tuple(color(size)) for size in (10, 20, 40, 80)}) == 4
    np.testing.assert_allclose(shown[5, 20], 0.22 * np.array(color(10)))  # no vessel
    for row, column in ((5, 40), (40, 40), (1, 5), (68, 5)):  # no resolution, and no tile
        np.testing.assert_allclose(shown[row, column], 0.6)
    (mine, theirs) = axes.patches
    assert mine.get_bbox().extents == pytest.approx([-0.4, 7.1, 0.0, 7.3])
    assert theirs.get_bbox().extents == pytest.approx([0.1, 7.4, 0.3, 7.6])
    ticks = [float(text.get_text()) for text in bar.get_yticklabels()]
    assert ticks == [20, 30, 50, 70]


def test_overlapping_tiles_are_shown_by_their_inner_part():
    tiles = cut_tiles((64, 96), side=64, step=32)
    size = np.array([[10.0, 40.0]]) * UM
    found = LocalResolution(tiles, np.ones((1, 2)), {"half_bit": size, "one_seventh": size})
    figure = local_resolution_figure({"a": LocalPanel(np.ones((64, 96)), found)}, extent=(0, 96e-5, 0, 64e-5))
    shown = figure.axes[0].get_images()[0].get_array()
    greys = np.isclose(shown, 0.6).all(axis=2)
    assert not greys[16:48, 16:80].any()
    assert greys.sum() == 64 * 96 - 32 * 64
    assert (shown[20, 20] != shown[20, 60]).any()


def test_regions_are_drawn_without_tiles():
    panels = {
        "network": LocalPanel(np.ones((40, 40)), regions={"a": 30 * UM}),
        "tracks": LocalPanel(np.eye(40)),
    }
    figure = local_resolution_figure(
        panels, extent=(0, 4e-4, 0, 4e-4), regions={"a": (1e-4, 3e-4, 1e-4, 3e-4)}
    )
    words = texts(figure)
    assert "a\n30 µm" in words
    assert "a\nnone" in words
    assert len(figure.axes) == 2  # no bar of colours


def test_nothing_to_draw_is_refused():
    for figure in (ring_correlation_figure, saturation_figure, width_figure, line_profile_figure):
        with pytest.raises(InputError, match="nothing to draw"):
            figure({})
    with pytest.raises(InputError, match="nothing to draw"):
        local_resolution_figure({}, extent=(0, 1, 0, 1))
    with pytest.raises(InputError, match="extent"):
        local_resolution_figure({"a": local_panel()}, extent=(0, 1, 1, 0))
