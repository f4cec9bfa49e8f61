"""Vessels as a person counts them: the branches between two branchings, and what is done branch by branch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import VesselGraph, merge_coincident, node_degrees, unique_edges


def branches(graph: VesselGraph) -> list[NDArray[np.int64]]:
    """Split a graph into branches: node indices from one node of degree ≠ 2 to the next.

    A ring without a branching starts and ends at one of its own nodes.
    """
    n_nodes = len(graph.positions)
    both = np.concatenate([graph.edges, graph.edges[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    neighbours = both[order, 1].tolist()
    first = np.searchsorted(both[order, 0], np.arange(n_nodes + 1)).tolist()
    degree = np.diff(first).tolist()
    visited = [False] * n_nodes
    found: list[NDArray[np.int64]] = []

    def follow(start: int, second: int) -> None:
        chain, previous, current = [start, second], start, second
        while degree[current] == 2 and current != start:
            visited[current] = True
            one, other = neighbours[first[current] : first[current] + 2]
            previous, current = current, other if one == previous else one
            chain.append(current)
        # A branch between two branchings is met from both its ends; keep one of the two.
        if len(chain) > 2 or start < second:
            found.append(np.array(chain, dtype=np.int64))

    ends = [node for node in range(n_nodes) if degree[node] != 2]
    rings = [node for node in range(n_nodes) if degree[node] == 2]
    for node in ends:
        for second in neighbours[first[node] : first[node + 1]]:
            if not visited[second]:
                follow(node, second)
    for node in rings:
        if not visited[node]:
            visited[node] = True
            follow(node, neighbours[first[node]])
    return found


def resample(graph: VesselGraph, *, spacing: float) -> VesselGraph:
    """Place nodes at equal steps of at most ``spacing`` (metres) along every branch.

    Branchings and ends stay where they are; radius is interpolated along the branch, vessel type taken from
    the nearest old node. A loop shorter than the spacing closes.
    """
    if not (np.isfinite(spacing) and spacing > 0):
        raise InputError(f"node spacing is {spacing}, a positive number of metres was expected")
    chains = branches(graph)
    is_end = np.zeros(len(graph.positions), dtype=bool)
    for chain in chains:
        is_end[chain[[0, -1]]] = True
    renumbered = np.cumsum(is_end) - 1
    n_nodes = int(is_end.sum())
    position_parts, radius_parts = [graph.positions[is_end]], [graph.radius[is_end]]
    source_parts, edge_parts = [np.flatnonzero(is_end)], []
    for chain in chains:
        points = graph.positions[chain]
        distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        n_pieces = max(int(np.ceil(distance[-1] / spacing * (1 - 1e-9))), 1)
        inner = np.linspace(0, distance[-1], n_pieces + 1)[1:-1]
        position_parts.append(
            np.stack([np.interp(inner, distance, points[:, axis]) for axis in range(3)], axis=1)
        )
        radius_parts.append(np.interp(inner, distance, graph.radius[chain]))
        nearest = np.abs(distance[None, :] - inner[:, None]).argmin(axis=1)
        source_parts.append(chain[nearest])
        numbers = np.concatenate(
            [[renumbered[chain[0]]], n_nodes + np.arange(len(inner)), [renumbered[chain[-1]]]]
        )
        edge_parts.append(np.stack([numbers[:-1], numbers[1:]], axis=1))
        n_nodes += len(inner)
    source = np.concatenate(source_parts)
    boundary = graph.boundary[source]
    boundary[len(position_parts[0]) :] = False
    return VesselGraph(
        positions=np.concatenate(position_parts),
        edges=unique_edges(np.concatenate(edge_parts).astype(np.int64)),
        radius=np.concatenate(radius_parts),
        vessel_type=graph.vessel_type[source],
        boundary=boundary,
        dilation=graph.dilation,
    )


def join_open_ends(graph: VesselGraph, *, gap: float) -> VesselGraph:
    """Close the loops of a graph that was stored as a tree.

    A format without loops cuts each of them somewhere, which leaves an end close to another vessel. Every
    boundary node of degree 1 is joined to the nearest node of another branch whose wall is within ``gap``
    (metres) of it, and is no boundary any more; both ends of one cut join once.
    """
    if not (np.isfinite(gap) and gap >= 0):
        raise InputError(f"gap is {gap}, a number of metres, zero or more, was expected")
    branch_of: dict[int, set[int]] = {}
    for chain in branches(graph):
        for end in chain[[0, -1]].tolist():
            branch_of.setdefault(end, set()).update(chain.tolist())
    nodes = cKDTree(graph.positions)
    boundary = graph.boundary.copy()
    added: list[tuple[int, int]] = []
    for end in np.flatnonzero((node_degrees(graph) == 1) & graph.boundary).tolist():
        reach = gap + float(graph.radius.max())
        near = [
            node for node in nodes.query_ball_point(graph.positions[end], reach) if node not in branch_of[end]
        ]
        if not near:
            continue
        distance = np.linalg.norm(graph.positions[near] - graph.positions[end], axis=1)
        within = np.maximum(distance - graph.radius[near], 0.0)
        if within.min() <= gap:
            target = near[int(np.argmin(np.where(within <= gap, distance, np.inf)))]
            added.append((end, target))
            boundary[[end, target]] = False
    if not added:
        return graph
    edges = unique_edges(np.concatenate([graph.edges, np.array(added, dtype=np.int64)]))
    return merge_coincident(replace(graph, edges=edges, boundary=boundary))
