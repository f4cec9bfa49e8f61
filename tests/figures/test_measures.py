"""Figures of measures show the numbers that were measured, within the page."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ulmpipe.errors import InputError
from ulmpipe.evaluation.resolution import LocalResolution, RingCorrelation, half_bit_threshold, resolution_at
from ulmpipe.evaluation.saturation import Saturation
from ulmpipe.evaluation.vessel_widths import Peaks, VesselWidths
from ulmpipe.figures.measures import (
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


def test_tiles_lie_where_they_are_in_the_field():
    size = np.array([[10.0, np.inf, 20.0], [30.0, np.nan, 40.0]]) * UM
    tiles = LocalResolution(size=size, z=np.array([15.5, 47.5]), x=np.array([15.5, 47.5, 79.5]))
    pixel = 10 * UM
    figure = local_resolution_figure(tiles, (-0.48e-3, 0.48e-3, 7e-3, 7.7e-3), pixel_size=pixel)
    texts(figure)
    image = figure.axes[0].get_images()[0]
    np.testing.assert_allclose(
        image.get_extent(), [-0.48, 0.48, 7.64, 7.0]
    )  # mm; 0.06 mm below are not covered
    shown = image.get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), ~np.isfinite(size))
    np.testing.assert_allclose(shown.compressed(), [10, 20, 30, 40])


def test_nothing_to_draw_is_refused():
    for figure in (ring_correlation_figure, saturation_figure, width_figure, line_profile_figure):
        with pytest.raises(InputError, match="nothing to draw"):
            figure({})
