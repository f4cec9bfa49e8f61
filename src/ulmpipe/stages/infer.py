"""Stage 11: the network over the whole field of every block, as a map of track probabilities."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import open_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._detections import network_maps, write_scores
from ulmpipe.stages._parameters import Parameters


def run(
    parameters: Parameters,
    *,
    correlation: Path,
    model: Path,
    detections: Path,
    threads: int,
    memory_mb: int = 4000,
) -> None:
    """Infer the track probabilities of all blocks."""
    seen = parameters["network"]["input"]
    maps = open_store(correlation, seen)[seen]
    frames = parameters["trained_frames"]
    inferred = network_maps(
        parameters, model, maps, threads=threads, memory_mb=memory_mb, trained_frames=frames
    )
    write_scores(
        detections,
        ({"score": one} for one in progress(inferred, "network inference", total=maps.shape[0])),
        maps,
        upsampling=parameters["targets"]["upsampling"],
        units="probability",
        made=provenance("infer", parameters, correlation, model),
    )
