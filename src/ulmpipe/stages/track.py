"""Stage 13: the expert's bubbles followed from frame to frame, in the frame of the first block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.correlation import from_channels
from ulmpipe.io.stores import open_store, provenance, read_block, read_json
from ulmpipe.io.track_store import write_tracks
from ulmpipe.localization import bright_tracks, localize
from ulmpipe.progress import progress
from ulmpipe.stages._detections import operating_points_of
from ulmpipe.stages._expert import tracks_of
from ulmpipe.stages._parameters import Parameters


def run(
    parameters: Parameters, *, correlation: Path, shifts: Path, operating_points: Path, tracks: Path
) -> None:
    """Localize, link and smooth the bubbles of every block; take out the block's drift.

    The tracks are those that the expert counts in a block, where he counts tracks; else those of the localizations that
    he counts.
    """
    maps = open_store(correlation, "correlation")["correlation"]
    drift = np.array(read_json(shifts)["shifts_pixels"])
    point = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])
    write_tracks(
        tracks,
        _tracks(parameters, maps, drift, point["expert"]["per_block"]),
        frame_rate=parameters["sequence"]["frame_rate"],
        provenance=provenance("track", parameters, correlation, shifts, operating_points),
    )


def _tracks(
    parameters: Parameters, maps: Any, drift: NDArray[np.float64], point: Parameters
) -> Iterator[NDArray[np.void]]:
    spacing, origin = maps.attrs["spacing"], np.array([maps.attrs["origin"][axis] for axis in ("z", "x")])
    # off the image plane a bubble appears deeper than it is, by as much on average
    rise = np.array([point["rise"] / parameters["targets"]["upsampling"], 0.0])
    counts_tracks = point.get("map") == "tracked"
    least = parameters["tracking"]["threshold"] if counts_tracks else point["threshold"]
    for block in progress(range(maps.shape[0]), "tracking"):
        corner = origin - (drift[block] + rise) * [spacing["z"], spacing["x"]]
        found = tracks_of(
            localize(from_channels(read_block(maps, block)), threshold=least),
            parameters,
            spacing=spacing,
            origin=(float(corner[0]), float(corner[1])),
        )
        yield bright_tracks(found, threshold=point["threshold"]) if counts_tracks else found
