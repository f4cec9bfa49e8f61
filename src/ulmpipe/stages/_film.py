"""A film on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import complete_or_absent

SHOWN_MS, N_COLOURS = 80, 128


def write_gif(path: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
    """Write pictures, (height, width, 3) each, as a GIF that plays for ever."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    # one palette for all, so that what stands still is stored once
    palette = images[-1].quantize(N_COLOURS, method=Image.Quantize.MAXCOVERAGE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with complete_or_absent(path) as temporary:
        images[0].save(
            temporary, format="GIF", save_all=True, append_images=images[1:], duration=SHOWN_MS, loop=0
        )
