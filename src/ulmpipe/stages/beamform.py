"""Stage 4: channel data, simulated or recorded, beamformed to IQ images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.beamforming.das import delay_and_sum
from ulmpipe.io.stores import new_array, new_store, open_store, provenance, read_block
from ulmpipe.progress import progress
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import focusing, probe_of, receiving, square_grid, transmit_of


def run(parameters: Parameters, *, channel_data: Path, iq: Path) -> None:
    """Beamform every block of a channel-data store; the store itself says how it was recorded."""
    recording = open_store(channel_data, "samples")
    samples, scan = recording["samples"], recording.attrs["scan"]
    image = parameters["beamforming"]
    grid = square_grid(**scan["field"], pixel=image["pixel"])
    n_blocks, n_frames = samples.shape[:2]
    scales = np.broadcast_to(samples.attrs["scale"], n_blocks)  # one for all, or one for each
    with new_store(iq, provenance=provenance("beamform", parameters, channel_data)) as store:
        store.attrs["scan"] = scan
        images = new_array(
            store,
            "iq",
            shape=(n_blocks, n_frames, *grid.shape),
            dtype="complex64",
            dims=("block", "frame", "z", "x"),
            units="1",
            compressed=False,
            spacing={"z": image["pixel"], "x": image["pixel"], "frame": 1 / scan["sequence"]["frame_rate"]},
            origin={"z": float(grid.z[0]), "x": float(grid.x[0])},
        )
        for block in progress(range(n_blocks), "beamforming"):
            integers = read_block(samples, block)
            data = integers.astype(np.float32).view(np.complex64)[..., 0]
            data *= np.float32(scales[block])
            images[block] = delay_and_sum(
                data,
                grid,
                probe_of(scan),
                transmit_of(scan),
                start_time=scan["start_time"],
                **focusing(parameters),
                **receiving(scan),
            )
