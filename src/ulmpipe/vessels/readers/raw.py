"""What a reader returns: the numbers of a file in the file's own units, not yet checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

RADIUS_NAMES = ("radius", "r", "rad", "radii", "avgRadiusAvg", "MaximumInscribedSphereRadius")
DIAMETER_NAMES = ("diameter", "d", "diam", "diameters")


@dataclass(frozen=True)
class RawGraph:
    """A graph as it stands in a file.

    Attributes
    ----------
    positions : (N, 3) float64
        File units.
    edges : (E, 2) int64
        Pairs of nodes, counted from 0.
    radius : (N,) float64, optional
        Of the vessel at each node, file units.
    edge_radius : (E,) float64, optional
        Of each edge, where the file has no radius of nodes.
    vessel_type : (N,) int8, optional
        See `VesselGraph`.
    """

    positions: NDArray[np.float64]
    edges: NDArray[np.int64]
    radius: NDArray[np.float64] | None = None
    edge_radius: NDArray[np.float64] | None = None
    vessel_type: NDArray[np.int8] | None = None


def radius_among(columns: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """The column that is a radius, or half of the one that is a diameter; None without either.

    Names count whatever their case, and with or without a unit behind ``_`` (``diameter_um``).
    """
    plain = {name.split("_")[0].lower(): name for name in reversed(list(columns))}
    for names, factor in ((RADIUS_NAMES, 1.0), (DIAMETER_NAMES, 0.5)):
        for name in names:
            if name.lower() in plain:
                return factor * np.asarray(columns[plain[name.lower()]], dtype=np.float64)
    return None


def numbers(values: list[Any], source: str, field: str) -> NDArray[np.float64]:
    """Values of a field as numbers.

    Raises
    ------
    InputError
        Something that is not a number.
    """
    found = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            # VascGraph writes some numbers as arrays of one
            found[row] = float(value.strip("[] ") if isinstance(value, str) else value)
        except (TypeError, ValueError):
            raise InputError(f"{source}: {field} {row} is {value!r}, a number was expected") from None
    return found


def zero_based(
    edges: NDArray[np.int64], n_nodes: int, *, index_base: int | None, source: str
) -> NDArray[np.int64]:
    """Edges between row numbers counted from 0, from numbers counted from `index_base`.

    Raises
    ------
    InputError
        No index base, and the numbers do not tell: neither a 0 nor the number of nodes is among them.
    """
    if index_base is None and edges.size:
        if edges.min() == 0:
            index_base = 0
        elif edges.max() == n_nodes:
            index_base = 1
        else:
            raise InputError(
                f"{source}: nodes have no ids, and edges of {edges.min()} to {edges.max()} for {n_nodes} nodes do not "
                "tell whether they count from 0 or 1: index_base, 0 or 1, was expected"
            )
    return edges - (index_base or 0)


def without_lone_nodes(raw: RawGraph) -> RawGraph:
    """Drop nodes without an edge and edges from a node to itself: neither is a vessel."""
    between = raw.edges[:, 0] != raw.edges[:, 1]
    edges = raw.edges[between]
    kept = np.zeros(len(raw.positions), bool)
    kept[edges] = True
    if kept.all() and between.all():
        return raw
    return RawGraph(
        positions=raw.positions[kept],
        edges=(np.cumsum(kept) - 1)[edges],
        radius=None if raw.radius is None else raw.radius[kept],
        edge_radius=None if raw.edge_radius is None else raw.edge_radius[between],
        vessel_type=None if raw.vessel_type is None else raw.vessel_type[kept],
    )


def radius_at_nodes(raw: RawGraph, source: str) -> RawGraph:
    """Move the radii of edges to nodes: each edge gets two inner nodes that have its radius.

    They lie as far from its ends as it is wide, a third of its length at most, and a little less for each further edge
    between the same two nodes, so that both stay; a node at an end has the mean radius of its edges.

    Raises
    ------
    InputError
        An edge whose radius is no positive number.
    """
    assert raw.edge_radius is not None
    wrong = ~(np.isfinite(raw.edge_radius) & (raw.edge_radius > 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{source}: radius of edge {row} is {raw.edge_radius[row]:g}, a positive number was expected"
        )
    n_nodes, n_edges = len(raw.positions), len(raw.edges)
    start, end = raw.positions[raw.edges[:, 0]], raw.positions[raw.edges[:, 1]]
    length = np.linalg.norm(end - start, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(length > 0, np.minimum(2 * raw.edge_radius / length, 1 / 3), 1 / 3)
    share = (share * 0.9 ** _number_among_parallel(raw.edges))[:, None]
    degree = np.bincount(raw.edges.ravel(), minlength=n_nodes)
    total = np.bincount(raw.edges.ravel(), weights=np.repeat(raw.edge_radius, 2), minlength=n_nodes)
    first = n_nodes + np.arange(n_edges)
    second = first + n_edges
    types = raw.vessel_type
    return RawGraph(
        positions=np.concatenate([raw.positions, start + share * (end - start), end - share * (end - start)]),
        edges=np.concatenate(
            [
                np.stack(pair, axis=1)
                for pair in ((raw.edges[:, 0], first), (first, second), (second, raw.edges[:, 1]))
            ]
        ),
        radius=np.concatenate([total / np.maximum(degree, 1), raw.edge_radius, raw.edge_radius]),
        vessel_type=None
        if types is None
        else np.concatenate([types, types[raw.edges[:, 0]], types[raw.edges[:, 1]]]),
    )


def _number_among_parallel(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many edges before each join the same two nodes."""
    pairs = np.sort(edges, axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))  # stable
    is_first = np.ones(len(edges), bool)
    is_first[1:] = (np.diff(pairs[order], axis=0) != 0).any(axis=1)
    place = np.arange(len(edges))
    number = np.empty(len(edges), np.int64)
    number[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return number
