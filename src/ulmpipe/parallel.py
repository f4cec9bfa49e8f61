"""Threads for compiled kernels, which let go of Python's lock while they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np


def count_workers(workers: int | None = None) -> int:
    """`workers`, or as many threads as this process was given (NUMBA_NUM_THREADS), or one for each core."""
    return workers or int(os.environ.get("NUMBA_NUM_THREADS", "0")) or os.cpu_count() or 1


def in_threads(work: Callable[[int, int], None], n_items: int, *, workers: int) -> None:
    """Call work(first, last) for near-equal parts of `n_items`, each in a thread; errors come back."""
    bounds = np.linspace(0, n_items, max(1, min(workers, n_items)) + 1).astype(int).tolist()
    if len(bounds) == 2:
        work(*bounds)
        return
    with ThreadPoolExecutor(len(bounds) - 1) as pool:
        list(pool.map(lambda ends: work(*ends), pairwise(bounds)))
