"""Synthetic cortical networks: what the pipeline runs on when nobody gives it a vessel graph.

Penetrating arterioles and venules descend from the cortical surface (the face at -z) and are joined to a
capillary mesh by trees that obey Murray's law, radius³ of a parent = sum of radius³ of its children (Murray,
PNAS 12, 1926, 207–214). The mesh is what is left of the edges of a Voronoi diagram, which fill space evenly
as capillaries do, once every branching has three vessels. The statistics to match are those of two-photon
angiographies of mouse cortex (Milecki et al., IEEE TMI 40(5), 2021, DOI 10.1109/TMI.2021.3056951, section
II-B).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi, cKDTree

from ulmpipe.vessels.cortex_statistics import CortexStatistics
from ulmpipe.vessels.graph import (
    ARTERY,
    VEIN,
    VesselGraph,
    check_graph,
    component_labels,
    cut_cube,
    drop_dead_ends,
)
from ulmpipe.vessels.murray_trees import Mesh, Trunk, join_trunks_to_mesh
from ulmpipe.vessels.smoothing import smooth_vessels

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def synthetic_cortex(
    rng: np.random.Generator, *, side: float, statistics: CortexStatistics | None = None
) -> VesselGraph:
    """Grow a cortical network in a cube.

    Parameters
    ----------
    rng : numpy.random.Generator
        The network depends on nothing else but the arguments.
    side : float
        Side of the cube, metres, at native scale. Its centre is the origin; the cortical surface is the face
        at the smallest z.
    statistics : CortexStatistics, optional

    Returns
    -------
    VesselGraph
        One component, with loops; boundary nodes where vessels cross the faces.
    """
    statistics = _of_one_animal(rng, CortexStatistics() if statistics is None else statistics)
    # Trees grow in a larger box, so that vessels cross the faces of the cube as they would those of a sample.
    half = side / 2 + statistics.cell_size
    points, candidates = _voronoi_edges(rng, half, statistics.cell_size)
    trunks = _place_trunks(rng, side, half, statistics)
    mesh = join_trunks_to_mesh(rng, points, candidates, trunks, side=side, statistics=statistics)
    mesh = _thin_out(rng, _prune_to_bifurcations(rng, mesh), share=statistics.missing_capillaries)
    graph = smooth_vessels(rng, mesh, half, statistics)
    graph = drop_dead_ends(cut_cube(graph, side=side, center=np.zeros(3)))
    check_graph(graph, source="synthetic cortex")
    return graph


def _of_one_animal(rng: np.random.Generator, statistics: CortexStatistics) -> CortexStatistics:
    """The same statistics with the figures of one network, which differs from the next."""
    factor = np.exp(statistics.individual_spread * np.clip(rng.standard_normal(3), -1.5, 1.5))
    return replace(
        statistics,
        cell_size=statistics.cell_size * float(factor[0]),
        capillary_diameter=statistics.capillary_diameter * float(factor[1]),
        tortuosity=statistics.tortuosity * float(factor[2]) ** 2,
    )


def _voronoi_edges(rng: np.random.Generator, half: float, cell_size: float) -> tuple[_Floats, _Integers]:
    """Edges of the Voronoi cells of evenly spread random points, inside the cube of half side ``half``."""
    reach = half + cell_size
    centers = rng.uniform(-reach, reach, (max(int((2 * reach / cell_size) ** 3), 8), 3))
    for _ in range(2):  # two steps of Lloyd's relaxation, by sampling: cells of similar size, still irregular
        samples = rng.uniform(-reach, reach, (40 * len(centers), 3))
        owner = cKDTree(centers).query(samples)[1]
        count = np.maximum(np.bincount(owner, minlength=len(centers)), 1)
        sums = [np.bincount(owner, weights=samples[:, axis], minlength=len(centers)) for axis in range(3)]
        centers = np.where(count[:, None] > 1, np.stack(sums, axis=1) / count[:, None], centers)
    diagram = Voronoi(centers)
    faces = [np.array(face) for face in diagram.ridge_vertices if -1 not in face]
    edges = np.concatenate([np.stack([face, np.roll(face, 1)], axis=1) for face in faces])
    edges = np.unique(np.sort(edges, axis=1), axis=0).astype(np.int64)
    points = diagram.vertices
    edges = edges[(np.abs(points[edges]) < half).all(axis=(1, 2))]

    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    # Branchings closer than this are one branching.
    labels = component_labels(edges[length < cell_size / 6], len(points))
    count = np.bincount(labels)
    points = np.stack([np.bincount(labels, weights=points[:, axis]) / count for axis in range(3)], axis=1)
    edges = np.sort(labels[edges], axis=1)
    return points, np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)


def _place_trunks(
    rng: np.random.Generator, side: float, half: float, statistics: CortexStatistics
) -> list[Trunk]:
    """Penetrating vessels, spread over the surface; every other one reaches the bottom of the box."""
    n_arterioles = max(round(statistics.arteriole_density * side**2), 1)
    n_venules = max(round(statistics.venule_density * side**2), 1)
    n_trunks = n_arterioles + n_venules
    sites = rng.uniform(-side / 2, side / 2, (1, 2))
    while len(sites) < n_trunks:  # the remotest of a few candidates
        proposed = rng.uniform(-0.45 * side, 0.45 * side, (10, 2))
        distance = np.linalg.norm(proposed[:, None] - sites[None], axis=2).min(axis=1)
        sites = np.concatenate([sites, proposed[[np.argmax(distance)]]])
    kinds = rng.permutation([ARTERY] * n_arterioles + [VEIN] * n_venules)
    # Spread over the whole range, so that a volume has both wide and narrow ones.
    shares = (rng.permutation(n_trunks) + rng.uniform(size=n_trunks)) / n_trunks
    radii = np.interp(shares, [0, 1], statistics.trunk_diameter) / 2
    deep = rng.permutation(np.arange(n_trunks) % 2 == 0)
    trunks = []
    for site, kind, radius, is_deep in zip(sites, kinds, radii, deep, strict=True):
        depth = 2 * half if is_deep else rng.uniform(*statistics.shallow_depth) * 2 * half
        tilt = rng.normal(0, statistics.trunk_tilt, 2)
        z = np.arange(0, depth, statistics.side_branch_spacing)
        points = np.column_stack([site + (z[:, None] - half) * tilt, z - half])
        trunks.append(Trunk(points, int(kind), float(radius), bool(is_deep)))
    return trunks


def _prune_to_bifurcations(rng: np.random.Generator, mesh: Mesh) -> Mesh:
    """Drop capillaries, short ones first, until no branching has more than three."""
    edges = mesh.edges
    degree = np.bincount(edges.ravel(), minlength=len(mesh.positions))
    length = np.linalg.norm(mesh.positions[edges[:, 0]] - mesh.positions[edges[:, 1]], axis=1)
    order = np.argsort(length * rng.uniform(0.5, 1.5, len(edges)))
    kept = np.ones(len(edges), dtype=bool)
    # first edges between two crowded branchings, then those with one crowded end, even if they leave a dead end
    for least in (4, 3, 2):
        for edge in order:
            one, other = edges[edge]
            low, high = sorted((degree[one], degree[other]))
            if kept[edge] and mesh.radius[edge] == 0 and low >= least and high > 3:
                kept[edge] = False
                degree[[one, other]] -= 1
    return Mesh(mesh.positions, edges[kept], mesh.radius[kept], mesh.edge_type[kept])


def _thin_out(rng: np.random.Generator, mesh: Mesh, *, share: float) -> Mesh:
    """Drop a random share of the capillaries between branchings, so that some branches are long."""
    edges = mesh.edges
    degree = np.bincount(edges.ravel(), minlength=len(mesh.positions))
    kept = np.ones(len(edges), dtype=bool)
    for edge in rng.permutation(len(edges))[: round(share * len(edges))]:
        one, other = edges[edge]
        if mesh.radius[edge] == 0 and degree[one] > 2 and degree[other] > 2:  # no dead end is made
            kept[edge] = False
            degree[[one, other]] -= 1
    return Mesh(mesh.positions, edges[kept], mesh.radius[kept], mesh.edge_type[kept])
