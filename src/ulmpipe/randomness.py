"""Random numbers that depend on what they are for, never on the order, the shard or the core that draws them."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the generator of one purpose, for example ``generator(seed, "noise", "20MB", block)``.

    Parameters
    ----------
    seed : int
        The seed in the config.
    *purpose : str or int
        Names and indices; different purposes give independent streams.
    """
    keys = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in purpose]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(keys)))
