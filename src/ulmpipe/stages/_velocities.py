"""Velocity maps in stores: half precision, in mm/s, since in m/s the slowest bubbles would lose their digits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import new_array, new_store, writing_behind

MM = 1e3  # a metre in millimetres


def write_velocities(
    path: Path,
    maps: Iterable[NDArray[np.float32]],
    *,
    shape: tuple[int, int, int],
    geometry: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Write a map (2, z, x), components along z and x in m/s, for each block of `shape` (block, z, x) to a store."""
    n_blocks, n_z, n_x = shape
    with new_store(path, provenance=made) as store:
        array = new_array(
            store,
            "velocity",
            shape=(n_blocks, 2, n_z, n_x),
            dtype="float16",
            dims=("block", "component", "z", "x"),
            units="mm/s",
            components=["z", "x"],
            **geometry,
        )
        with writing_behind() as write:
            for block, velocity in enumerate(maps):
                write(array, block, (MM * velocity).astype(np.float16))


def in_metres(velocity: NDArray[np.float16]) -> NDArray[np.float32]:
    """A stored map in m/s."""
    return (velocity.astype(np.float32) / MM).astype(np.float32)
