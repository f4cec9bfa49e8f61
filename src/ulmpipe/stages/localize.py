"""Stage 12: the expert's localizations of every block, as a map of the brightest |χ| on each fine pixel."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import new_array, new_store, open_store, provenance, read_block
from ulmpipe.progress import progress
from ulmpipe.stages._detections import expert_map
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry


def run(parameters: Parameters, *, correlation: Path, detections: Path) -> None:
    """Localize bubbles in all frames of all blocks."""
    maps = open_store(correlation, "correlation")["correlation"]
    upsampling = parameters["targets"]["upsampling"]
    n_blocks, _, _, n_z, n_x = maps.shape
    with new_store(detections, provenance=provenance("localize", parameters, correlation)) as store:
        scores = new_array(
            store,
            "score",
            shape=(n_blocks, n_z * upsampling, n_x * upsampling),
            dtype="float16",
            dims=("block", "z", "x"),
            units="|χ|",
            **fine_geometry(maps.attrs, upsampling),
        )
        for block in progress(range(n_blocks), "expert localization"):
            scores[block] = expert_map(read_block(maps, block), upsampling=upsampling)
