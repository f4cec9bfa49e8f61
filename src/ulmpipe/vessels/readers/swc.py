"""SWC: a text with a line for each node, which names its parent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.readers.raw import RawGraph

_SWC_COLUMNS = "id type x y z radius parent"


def looks_like_swc(beginning: bytes) -> bool:
    """Whether the first bytes of a file are rows of seven numbers."""
    lines = [line.split() for line in beginning.decode(errors="replace").splitlines()]
    rows = [fields for fields in lines if fields and not fields[0].startswith("#")]
    return bool(rows) and len(rows[0]) == len(_SWC_COLUMNS.split())


def read_swc(path: Path) -> RawGraph:
    """Read columns ``id type x y z radius parent``; a tree."""
    table, line_numbers = _read_swc_table(path)
    ids, parents = table[:, 0], table[:, 6]
    for name, values in (("id", ids), ("parent", parents)):
        _refuse_line(values != np.floor(values), (path, line_numbers), name, values, "a whole number")
    for column, name in enumerate(_SWC_COLUMNS.split()):
        _refuse_line(
            ~np.isfinite(table[:, column]), (path, line_numbers), name, table[:, column], "a finite number"
        )
    radius = table[:, 5]
    _refuse_line(radius <= 0, (path, line_numbers), "radius", radius, "a positive number")

    order = np.argsort(ids, kind="stable")
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    _refuse_line(repeated, (path, line_numbers), "id", ids, "an id used once only")
    child = np.flatnonzero(parents != -1)
    if len(child) == len(ids):
        raise InputError(f"{path}: no root, one node with parent -1 was expected")
    place = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    missing = (parents != -1) & (ids[order[place]] != parents)
    _refuse_line(missing, (path, line_numbers), "parent", parents, "the id of a node of this file")
    _refuse_line(parents == ids, (path, line_numbers), "parent", parents, "the id of another node")
    edges = np.stack([order[place[child]], child], axis=1).astype(np.int64)
    # The type column of vascular SWC files is a tracing program's leftover, not artery or vein.
    return RawGraph(table[:, 2:5], edges, radius=radius)


def _read_swc_table(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the numbers (row, 7) and the line each row stands on."""
    n_columns = len(_SWC_COLUMNS.split())
    rows: list[list[float]] = []
    line_numbers: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            if len(fields) != n_columns:
                raise InputError(
                    f"{path}, line {number}: {len(fields)} columns, expected were {_SWC_COLUMNS}"
                )
            try:
                rows.append([float(field) for field in fields])
            except ValueError:
                raise InputError(
                    f"{path}, line {number}: {line.strip()!r}, numbers were expected for {_SWC_COLUMNS}"
                ) from None
            line_numbers.append(number)
    if not rows:
        raise InputError(f"{path}: no nodes, lines of {_SWC_COLUMNS} were expected")
    return np.array(rows), np.array(line_numbers)


def _refuse_line(
    wrong: NDArray[np.bool_],
    where: tuple[Path, NDArray[np.int64]],
    column: str,
    values: NDArray[np.float64],
    expected: str,
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        path, line_numbers = where
        raise InputError(
            f"{path}, line {line_numbers[row]}: {column} is {values[row]:g}, {expected} was expected"
        )
