"""Velocity maps in stores: half precision, in mm/s, since in m/s the slowest bubbles would lose their digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import register_maps
from ulmpipe.io.stores import new_array, new_store, open_store, read_blocks, read_json, writing_behind
from ulmpipe.stages._detections import operating_points_of, read_scores
from ulmpipe.stages._parameters import Parameters

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


def registered_velocities(
    parameters: Parameters,
    network: Path,
    velocities: Path,
    shifts: Path,
    operating_points: Path,
    *,
    criterion: str,
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float32]]]:
    """Tracks (z, x) and velocities (2, z, x), m/s, of the network in every block, in the frame of the first."""
    point = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])[
        "network"
    ][criterion]
    found, upsampling = np.array(read_json(shifts)["shifts_pixels"]), parameters["targets"]["upsampling"]
    tracks = (scores >= point["threshold"] for scores in read_scores(network, point))
    stored = open_store(velocities, "velocity")["velocity"]
    yield from zip(
        register_maps(tracks, found, upsampling=upsampling),
        register_maps(map(in_metres, read_blocks(stored)), found, upsampling=upsampling),
        strict=True,
    )
