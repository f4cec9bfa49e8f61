"""Stages 3 and 10: channel data of a wide-field phantom: bubbles, moving tissue, drift between blocks, noise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.receiver import receiver_noise
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.io.stores import new_array, new_store, open_store, provenance
from ulmpipe.phantom import (
    displace,
    displacement_states,
    motion_path,
    tissue_scatterers,
)
from ulmpipe.progress import progress
from ulmpipe.randomness import generator
from ulmpipe.stages._bubbles import PER_MM3
from ulmpipe.stages._mosaic import (
    Field,
    block_bubbles,
    block_reflectivity,
    drift_of,
    field_of,
    mosaic_of,
    motion_of,
)
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.stages._scan import noise_of, probe_of, simulating, states_of, transmit_of, window_of

HEADROOM = 2.0  # of the integers over the first block's largest sample
LARGEST_INTEGER = 32767


def run(parameters: Parameters, *, trajectories: Path, channel_data: Path) -> None:
    """Simulate every block as a scanner would record it: complex samples as pairs of 16-bit integers."""
    bubbles = open_store(trajectories, "position", "rank")
    probe, transmit = probe_of(parameters), transmit_of(parameters)
    field, drift, mosaic = field_of(parameters), drift_of(parameters), mosaic_of(parameters)
    tissue, seed = parameters["tissue"], parameters["seed"]
    n_blocks = parameters["acquisition"]["n_blocks"]
    times = event_times(parameters)
    motion = motion_of(parameters)
    margin = tissue["margin"] + parameters["phantom"]["largest_drift"] + float(motion.amplitude.sum())
    start_time, n_samples = window_of(
        parameters,
        half_width=field.width / 2 + margin,
        depth=field.depth,
        half_height=field.height / 2 + margin,
        half_thickness=parameters["side"] / 2,
    )
    record = {"start_time": start_time, "n_samples": n_samples, **simulating(parameters)}
    noise = noise_of(parameters, n_samples=n_samples)
    scatterers = tissue_scatterers(
        generator(seed, "tissue", parameters["name"]),
        extent=(extent := _tissue_extent(parameters, field)),
        n_scatterers=0
        if tissue["reflectivity_db"] is None
        else round(tissue["density_per_mm3"] * PER_MM3 * np.prod(np.ptp(extent, axis=1))),
        reflectivity=10 ** ((tissue["reflectivity_db"] or 0.0) / 20),
    )
    n_states = max(tissue["n_states"], states_of(parameters, half_range=float(motion.amplitude.sum())))

    with new_store(channel_data, provenance=provenance("channel_data", parameters, trajectories)) as store:
        store.attrs["scan"] = {
            **{name: parameters[name] for name in ("probe", "sequence", "medium")},
            "start_time": start_time,
            "field": {"width": field.width, "height": field.height, "depth": field.depth},
        }
        shape = (n_blocks, *times.shape, probe.n_elements, n_samples, 2)
        scale = 0.0
        for block in progress(range(n_blocks), "channel data"):
            path = motion_path(motion, block * parameters["phantom"]["block_interval"] + times.ravel())
            moved = drift[block] + path[:, None] * motion.direction
            position = displace(block_bubbles(parameters, bubbles, mosaic, block).position, moved)
            data = simulate_channel_data(
                position.reshape(*times.shape, -1, 3),
                block_reflectivity(parameters, bubbles, block),
                probe,
                transmit,
                **record,
            )
            if len(scatterers.position):
                states, weights = displacement_states(path, n_states=n_states)
                at_states = displace(
                    scatterers.position[None], drift[block] + states[:, None] * motion.direction
                )
                echoes = simulate_channel_data(at_states, scatterers.reflectivity, probe, transmit, **record)
                _add_tissue(data, echoes, weights.reshape(*times.shape, -1))
            if noise is not None:
                data += receiver_noise(
                    generator(seed, "noise", parameters["name"], block), data.shape, **noise
                )
            parts = data[..., None].view(np.float32)
            if block == 0:
                scale = HEADROOM * float(np.abs(parts).max()) / LARGEST_INTEGER
                samples = new_array(
                    store,
                    "samples",
                    shape=shape,
                    dtype="int16",
                    dims=("block", "frame", "angle", "element", "time", "part"),
                    units="1",
                    compressed=False,
                    spacing={"time": 1 / parameters["sequence"]["sampling_frequency"]},
                    origin={"time": start_time},
                    scale=scale,
                )
            parts /= np.float32(scale)
            if (n_clipped := int((np.abs(parts) > LARGEST_INTEGER).sum())) > 0:
                print(
                    f"block {block}: {n_clipped} samples exceed the integers and are clipped", file=sys.stderr
                )
            samples[block] = np.clip(
                np.rint(parts, out=parts), -LARGEST_INTEGER, LARGEST_INTEGER, out=parts
            ).astype(np.int16)


def _tissue_extent(parameters: Parameters, field: Field) -> NDArray[np.float64]:
    margin = parameters["tissue"]["margin"]
    half_x, half_y, half_z = field.width / 2 + margin, parameters["side"] / 2, field.height / 2 + margin
    return np.array([[-half_x, half_x], [-half_y, half_y], [field.depth - half_z, field.depth + half_z]])


def _add_tissue(
    data: NDArray[np.complex64], echoes: NDArray[np.complex64], weights: NDArray[np.float32]
) -> None:
    """Add to every event the mixture of the states' echoes: linear, since the wave equation is."""
    for angle in range(data.shape[1]):
        states = echoes[:, angle].reshape(len(echoes), -1).view(np.float32)
        for frame in range(len(data)):  # a frame at a time: no second copy of the block
            mixture = weights[frame, angle] @ states
            data[frame, angle] += mixture.view(np.complex64).reshape(data.shape[2:])
