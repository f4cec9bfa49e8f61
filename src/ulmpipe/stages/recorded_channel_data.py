"""Stage 3 of a user's own acquisition: a recording of what the elements received, as a store of channel data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.recordings import Recording
from ulmpipe.io.stores import new_array
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._recording import Write, import_recording

LARGEST_INTEGER = 32767
OWN = ("sampling_frequency", "demodulation_frequency")  # of the baseband: images do not depend on them


def run(parameters: Parameters, *, channel_data: Path) -> None:
    """Import channel data as pairs of 16-bit integers, each block with a scale of its own."""

    def begin(store: Any, recording: Recording, n_blocks: int) -> Write:
        (start_time,) = recording.require("start_time")
        known = recording.scan.known()
        sequence = parameters["sequence"] | {name: known[name] for name in OWN if name in known}
        store.attrs["scan"] = {
            **{name: parameters[name] for name in ("probe", "medium")},
            "sequence": sequence,
            "start_time": start_time,
            "field": parameters["acquisition"]["field"],
        }
        samples = new_array(
            store,
            "samples",
            shape=(n_blocks, *recording.block_shape, 2),
            dtype="int16",
            dims=("block", "frame", "angle", "element", "time", "part"),
            units="1",
            compressed=False,
            spacing={"time": 1 / sequence["sampling_frequency"]},
            origin={"time": start_time},
        )
        scales: list[float] = []

        def write(place: int, block: NDArray[np.complex64]) -> None:
            parts = block[..., None].view(np.float32)
            scales.append(float(np.abs(parts).max()) / LARGEST_INTEGER)
            samples[place] = np.rint(parts / np.float32(scales[-1])).astype(np.int16)
            samples.attrs["scale"] = scales

        return write

    import_recording("recorded_channel_data", parameters, channel_data, begin)
