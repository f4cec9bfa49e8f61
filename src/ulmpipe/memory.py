"""Memory that begins on a cache line, where vectors of numbers are read and written in one go."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CACHE_LINE = 64  # bytes


def aligned(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros whose data begin on a cache line."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    n_bytes = size * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def aligned_copy(values: NDArray[Any]) -> NDArray[Any]:
    """The same values, contiguous, beginning on a cache line."""
    copy = aligned(values.shape, values.dtype)
    copy[...] = values
    return copy
