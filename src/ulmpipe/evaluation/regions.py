"""Parts of an image: a rectangle that somebody named, a grid of tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Image = NDArray[np.generic]
Region = tuple[slice, slice]
WHOLE: Region = (slice(None), slice(None))

LEAST_SIDE = 32  # pixels of a region: of its 16 rings, five have too few pixels to say much


@dataclass(frozen=True)
class Tiles:
    """Square parts of an image at equal steps.

    Attributes
    ----------
    side, step
        Pixels.
    top, left
        (tile z), (tile x) first pixel of each row and column of tiles.

    """

    side: int
    step: int
    top: NDArray[np.int64]
    left: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """How many along z and x."""
        return len(self.top), len(self.left)

    @property
    def regions(self) -> list[Region]:
        """Row after row."""
        return [
            (slice(int(top), int(top) + self.side), slice(int(left), int(left) + self.side))
            for top in self.top
            for left in self.left
        ]


def region_slices(
    rectangle: tuple[float, float, float, float],
    shape: tuple[int, int],
    *,
    origin: tuple[float, float],
    pixel_size: float,
) -> Region:
    """Pixels of an image whose centres lie in a rectangle.

    Parameters
    ----------
    rectangle
        x of its left and right, z of its top and bottom (m).
    shape
        Of the image, (z, x) pixels.
    origin
        x and z of the first pixel's centre (m).
    pixel_size
        Metres.

    Raises
    ------
    InputError
        Fewer than 2 pixels a side lie in it.

    """
    left, right, top, bottom = rectangle
    slices = []
    for first, last, start, length in (
        (top, bottom, origin[1], shape[0]),
        (left, right, origin[0], shape[1]),
    ):
        # a centre that is on the edge but for rounding is in
        begin = max(0, int(np.ceil((first - start) / pixel_size - 1e-6)))
        end = min(length, int(np.floor((last - start) / pixel_size + 1e-6)) + 1)
        if end - begin < 2:
            raise InputError(f"rectangle: {rectangle} m holds fewer than 2 pixels a side of the image")
        slices.append(slice(begin, end))
    return slices[0], slices[1]


def cut_tiles(shape: tuple[int, int], *, side: int, step: int) -> Tiles:
    """Tiles of an image, as many as fit, in its middle.

    The resolution of a tile is that of its inner half, since its edges are tapered: steps of half a side miss nothing.
    A tile must hold several vessels, and its rings are as wide as 1/side: sizes are told apart to size² / (side in
    metres).

    Parameters
    ----------
    shape
        Of the image, (z, x) pixels.
    side, step
        Of the tiles, and from one to the next, pixels.

    Raises
    ------
    InputError
        No tile fits into the image, or a parameter is out of range.

    """
    if not LEAST_SIDE <= side <= min(shape) or step < 1:
        raise InputError(
            f"tiles of {side} pixels every {step}: expected {LEAST_SIDE} to {min(shape)}, every 1 or more"
        )
    top, left = (np.arange((length - side) % step // 2, length - side + 1, step) for length in shape)
    return Tiles(side, step, top, left)
