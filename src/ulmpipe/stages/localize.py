"""Stage 12: the expert's localizations and tracks of every block, as maps of the brightest |χ| on each fine pixel."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import open_store, provenance, read_blocks
from ulmpipe.progress import progress
from ulmpipe.stages._detections import write_scores
from ulmpipe.stages._expert import MAPS, expert_maps
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, correlation: Path, detections: Path) -> None:
    """Localize bubbles in all frames of all blocks, and follow them."""
    maps = open_store(correlation, "correlation")["correlation"]
    blocks = progress(read_blocks(maps), "expert localization", total=maps.shape[0])
    write_scores(
        detections,
        (expert_maps(block, parameters, spacing=maps.attrs["spacing"]) for block in blocks),
        maps,
        names=MAPS,
        upsampling=parameters["targets"]["upsampling"],
        units="|χ|",
        made=provenance("localize", parameters, correlation),
    )
