"""The vessel graph every later stage walks on, and the few operations that keep it a graph of vessels.

A graph is a set of points on vessel axes, each with a radius, joined by short straight edges. Operations
return new graphs; nothing here reads a file or knows where a graph came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ulmpipe.errors import InputError

UNKNOWN, ARTERY, CAPILLARY, VEIN = 0, 1, 2, 3
"""Values of ``VesselGraph.vessel_type``."""


@dataclass(frozen=True)
class VesselGraph:
    """A vascular network.

    Attributes
    ----------
    positions : (N, 3) float64
        Points on the vessel axes, x, y, z, metres.
    edges : (E, 2) int64
        Pairs of points joined by a straight piece of vessel.
    radius : (N,) float64
        Vessel radius at every point, metres.
    vessel_type : (N,) int8
        0 unknown, 1 artery, 2 capillary, 3 vein.
    boundary : (N,) bool
        Points where blood may enter or leave.
    dilation : float
        Factor already applied to positions and radius; the native radius is ``radius / dilation``.
    """

    positions: NDArray[np.float64]
    edges: NDArray[np.int64]
    radius: NDArray[np.float64]
    vessel_type: NDArray[np.int8]
    boundary: NDArray[np.bool_]
    dilation: float = 1.0


def edge_lengths(graph: VesselGraph) -> NDArray[np.float64]:
    """Length of every edge, (E,) metres."""
    start, end = graph.positions[graph.edges[:, 0]], graph.positions[graph.edges[:, 1]]
    lengths: NDArray[np.float64] = np.linalg.norm(end - start, axis=1)
    return lengths


def node_degrees(graph: VesselGraph) -> NDArray[np.int64]:
    """Number of edges at every node, (N,)."""
    return np.bincount(graph.edges.ravel(), minlength=len(graph.positions))


def component_labels(edges: NDArray[np.int64], n_nodes: int) -> NDArray[np.int64]:
    """Number of the connected component of every node, (N,), counted from 0."""
    adjacency = coo_array(
        (np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(n_nodes, n_nodes)
    )
    return connected_components(adjacency, directed=False)[1].astype(np.int64)


def check_graph(graph: VesselGraph, *, source: str, connected: bool = True) -> None:
    """Refuse a graph no blood could flow through.

    Parameters
    ----------
    graph : VesselGraph
    source : str
        File or name to begin the message with.
    connected : bool
        Whether it has to be in one piece.

    Raises
    ------
    InputError
        No edges, arrays of unequal length, an edge to a node that does not exist or to itself, a coordinate
        or radius that is not a number, a radius that is not positive, two nodes joined at the same place, or
        more than one connected component.
    """
    n_nodes = len(graph.positions)
    if len(graph.edges) == 0:
        raise InputError(f"{source}: the graph has no edges, at least one vessel was expected")
    for name in ("radius", "vessel_type", "boundary"):
        if len(getattr(graph, name)) != n_nodes:
            raise InputError(f"{source}: {len(getattr(graph, name))} values of {name} for {n_nodes} nodes")
    if graph.edges.min() < 0 or graph.edges.max() >= n_nodes:
        edge = int(np.argmax(np.any((graph.edges < 0) | (graph.edges >= n_nodes), axis=1)))
        raise InputError(
            f"{source}: edge {edge} joins nodes {graph.edges[edge].tolist()} but there are {n_nodes} nodes"
        )
    _refuse_first(
        ~np.isfinite(graph.positions).all(axis=1), source, "position", graph.positions, "finite numbers"
    )
    _refuse_first(~np.isfinite(graph.radius), source, "radius", graph.radius, "a finite number")
    _refuse_first(graph.radius <= 0, source, "radius", graph.radius, "a positive number")
    if not (np.isfinite(graph.dilation) and graph.dilation > 0):
        raise InputError(f"{source}: dilation is {graph.dilation}, a positive number was expected")
    without_length = edge_lengths(graph) == 0
    if without_length.any():
        edge = int(np.argmax(without_length))
        raise InputError(f"{source}: edge {edge} (nodes {graph.edges[edge].tolist()}) has no length")
    sizes = np.sort(np.bincount(component_labels(graph.edges, n_nodes)))[::-1]
    if connected and len(sizes) > 1:
        listed = ", ".join(str(size) for size in sizes[:5]) + (", …" if len(sizes) > 5 else "")
        raise InputError(
            f"{source}: disconnected graph, {len(sizes)} components of {listed} nodes, one was expected"
        )


def _refuse_first(
    wrong: NDArray[np.bool_] | np.bool_, source: str, field: str, values: NDArray[np.float64], expected: str
) -> None:
    if wrong.any():
        node = int(np.argmax(wrong))
        raise InputError(f"{source}: {field} of node {node} is {values[node]}, {expected} was expected")


def dilate(graph: VesselGraph, factor: float) -> VesselGraph:
    """Scale positions and radius alike and remember by how much, so that native diameters stay known.

    Raises
    ------
    InputError
        A factor that is not positive.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f"dilation factor is {factor}, a positive number was expected")
    return replace(
        graph,
        positions=graph.positions * factor,
        radius=graph.radius * factor,
        dilation=graph.dilation * factor,
    )


