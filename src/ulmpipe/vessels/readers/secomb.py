"""Network.dat of T. W. Secomb's programs: a table of segments with diameters, then a table of nodes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.readers.raw import RawGraph

_CARRYING = (3, 4, 5)
_log = logging.getLogger(__name__)


def read_secomb(path: Path) -> RawGraph:
    """Read segments (name, type, first node, last node, diameter, …) and nodes (name, x, y, z, …), micrometres.

    A table begins below the line that gives the number of its rows and one with the names of its columns; that of the
    nodes follows that of the segments. Of the segments those of types 3 to 5 carry blood in his programs, and the
    others (sprouts, dead ends) are left out, unless none is of such a type.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    segments, end = _table(lines, _find_segments(lines, path), 5, path)
    nodes, _ = _table(lines, _next_count(lines, end, path), 4, path)
    carries = np.isin(segments[:, 1], _CARRYING)
    if carries.any() and not carries.all():
        others = sorted({int(kind) for kind in segments[~carries, 1]})
        _log.warning(
            "%s: %d segments of types %s, which carry no blood, are left out", path, (~carries).sum(), others
        )
        segments = segments[carries]
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
    return "nodsegm" in lower or "number of segments" in lower


def _find_segments(lines: list[str], path: Path) -> int:
    """Number of the line that counts the segments."""
    for number, line in enumerate(lines):
        words = line.lower().split()
        counts = words[:1] and words[0].isdecimal() and "number of segments" in line.lower()
        if counts and "nodsegm" not in line.lower() and not any(word.startswith("max") for word in words):
            return number
    raise InputError(f"{path}: no line such as '50 total number of segments', one was expected")


def _next_count(lines: list[str], after: int, path: Path) -> int:
    """Number of the line that counts the nodes: the next one with anything in it."""
    for number, line in enumerate(lines[after:], start=after):
        words = line.split()
        if words and words[0].isdecimal():
            return number
        if words:
            break
    raise InputError(
        f"{path}: no line such as '40 total number of nodes' below the segments, one was expected"
    )


def _table(lines: list[str], count: int, n_columns: int, path: Path) -> tuple[NDArray[np.float64], int]:
    """Rows of a table, of `n_columns` numbers each, and the number of the line after it."""
    n_rows = int(lines[count].split()[0])
    first = count + 2  # one line names the columns
    rows: list[list[float]] = []
    for number, line in enumerate(lines[first : first + n_rows], start=first + 1):
        fields = line.split()
        try:
            rows.append([float(field) for field in fields[:n_columns]])
        except ValueError:
            raise InputError(f"{path}, line {number}: {line.strip()!r}, numbers were expected") from None
        if len(rows[-1]) < n_columns:
            raise InputError(
                f"{path}, line {number}: {len(fields)} columns, at least {n_columns} were expected"
            )
    if len(rows) < n_rows:
        raise InputError(f"{path}: {len(rows)} rows below line {count + 1}, {n_rows} were expected")
    return np.array(rows).reshape(-1, n_columns), first + n_rows
