"""Stage 2: the trajectories of a dense set of bubbles; every concentration is a cut of their rank. And a film."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.figures.bubbles import bubble_film
from ulmpipe.flow.bubbles import Bubbles
from ulmpipe.io.graph_store import load_graph
from ulmpipe.io.stores import new_array, new_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._bubbles import count_bubbles, draw_bubbles, network_of
from ulmpipe.stages._film import write_gif
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.vessels.graph import VesselGraph

N_PICTURES = 64  # at most about so many


def run(parameters: Parameters, *, graph: Path, trajectories: Path, film: Path) -> None:
    """Simulate the bubbles of all blocks of a volume, and show those of the first."""
    vessels = load_graph(graph)
    network = network_of(parameters, vessels)
    n_blocks, n_events = parameters["n_blocks"], event_times(parameters).size
    most = max(1, *(count_bubbles(parameters, block) for block in range(n_blocks)))
    shape, dims = (n_blocks, n_events, most), ("block", "event", "bubble")
    # absent bubbles: NaN positions, and a rank that no concentration keeps
    kinds = {
        "position": ((*shape, 3), "float32", (*dims, "axis"), "m", np.nan),
        "velocity": ((*shape, 3), "float32", (*dims, "axis"), "m/s", np.nan),
        "vessel": (shape, "int32", dims, "edge index", -1),
        "diameter": (shape, "float32", dims, "m", np.nan),
        "life": (shape, "int16", dims, "1", -1),
        "rank": ((n_blocks, most), "float32", ("block", "bubble"), "1", np.inf),
    }
    with new_store(trajectories, provenance=provenance("trajectories", parameters, graph)) as store:
        store.attrs["event_times"] = event_times(parameters).ravel().tolist()
        store.attrs["concentration_per_mm3"] = parameters["concentration_per_mm3"]
        for name, (size, dtype, axes, units, _) in kinds.items():
            new_array(store, name, shape=size, dtype=dtype, dims=axes, units=units)
        for block in progress(range(n_blocks), f"trajectories {parameters['name']}"):
            bubbles = draw_bubbles(parameters, network, block)
            for name, (size, dtype, _, _, absent) in kinds.items():
                values = getattr(bubbles, name)
                padded = np.full(size[1:], absent, dtype)
                padded[tuple(slice(n) for n in values.shape)] = values
                store[name][block] = padded
    _show(parameters, vessels, draw_bubbles(parameters, network, 0), film)


def _show(parameters: Parameters, vessels: VesselGraph, bubbles: Bubbles, film: Path) -> None:
    """Write a film of one block, each frame at its middle plane wave."""
    times = event_times(parameters)
    n_angles = times.shape[1]
    middle = slice(n_angles // 2, None, n_angles)
    pictures = bubble_film(
        vessels,
        position=bubbles.position[middle],
        velocity=bubbles.velocity[middle],
        times=times[:, n_angles // 2],
        step=max(1, len(times) // N_PICTURES),
        title=f"{parameters['name']}, {len(bubbles.rank)} bubbles",
    )
    write_gif(film, pictures)