def select_nodes(graph: VesselGraph, kept: NDArray[np.bool_]) -> VesselGraph:
    """Return the graph of the nodes ``kept`` (N,) and of the edges between them."""
    renumbered = np.cumsum(kept) - 1
    inside = kept[graph.edges].all(axis=1)
    return replace(
        graph,
        positions=graph.positions[kept],
        edges=renumbered[graph.edges[inside]],
        radius=graph.radius[kept],
        vessel_type=graph.vessel_type[kept],
        boundary=graph.boundary[kept],
    )


def largest_component(graph: VesselGraph) -> VesselGraph:
    """Return the connected component with the greatest total length."""
    labels = component_labels(graph.edges, len(graph.positions))
    length = np.bincount(labels[graph.edges[:, 0]], weights=edge_lengths(graph), minlength=labels.max() + 1)
    return select_nodes(graph, labels == np.argmax(length))


def drop_dead_ends(graph: VesselGraph) -> VesselGraph:
    """Remove vessels that end where no blood may leave, back to the last branching."""
    while True:
        dead = (node_degrees(graph) <= 1) & ~graph.boundary
        if not dead.any():
            return graph
        graph = select_nodes(graph, ~dead)


def merge_coincident(graph: VesselGraph) -> VesselGraph:
    """Join nodes that share an edge and a place, and drop edges to oneself and doubled ones.

    Files hold a few such pairs; a vessel without length has no flow resistance.
    """
    n_nodes = len(graph.positions)
    without_length = edge_lengths(graph) == 0
    labels = component_labels(graph.edges[without_length], n_nodes)
    return _merge(graph, labels)


