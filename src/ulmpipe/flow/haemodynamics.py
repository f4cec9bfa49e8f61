"""Blood flow through a vessel graph, as far as microbubbles need it: which way, and how it divides at a
branching.

Between the vessel graph (`ulmpipe.vessels`) and the bubbles (`ulmpipe.flow.bubbles`). A network with loops is
solved as Poiseuille conductances between boundary pressures (Kirchhoff's laws on a sparse matrix); a tree,
whose loops were cut and which therefore has no return path, carries Murray's d³ from its root to its leaves.
Only directions and ratios reach the bubbles: their speed comes from the vessel diameter (Hingot et al., Sci.
Rep. 9, 2456, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, VesselGraph, edge_lengths, node_degrees

# An edge whose pressure difference is below this part of the whole pressure range carries rounding errors,
# not blood (in double precision they are about 1e-15; the least true difference, along a wide and short edge,
# about 1e-9).
_NO_FLOW = 1e-12


@dataclass(frozen=True)
class Flow:
    """Steady flow in a vessel graph.

    Attributes
    ----------
    edge_flow : (E,) float64
        Volume flow in m³/s, positive from ``edges[:, 0]`` to ``edges[:, 1]``; exactly 0 where no blood moves.
    pressure : (N,) float64
        Pressure at the nodes in Pa.
    inlets, outlets : (I,) and (O,) int64
        Nodes where blood enters and leaves the graph.
    boundary_flow : (N,) float64
        Flow that enters the graph at each node in m³/s (negative: leaves); exactly 0 at inner nodes.
    """

    edge_flow: NDArray[np.float64]
    pressure: NDArray[np.float64]
    inlets: NDArray[np.int64]
    outlets: NDArray[np.int64]
    boundary_flow: NDArray[np.float64]


def solve_flow(
    graph: VesselGraph,
    *,
    viscosity: float = 1.0,
    haematocrit: float | None = None,
    arterial_pressure: float = 1.0,
    venous_pressure: float = 0.0,
) -> Flow:
    """Flow in every vessel of a connected graph.

    A tree without both arterial and venous ends (such as an SWC file) is fed at its root and every subtree
    takes a flow proportional to the sum of d³ over its leaves (Murray's law). Everything else is solved with
    Poiseuille's conductance π r⁴ / (8 µ L) and the pressures of `boundary_pressure` at the boundary nodes.

    A dead end that is not a boundary node carries no flow in a network with loops, neither does a loop that
    hangs on one node: `edge_flow` is exactly 0 there and bubbles never enter. In a tree every leaf is an
    outlet.

    Viscosity and pressures only scale the result: with the defaults flows are relative, which is all that
    bubbles need.

    Parameters
    ----------
    graph : VesselGraph
        Connected graph.
    viscosity : float
        Apparent viscosity of blood in Pa·s, the same in all vessels; with `haematocrit` that of plasma.
    haematocrit : float, optional
        Of the blood discharged by the vessels, 0 to 0.9: the apparent viscosity then depends on the native diameter
        (`relative_viscosity`).
    arterial_pressure, venous_pressure : float
        Pressure at the widest arterial and at the widest venous end in Pa.

    Returns
    -------
    Flow

    Raises
    ------
    InputError
        If a parameter is not physical, an edge has no length, or blood has no two ends to flow between.
    """
    if not viscosity > 0:
        raise InputError(f"viscosity is {viscosity} Pa·s, expected a positive number")
    if not arterial_pressure > venous_pressure:
        raise InputError(
            f"arterial_pressure is {arterial_pressure} Pa, expected more than the venous {venous_pressure} Pa"
        )
    relative: float | NDArray[np.float64] = 1.0
    if haematocrit is not None:
        relative = relative_viscosity(2 * edge_radius(graph) / graph.dilation, haematocrit)
    conductance = _poiseuille_conductance(graph, viscosity * relative)
    if is_tree(graph) and not _has_both_types(graph):
        return _tree_flow(graph, conductance, arterial_pressure, venous_pressure)
    pressure = boundary_pressure(graph, arterial_pressure=arterial_pressure, venous_pressure=venous_pressure)
    return _network_flow(graph, conductance, pressure)


def edge_radius(graph: VesselGraph) -> NDArray[np.float64]:
    """Radius of each edge in m: that of its narrower end.

    The node at which a capillary leaves a trunk has the radius of the trunk; the mean of both ends would give
    the first edge of the capillary a speed and a volume that it has not.

    Returns
    -------
    (E,) float64
    """
    return np.asarray(graph.radius[graph.edges].min(axis=1), dtype=np.float64)


def is_tree(graph: VesselGraph) -> bool:
    """Whether a connected graph has no loop."""
    return len(graph.edges) == len(graph.positions) - 1


def boundary_pressure(
    graph: VesselGraph, *, arterial_pressure: float, venous_pressure: float
) -> NDArray[np.float64]:
    """Pressure at the boundary nodes in Pa, NaN at inner nodes.

    Pressure falls with the diameter along arteries and rises again along veins (Lipowsky, Microcirculation
    12, 5–15, 2005), so an end's distance from the capillary pressure (the middle) is taken proportional to
    its radius: equal pressures would stop the blood in a vessel that the border cuts twice. The pressure of a
    capillary end lies in the middle half of the range, the higher the nearer an artery. Without types the
    widest end is the artery, and the vein the end with the greatest product of radius and distance from it.

    Returns
    -------
    (N,) float64

    Raises
    ------
    InputError
        If fewer than two nodes are boundary nodes.
    """
    ends = np.flatnonzero(graph.boundary)
    if len(ends) < 2:
        raise InputError(
            f"the graph has {len(ends)} boundary nodes, expected at least 2 for blood to enter and leave"
        )
    vessel_type = graph.vessel_type
    if not _has_both_types(graph):
        vessel_type = np.full(len(graph.positions), CAPILLARY)
        artery = ends[np.argmax(graph.radius[ends])]
        distance = np.linalg.norm(graph.positions[ends] - graph.positions[artery], axis=1)
        vessel_type[artery] = ARTERY
        vessel_type[ends[np.argmax(graph.radius[ends] * distance)]] = VEIN

    to_artery, to_vein = (
        cKDTree(graph.positions[vessel_type == kind]).query(graph.positions[ends])[0]
        for kind in (ARTERY, VEIN)
    )
    level = 0.5 * (to_vein - to_artery) / np.maximum(to_artery + to_vein, np.finfo(float).tiny)
    for kind, sign in ((ARTERY, 1.0), (VEIN, -1.0)):
        of_kind = vessel_type[ends] == kind
        radius = graph.radius[ends[of_kind]]
        level[of_kind] = sign * radius / radius.max()
    pressure = np.full(len(graph.positions), np.nan)
    pressure[ends] = venous_pressure + (arterial_pressure - venous_pressure) * (1 + level) / 2
    return pressure


def _has_both_types(graph: VesselGraph) -> bool:
    types = graph.vessel_type[graph.boundary]
    return bool(np.any(types == ARTERY) and np.any(types == VEIN))


def relative_viscosity(diameter: NDArray[np.float64], haematocrit: float) -> NDArray[np.float64]:
    """Apparent viscosity of blood in living vessels over that of plasma (the Fåhræus–Lindqvist effect).

    η = [1 + (η45 − 1) ((1 − H)^C − 1) / ((1 − 0.45)^C − 1) w] w with w = (d / (d − 1.1))²,
    η45 = 6 exp(−0.085 d) + 3.2 − 2.44 exp(−0.06 d^0.645) and
    C = (0.8 + exp(−0.075 d)) (1/q − 1) + 1/q, q = 1 + 10⁻¹¹ d¹², d in µm (A. R. Pries et al., Resistance to blood
    flow in microvessels in vivo, Circ. Res. 75, 904–915, 1994). Vessels narrower than 2 µm count as 2 µm wide.

    Parameters
    ----------
    diameter : (…) float64
        Native, m.
    haematocrit : float
        H, discharge haematocrit.

    Raises
    ------
    InputError
        A haematocrit that is not between 0 and 0.9.
    """
    if not 0 <= haematocrit <= 0.9:
        raise InputError(f"haematocrit is {haematocrit}, expected 0 to 0.9")
    d = np.maximum(np.asarray(diameter, dtype=np.float64) * 1e6, 2.0)
    at_45 = 6 * np.exp(-0.085 * d) + 3.2 - 2.44 * np.exp(-0.06 * d**0.645)
    share = 1 / (1 + 1e-11 * d**12)
    shape = (0.8 + np.exp(-0.075 * d)) * (share - 1) + share
    wall = (d / (d - 1.1)) ** 2
    of_haematocrit = ((1 - haematocrit) ** shape - 1) / ((1 - 0.45) ** shape - 1)
    return np.asarray((1 + (at_45 - 1) * of_haematocrit * wall) * wall)


def _poiseuille_conductance(
    graph: VesselGraph, viscosity: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    length = edge_lengths(graph)
    if not np.all(length > 0):
        edge = int(np.argmin(length))
        raise InputError(f"edge {edge} of the graph has length {length[edge]} m, expected a positive length")
    return np.asarray(np.pi * edge_radius(graph) ** 4 / (8 * viscosity * length))


def _net_outflow(graph: VesselGraph, edge_flow: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flow out of each node into its edges minus flow into it."""
    n_nodes = len(graph.positions)
    tail, head = graph.edges.T
    outflow = np.bincount(tail, edge_flow, n_nodes) - np.bincount(head, edge_flow, n_nodes)
    return outflow.astype(np.float64)


def _network_flow(
    graph: VesselGraph, conductance: NDArray[np.float64], pressure: NDArray[np.float64]
) -> Flow:
    """Kirchhoff's laws with given pressures where `pressure` is not NaN."""
    n_nodes = len(graph.positions)
    tail, head = graph.edges.T
    inner = np.isnan(pressure)
    span = np.nanmax(pressure) - np.nanmin(pressure)
    pressure = np.where(inner, np.nanmean(pressure), pressure)
    edge_flow = conductance * (pressure[tail] - pressure[head])

    if inner.any():
        row = np.concatenate([tail, head, tail, head])
        column = np.concatenate([tail, head, head, tail])
        value = np.concatenate([conductance, conductance, -conductance, -conductance])
        laplacian = csr_matrix((value, (row, column)), shape=(n_nodes, n_nodes))
        factors = splu(laplacian[inner][:, inner].tocsc())
        # Differences of nearly equal pressures lose digits where the vessel is wide: refine the flow, not the
        # pressure.
        for _ in range(3):
            correction = np.zeros(n_nodes)
            correction[inner] = factors.solve(-_net_outflow(graph, edge_flow)[inner])
            pressure = pressure + correction
            edge_flow = edge_flow + conductance * (correction[tail] - correction[head])

    edge_flow[np.abs(edge_flow) < _NO_FLOW * conductance * span] = 0.0
    return _with_ends(graph, edge_flow, pressure, ends=~inner)


def _tree_flow(
    graph: VesselGraph, conductance: NDArray[np.float64], arterial_pressure: float, venous_pressure: float
) -> Flow:
    """Murray's law from the root; scaled so that the lowest leaf is at the venous pressure."""
    n_nodes = len(graph.positions)
    tail, head = graph.edges.T
    root = _root(graph)
    link = csr_matrix((np.arange(1, len(tail) + 1), (tail, head)), shape=(n_nodes, n_nodes))
    link = (link + link.T).tocsr()
    order, parent = breadth_first_order(link, root, directed=False)
    children = order[1:]
    edge = np.asarray(link[children, parent[children]]).ravel().astype(np.int64) - 1
    outward = np.where(tail[edge] == parent[children], 1.0, -1.0)

    leaf = node_degrees(graph) == 1
    leaf[root] = False
    subtree = np.where(leaf, (graph.radius / graph.radius.max()) ** 3, 0.0)
    for child in children[::-1]:
        subtree[parent[child]] += subtree[child]
    edge_flow = np.zeros(len(tail))
    edge_flow[edge] = outward * subtree[children]

    pressure = np.zeros(n_nodes)
    for child, link_edge in zip(children, edge, strict=True):
        pressure[child] = pressure[parent[child]] - abs(edge_flow[link_edge]) / conductance[link_edge]
    scale = (arterial_pressure - venous_pressure) / -pressure.min()
    ends = leaf.copy()
    ends[root] = True
    return _with_ends(graph, edge_flow * scale, arterial_pressure + pressure * scale, ends=ends)


def _root(graph: VesselGraph) -> int:
    """The node no edge leads to if edges run from parent to child (as in SWC), else the widest end."""
    n_parents = np.bincount(graph.edges[:, 1], minlength=len(graph.positions))
    if n_parents.max() == 1:
        return int(np.argmin(n_parents))
    ends = np.flatnonzero(graph.boundary)
    if len(ends) == 0:
        ends = np.flatnonzero(node_degrees(graph) == 1)
    return int(ends[np.argmax(graph.radius[ends])])


def _with_ends(
    graph: VesselGraph,
    edge_flow: NDArray[np.float64],
    pressure: NDArray[np.float64],
    *,
    ends: NDArray[np.bool_],
) -> Flow:
    if not np.any(edge_flow):
        raise InputError("no vessel of the graph carries flow: its boundary nodes are not joined by vessels")
    boundary_flow = np.where(ends, _net_outflow(graph, edge_flow), 0.0)
    return Flow(
        edge_flow=edge_flow,
        pressure=pressure,
        inlets=np.flatnonzero(boundary_flow > 0),
        outlets=np.flatnonzero(boundary_flow < 0),
        boundary_flow=boundary_flow,
    )
