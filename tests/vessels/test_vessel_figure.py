"""The picture of a volume shows every vessel at its width."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ulmpipe.figures.vessels import vessel_figure
from ulmpipe.vessels import VesselGraph, dilate


@pytest.fixture
def cross():
    """A vertical vessel of 40 µm and a horizontal one of 5 µm."""
    reach = 250e-6
    return VesselGraph(
        positions=np.array([[0, 0, -reach], [0, 0, 0], [0, 0, reach], [-reach, 0, 0], [reach, 0, 0]]),
        edges=np.array([[0, 1], [1, 2], [3, 1], [1, 4]]),
        radius=np.array([20e-6, 20e-6, 20e-6, 2.5e-6, 2.5e-6]),
        vessel_type=np.zeros(5, dtype=np.int8),
        boundary=np.array([True, False, True, True, True]),
    )


def image_of(graph, **arguments):
    figure = vessel_figure(graph, **arguments)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure, np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_a_vessel_is_drawn_as_wide_as_it_is(cross):
    figure, image = image_of(cross, side=500e-6)
    front = figure.axes[0].get_window_extent()
    row = image[image.shape[0] - int(front.y0 + 0.75 * front.height), int(front.x0) + 2 : int(front.x1) - 2]
    coloured = (np.abs(row - row[0]).sum(axis=1) > 60).mean()
    assert coloured == pytest.approx(40 / 500, rel=0.15)


def test_the_picture_of_a_dilated_volume_is_the_same_but_for_the_scale_bar(cross):
    _, native = image_of(cross, side=500e-6)
    figure, dilated = image_of(dilate(cross, 2.0))
    assert (np.abs(native - dilated).sum(axis=2) > 30).mean() < 0.02
    assert "200 µm" in [text.get_text() for text in figure.axes[0].texts]
