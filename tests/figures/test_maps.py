"""Pictures of track maps show the numbers they were given, to scale, with legends that say so."""

from __future__ import annotations

import io
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.text import Text
from skimage.color import rgb2lab

from ulmpipe.errors import InputError
from ulmpipe.figures.maps import (
    density_figure,
    direction_colors,
    direction_figure,
    flux_figure,
    speed_figure,
)

EXTENT = (-1e-3, 1e-3, 7.2e-3, 8.8e-3)
EXTENTS = [EXTENT, (-6e-3, 6e-3, 2e-3, 7e-3), (-0.4e-3, 0.4e-3, 7.6e-3, 9.2e-3)]
RECORD = {"extent": EXTENT, "title": "a title", "dpi": 60}


def maps(shape=(64, 80)):
    """Density, speed (m/s), direction (rad), flux of a field half of which is empty."""
    rng = np.random.default_rng(0)
    density = rng.geometric(0.1, shape) * (rng.random(shape) < 0.5)
    empty = density == 0
    speed = np.where(empty, np.nan, np.exp(rng.normal(-7, 1, shape)))
    direction = np.where(empty, np.nan, rng.uniform(-np.pi, np.pi, shape))
    flux = rng.integers(-density, density + 1)
    return density, speed, direction, flux


@cache
def figures(extent=EXTENT):
    density, speed, direction, flux = maps()
    record = {"extent": extent, "title": "rat 3, 200 blocks", "dpi": 80}
    return {
        "density": density_figure(density, **record),
        "gamma": density_figure(density, compression="gamma", **record),
        "speed": speed_figure(speed, density, **record),
        "linear": speed_figure(speed, density, scale="linear", **record),
        "direction": direction_figure(direction, density, **record),
        "flux": flux_figure(flux / 8, duration=8.0, **record),
        "strong flux": flux_figure(0.1 * flux, duration=300.0, compression="gamma", **record),
    }


def picture(figure):
    """What the panel was given to show."""
    return figure.axes[0].get_images()[0].get_array()


def texts(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    artists = {
        id(text): text
        for text in figure.findobj(lambda artist: isinstance(artist, Text))
        if text.get_visible() and text.get_text().strip()
    }
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in artists.values()]


@pytest.mark.parametrize("extent", EXTENTS)
def test_no_text_covers_another_or_leaves_the_page(extent):
    for name, figure in figures(extent).items():
        boxes = texts(figure)
        assert any(text.endswith(("µm", " mm")) for text, _ in boxes)
        assert any("depth (mm)" in text for text, _ in boxes)
        for text, box in boxes:
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, (name, text)
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, (name, text)
        for (first, one), (second, other) in combinations(boxes, 2):
            assert not one.overlaps(other), f"{name}: {first!r} and {second!r}"


@pytest.mark.parametrize("extent", EXTENTS)
def test_panels_are_to_scale_in_millimetres_with_depth_downwards(extent):
    for figure in figures(extent).values():
        panel = figure.axes[0]
        assert panel.get_xlim() == pytest.approx((1e3 * extent[0], 1e3 * extent[1]))
        assert panel.get_ylim() == pytest.approx((1e3 * extent[3], 1e3 * extent[2]))
        assert panel.get_images()[0].get_extent() == pytest.approx([*panel.get_xlim(), *panel.get_ylim()])
        box = panel.get_window_extent()
        proportion = (extent[1] - extent[0]) / (extent[3] - extent[2])
        assert box.width / box.height == pytest.approx(proportion, rel=1e-3)


def test_the_scale_bar_is_as_long_as_it_says():
    for figure in figures().values():
        (label,) = (text.get_text() for text in figure.axes[0].texts)
        (length,) = {float(np.ptp(line.get_xdata())) for line in figure.axes[0].lines}
        assert label == f"{1e3 * length:.0f} µm" == "500 µm"


