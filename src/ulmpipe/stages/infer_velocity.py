"""Velocities over the whole field of every block, beside the network's detections; only if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import open_store, provenance
from ulmpipe.network.velocity import build_velocity_network, infer_velocity
from ulmpipe.progress import progress
from ulmpipe.stages._detections import blocks_at_once, over_blocks
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry
from ulmpipe.stages._velocities import write_velocities
from ulmpipe.stages._weights import load_trained


def run(
    parameters: Parameters,
    *,
    correlation: Path,
    model: Path,
    velocities: Path,
    threads: int,
    memory_mb: int = 4000,
) -> None:
    """Infer the velocities of all blocks; where there is no track they mean nothing."""
    seen = parameters["network"]["input"]
    maps = open_store(correlation, seen)[seen]
    upsampling, (n_blocks, _, _, n_z, n_x) = parameters["targets"]["upsampling"], maps.shape
    write_velocities(
        velocities,
        progress(_inferred(parameters, model, maps, threads, memory_mb), "velocities", total=n_blocks),
        shape=(n_blocks, n_z * upsampling, n_x * upsampling),
        geometry=fine_geometry(maps.attrs, upsampling),
        made=provenance("infer_velocity", parameters, correlation, model),
    )


def _inferred(
    parameters: Parameters, model: Path, maps: Any, threads: int, memory_mb: int
) -> Iterator[NDArray[np.float32]]:
    import torch

    network = build_velocity_network(parameters["network"]["name"], seed=0)
    load_trained(network, model, parameters)
    precision, inference = parameters["network"]["precision"], parameters["inference"]
    if torch.cuda.is_available():
        network, threads = network.cuda(), 1
    torch.set_num_threads(1)

    def infer(channels: NDArray[np.float16]) -> NDArray[np.float32]:
        return infer_velocity(
            network,
            channels,
            precision=precision,
            tile=inference["tile"],
            mirrored=inference["mirrored"],
            trained_frames=frames,
        )

    frames = parameters["trained_frames"]
    at_once = blocks_at_once(
        network, parameters, maps, threads=threads, memory_mb=memory_mb, trained_frames=frames
    )
    return over_blocks(infer, maps, threads=at_once)
