"""Stage 12: the expert's localizations of every block, as a map of the brightest |χ| on each fine pixel."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import open_store, provenance, read_blocks
from ulmpipe.progress import progress
from ulmpipe.stages._detections import expert_map, write_scores
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, correlation: Path, detections: Path) -> None:
    """Localize bubbles in all frames of all blocks."""
    maps = open_store(correlation, "correlation")["correlation"]
    upsampling = parameters["targets"]["upsampling"]
    blocks = progress(read_blocks(maps), "expert localization", total=maps.shape[0])
    write_scores(
        detections,
        (expert_map(block, upsampling=upsampling) for block in blocks),
        maps,
        upsampling=upsampling,
        units="|χ|",
        made=provenance("localize", parameters, correlation),
    )