def test_density_is_compressed_as_asked_and_its_bar_counts_tracks():
    density = maps()[0]
    limit = np.percentile(density[density > 0], 99.5)
    for name, brightness in (
        ("density", np.log1p(density) / np.log1p(limit)),
        ("gamma", np.sqrt(density / limit)),
    ):
        figure = figures()[name]
        image = figure.axes[0].get_images()[0]
        np.testing.assert_array_equal(image.get_array(), density)
        np.testing.assert_allclose(image.norm(density), np.minimum(brightness, 1), rtol=1e-12)
        bar = figure.axes[1]
        assert [text.get_text() for text in bar.get_yticklabels()][:3] == ["0", "1", "2"]
        assert bar.get_ylim() == pytest.approx((0, limit))


def test_directions_go_round_the_hues_equally_light():
    ring = direction_colors(np.linspace(-np.pi, np.pi, 361))
    np.testing.assert_allclose(ring[0], ring[-1], atol=1e-6)
    assert np.abs(np.diff(ring, axis=0)).max() < 0.1
    lightness = rgb2lab(ring)[:, 0]
    assert np.ptp(lightness) < 8
    right, down, left, up = direction_colors(np.array([0, 0.5, 1, -0.5]) * np.pi)
    assert right.argmax() == 0  # red
    assert down.argmin() == 2  # yellow to green
    assert left.argmin() == 0  # cyan
    assert up.argmax() == 2  # blue
    np.testing.assert_array_equal(direction_colors(np.array([np.nan])), [[0, 0, 0]])


def test_direction_is_the_hue_and_density_the_brightness():
    density = np.array([[0, 1, 1], [40, 40, 40]])
    direction = np.array([[np.nan, 0.5, -2.5], [0.5, -2.5, np.nan]])
    shown = picture(direction_figure(direction, density, **RECORD))
    colors = direction_colors(direction)
    np.testing.assert_array_equal(shown[0, 0], 0)
    np.testing.assert_allclose(shown[0, 1:], 0.4 * colors[0, 1:])
    np.testing.assert_allclose(shown[1], colors[1])


def test_the_wheel_shows_the_directions_as_they_are_on_the_page():
    figure = direction_figure(maps()[2], maps()[0], **RECORD)
    (wheel,) = (axes for axes in figure.axes[1:] if any("→" in text.get_text() for text in axes.texts))
    ring = wheel.get_images()[0].get_array()
    middle, rim = len(ring) // 2, round(0.12 * len(ring))
    places = {"right": (middle, -rim), "down": (-rim, middle), "left": (middle, rim), "up": (rim, middle)}
    assert wheel.get_ylim() == (1, -1)
    for angle, place in zip([0, np.pi / 2, np.pi, -np.pi / 2], places.values(), strict=True):
        np.testing.assert_allclose(ring[place][:3], direction_colors(np.array(angle)), atol=0.02)
        assert ring[place][3] == 1
    assert ring[middle, middle, 3] == ring[0, 0, 3] == 0
    arrows = {text.get_text(): np.sign(np.round(text.get_position(), 2)) for text in wheel.texts[:4]}
    assert {arrow: tuple(place) for arrow, place in arrows.items()} == {
        "→": (1, 0),
        "↓": (0, 1),
        "←": (-1, 0),
        "↑": (0, -1),
    }


def test_speed_has_the_colour_its_bar_gives_it():
    speeds = np.array([[1e-4, 1e-3, 1e-2, np.nan]])
    figure = speed_figure(speeds, np.array([[7, 7, 7, 0]]), limits=(1e-4, 1e-2), **RECORD)
    shown = picture(figure)[0]
    bar = figure.axes[1]
    assert bar.get_ylim() == pytest.approx((0.1, 10))  # mm/s
    (colors,) = (mesh.cmap for mesh in bar.collections if isinstance(mesh, QuadMesh))
    np.testing.assert_allclose(shown[0], colors(0.0)[:3], rtol=1e-6)
    np.testing.assert_allclose(shown[1], colors(0.5)[:3], rtol=1e-6)
    np.testing.assert_allclose(shown[2], colors(1.0)[:3], rtol=1e-6)
    np.testing.assert_array_equal(shown[3], 0)
    luma = colors(np.linspace(0, 1, 99))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert luma.min() > 0.3  # brightness is the density's


