"""Velocities on the tracks of training blocks: what the network of velocities learns; only if asked for.

A stage of its own, not part of `training_blocks`: which bubbles a block has and where its volume lies is drawn again
from the same random numbers, so that nothing has to be simulated twice and a run that wants no velocities pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import open_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_axis
from ulmpipe.stages._velocities import write_velocities
from ulmpipe.stages._visibility import slice_of
from ulmpipe.stages.training_blocks import (
    block_generator,
    draw_placement,
    group_of,
    place_bubbles,
    placement_generator,
)
from ulmpipe.targets import velocity_map


def run(parameters: Parameters, *, trajectories: Path, velocities: Path) -> None:
    """Draw the velocities of one shard of training blocks, on the pixels of their tracks."""
    bubbles = open_store(trajectories, "position", "velocity", "rank")
    n_blocks, upsampling = parameters["n_blocks"], parameters["targets"]["upsampling"]
    side, step = (
        parameters["training_set"]["window"] * upsampling,
        parameters["beamforming"]["pixel"] / upsampling,
    )
    write_velocities(
        velocities,
        progress(_maps(parameters, bubbles), f"velocities of {parameters['name']}", total=n_blocks),
        shape=(n_blocks, side, side),
        geometry={"spacing": {"z": step, "x": step}},
        made=provenance("velocity_targets", parameters, trajectories),
    )


def _maps(parameters: Parameters, bubbles: Any) -> Iterator[NDArray[np.float32]]:
    visible, upsampling = slice_of(parameters), parameters["targets"]["upsampling"]
    for block in range(parameters["first_block"], parameters["first_block"] + parameters["n_blocks"]):
        group = group_of(parameters, block)
        placement = draw_placement(parameters, placement_generator(parameters, group))
        placed = place_bubbles(parameters, placement, bubbles, block, block_generator(parameters, block))
        yield velocity_map(
            placed.where_seen(placement),
            placed.velocity,
            visible.holds(placed.position),
            x=fine_axis(placement.grid.x, upsampling),
            z=fine_axis(placement.grid.z, upsampling),
        )
