"""Stage 11: the network over the whole field of every block, as a map of track probabilities."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import new_array, new_store, open_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._detections import network_maps
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry


def run(parameters: Parameters, *, correlation: Path, model: Path, detections: Path, threads: int) -> None:
    """Infer the track probabilities of all blocks."""
    maps = open_store(correlation, "correlation")["correlation"]
    upsampling = parameters["targets"]["upsampling"]
    n_blocks, _, _, n_z, n_x = maps.shape
    with new_store(detections, provenance=provenance("infer", parameters, correlation, model)) as store:
        scores = new_array(
            store,
            "score",
            shape=(n_blocks, n_z * upsampling, n_x * upsampling),
            dtype="float16",
            dims=("block", "z", "x"),
            units="probability",
            **fine_geometry(maps.attrs, upsampling),
        )
        inferred = network_maps(parameters, model, maps, threads=threads)
        for block, probability in enumerate(progress(inferred, "network inference", total=n_blocks)):
            scores[block] = probability
