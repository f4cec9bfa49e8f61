"""A trained network with its thresholds as a folder that other runs can take instead of training (`model: FOLDER`)."""

from __future__ import annotations

import shutil
from pathlib import Path

from ulmpipe.configuration.models import DESCRIPTION, OPERATING_POINTS, WEIGHTS
from ulmpipe.io.stores import complete_or_absent, provenance, write_json
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, model: Path, operating_points: Path, folder: Path) -> None:
    """Copy weights and thresholds and describe what they were made for."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in ((model, WEIGHTS), (operating_points, OPERATING_POINTS)):
        with complete_or_absent(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    write_json(
        folder / DESCRIPTION,
        {
            "network": parameters["network"]["name"],
            "made_for": parameters["made_for"],
            "provenance": provenance("pack_model", parameters, model, operating_points),
        },
    )
