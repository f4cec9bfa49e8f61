"""The expert's maps of a block: of localizations, and of the tracks they make."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ulmpipe.correlation import from_channels
from ulmpipe.localization import track_brightness, track_localizations
from ulmpipe.localization.localize import brightness_map, localize
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry
from ulmpipe.track_maps import FineGrid, brightest_track_map

MAPS = ("score", "tracked")  # arrays of the expert's detections: of localizations, and of tracks
LEAST_CORRELATION = 0.05  # of a stored localization; thresholds come later and lie far above


def expert_maps(
    channels: NDArray[np.float16], parameters: Parameters, *, spacing: dict[str, float]
) -> dict[str, NDArray[np.float32]]:
    """|χ| of the brightest localization on each fine pixel of a block, and of the brightest track through it."""
    n_z, n_x = channels.shape[-2:]
    upsampling = parameters["targets"]["upsampling"]
    found = localize(from_channels(channels), threshold=LEAST_CORRELATION)
    bright = found[found["value"] >= parameters["tracking"]["threshold"]]
    tracks = tracks_of(bright, parameters, spacing=spacing)
    grid = FineGrid.of_images(
        (n_z * upsampling, n_x * upsampling),
        fine_geometry({"spacing": spacing, "origin": {"z": 0.0, "x": 0.0}}, upsampling),
    )
    maps = (
        brightness_map(found, shape=(n_z, n_x), upsampling=upsampling),
        brightest_track_map(tracks, track_brightness(tracks), grid),
    )
    return dict(zip(MAPS, maps, strict=True))


def tracks_of(
    localizations: NDArray[np.void],
    parameters: Parameters,
    *,
    spacing: dict[str, float],
    origin: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.void]:
    """Tracks of a block's localizations, as the section `tracking` says."""
    wanted, rate = parameters["tracking"], parameters["sequence"]["frame_rate"]
    return track_localizations(
        localizations,
        spacing=(spacing["z"], spacing["x"]),
        origin=origin,
        frame_rate=rate,
        maximum_distance=wanted["largest_speed"] / rate,
        largest_gap=wanted["largest_gap"],
        minimum_length=wanted["minimum_length"],
        memory=wanted["memory"],
        smoothing_window=wanted["smoothing_window"],
    )
