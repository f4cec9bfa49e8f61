"""Figures that describe a network and tell whether it looks like cortex."""

from __future__ import annotations

import numpy as np

from ulmpipe.vessels.branches import branches
from ulmpipe.vessels.graph import VesselGraph, component_labels, edge_lengths, node_degrees


def morphometry(graph: VesselGraph, *, side: float, capillary_limit: float = 10e-6) -> dict[str, float]:
    """Measure a network at its native scale (positions and radii are divided by ``graph.dilation``).

    Diameters are weighted by vessel length, so that they do not depend on how nodes are spaced.

    Parameters
    ----------
    graph : VesselGraph
    side : float
        Side of the cube that holds the network, metres, at the graph's own (dilated) scale.
    capillary_limit : float
        Vessels narrower than this native diameter, metres, count as capillaries.

    Returns
    -------
    dict
        Counts, and figures whose unit ends their name.
    """
    length = edge_lengths(graph) / graph.dilation
    diameter = 2 * graph.radius / graph.dilation
    edge_diameter = diameter[graph.edges].mean(axis=1)
    volume = np.pi / 4 * edge_diameter**2 * length
    cube = (side / graph.dilation) ** 3
    is_capillary = edge_diameter < capillary_limit
    chains = branches(graph)
    points = graph.positions / graph.dilation
    branch_length = np.array(
        [np.linalg.norm(np.diff(points[chain], axis=0), axis=1).sum() for chain in chains]
    )
    chord = np.array([np.linalg.norm(points[chain[-1]] - points[chain[0]]) for chain in chains])
    degree = node_degrees(graph)
    n_components = int(component_labels(graph.edges, len(graph.positions)).max()) + 1
    return {
        "nodes": len(graph.positions),
        "edges": len(graph.edges),
        "branches": len(chains),
        "components": n_components,
        "loops": len(graph.edges) - len(graph.positions) + n_components,
        "boundary_nodes": int(graph.boundary.sum()),
        "bifurcation_share": _share(degree == 3, degree >= 3),
        "length_density_m_per_mm3": float(length.sum() / cube * 1e-9),
        "volume_share": float(volume.sum() / cube),
        "capillary_volume_share": float(volume[is_capillary].sum() / volume.sum()),
        "capillary_diameter_median_um": 1e6
        * _weighted_median(edge_diameter[is_capillary], length[is_capillary]),
        "diameter_minimum_um": 1e6 * float(diameter.min()),
        "diameter_median_um": 1e6 * _weighted_median(edge_diameter, length),
        "diameter_maximum_um": 1e6 * float(diameter.max()),
        "branch_length_mean_um": 1e6 * float(branch_length.mean()),
        "branch_length_median_um": 1e6 * float(np.median(branch_length)),
        "tortuosity": float(branch_length[chord > 0].sum() / chord.sum()) if chord.any() else 1.0,
    }


def _share(some: np.ndarray, of_all: np.ndarray) -> float:
    return float(some.sum() / of_all.sum()) if of_all.any() else 0.0


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    if len(values) == 0:
        return float("nan")
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
