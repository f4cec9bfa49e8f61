"""Trees that join penetrating vessels to a capillary mesh by Murray's law.

Trees are shortest paths through the mesh from the trunks to chosen ends; every vessel's radius³ is the sum
of those it feeds (Murray, PNAS 12, 1926, 207–214).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from ulmpipe.vessels.cortex_statistics import CortexStatistics
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

# A vessel that feeds up to three capillaries, 3^(1/3) = 1.44 times as wide, still counts as one.
_CAPILLARY_FACTOR = 1.45


@dataclass(frozen=True)
class Trunk:
    """A penetrating vessel, from the surface down; a deep one goes on below the volume."""

    points: _Floats
    kind: int
    radius: float
    is_deep: bool


@dataclass(frozen=True)
class Mesh:
    """Straight edges between points, all that may become vessels; radius 0 marks what is not in a tree."""

    positions: _Floats
    edges: _Integers
    radius: _Floats
    edge_type: NDArray[np.int8]


def join_trunks_to_mesh(
    rng: np.random.Generator,
    points: _Floats,
    edges: _Integers,
    trunks: list[Trunk],
    *,
    side: float,
    statistics: CortexStatistics,
) -> Mesh:
    """Grow arterial, then venous trees from the trunks through the mesh, and clear the mesh around them."""
    edges = edges[_away_from_trunks(points, edges, trunks, statistics)]
    n_points = len(points)
    trunk_points = np.concatenate([trunk.points for trunk in trunks])
    trunk_of = np.repeat(np.arange(len(trunks)), [len(trunk.points) for trunk in trunks])
    kinds = np.array([trunk.kind for trunk in trunks])
    positions = np.concatenate([points, trunk_points])
    stems = _stems(rng, points, edges, trunk_points, statistics)

    taken = np.zeros(len(positions), dtype=bool)
    wide = np.zeros(len(positions), dtype=bool)
    mesh_nodes = np.unique(edges)
    tree_edges, cubes, tree_kinds = [], [], []
    for kind in (ARTERY, VEIN):
        roots = n_points + np.flatnonzero(kinds[trunk_of] == kind)
        open_edges = edges[~taken[edges].any(axis=1)]
        own_stems = stems[np.isin(stems[:, 0], roots) & ~taken[stems[:, 1]]]
        distance, parent = _shortest_paths(positions, np.concatenate([open_edges, own_stems]), roots)
        reached = mesh_nodes[np.isfinite(distance[mesh_nodes])]
        demand = _demand(
            rng,
            positions,
            reached,
            side=side,
            n_trunks=int((kinds == kind).sum()),
            statistics=statistics,
        )
        carried = demand.copy()
        for node in reached[np.argsort(-distance[reached])]:  # leaves first
            carried[parent[node]] += carried[node]
        used = reached[carried[reached] > 0]
        tree_edges.append(np.column_stack([parent[used], used]))
        cubes.append(carried[used])
        tree_kinds.append(np.full(len(used), kind, dtype=np.int8))
        taken[used] = True
        wide[used] = np.cbrt(carried[used]) > _CAPILLARY_FACTOR * statistics.capillary_diameter / 2
        for number in np.flatnonzero(kinds == kind):
            along = n_points + np.flatnonzero(trunk_of == number)
            below = _trunk_cubes(carried[along], trunks[number])
            kept = below > 0
            tree_edges.append(np.column_stack([along[:-1], along[1:]])[kept])
            cubes.append(below[kept])
            tree_kinds.append(np.full(int(kept.sum()), kind, dtype=np.int8))
    # Only the narrow ends of a tree meet the mesh.
    capillaries = edges[~wide[edges].any(axis=1)]
    trees = np.concatenate(tree_edges)
    sorted_trees = set(map(tuple, np.sort(trees, axis=1).tolist()))
    repeated = np.array([tuple(edge) in sorted_trees for edge in np.sort(capillaries, axis=1).tolist()])
    capillaries = capillaries[~repeated]
    radius = np.cbrt(np.concatenate(cubes))
    narrow = radius <= _CAPILLARY_FACTOR * statistics.capillary_diameter / 2
    tree_type = np.where(narrow, CAPILLARY, np.concatenate(tree_kinds))
    return Mesh(
        positions=positions,
        edges=np.concatenate([trees, capillaries]),
        radius=np.concatenate([radius, np.zeros(len(capillaries))]),
        edge_type=np.concatenate([tree_type, np.full(len(capillaries), CAPILLARY)]).astype(np.int8),
    )


def _away_from_trunks(
    points: _Floats, edges: _Integers, trunks: list[Trunk], statistics: CortexStatistics
) -> NDArray[np.bool_]:
    """Edges (E,) that do not pass through a trunk or the capillary-free sheath around it."""
    fractions = np.linspace(0, 1, 7)[:, None, None]
    along = (1 - fractions) * points[edges[:, 0]] + fractions * points[edges[:, 1]]
    free = np.ones(len(edges), dtype=bool)
    for trunk in trunks:
        top, bottom = trunk.points[0], trunk.points[-1]
        share = np.clip((along - top) @ (bottom - top) / np.sum((bottom - top) ** 2), 0, 1)
        distance = np.linalg.norm(along - (top + share[..., None] * (bottom - top)), axis=2)
        free &= (distance > trunk.radius + 2 * statistics.capillary_diameter).all(axis=0)
    return free


def _stems(
    rng: np.random.Generator,
    points: _Floats,
    edges: _Integers,
    trunk_points: _Floats,
    statistics: CortexStatistics,
) -> _Integers:
    """One possible side branch for every trunk point, towards a random side: (trunk point, mesh point)."""
    usable = np.unique(edges)
    bearing = rng.uniform(0, 2 * np.pi, len(trunk_points))
    sideways = np.column_stack([np.cos(bearing), np.sin(bearing), np.zeros(len(bearing))])
    nearest = cKDTree(points[usable]).query(trunk_points + sideways * statistics.cell_size / 2)[1]
    return np.column_stack([len(points) + np.arange(len(trunk_points)), usable[nearest]])


def _shortest_paths(positions: _Floats, edges: _Integers, roots: _Integers) -> tuple[_Floats, _Integers]:
    """Distance of every node from the nearest root and the node before it on the way: a forest."""
    length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    weights = coo_array((length, (edges[:, 0], edges[:, 1])), shape=(len(positions),) * 2).tocsr()
    distance, parent, _ = dijkstra(
        weights, directed=False, indices=roots, min_only=True, return_predecessors=True
    )
    return distance, parent.astype(np.int64)


def _demand(
    rng: np.random.Generator,
    positions: _Floats,
    reached: _Integers,
    *,
    side: float,
    n_trunks: int,
    statistics: CortexStatistics,
) -> _Floats:
    """Cube of the radius asked for at the ends of the trees, (N,): capillaries fed, side branches leaving."""
    demand = np.zeros(len(positions))
    extent = np.ptp(positions[reached], axis=0).prod()
    n_feeding = min(max(round(statistics.feeding_density * extent), 1), len(reached))
    demand[rng.choice(reached, n_feeding, replace=False)] = (statistics.capillary_diameter / 2) ** 3
    outer = reached[np.abs(positions[reached]).max(axis=1) > side / 2 + statistics.cell_size / 3]
    n_leaving = min(statistics.side_branches * n_trunks, len(outer))
    leaving = rng.choice(outer, n_leaving, replace=False)
    demand[leaving] = (rng.uniform(*statistics.side_branch_diameter, n_leaving) / 2) ** 3
    return demand


def _trunk_cubes(branched: _Floats, trunk: Trunk) -> _Floats:
    """Cube of the radius of every piece of a trunk, from the top: what its branches below carry away.

    A deep trunk carries the rest of its surface radius on through the bottom, a shallow one ends at its last
    branch.
    """
    below = np.cumsum(branched[::-1])[::-1][1:]
    if trunk.is_deep:
        below = below + max(trunk.radius**3 - branched.sum(), (trunk.radius / 2) ** 3)
    return below
