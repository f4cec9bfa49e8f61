"""Stage 12: scores of expert and network against the ground truth of the same blocks, and found against true drift."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import register_maps
from ulmpipe.evaluation.operating_point import CRITERIA
from ulmpipe.evaluation.scores import evaluate, highest_recall, recall_at_matched_precision
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_blocks, read_json, write_json
from ulmpipe.stages._detections import operating_points_of, read_scores
from ulmpipe.stages._parameters import Parameters


def run(
    parameters: Parameters,
    *,
    network: Path,
    expert: Path,
    ground_truth: Path,
    shifts: Path,
    operating_points: Path,
    scores: Path,
    table: Path,
) -> None:
    """Score both methods alike: registered, bordered, thresholded as validation blocks said."""
    truth = open_store(ground_truth, "tracks", "reference", "drift")
    found = np.array(read_json(shifts)["shifts_pixels"])
    upsampling, pixel = parameters["targets"]["upsampling"], parameters["beamforming"]["pixel"]
    border, tolerance = parameters["evaluation"]["border"], parameters["evaluation"]["tolerance"]

    def evaluated(maps: Iterable[NDArray[np.bool_]]) -> dict[str, dict[str, float]]:
        return evaluate(
            maps,
            read_blocks(truth["tracks"]),
            reference=truth["reference"][0],
            tolerance=tolerance,
            border=border,
        )

    def recalled(detections: Path, point: Parameters) -> dict[str, dict[str, Any]]:
        of_map = recall_at_matched_precision(
            register_maps(read_scores(detections, point), found, upsampling=upsampling),
            read_blocks(truth["tracks"]),
            {name: read_blocks(truth[name]) for name in truth.attrs["classes"]},
            tolerance=tolerance,
            border=border,
        )
        chosen = {"map": point.get("map", "score")}
        return {precision: row | chosen for precision, row in of_map.items()}

    chosen = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])
    result: dict[str, Any] = {
        "n_blocks": len(found),
        "all_ones": evaluated(np.ones_like(tracks) for tracks in read_blocks(truth["tracks"])),
        "ground_truth": evaluated(read_blocks(truth["tracks"])),
    }
    for method, detections in (("network", network), ("expert", expert)):
        points = {criterion: chosen[method][criterion] for criterion in CRITERIA}
        of_each_map = chosen[method].get(
            "of_each_map", [points["per_block"]]
        )  # models of before have one map
        scored = {}
        for name, point in points.items():
            maps = register_maps(read_scores(detections, point), found, upsampling=upsampling)
            scored[name] = evaluated(one >= point["threshold"] for one in maps)
        result[method] = {
            **scored["accumulated"],
            "per_block": scored["per_block"]["per_block"],
            "operating_points": points,
            "recall_at_precision": highest_recall(recalled(detections, point) for point in of_each_map),
        }
    result["drift"] = _drift_errors(found * pixel, truth["drift"][:])
    result["fractions"] = dict(truth.attrs["fractions"])
    result["provenance"] = provenance(
        "score", parameters, network, expert, ground_truth, shifts, operating_points
    )
    write_json(scores, result)
    _write_table(table, result)


def _write_table(path: Path, result: dict[str, Any]) -> None:
    """The scores a person compares first, in per cent: one row a method and way of counting."""
    columns = ("precision", "recall", "dice", "matthews")
    with complete_or_absent(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "counted", *(f"{column} (%)" for column in columns)])
        for method in ("network", "expert", "all_ones", "ground_truth"):
            for counted in ("per_block", "accumulated_same_blocks", "accumulated_reference"):
                figures = (f"{100 * result[method][counted][column]:.1f}" for column in columns)
                writer.writerow([method.replace("_", " "), counted.replace("_", " "), *figures])


def _drift_errors(found: NDArray[np.floating], true: NDArray[np.floating]) -> dict[str, Any]:
    error = found - true
    return {
        "found": found.tolist(),
        "true": true.tolist(),
        "root_mean_square_error": float(np.sqrt((error**2).sum(axis=1).mean())),
        "largest_error": float(np.hypot(error[:, 0], error[:, 1]).max()),
    }
