"""Trained networks that a run may take instead of training one: folders with weights, thresholds and a description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from ulmpipe.configuration.sections import Network
from ulmpipe.errors import InputError
from ulmpipe.io.stores import read_json, without_infinity

WEIGHTS, OPERATING_POINTS, DESCRIPTION = "weights.safetensors", "operating_points.json", "model.json"
VELOCITY_WEIGHTS = "velocity.safetensors"  # a model may have them or not
# sections of the configuration that decide what it sees, and what the expert does
MADE_FOR = ("probe", "sequence", "medium", "beamforming", "correlation", "clutter_filter", "tracking")


def read_model(folder: Path, *, key: str = "model", own: str = "train") -> dict[str, Any]:
    """Description of a model: ``network`` (its name), ``input`` and ``made_for`` (sections of the configuration).

    For messages, `key` is the configuration's that names the folder, and `own` what it is if no model is taken.

    Raises
    ------
    InputError
        A folder that is not there, or lacks one of the three files or one of the fields, or has an unknown network or
        input.
    """
    for name in (WEIGHTS, OPERATING_POINTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise InputError(
                f"{key}: '{folder}' has no {name}; expected {own}, pretrained or the folder of a trained model"
            )
    description = read_json(folder / DESCRIPTION)
    for field in ("network", "made_for"):
        if field not in description:
            raise InputError(f"{folder / DESCRIPTION}: {field}: missing")
    if "frames_per_block" not in description["made_for"].get("sequence", {}):
        raise InputError(f"{folder / DESCRIPTION}: made_for.sequence.frames_per_block: missing")
    description = {"input": "correlation"} | description  # those of before there was a choice
    for field, key_of_network in (("network", "name"), ("input", "input")):
        known = get_args(Network.model_fields[key_of_network].annotation)
        if description[field] not in known:
            raise InputError(
                f"{folder / DESCRIPTION}: {field}: {description[field]!r}; expected {' or '.join(known)}"
            )
    return description


def unlike(sections: Mapping[str, Any], made_for: Mapping[str, Any]) -> Iterator[str]:
    """One line for each setting that differs from the one a model was trained with."""
    for section, content in made_for.items():
        for field, value in content.items():
            own = sections.get(section, {}).get(field)
            if without_infinity(own) != value:
                yield f"{section}.{field} is {own}, the model was trained with {value}"
