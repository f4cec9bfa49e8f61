"""Stage 10: what there is to find in an acquisition: the tracks of every block, and the true drift."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.beamforming.das import Grid
from ulmpipe.flow.bubbles import BubbleNetwork, Bubbles
from ulmpipe.io.graph_store import load_graph
from ulmpipe.io.stores import new_array, new_store, open_store, provenance
from ulmpipe.phantom import Mosaic, displace, motion_path, rotate
from ulmpipe.progress import progress
from ulmpipe.stages._bubbles import draw_bubbles, network_of
from ulmpipe.stages._mosaic import block_bubbles, drift_of, field_of, mosaic_of, motion_of
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.stages._scan import fine_axis, square_grid
from ulmpipe.stages._visibility import Slice, slice_of
from ulmpipe.targets import track_map


def run(parameters: Parameters, *, graph: Path, trajectories: Path, ground_truth: Path) -> None:
    """Draw the tracks of every block where the first one shows them, and the long reference of many more blocks."""
    bubbles = open_store(trajectories, "position", "rank")
    mosaic = mosaic_of(parameters)
    field, pixel = field_of(parameters), parameters["beamforming"]["pixel"]
    upsampling = parameters["targets"]["upsampling"]
    grid = square_grid(width=field.width, height=field.height, depth=field.depth, pixel=pixel)
    fine = Grid(x=fine_axis(grid.x, upsampling), z=fine_axis(grid.z, upsampling))
    n_blocks = parameters["acquisition"]["n_blocks"]
    with new_store(
        ground_truth, provenance=provenance("ground_truth", parameters, graph, trajectories)
    ) as store:
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
            for name in ("tracks", "reference", *classes_of(parameters))
        }
        drift = new_array(
            store, "drift", shape=(n_blocks, 2), dtype="float64", dims=("block", "axis"), units="m"
        )
        displacement = displacement_of(parameters)
        drift[:] = (displacement - displacement[0])[:, ::-1]  # z, x as in images
        store.attrs["classes"] = list(classes_of(parameters))
        visible = slice_of(parameters)
        n_events = dict.fromkeys(("all", "visible", *classes_of(parameters)), 0)
        for block in progress(range(n_blocks), "ground truth"):
            present = block_bubbles(parameters, bubbles, mosaic, block)
            seen = visible.holds(present.position)
            chosen = {"tracks": seen, **_members(parameters, present, seen)}
            position = displace(present.position, displacement[0])
            for name, members in chosen.items():
                maps[name][block] = track_map(position, members, x=fine.x, z=fine.z)
                n_events["visible" if name == "tracks" else name] += int(members.sum())
            n_events["all"] += seen.size
        store.attrs["fractions"] = {name: n / max(n_events["all"], 1) for name, n in n_events.items()}
        dense = {**parameters, "concentration_per_mm3": parameters["largest_concentration_per_mm3"]}
        network = network_of(parameters, load_graph(graph))
        maps["reference"][0] = _reference(dense, network, mosaic, fine, visible, displacement[0])


def classes_of(parameters: Parameters) -> list[str]:
    """Names of the classes of bubbles that are scored apart: by speed, and by distance from the image plane."""
    edges = parameters["classes"]["elevation_edges"]
    return ["fast", "slow", "capillary", *(f"y_{1e6 * a:.0f}_{1e6 * b:.0f}_um" for a, b in pairwise(edges))]


def _members(
    parameters: Parameters, bubbles: Bubbles, visible: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Which bubbles belong to each class at each event; those by elevation count whether visible or not."""
    limits = parameters["classes"]
    speed = np.linalg.norm(bubbles.velocity, axis=-1)
    elevation = np.abs(bubbles.position[..., 1])
    by_speed = [
        speed > limits["fast_speed"],
        speed <= limits["fast_speed"],
        speed <= limits["capillary_speed"],
    ]
    by_elevation = [(elevation >= a) & (elevation < b) for a, b in pairwise(limits["elevation_edges"])]
    members = [*(visible & each for each in by_speed), *by_elevation]
    return dict(zip(classes_of(parameters), members, strict=True))


def displacement_of(parameters: Parameters) -> NDArray[np.float64]:
    """Displacement (x, z) of the tissue in every block, m: drift, and motion within the block.

    Of the motion its mean; or where the middle frame lies, to which frames are brought if motion is taken out.
    """
    motion, times = motion_of(parameters), event_times(parameters)
    if parameters["motion"]["within_blocks"] != "none":
        times = times[len(times) // 2 : len(times) // 2 + 1]
    drift, interval = drift_of(parameters), parameters["phantom"]["block_interval"]
    means = [motion_path(motion, block * interval + times.ravel()).mean() for block in range(len(drift))]
    return drift + np.array(means)[:, None] * motion.direction


def _reference(
    parameters: Parameters,
    network: BubbleNetwork,
    mosaic: Mosaic,
    fine: Grid,
    visible: Slice,
    displacement: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tracks of many blocks of the dense distribution, those of the acquisition among them, in every tile."""
    wanted = parameters["phantom"]["reference_bubbles_per_mm3"] / parameters["concentration_per_mm3"]
    n_blocks = max(round(wanted), parameters["acquisition"]["n_blocks"] * len(mosaic.centre))
    tracks = np.zeros(fine.shape, bool)
    for block in progress(range(n_blocks), "long ground truth"):
        position = draw_bubbles(parameters, network, block).position
        for turn, centre in zip(mosaic.orientation, mosaic.centre.astype(np.float32), strict=True):
            placed = rotate(position, turn) + centre
            seen = visible.holds(placed)
            tracks |= track_map(displace(placed, displacement), seen, x=fine.x, z=fine.z)
    return tracks
