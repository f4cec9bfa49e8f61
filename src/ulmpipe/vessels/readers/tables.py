"""Two tables with named columns: nodes, and the edges between them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.readers.raw import RawGraph, numbers, radius_among, zero_based

_NODE_IDS = ("id", "node_id", "nodeid", "node")
_PLACES = (("x", "y", "z"), ("pos_x", "pos_y", "pos_z"))
_ENDS = (
    ("source", "target"),
    ("node1id", "node2id"),
    ("node1", "node2"),
    ("vertex_1", "vertex_2"),
    ("n1", "n2"),
    ("from", "to"),
    ("start", "end"),
)


def read_tables(path: Path, edges_path: Path | None, index_base: int | None) -> RawGraph:
    """Read a table of nodes and one of edges, comma, semicolon or tab between columns, names in the first line.

    Nodes: ``x``, ``y``, ``z`` (or ``pos_x`` …), perhaps ``id``, ``radius`` or ``diameter``, ``vessel_type``. Edges:
    ``source``, ``target`` (or ``node1id``, ``node2id``; ``n1``, ``n2``; ``from``, ``to``; ``start``, ``end``), and
    ``radius`` or ``diameter`` if nodes have none. Without ids, edges hold row numbers, counted from `index_base`.
    """
    if edges_path is None:
        raise InputError(f"{path}: a table of nodes; the table of its edges (edges: PATH) was expected too")
    if not edges_path.is_file():
        raise InputError(f"{edges_path}: no such file, the table of the edges of {path} was expected")
    nodes, edges = _read_table(path), _read_table(edges_path)
    place = _named(nodes, _PLACES, path, "coordinates")
    positions = np.stack([numbers(nodes[name], str(path), f"{name} of row") for name in place], axis=1)
    ends = _named(edges, _ENDS, edges_path, "the nodes that an edge joins")
    pairs = np.stack([_whole(edges[name], edges_path, name) for name in ends], axis=1)
    identifiers = next((name for name in _NODE_IDS if name in nodes), None)
    if identifiers is not None:
        pairs = _rows_of(pairs, _whole(nodes[identifiers], path, identifiers), path, edges_path)
    else:
        pairs = zero_based(pairs, len(positions), index_base=index_base, source=str(edges_path))
    radius, edge_radius = (
        radius_among(
            {
                name: numbers(values, str(source), f"{name} of row")
                for name, values in table.items()
                if radius_among({name: []}) is not None
            }
        )
        for table, source in ((nodes, path), (edges, edges_path))
    )
    if radius is None and edge_radius is None:
        raise InputError(
            f"{path}: radius or diameter is missing, columns are {', '.join(nodes)}, and {', '.join(edges)} in "
            f"{edges_path}; one named radius or diameter was expected"
        )
    types = nodes.get("vessel_type")
    return RawGraph(
        positions,
        pairs,
        radius=radius,
        edge_radius=edge_radius if radius is None else None,
        vessel_type=None if types is None else _whole(types, path, "vessel_type").astype(np.int8),
    )


def looks_like_table(beginning: bytes) -> bool:
    """Whether the first line of a file names the coordinates of nodes."""
    first = beginning.decode("utf-8-sig", errors="replace").splitlines()[:1]
    columns = _split(first[0]) if first else []
    return any(set(names) <= {name.lower() for name in columns} for names in _PLACES)


def _split(line: str) -> list[str]:
    separator = max(",;\t", key=line.count)
    return [field.strip().strip('"') for field in line.split(separator)]


def _read_table(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
        separator = max(",;\t", key=first.count)
        names = [name.lower() for name in _split(first)]
        columns: dict[str, list[str]] = {name: [] for name in names}
        for number, row in enumerate(csv.reader(file, delimiter=separator), start=2):
            if not row:
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {number}: {len(row)} columns, expected were {', '.join(names)}"
                )
            for name, field in zip(names, row, strict=True):
                columns[name].append(field)
    return columns


def _named(
    table: dict[str, list[str]], choices: tuple[tuple[str, ...], ...], path: Path, what: str
) -> tuple[str, ...]:
    for names in choices:
        if all(name in table for name in names):
            return names
    listed = "; ".join(", ".join(names) for names in choices)
    raise InputError(f"{path}: no columns of {what}, they are {', '.join(table)}; expected were {listed}")


def _whole(values: list[str], path: Path, name: str) -> NDArray[np.int64]:
    found = numbers(list(values), str(path), f"{name} of row")
    wrong = ~np.isfinite(found) | (found != np.floor(found))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{path}: {name} of row {row} is {values[row]!r}, a whole number was expected")
    return found.astype(np.int64)


def _rows_of(
    pairs: NDArray[np.int64], identifiers: NDArray[np.int64], path: Path, edges_path: Path
) -> NDArray[np.int64]:
    order = np.argsort(identifiers, kind="stable")
    ordered = identifiers[order]
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"{path}: id {twice} stands twice, an id used once only was expected")
    place = np.minimum(np.searchsorted(ordered, pairs), len(ordered) - 1)
    missing = ordered[place] != pairs
    if missing.any():
        row = int(np.argmax(missing.any(axis=1)))
        raise InputError(
            f"{edges_path}: row {row} joins nodes {pairs[row].tolist()}, ids of {path} were expected"
        )
    return order[place]