def test_flux_is_cold_upwards_and_warm_downwards_and_black_where_both_are_equal():
    shown = picture(flux_figure(np.array([[-9, -1, 0, 1, 9]]) / 4, duration=4.0, **RECORD))[0]
    assert (shown[:2, 2] > shown[:2, 0]).all()
    assert (shown[3:, 0] > shown[3:, 2]).all()
    np.testing.assert_array_equal(shown[2], 0)
    brightness = shown.sum(axis=1)
    assert brightness[0] > brightness[1] > brightness[2] < brightness[3] < brightness[4]


@pytest.mark.parametrize("compression", ["log", "gamma"])
def test_a_lone_track_shows_its_way_beside_a_thousand(compression):
    flux = np.array([[-1000, -30, -1, 0, 1, 30, 1000]]) / 20
    figure = flux_figure(flux, duration=20.0, compression=compression, **RECORD)
    shown = picture(figure)[0]
    assert shown[2, 2] > 0.4 > shown[2, 0]  # blue
    assert shown[4, 0] > 0.4 > shown[4, 2]  # red
    bar = figure.axes[1]
    (mesh,) = (mesh for mesh in bar.collections if isinstance(mesh, QuadMesh))
    np.testing.assert_allclose(mesh.cmap(mesh.norm(flux[0]))[:, :3], shown)
    np.testing.assert_allclose(mesh.norm.inverse(mesh.norm(flux)), flux, rtol=1e-9, atol=1e-12)


def test_the_bar_of_the_flux_has_down_below_and_says_no_less_than_one_track():
    figure = flux_figure(np.array([[-4, -1, 0, 1, 4]]) / 8, duration=8.0, **RECORD)
    bar = figure.axes[1]
    assert bar.get_ylim() == pytest.approx((0.5, -0.5))
    said = {
        text.get_text(): place for text, place in zip(bar.get_yticklabels(), bar.get_yticks(), strict=True)
    }
    assert set(said) == {"0", "0.12 ↓", "0.12 ↑", "0.2 ↓", "0.2 ↑", "0.5 ↓", "0.5 ↑"}
    assert (said["0.5 ↓"], said["0.5 ↑"], said["0.12 ↓"]) == (0.5, -0.5, 0.125)


def test_empty_maps_are_drawn_too():
    nothing, unknown = np.zeros((16, 16), int), np.full((16, 16), np.nan)
    for figure in (
        density_figure(nothing, **RECORD),
        density_figure(nothing, compression="gamma", **RECORD),
        speed_figure(unknown, nothing, **RECORD),
        speed_figure(unknown, nothing, scale="linear", **RECORD),
        direction_figure(unknown, nothing, **RECORD),
        flux_figure(nothing, duration=1.0, **RECORD),
    ):
        texts(figure)
        assert np.ptp(np.asarray(picture(figure))) == 0


def test_the_same_figure_gives_the_same_bytes():
    one, two = io.BytesIO(), io.BytesIO()
    for buffer in (one, two):
        direction_figure(maps()[2], maps()[0], **RECORD).savefig(buffer, format="png")
    assert one.getvalue() == two.getvalue()


def test_wrong_input_is_refused():
    density, speed, _, _ = maps()
    with pytest.raises(InputError, match="extent"):
        density_figure(density, extent=(1, -1, 0, 1), title="")
    with pytest.raises(InputError, match="map: shape"):
        density_figure(density[0], **RECORD)
    with pytest.raises(InputError, match="compression"):
        density_figure(density, compression="sqrt", **RECORD)
    with pytest.raises(InputError, match="gamma"):
        density_figure(density, compression="gamma", gamma=0, **RECORD)
    with pytest.raises(InputError, match="duration"):
        flux_figure(density, duration=0.0, **RECORD)
    for limits in ((1e-3, 1e-4), (0.0, 1e-3)):
        with pytest.raises(InputError, match="limits"):
            speed_figure(speed, density, limits=limits, **RECORD)
