"""Probes that are known by name: their figures, each with its source, are files of the folder `probes`."""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files
from typing import Any

import yaml

from ulmpipe.acoustics.probe import Probe
from ulmpipe.errors import InputError

FOLDER = files("ulmpipe.acoustics") / "probes"


def probe_names() -> list[str]:
    """Names of the probes that come with the package, in alphabetical order."""
    return sorted(file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml"))


def probe_description(name: str) -> dict[str, Any]:
    """What the file of a probe says: the fields of `Probe` in SI units, `source` and `note`.

    Raises
    ------
    InputError
        If no probe has that name; the line lists those there are.
    """
    if name not in probe_names():
        raise InputError(f"probe name: {name!r}, expected one of {', '.join(probe_names())}")
    description: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return description


def probe_figures(name: str) -> dict[str, Any]:
    """The fields of `Probe`, SI units, of the probe of that name; raises as `probe_description` does."""
    description = probe_description(name)
    return {field.name: description[field.name] for field in fields(Probe)}


def named_probe(name: str, **changes: Any) -> Probe:
    """A probe by its name.

    Parameters
    ----------
    name : str
        One of `probe_names`.
    **changes
        Fields of `Probe` that differ, SI units.

    Raises
    ------
    InputError
        If no probe has that name, or a value is out of range.
    """
    return Probe(**(probe_figures(name) | changes))
