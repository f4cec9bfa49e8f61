"""What is done to a graph from a file before it is cut: named steps, each with what it leaves.

Graphs come from segmentations, which leave specks beside the network, spurs on wide vessels and nodes at any distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ulmpipe.errors import InputError
from ulmpipe.vessels.branches import branches, join_open_ends, resample
from ulmpipe.vessels.graph import (
    VesselGraph,
    component_labels,
    edge_lengths,
    largest_component,
    merge_same_place,
    node_degrees,
    select_nodes,
)


@dataclass(frozen=True)
class CleaningStep:
    """What a graph consists of after a step.

    Attributes
    ----------
    name : str
        What was done.
    nodes, edges : int
    length : float
        Of all vessels, m.
    """

    name: str
    nodes: int
    edges: int
    length: float

    @classmethod
    def of(cls, name: str, graph: VesselGraph) -> CleaningStep:
        """What a graph consists of after the step `name`."""
        return cls(name, len(graph.positions), len(graph.edges), float(edge_lengths(graph).sum()))

    def __str__(self) -> str:
        return f"{self.name}: {self.nodes} nodes, {self.edges} edges, {1e3 * self.length:.3f} mm"


def clean_graph(
    graph: VesselGraph,
    *,
    least_share: float = 0.9,
    spur_radii: float = 1.0,
    longest_edge: float | None = None,
    source: str = "graph",
) -> tuple[VesselGraph, list[CleaningStep]]:
    """Clean a graph as it was read.

    In this order: nodes at one place become one, doubled edges and edges without length go; of unconnected pieces the
    one with the greatest length stays; a tree has its cut loops closed; spurs go; long edges get nodes between.

    Parameters
    ----------
    graph : VesselGraph
    least_share : float
        Of the length that the largest connected piece must hold: what is left out are specks, not half a network.
    spur_radii : float
        Vessels to an open end go if they are shorter than this many radii of the vessel where they begin; 0 keeps all.
    longest_edge : float, optional
        Branches get nodes at equal steps of at most this, m; as they are if not given.
    source : str
        File or name to begin a message with.

    Returns
    -------
    graph : VesselGraph
        Open ends are its boundary.
    steps : list of CleaningStep
        The graph as it came, then after each step that changed it.

    Raises
    ------
    InputError
        A graph in pieces of which none holds that share.
    """
    steps = [CleaningStep.of("as read", graph)]

    def note(name: str, changed: VesselGraph) -> VesselGraph:
        if (len(changed.positions), len(changed.edges)) != (steps[-1].nodes, steps[-1].edges):
            steps.append(CleaningStep.of(name, changed))
        return changed

    graph = note("nodes at one place merged, doubled edges dropped", merge_same_place(graph))
    whole = steps[-1].length
    n_pieces = int(component_labels(graph.edges, len(graph.positions)).max()) + 1
    graph = note("largest connected piece kept", largest_component(graph))
    share = steps[-1].length / whole
    if n_pieces > 1 and share < least_share:
        raise InputError(
            f"{source}: disconnected graph, {n_pieces} pieces of which the largest holds {100 * share:.0f} % of the "
            f"length, at least {100 * least_share:g} % was expected (cleaning.least_share)"
        )
    graph = _open_ends_as_boundary(graph)
    if len(graph.edges) == len(graph.positions) - 1:
        # a tree is a network whose loops were cut open: without them a cube of it falls to pieces. Before spurs go,
        # since a short way from one vessel to its neighbour is a loop, and cut open looks like a spur
        graph = note("loops closed", join_open_ends(graph, gap=0.0))
    graph = note("spurs removed", remove_spurs(graph, radii=spur_radii))
    if longest_edge is not None:
        graph = note("nodes set along branches", resample(graph, spacing=longest_edge))
    return _open_ends_as_boundary(graph), steps


def remove_spurs(graph: VesselGraph, *, radii: float) -> VesselGraph:
    """Remove branches from a branching to an open end that are shorter than `radii` radii of the branching.

    The widest vessel's surface lies one radius from its axis: what ends within it is no vessel of its own. Where all
    branches of a branching are that short, the longest stays. Repeated until there are none, since a branching with two
    branches left is none any more.

    Raises
    ------
    InputError
        A number that is not 0 or more.
    """
    if not (np.isfinite(radii) and radii >= 0):
        raise InputError(f"spur_radii is {radii}, a number of radii, zero or more, was expected")
    while radii > 0:
        degree = node_degrees(graph)
        removed = np.zeros(len(graph.positions), dtype=bool)
        taken: dict[int, int] = {}  # how many branches each branching has lost
        for length, chain in sorted(_open_branches(graph, degree), key=lambda each: each[0]):
            base = int(chain[0])
            if length < radii * graph.radius[base] and degree[base] - taken.get(base, 0) > 1:
                taken[base] = taken.get(base, 0) + 1
                removed[chain[1:]] = True
        if not removed.any():
            break
        graph = select_nodes(graph, ~removed)
    return graph


def _open_branches(graph: VesselGraph, degree: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Length of each branch from a branching to an open end, and its nodes in that order."""
    found = []
    for chain in branches(graph):
        ends = degree[chain[[0, -1]]]
        if min(ends) == 1 and max(ends) > 2:
            ordered = chain if ends[0] > 2 else chain[::-1]
            length = float(np.linalg.norm(np.diff(graph.positions[ordered], axis=0), axis=1).sum())
            found.append((length, ordered))
    return found


def _open_ends_as_boundary(graph: VesselGraph) -> VesselGraph:
    return replace(graph, boundary=node_degrees(graph) == 1)
