"""Tiles and rectangles of a field."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.regions import cut_tiles, region_slices


def test_tiles_lie_in_the_middle_and_are_taken_row_after_row():
    tiles = cut_tiles((100, 135), side=64, step=32)
    assert tiles.top.tolist() == [2, 34]
    assert tiles.left.tolist() == [3, 35, 67]
    assert tiles.shape == (2, 3)
    image = np.arange(100)[:, None] + 1e3 * np.arange(135)
    corners = [image[region][0, 0] for region in tiles.regions]
    assert corners == [3002, 35002, 67002, 3034, 35034, 67034]
    assert {image[region].shape for region in tiles.regions} == {(64, 64)}
    for side, step in ((101, 10), (31, 10), (64, 0)):
        with pytest.raises(InputError, match="tiles of"):
            cut_tiles((100, 135), side=side, step=step)


def test_a_rectangle_is_the_pixels_whose_centres_it_holds():
    origin, shape = (-2e-3, 1e-3), (40, 80)
    z, x = region_slices((-1.9e-3, 0.0, 1.0e-3, 2.04e-3), shape, origin=origin, pixel_size=5e-5)
    assert (z, x) == (slice(0, 21), slice(2, 41))
    with pytest.raises(InputError, match="rectangle"):
        region_slices((5e-3, 6e-3, 1e-3, 2e-3), shape, origin=origin, pixel_size=5e-5)
