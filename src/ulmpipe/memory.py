"""Memory that begins on a cache line, where vectors of numbers are read and written in one go; and that stays."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CACHE_LINE = 64  # bytes
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # what glibc's mallopt calls them (malloc.h)
LARGEST, KEPT = 32 << 20, 1 << 30  # bytes: glibc allows no larger arrays; what is freed and not given back


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


def keep_freed_memory() -> bool:
    """Let this process use the memory of arrays of up to 32 MB again, instead of giving it back when they are freed.

    A network allocates some megabytes for every operation. By default each comes from the kernel, which clears it
    page by page: a tenth of a training step.

    Returns
    -------
    bool
        False where this is not known how: on any system but Linux with glibc.

    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and all(
        set_option(option, value) for option, value in ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, KEPT))
    )
