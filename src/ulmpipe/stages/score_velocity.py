"""Velocities of the network and of the expert's tracks against the true ones; only if asked for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.evaluation.scores import crop_border
from ulmpipe.evaluation.velocity_errors import velocity_errors
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_block, read_blocks, write_json
from ulmpipe.io.track_store import read_tracks
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._velocities import in_metres, registered_velocities
from ulmpipe.track_maps import FineGrid, track_maps

Block = tuple[NDArray[np.bool_], NDArray[np.floating]]  # tracks (z, x) and velocities (2, z, x), m/s
TABLE = (
    "n_pixels",
    "median_speed",
    "median_speed_error",
    "median_relative_error",
    "median_angle_error",
    "reversed",
)


def run(
    parameters: Parameters,
    *,
    network: Path,
    velocities: Path,
    tracks: Path,
    ground_truth: Path,
    true_velocities: Path,
    shifts: Path,
    operating_points: Path,
    scores: Path,
    table: Path,
) -> None:
    """Compare velocities on the true track pixels that a method found, by their true speed."""
    truth = open_store(ground_truth, "tracks")["tracks"]
    true = open_store(true_velocities, "velocity")["velocity"]

    def true_blocks() -> Iterator[Block]:
        for block, present in enumerate(read_blocks(truth)):
            yield present, in_metres(read_block(true, block))

    def seen_by_network() -> Iterator[Block]:
        return registered_velocities(
            parameters, network, velocities, shifts, operating_points, criterion="per_block"
        )

    def everywhere() -> Iterator[Block]:
        return ((np.ones_like(found), velocity) for found, velocity in seen_by_network())

    border = parameters["evaluation"]["border"]
    result: dict[str, Any] = {
        name: _by_speed(parameters, *_on_found_tracks(seen, true_blocks(), border=border))
        for name, seen in (
            ("network", seen_by_network()),
            ("network_on_all_true_tracks", everywhere()),
            ("expert_tracks", _of_tracks(tracks, truth)),
        )
    }
    write_json(
        scores,
        result
        | {
            "provenance": provenance(
                "score_velocity",
                parameters,
                network,
                velocities,
                tracks,
                ground_truth,
                true_velocities,
                shifts,
                operating_points,
            )
        },
    )
    _write_table(table, result)


def _of_tracks(tracks: Path, truth: Any) -> Iterator[Block]:
    """Velocities of the expert's tracks, block by block, on the grid of the truth."""
    grid = FineGrid.of_images(truth.shape[1:], truth.attrs)
    for block in read_tracks(tracks):
        made = track_maps([block], grid)
        yield made.density > 0, np.stack([made.velocity_z, made.velocity_x])


def _on_found_tracks(
    seen: Iterable[Block], true: Iterable[Block], *, border: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Velocities (2, pixel), found and true, of all true track pixels that were found, inside the border."""
    pairs = []
    for (found, velocity), (present, true_velocity) in zip(seen, true, strict=True):
        both = crop_border(found & present, border)
        pairs.append([crop_border(each, border)[:, both] for each in (velocity, true_velocity)])
    return tuple(np.concatenate(side, axis=1) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def _by_speed(
    parameters: Parameters, found: NDArray[np.floating], true: NDArray[np.floating]
) -> dict[str, dict[str, float | int | None]]:
    """Errors of all pixels, and of the fast, slow and capillary ones by their true speed in the plane."""
    speed, limits = np.hypot(*true), parameters["classes"]
    chosen = {
        "all": np.ones(speed.shape, bool),
        "fast": speed > limits["fast_speed"],
        "slow": speed <= limits["fast_speed"],
        "capillary": speed <= limits["capillary_speed"],
    }
    return {name: velocity_errors(found[:, these], true[:, these]) for name, these in chosen.items()}


def _write_table(path: Path, result: dict[str, Any]) -> None:
    """The errors a person compares first: a row for each method and class of speed."""
    units = {
        "median_speed": 1e3,
        "median_speed_error": 1e3,
        "median_relative_error": 100.0,
        "reversed": 100.0,
    }
    units["median_angle_error"] = 180 / np.pi
    header = [
        "pixels",
        "true speed (mm/s)",
        "speed error (mm/s)",
        "speed error (%)",
        "angle error (°)",
        "reversed (%)",
    ]
    with complete_or_absent(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "class", *header])
        for method, speed_class in chain.from_iterable(
            ((method, each) for each in classes) for method, classes in result.items()
        ):
            errors = result[method][speed_class]
            figures = [
                "" if errors[name] is None else f"{errors[name] * units.get(name, 1):.4g}" for name in TABLE
            ]
            writer.writerow([method.replace("_", " "), speed_class, *figures])
