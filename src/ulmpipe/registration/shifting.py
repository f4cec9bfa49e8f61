"""Images moved by whole pixels."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def shift_map(image: NDArray[Scalar], shift: tuple[int, int]) -> NDArray[Scalar]:
    """Move an image by whole pixels (z, x); what enters is zero, what leaves is lost.

    Parameters
    ----------
    image
        (…, z, x), any dtype; a copy of the same dtype is returned.
    shift
        Whole pixels by which the content moves towards larger z and x.

    """
    moved = np.zeros_like(image)
    n_z, n_x = image.shape[-2:]
    to_z, to_x = overlap(n_z, int(shift[0])), overlap(n_x, int(shift[1]))
    from_z, from_x = overlap(n_z, -int(shift[0])), overlap(n_x, -int(shift[1]))
    moved[..., to_z, to_x] = image[..., from_z, from_x]
    return moved


def overlap(length: int, shift: int) -> slice:
    """Pixels of an axis that content moved by ``shift`` still covers (empty if it has left)."""
    return slice(min(max(shift, 0), length), max(min(length + shift, length), 0))