def merge_same_place(graph: VesselGraph) -> VesselGraph:
    """Join all nodes that are at exactly one place, and drop edges to oneself and doubled ones.

    Polylines repeat the node at which they meet.
    """
    _, first, labels = np.unique(graph.positions, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # nodes keep their order
    return _merge(graph, rank[labels.ravel()])


def _merge(graph: VesselGraph, labels: NDArray[np.int64]) -> VesselGraph:
    """Make one node of all with one label, as its first node is; labels count from 0."""
    first = np.unique(labels, return_index=True)[1]
    boundary = np.zeros(len(first), dtype=bool)
    np.logical_or.at(boundary, labels, graph.boundary)
    return replace(
        graph,
        positions=graph.positions[first],
        edges=unique_edges(labels[graph.edges]),
        radius=graph.radius[first],
        vessel_type=graph.vessel_type[first],
        boundary=boundary,
    )


def unique_edges(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop edges to oneself and repetitions in either direction; order and direction of the rest are kept."""
    edges = edges[edges[:, 0] != edges[:, 1]]
    first = np.unique(np.sort(edges, axis=1), axis=0, return_index=True)[1]
    return edges[np.sort(first)]


def cut_cube(graph: VesselGraph, *, side: float, center: NDArray[np.float64] | None = None) -> VesselGraph:
    """Cut a cube out of a graph and move its centre to the origin.

    An edge that crosses a face is cut at the face; the new node there takes the interpolated radius and is
    marked as boundary. Of the pieces left, the one with the greatest total length is kept.

    Parameters
    ----------
    graph : VesselGraph
    side : float
        Side of the cube, metres (of the graph as it is, dilated or not).
    center : (3,) float64, optional
        Centre of the cube, metres; the densest cube inside the graph's bounding box if not given.

    Raises
    ------
    InputError
        A side that is not positive, or no vessel in the cube.
    """
    if not (np.isfinite(side) and side > 0):
        raise InputError(f"side of the cube is {side}, a positive number of metres was expected")
    middle = densest_center(graph, side=side) if center is None else np.asarray(center, dtype=np.float64)
    positions = graph.positions - middle
    enter, leave = _clip_to_cube(positions[graph.edges[:, 0]], positions[graph.edges[:, 1]], side / 2)
    # A sliver at a face would be a vessel of no resistance: drop it; its inner end becomes the boundary node.
    kept = (leave - enter) * edge_lengths(graph) > side * 1e-6
    if not kept.any():
        raise InputError(f"no vessel in the cube of side {side} m around {middle.tolist()} m")
    start, end = graph.edges.T
    cut_start, cut_end = kept & (enter > 0), kept & (leave < 1)
    shortened = np.zeros(len(positions), dtype=bool)
    shortened[graph.edges[~kept]] = True

    n_nodes, n_start = len(positions), int(cut_start.sum())
    edges = graph.edges.copy()
    edges[cut_start, 0] = n_nodes + np.arange(n_start)
    edges[cut_end, 1] = n_nodes + n_start + np.arange(int(cut_end.sum()))
    fraction = np.concatenate([enter[cut_start], leave[cut_end]])
    of_edge = np.concatenate([np.flatnonzero(cut_start), np.flatnonzero(cut_end)])

    def with_cuts(values: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = fraction.reshape((-1,) + (1,) * (values.ndim - 1))
        return np.concatenate([values, (1 - weight) * values[start[of_edge]] + weight * values[end[of_edge]]])

    nearest = np.where(fraction < 0.5, start[of_edge], end[of_edge])
    pieces = VesselGraph(
        positions=np.clip(with_cuts(positions), -side / 2, side / 2),
        edges=edges[kept],
        radius=with_cuts(graph.radius),
        vessel_type=np.concatenate([graph.vessel_type, graph.vessel_type[nearest]]),
        boundary=np.concatenate([graph.boundary | shortened, np.ones(len(fraction), dtype=bool)]),
        dilation=graph.dilation,
    )
    return largest_component(pieces)


def _clip_to_cube(
    start: NDArray[np.float64], end: NDArray[np.float64], half: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractions (E,), (E,) of each edge between which it is in the cube; the first is larger if nowhere."""
    direction = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (-half - start) / direction, (half - start) / direction
    parallel = direction == 0
    outside = np.abs(start) > half
    near = np.where(parallel, np.where(outside, np.inf, -np.inf), np.minimum(first, second))
    far = np.where(parallel, np.where(outside, -np.inf, np.inf), np.maximum(first, second))
    return np.maximum(near.max(axis=1), 0.0), np.minimum(far.min(axis=1), 1.0)


def densest_center(graph: VesselGraph, *, side: float, steps: int = 20) -> NDArray[np.float64]:
    """Centre (3,) of the cube with the greatest vessel length among those inside the bounding box.

    Cubes are tried on a lattice of ``side / steps``; along an axis shorter than the cube it is centred.
    """
    low, high = graph.positions.min(axis=0), graph.positions.max(axis=0)
    step = side / steps
    n_cells = np.maximum(np.floor((high - low) / step).astype(int), steps)
    origin = np.where(high - low > side, low, (low + high - side) / 2)
    middles = graph.positions[graph.edges].mean(axis=1)
    length, _ = np.histogramdd(
        middles,
        bins=n_cells.tolist(),
        range=list(zip(origin, origin + n_cells * step, strict=True)),
        weights=edge_lengths(graph),
    )
    for axis in range(3):
        running = np.cumsum(length, axis=axis)
        running = np.concatenate([np.zeros_like(running.take([0], axis=axis)), running], axis=axis)
        n_places = n_cells[axis] - steps + 1
        length = running.take(np.arange(steps, steps + n_places), axis=axis) - running.take(
            np.arange(n_places), axis=axis
        )
    corner = np.array(np.unravel_index(int(np.argmax(length)), length.shape))
    center: NDArray[np.float64] = origin + corner * step + side / 2
    return center
