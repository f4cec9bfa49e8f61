"""Graphs whose nodes and edges carry named attributes: GraphML, and Pajek as VascGraph writes it. Read by NetworkX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN
from ulmpipe.vessels.readers.raw import RawGraph, numbers, radius_among

_PLACES = (("x", "y", "z"), ("pos_x", "pos_y", "pos_z"), ("X", "Y", "Z"))
_TRIPLES = ("pos", "position", "positions", "coords", "coordinates")
_TYPES = ("vessel_type", "type")
_VASCGRAPH_TYPES = {"1": ARTERY, "2": VEIN, "3": CAPILLARY}


def read_graphml(path: Path) -> RawGraph:
    """Read positions ``x``, ``y``, ``z`` or ``pos``, and radius or diameter, of nodes or edges."""
    import networkx

    try:
        graph = networkx.read_graphml(path)
    except Exception as error:  # XML parsers and NetworkX raise many kinds
        raise InputError(f"{path}: cannot be read as GraphML ({' '.join(str(error).split())})") from None
    return _from_attributes(graph, path)


def read_pajek(path: Path) -> RawGraph:
    """Read ``pos "[x y z]"``, ``r`` and ``type`` behind the shape of each vertex, as VascGraph means them.

    Its ``d`` is the distance to the wall, which is a radius, and of its types 2 is a vein, 3 a capillary.
    """
    import networkx

    try:
        graph = networkx.read_pajek(path)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as Pajek ({' '.join(str(error).split())})") from None
    for _, attributes in graph.nodes(data=True):
        if "d" in attributes:
            attributes.setdefault("r", attributes.pop("d"))
        if attributes.get("type") in _VASCGRAPH_TYPES:
            attributes["type"] = _VASCGRAPH_TYPES[attributes["type"]]
    return _from_attributes(graph, path)


def _from_attributes(graph: Any, path: Path) -> RawGraph:
    names = list(graph.nodes)
    if not names:
        raise InputError(f"{path}: no nodes, a vessel graph was expected")
    row = {name: number for number, name in enumerate(names)}
    nodes = _columns([graph.nodes[name] for name in names], path, "node")
    pairs = [(row[start], row[end]) for start, end, *_ in graph.edges]
    edges = _columns([attributes for *_, attributes in graph.edges(data=True)], path, "edge")
    radius, edge_radius = (
        radius_among(
            {name: numbers(values, str(path), f"{name} of {kind}") for name, values in columns.items()}
        )
        for kind, columns in (
            ("node", _of_radius(nodes)),
            ("edge", _of_radius(edges)),
        )
    )
    if radius is None and edge_radius is None:
        raise InputError(
            f"{path}: radius or diameter is missing, nodes have {', '.join(nodes) or 'nothing'}, "
            f"edges {', '.join(edges) or 'nothing'}; one of radius, r, diameter, d was expected"
        )
    return RawGraph(
        positions=_positions(nodes, path),
        edges=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        radius=radius,
        edge_radius=edge_radius if radius is None else None,
        vessel_type=_vessel_type(nodes),
    )


def _columns(rows: list[Mapping[str, Any]], path: Path, kind: str) -> dict[str, list[Any]]:
    """Attributes that all of them have; what only some have is of no use, but for a radius or a place an error."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        missing = next((number for number, row in enumerate(rows) if name not in row), None)
        if missing is None:
            columns[name] = [row[name] for row in rows]
        elif radius_among({name: []}) is not None or name in (*_TRIPLES, *sum(_PLACES, ())):
            raise InputError(f"{path}: {kind} {missing} has no {name}, as others have; one was expected")
    return columns


def _of_radius(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values for name, values in columns.items() if radius_among({name: []}) is not None}


def _positions(nodes: Mapping[str, list[Any]], path: Path) -> NDArray[np.float64]:
    # Pajek has an x and y of its own, for drawing, which are all 0 where there is a position in space
    for name in _TRIPLES:
        if name in nodes:
            rows = [str(value).strip("[]() ").replace(",", " ").split() for value in nodes[name]]
            wrong = next((number for number, row in enumerate(rows) if len(row) != 3), None)
            if wrong is not None:
                raise InputError(
                    f"{path}: {name} of node {wrong} is {nodes[name][wrong]!r}, three numbers were expected"
                )
            flat = numbers([number for row in rows for number in row], str(path), f"coordinate of {name}")
            return flat.reshape(-1, 3)
    for names in _PLACES:
        if all(name in nodes for name in names):
            return np.stack([numbers(nodes[name], str(path), f"{name} of node") for name in names], axis=1)
    raise InputError(
        f"{path}: positions are missing, nodes have {', '.join(nodes) or 'nothing'}; "
        "x, y and z, or pos with three numbers, were expected"
    )


def _vessel_type(nodes: Mapping[str, list[Any]]) -> NDArray[np.int8] | None:
    for name in _TYPES:
        if name in nodes and all(str(value) in ("0", "1", "2", "3") for value in nodes[name]):
            return np.array([int(value) for value in nodes[name]], dtype=np.int8)
    return None
