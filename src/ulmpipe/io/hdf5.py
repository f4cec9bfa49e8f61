"""HDF5 files of ours: format, version and provenance in the attributes, ``complete`` written last of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ulmpipe.errors import InputError
from ulmpipe.io.stores import complete_or_absent


@contextmanager
def new_file(path: str | Path, *, kind: str, version: int, provenance: dict[str, Any]) -> Iterator[h5py.File]:
    """Create a file that appears at `path` only when the block of code ends well."""
    with complete_or_absent(path) as temporary, h5py.File(temporary, "w") as file:
        yield file
        file.attrs["format"], file.attrs["version"] = kind, version
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        file.attrs["complete"] = True


@contextmanager
def open_file(path: str | Path, *, kind: str, version: int) -> Iterator[h5py.File]:
    """Open a whole file of a kind for reading.

    Raises
    ------
    InputError
        No such file, not an HDF5 file, one of another kind or version, or an incomplete one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected {kind} (HDF5)")
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise InputError(f"{path}: not a whole HDF5 file, expected {kind}") from None
    with file:
        found = file.attrs.get("format"), file.attrs.get("version"), bool(file.attrs.get("complete", False))
        if found != (kind, version, True):
            raise InputError(
                f"{path}: format {found[0]!r}, version {found[1]}, complete {found[2]}, expected {kind!r}, "
                f"version {version}, complete True"
            )
        yield file


def file_provenance(path: str | Path) -> dict[str, Any] | None:
    """What a file of ours was made from and with; None for others.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("provenance")
    except OSError as error:
        raise InputError(f"{path}: not a whole HDF5 file ({error})") from None
    if text is None:
        return None
    provenance: dict[str, Any] = json.loads(text)
    return provenance
