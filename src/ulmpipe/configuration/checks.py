"""Checking a configuration: one clear line for each value that is wrong, naming file, field and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ulmpipe.configuration.sections import ACQUISITION_TAGS, Configuration, FileGraph
from ulmpipe.errors import InputError


def _one_line(error: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    # a discriminated union puts its tag into the location: it is not a field of the user's
    tags = ("synthetic", "file", *ACQUISITION_TAGS)
    location = [str(part) for part in error["loc"] if part not in tags]
    value, expected = error["input"], _expectation(error["msg"])
    if isinstance(value, dict | BaseModel) and error["type"] == "value_error":
        # a whole section: the message itself names the field and the value
        source = _source(location or expected.split(": ")[0].split("."), files)
        return f"{source}: {'.'.join([*location, expected])}"
    source, field = _source(location, files), ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"{source}: {field}: unknown key (value {value!r}); {_near(location)}"
    if error["type"] == "missing":
        return f"{_source(location[:-1], files)}: {field}: missing"
    if isinstance(value, str) and error["type"] in ("float_type", "int_type"):
        return (
            f"{source}: {field}: {value!r} is text, expected a number (YAML reads 1e-3 as text: write 1.0e-3)"
        )
    return f"{source}: {field}: {value!r}: {expected}"


def _expectation(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be ", "expected ")
    return message.replace("expected greater", "expected a value greater").replace(
        "expected less", "expected a value less"
    )


def _source(location: Sequence[str], files: Mapping[str, Any]) -> str:
    """The file that says what stands at a location: the last one that does, since later files override."""
    for name, content in reversed(list(files.items())):
        if _holds(content, location):
            return name
    return " + ".join(files) or "configuration"


def _holds(content: Any, location: Sequence[str]) -> bool:
    if not location:
        return True
    first, *rest = location
    if isinstance(content, Mapping):
        return any(str(key) == first and _holds(value, rest) for key, value in content.items())
    if isinstance(content, list) and first.isdecimal() and int(first) < len(content):
        return _holds(content[int(first)], rest)
    return False


def _near(location: list[str]) -> str:
    """Suggest the known key nearest to a misspelt one."""
    import difflib

    model: Any = Configuration
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        annotation = getattr(fields.get(part), "annotation", None)
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    known = list(getattr(model, "model_fields", {}))
    nearest = difflib.get_close_matches(location[-1], known, n=1)
    if nearest:
        return f"did you mean '{nearest[0]}'?"
    return f"expected one of {', '.join(known)}" if known else "expected no such key"


def check_configuration(
    content: Mapping[str, Any], *, files: Mapping[str, Any] | None = None
) -> Configuration:
    """Validate a configuration.

    Parameters
    ----------
    content : mapping
        What YAML gave.
    files : mapping, optional
        The content of each file it was merged from, by name, later ones overriding; to name the file in errors.

    Raises
    ------
    InputError
        One line for each wrong field: file, field, value, what was expected.
    """
    try:
        return Configuration.model_validate(_with_text_keys(content))
    except ValidationError as error:
        raise InputError("\n".join(_one_line(dict(each), files or {}) for each in error.errors())) from None


def _with_text_keys(value: Any) -> Any:
    # YAML reads a name such as 20120626 as a number
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return value


def check_graph_files(settings: Configuration, *, files: Mapping[str, Any] | None = None) -> None:
    """Refuse graphs that are to be read from a file that is not there.

    Raises
    ------
    InputError
        One line: file, field, path.
    """
    for name in (*settings.volumes.train, settings.volumes.test):
        graph = settings.graphs[name]
        if not isinstance(graph, FileGraph):
            continue
        for field, path in (("path", graph.path), ("edges", graph.edges)):
            if path is not None and not Path(path).is_file():
                source = _source(("graphs", name, field), files or {})
                raise InputError(f"{source}: graphs.{name}.{field}: '{path}': no such file")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one configuration file; a missing or malformed one is an `InputError`."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: {content!r}: expected sections, as in config/config.yaml")
    return content


def load_configuration(*paths: str | Path) -> Configuration:
    """Read the default configuration and the files that override it, later ones first in rank."""
    merged: dict[str, Any] = {}
    files = {str(path): read_yaml(path) for path in paths}
    for content in files.values():
        _merge(merged, content)
    return check_configuration(merged, files=files)


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
