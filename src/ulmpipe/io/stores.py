"""Outputs that are whole or absent: zarr and JSON stores with provenance.

Every stage writes through this module. A store is written under a temporary name in the same folder and renamed when it is
whole; the last thing written into a zarr store is the attribute ``complete: true``, and readers refuse a store without it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ulmpipe.errors import InputError

FORMAT_VERSION = 1


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def complete_or_absent(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    Parameters
    ----------
    path : str or Path
        The file or folder to be written. What stands there already is replaced only at the end.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix is kept: writers such as matplotlib choose the format by it
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir():
            _remove(path)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


@cache
def _commit() -> str:
    """Commit of the source tree the package runs from, or "unknown" for an installed package."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def provenance(stage: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What an output carries about its making: program, version, commit, stage and parameters (the seed among them)."""
    from ulmpipe import __version__

    return {
        "program": "ulmpipe",
        "version": __version__,
        "commit": _commit(),
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "parameters": dict(parameters),
    }


@contextmanager
def new_store(path: str | Path, *, provenance: Mapping[str, Any]) -> Iterator[Any]:
    """Create a zarr v3 group that appears at `path` only when the block ends well.

    Yields
    ------
    zarr.Group
        The open group; fill it with `new_array`.
    """
    import zarr

    with complete_or_absent(path) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        group.attrs["provenance"] = dict(provenance)
        yield group
        group.attrs["complete"] = True


def new_array(
    group: Any,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: str,
    dims: tuple[str, ...],
    units: str,
    compressed: bool = True,
    spacing: Mapping[str, float] | None = None,
    origin: Mapping[str, float] | None = None,
    **attributes: Any,
) -> Any:
    """Add an array of which one chunk is one item of the first axis (a block).

    Parameters
    ----------
    group : zarr.Group
        From `new_store`.
    dims, units, spacing, origin
        What the axes are; spacing and origin in SI units, by axis name.
    compressed : bool
        False for what does not compress (noise), where compressing only costs time.
    """
    if len(dims) != len(shape):
        raise ValueError(f"array {name}: {len(dims)} dims for {len(shape)} axes")
    return group.create_array(
        name,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype=dtype,
        dimension_names=dims,
        compressors="auto" if compressed else None,
        attributes={
            "dims": list(dims),
            "units": units,
            "spacing": dict(spacing or {}),
            "origin": dict(origin or {}),
            **attributes,
        },
    )


def open_store(path: str | Path, *arrays: str) -> Any:
    """Open a whole store for reading.

    Raises
    ------
    InputError
        If there is none, if it is not whole, or if it lacks one of `arrays`.
    """
    import zarr

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such store; make it with: snakemake --cores all {path}")
    try:
        group = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not a readable zarr group ({error}); delete it and make it again"
        ) from error
    if group.attrs.get("complete") is not True:
        raise InputError(f"{path}: incomplete, its writing was interrupted; delete it and make it again")
    for name in arrays:
        if name not in group:
            raise InputError(f"{path}: array '{name}' is missing; expected {', '.join(arrays)}")
    return group


def read_block(array: Any, index: int) -> Any:
    """One block of an array, refusing a truncated store in one line."""
    try:
        return array[index]
    except Exception as error:  # codecs raise many kinds: all mean the chunk on disk is damaged
        raise InputError(
            f"{array.store_path}: block {index} cannot be read ({type(error).__name__}: {error}); "
            "the file is truncated or damaged: delete the store and make it again"
        ) from error


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    with complete_or_absent(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file; a missing or damaged one is an `InputError`."""
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    return content
