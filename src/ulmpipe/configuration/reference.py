"""The schema and the page of documentation that follow from the sections of the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from ulmpipe.configuration.checks import read_yaml
from ulmpipe.configuration.sections import Configuration


def _schema() -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Configuration.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


_HEAD = """<!-- made by `python -m ulmpipe.configuration` from src/ulmpipe/configuration and config/config.yaml -->
# What each value of the configuration means

Lengths in metres, times in seconds, frequencies in hertz, unless a name says otherwise. A configuration of your own is
a file that holds only what differs from `config/config.yaml`:
`snakemake --cores all results/mine/angio_20MB.png --configfile config/mine.yaml`. A misspelt key, a value of the wrong
kind or out of range ends with one line that names file, field and value, before anything is computed.
"""


def _table(default: Mapping[str, Any]) -> str:
    escaped_bar = r"\|"  # else it ends a cell
    lines = [_HEAD, "| key | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{key}` | {value} | {meaning.replace('|', escaped_bar)} |"
        for key, value, meaning in _rows(Configuration, default, "")
    ]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], default: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key, meaning, kinds = prefix + name, field.description or "", _models(field.annotation)
        value = default.get(name, None if field.is_required() else field.default)
        if not kinds:
            shown = f"`{_yaml(value)}`" if name in default or not field.is_required() else ""
            yield key, shown, meaning + _choices(field.annotation)
        elif get_origin(field.annotation) is dict:
            yield f"{key}.NAME", ", ".join(f"`{each}`" for each in value or {}), meaning
            for kind in kinds:
                alike = (each for each in (value or {}).values() if set(each) == set(kind.model_fields))
                yield from _rows(kind, next(alike, {}), f"{key}.NAME.")
        else:
            yield from _rows(kinds[0], value or {}, key + ".")


def _yaml(value: Any) -> str:
    """A value as it is written in a configuration: 1.0e-05, since YAML reads 1e-05 as text."""
    return re.sub(r"(?<![.\d])(\d+)e", r"\1.0e", json.dumps(value, ensure_ascii=False))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Sections that an annotation speaks of, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return f" ({', '.join(f'`{choice}`' for choice in get_args(annotation))})"


def generated_files() -> dict[Path, str]:
    """The files made from this module and the default configuration, by their path in the source tree."""
    root = Path(__file__).resolve().parents[3]
    return {
        root / "workflow/schemas/config.schema.json": _schema(),
        root / "docs/configuration.md": _table(read_yaml(root / "config/config.yaml")),
    }
