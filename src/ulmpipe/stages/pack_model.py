"""A trained network with its thresholds as a folder that other runs can take instead of training (`model: FOLDER`)."""

from __future__ import annotations

import shutil
from pathlib import Path

from ulmpipe.configuration.models import DESCRIPTION, OPERATING_POINTS, VELOCITY_WEIGHTS, WEIGHTS
from ulmpipe.io.stores import complete_or_absent, provenance, without_infinity, write_json
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, models: list[Path], operating_points: Path, folder: Path) -> None:
    """Copy weights, of velocities too if `models` has them, and thresholds, and describe what they were made for."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (WEIGHTS, VELOCITY_WEIGHTS)
    for source, name in ((operating_points, OPERATING_POINTS), *zip(models, names, strict=False)):
        with complete_or_absent(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    write_json(
        folder / DESCRIPTION,
        {
            "network": parameters["network"]["name"],
            "input": parameters["network"]["input"],
            "made_for": without_infinity(parameters["made_for"]),
            "provenance": provenance("pack_model", parameters, *models, operating_points),
        },
    )
