"""Where arrays live: NumPy's in the host's memory, CuPy's on a GPU; functions that have a GPU twin take both."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


@cache
def gpu_available() -> bool:
    """Whether CuPy is installed and finds a CUDA device."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception:  # CuPy without a driver raises errors of its own
        return False


def runs_on_gpu(backend: str) -> bool:
    """What a backend means here: "auto" is the GPU where there is one.

    Raises
    ------
    InputError
        "gpu" without one.
    """
    if backend == "gpu" and not gpu_available():
        raise InputError("backend: 'gpu', but CuPy or a CUDA device is missing, expected both or 'cpu'")
    return backend == "gpu" or (backend == "auto" and gpu_available())


def on_gpu(array: Any) -> bool:
    """Whether an array is CuPy's."""
    return type(array).__module__.partition(".")[0] == "cupy"


def array_module(array: Any) -> Any:
    """`cupy` or `numpy`, whichever made the array."""
    if on_gpu(array):
        import cupy

        return cupy
    return np


def to_host(array: Any) -> NDArray[Any]:
    """The same numbers as a NumPy array."""
    return np.asarray(array.get() if on_gpu(array) else array)
