"""Stage 13: where tracks ran, how fast and which way, as maps and pictures."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.figures.maps import density_figure, direction_figure, flux_figure, speed_figure
from ulmpipe.io.stores import add_image, complete_or_absent, new_store, open_store, provenance
from ulmpipe.io.track_store import read_tracks, track_frame_rate
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import extent_of
from ulmpipe.track_maps import FineGrid, track_maps


def run(
    parameters: Parameters,
    *,
    tracks: Path,
    correlation: Path,
    maps: Path,
    density: Path,
    speed: Path,
    direction: Path,
    flux: Path,
) -> None:
    """Draw all tracks of an acquisition on one grid over the field of its correlation maps."""
    recorded = open_store(correlation, "correlation")["correlation"]
    field, (n_blocks, _, n_frames, *_) = extent_of(recorded), recorded.shape
    duration = n_blocks * n_frames / track_frame_rate(tracks)
    wanted = parameters["track_maps"]
    grid = FineGrid.covering(field, wanted["pixel"])
    made = track_maps(read_tracks(tracks), grid, minimum_points=wanted["minimum_points"])
    net = made.flux(duration)
    images = {
        **{name: (getattr(made, name), "tracks") for name in ("density", "downward", "upward")},
        **{name: (getattr(made, name), "m/s") for name in ("speed", "velocity_z", "velocity_x")},
        "flux": (net, "1/s"),
    }
    spacing, origin = (dict(zip("zx", pair, strict=True)) for pair in (grid.spacing, grid.origin))
    with new_store(maps, provenance=provenance("track_maps", parameters, tracks, correlation)) as store:
        store.attrs["duration"] = duration
        for name, (image, unit) in images.items():
            add_image(store, name, image, units=unit, spacing=spacing, origin=origin)
    common = {"extent": grid.extent, "compression": parameters["figure"]["compression"]}
    name = parameters["name"]
    figures = {
        density: density_figure(
            made.density, title=f"{name}: tracks", colormap=parameters["figure"]["colormap"], **common
        ),
        speed: speed_figure(made.speed, made.density, title=f"{name}: speed", **common),
        direction: direction_figure(made.direction, made.density, title=f"{name}: direction", **common),
        flux: flux_figure(net, duration=duration, title=f"{name}: flux", **common),
    }
    for path, figure in figures.items():
        with complete_or_absent(path) as temporary:
            figure.savefig(temporary)
