"""Stage 4 of a user's own acquisition: a recording of beamformed images, as a store of IQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.recordings import Recording
from ulmpipe.io.stores import new_array
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._recording import Write, import_recording


def run(parameters: Parameters, *, iq: Path) -> None:
    """Import images as they are."""

    def begin(store: Any, recording: Recording, n_blocks: int) -> Write:
        origin_z, origin_x, spacing_z, spacing_x = recording.require(
            "origin_z", "origin_x", "spacing_z", "spacing_x"
        )
        images = new_array(
            store,
            "iq",
            shape=(n_blocks, *recording.block_shape),
            dtype="complex64",
            dims=("block", "frame", "z", "x"),
            units="1",
            compressed=False,
            spacing={"z": spacing_z, "x": spacing_x, "frame": 1 / parameters["sequence"]["frame_rate"]},
            origin={"z": origin_z, "x": origin_x},
            carrier=parameters["acquisition"]["carrier"],
        )

        def write(place: int, block: NDArray[np.complex64]) -> None:
            images[place] = block

        return write

    import_recording("recorded_images", parameters, iq, begin)
