"""Registered maps of the velocities that the network sees on its tracks, and their pictures; only if asked for."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.figures.maps import direction_figure, speed_figure
from ulmpipe.io.stores import add_image, complete_or_absent, new_store, open_store, provenance
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import extent_of
from ulmpipe.stages._velocities import registered_velocities
from ulmpipe.velocity_maps import mean_velocity


def run(
    parameters: Parameters,
    *,
    network: Path,
    velocities: Path,
    shifts: Path,
    operating_points: Path,
    maps: Path,
    speed: Path,
    direction: Path,
) -> None:
    """Average the velocities over the blocks in which a fine pixel holds a track of the angiogram."""
    stored = open_store(velocities, "velocity")["velocity"]
    made = mean_velocity(
        registered_velocities(
            parameters, network, velocities, shifts, operating_points, criterion="accumulated"
        )
    )
    units = {"density": "blocks with a track", "speed": "m/s", "velocity_z": "m/s", "velocity_x": "m/s"}
    made_by = provenance("velocity_maps", parameters, network, velocities, shifts, operating_points)
    with new_store(maps, provenance=made_by) as store:
        for name, unit in units.items():
            place = {key: stored.attrs[key] for key in ("spacing", "origin")}
            add_image(store, name, getattr(made, name), units=unit, **place)
    common = {"extent": extent_of(stored), "compression": parameters["figure"]["compression"]}
    title = f"{parameters['name']}, network"
    figures = {
        speed: speed_figure(made.speed, made.density, title=f"{title}: speed", **common),
        direction: direction_figure(made.direction, made.density, title=f"{title}: direction", **common),
    }
    for path, figure in figures.items():
        with complete_or_absent(path) as temporary:
            figure.savefig(temporary)
