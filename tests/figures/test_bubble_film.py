"""The film of bubbles shows each where it is, in the colour of its speed."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.figures.bubbles import bubble_film
from ulmpipe.vessels import VesselGraph


@pytest.fixture
def tube():
    """Along x, in a field of 1 mm."""
    x = np.array([-500e-6, 500e-6])
    return VesselGraph(
        positions=np.stack([x, 0 * x, 0 * x], axis=1),
        edges=np.array([[0, 1]]),
        radius=np.array([10e-6, 10e-6]),
        vessel_type=np.zeros(2, dtype=np.int8),
        boundary=np.array([True, True]),
    )


def coloured(picture):
    """Rows and columns of the pixels that are not grey, left of the colour bar."""
    field = picture[:, : int(0.81 * picture.shape[1])].astype(int)
    return np.nonzero(np.ptp(field, axis=2) > 60)


def test_a_bubble_moves_across_the_picture_and_an_absent_one_is_not_drawn(tube):
    times = np.arange(101) * 1e-3
    speed = 4e-3
    position = np.full((101, 2, 3), np.nan)
    position[:, 0] = np.stack([-200e-6 + speed * times, 0 * times, 0 * times + 100e-6], axis=1)
    velocity = np.where(np.isnan(position), np.nan, [speed, 0, 0])
    pictures = list(bubble_film(tube, position=position, velocity=velocity, times=times, step=50))
    assert len(pictures) == 3
    height, width, _ = pictures[0].shape
    mm = 0.78 * width  # the field is 1 mm wide and begins at 3 % of the width
    row, column = coloured(pictures[0])
    assert column.mean() == pytest.approx(0.03 * width + 0.3 * mm, abs=2)
    assert row.mean() == pytest.approx(0.96 * height - 0.4 * mm, abs=2)  # z = 0.1 mm is below the middle
    _, last = coloured(pictures[2])
    assert last.max() == pytest.approx(0.03 * width + 0.7 * mm, abs=5)
    assert 195 < last.min() < 235  # a trail of 60 ms, or 97 pixels, fades away


def test_fast_and_slow_bubbles_differ_in_colour(tube):
    position = np.array([[[-0.2e-3, 0, 0], [0.2e-3, 0, 0]]])
    velocity = np.array([[[0.02e-3, 0, 0], [5e-3, 0, 0]]])
    (picture,) = bubble_film(tube, position=position, velocity=velocity, times=np.zeros(1), step=1)
    row, column = coloured(picture)
    left, right = (picture[row[side], column[side]].mean(0) for side in (column < 218, column > 218))
    assert left[1] > left[0] + 60  # cyan
    assert right[0] > right[1] + 60  # magenta
