"""Stage 10: what there is to find in an acquisition: the tracks of every block, and the true drift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.beamforming.das import Grid
from ulmpipe.flow.bubbles import BubbleNetwork
from ulmpipe.io.graph_store import load_graph
from ulmpipe.io.stores import new_array, new_store, open_store, provenance
from ulmpipe.phantom import Mosaic, motion_path, rotate
from ulmpipe.progress import progress
from ulmpipe.stages._bubbles import draw_bubbles, is_visible, network_of
from ulmpipe.stages._mosaic import block_bubbles, drift_of, field_of, mosaic_of, motion_of
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.stages._scan import fine_axis, square_grid
from ulmpipe.targets import track_map

FAST = 0.4e-3  # m/s
CAPILLARY = 0.1e-3


def run(parameters: Parameters, *, graph: Path, trajectories: Path, ground_truth: Path) -> None:
    """Draw the tracks of every block in the frame of the tissue at rest, and the long reference of many more blocks."""
    bubbles = open_store(trajectories, "position", "rank")
    mosaic = mosaic_of(parameters)
    field, pixel = field_of(parameters), parameters["beamforming"]["pixel"]
    upsampling = parameters["targets"]["upsampling"]
    grid = square_grid(width=field.width, height=field.height, depth=field.depth, pixel=pixel)
    fine = Grid(x=fine_axis(grid.x, upsampling), z=fine_axis(grid.z, upsampling))
    n_blocks = parameters["acquisition"]["n_blocks"]
    with new_store(ground_truth, provenance=provenance("ground_truth", parameters)) as store:
        maps = {
            name: new_array(
                store,
                name,
                shape=(1 if name == "reference" else n_blocks, *fine.shape),
                dtype="bool",
                dims=("block", "z", "x"),
                units="1",
                spacing={"z": pixel / upsampling, "x": pixel / upsampling},
                origin={"z": float(fine.z[0]), "x": float(fine.x[0])},
            )
            for name in ("tracks", "fast", "slow", "capillary", "reference")
        }
        drift = new_array(
            store, "drift", shape=(n_blocks, 2), dtype="float64", dims=("block", "axis"), units="m"
        )
        drift[:] = _mean_displacement(parameters)[:, ::-1]  # z, x as in images
        seen = {"slow": 0, "capillary": 0, "visible": 0, "all": 0}
        for block in progress(range(n_blocks), "ground truth"):
            present = block_bubbles(parameters, bubbles, mosaic, block)
            visible = is_visible(present.position, parameters)
            speed = np.linalg.norm(present.velocity, axis=-1)
            classes = {
                "tracks": visible,
                "fast": visible & (speed > FAST),
                "slow": visible & (speed <= FAST),
                "capillary": visible & (speed <= CAPILLARY),
            }
            for name, chosen in classes.items():
                maps[name][block] = track_map(present.position, chosen, x=fine.x, z=fine.z)
            for name in ("slow", "capillary"):
                seen[name] += int(classes[name].sum())
            seen["visible"] += int(visible.sum())
            seen["all"] += visible.size
        store.attrs["speed_fractions"] = {
            "slow": seen["slow"] / max(seen["visible"], 1),
            "capillary": seen["capillary"] / max(seen["visible"], 1),
            "visible": seen["visible"] / max(seen["all"], 1),
        }
        dense = {**parameters, "concentration_per_mm3": parameters["largest_concentration_per_mm3"]}
        maps["reference"][0] = _reference(dense, network_of(parameters, load_graph(graph)), mosaic, fine)


def _mean_displacement(parameters: Parameters) -> NDArray[np.float64]:
    """Mean displacement (x, z) of the tissue in every block against the first: drift, and motion within blocks."""
    motion, times = motion_of(parameters), event_times(parameters).ravel()
    drift = drift_of(parameters)
    interval = parameters["phantom"]["block_interval"]
    means = [motion_path(motion, block * interval + times).mean() for block in range(len(drift))]
    moved = drift + np.array(means)[:, None] * motion.direction
    return np.asarray(moved - moved[0])


def _reference(
    parameters: Parameters, network: BubbleNetwork, mosaic: Mosaic, fine: Grid
) -> NDArray[np.bool_]:
    """Tracks of many blocks of the dense distribution, those of the acquisitions among them, in every tile."""
    n_blocks = round(parameters["phantom"]["reference_bubbles_per_mm3"] / parameters["concentration_per_mm3"])
    tracks = np.zeros(fine.shape, bool)
    for block in progress(range(n_blocks), "long ground truth"):
        position = draw_bubbles(parameters, network, block).position
        for turn, centre in zip(mosaic.orientation, mosaic.centre.astype(np.float32), strict=True):
            placed = rotate(position, turn) + centre
            tracks |= track_map(placed, is_visible(placed, parameters), x=fine.x, z=fine.z)
    return tracks
