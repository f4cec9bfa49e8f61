"""Network.dat of T. W. Secomb's programs: a table of segments with diameters, then a table of nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.readers.raw import RawGraph

_SEGMENTS, _NODES = "total number of segments", "number of nodes"


def read_secomb(path: Path) -> RawGraph:
    """Read segments (name, type, first node, last node, diameter, …) and nodes (name, x, y, z, …), micrometres.

    The header's lines differ between programs: a table begins below the line that gives the number of its rows and
    says so in words, and one line with the names of its columns.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    segments = _table(lines, _find(lines, "segments", path), 5, path)
    nodes = _table(lines, _find(lines, "nodes", path), 4, path)
    names = nodes[:, 0].astype(np.int64)
    row = {name: number for number, name in enumerate(names.tolist())}
    pairs = segments[:, 2:4].astype(np.int64)
    for number, pair in enumerate(pairs.tolist()):
        for name in pair:
            if name not in row:
                raise InputError(
                    f"{path}: segment {number} ends at node {name}, a node of this file was expected"
                )
    edges = np.array([[row[name] for name in pair] for pair in pairs.tolist()], dtype=np.int64)
    return RawGraph(nodes[:, 1:4], edges, edge_radius=segments[:, 4] / 2)


def looks_like_secomb(text: str) -> bool:
    """Whether a file's beginning has the header of such a file."""
    lower = text.lower()
    return "nodsegm" in lower or _SEGMENTS in lower


def _find(lines: list[str], what: str, path: Path) -> int:
    """Number of the line that counts the rows of a table."""
    for number, line in enumerate(lines):
        words = line.lower().split()
        if words and words[0].isdecimal() and "number" in words and "of" in words and what in line.lower():
            if "maximum" in words or "boundary" in line.lower() or "max." in words:
                continue
            return number
    raise InputError(f"{path}: no line such as '50 total number of {what}', one was expected")


def _table(lines: list[str], first: int, n_columns: int, path: Path) -> NDArray[np.float64]:
    n_rows = int(lines[first].split()[0])
    rows: list[list[float]] = []
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        if len(rows) == n_rows:
            break
        fields = line.split()
        try:
            rows.append([float(field) for field in fields[:n_columns]])
        except ValueError:
            if rows:
                raise InputError(f"{path}, line {number}: {line.strip()!r}, numbers were expected") from None
            continue  # names of the columns
        if len(rows[-1]) < n_columns:
            raise InputError(
                f"{path}, line {number}: {len(fields)} columns, at least {n_columns} were expected"
            )
    if len(rows) < n_rows:
        raise InputError(f"{path}: {len(rows)} rows below line {first + 1}, {n_rows} were expected")
    return np.array(rows).reshape(-1, n_columns)
