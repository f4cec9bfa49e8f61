"""True velocities on the tracks of an acquisition, where the first block shows them; only if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.beamforming.das import Grid
from ulmpipe.io.stores import open_store, provenance
from ulmpipe.phantom import displace
from ulmpipe.progress import progress
from ulmpipe.stages._mosaic import block_bubbles, field_of, mosaic_of
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_axis, square_grid
from ulmpipe.stages._velocities import write_velocities
from ulmpipe.stages._visibility import slice_of
from ulmpipe.stages.ground_truth import displacement_of
from ulmpipe.targets import velocity_map


def run(parameters: Parameters, *, trajectories: Path, velocities: Path) -> None:
    """Draw the velocities of every block on the pixels of its true tracks."""
    bubbles = open_store(trajectories, "position", "velocity", "rank")
    field, pixel = field_of(parameters), parameters["beamforming"]["pixel"]
    upsampling, n_blocks = parameters["targets"]["upsampling"], parameters["acquisition"]["n_blocks"]
    grid = square_grid(width=field.width, height=field.height, depth=field.depth, pixel=pixel)
    fine = Grid(x=fine_axis(grid.x, upsampling), z=fine_axis(grid.z, upsampling))
    step = pixel / upsampling
    write_velocities(
        velocities,
        progress(_maps(parameters, bubbles, fine), "true velocities", total=n_blocks),
        shape=(n_blocks, *fine.shape),
        geometry={
            "spacing": {"z": step, "x": step},
            "origin": {"z": float(fine.z[0]), "x": float(fine.x[0])},
        },
        made=provenance("velocity_truth", parameters, trajectories),
    )


def _maps(parameters: Parameters, bubbles: Any, fine: Grid) -> Iterator[NDArray[np.float32]]:
    mosaic, visible, displacement = mosaic_of(parameters), slice_of(parameters), displacement_of(parameters)
    for block in range(parameters["acquisition"]["n_blocks"]):
        present = block_bubbles(parameters, bubbles, mosaic, block)
        yield velocity_map(
            displace(present.position, displacement[0]),
            present.velocity,
            visible.holds(present.position),
            x=fine.x,
            z=fine.z,
        )
