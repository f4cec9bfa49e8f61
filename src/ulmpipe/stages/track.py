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
from ulmpipe.localization import localize, track_localizations
from ulmpipe.progress import progress
from ulmpipe.stages._detections import operating_points_of
from ulmpipe.stages._parameters import Parameters


def run(
    parameters: Parameters, *, correlation: Path, shifts: Path, operating_points: Path, tracks: Path
) -> None:
    """Localize, link and smooth the bubbles of every block; take out the block's drift."""
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
    wanted, rate = parameters["tracking"], parameters["sequence"]["frame_rate"]
    threshold = point["threshold"] if wanted["threshold"] is None else wanted["threshold"]
    spacing = np.array([maps.attrs["spacing"][axis] for axis in ("z", "x")])
    origin = np.array([maps.attrs["origin"][axis] for axis in ("z", "x")])
    # off the image plane a bubble appears deeper than it is, by as much on average
    rise = np.array([point["rise"] / parameters["targets"]["upsampling"], 0.0])
    for block in progress(range(maps.shape[0]), "tracking"):
        found = localize(from_channels(read_block(maps, block)), threshold=threshold)
        yield track_localizations(
            found,
            spacing=(float(spacing[0]), float(spacing[1])),
            origin=tuple(origin - (drift[block] + rise) * spacing),
            frame_rate=rate,
            maximum_distance=wanted["largest_speed"] / rate,
            largest_gap=wanted["largest_gap"],
            minimum_length=wanted["minimum_length"],
            memory=wanted["memory"],
            smoothing_window=wanted["smoothing_window"],
        )
