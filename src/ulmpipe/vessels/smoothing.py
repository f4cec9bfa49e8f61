"""From straight edges between branchings to smooth, winding vessels of gently changing width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import csr_array

from ulmpipe.vessels.cortex_statistics import CortexStatistics
from ulmpipe.vessels.graph import CAPILLARY, VesselGraph
from ulmpipe.vessels.murray_trees import Mesh

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def smooth_vessels(
    rng: np.random.Generator, mesh: Mesh, half: float, statistics: CortexStatistics
) -> VesselGraph:
    """Give capillaries their diameters and turn straight edges into smooth, winding vessels."""
    middle, spread = statistics.capillary_diameter / 2, statistics.capillary_diameter_spread
    drawn = middle * np.exp(spread * np.clip(rng.standard_normal(len(mesh.edges)), -2.5, 2.5))
    edge_radius = np.where(mesh.radius > 0, mesh.radius, drawn)
    positions, edges, piece_of = _subdivide(mesh, statistics.node_spacing)
    n_nodes = len(positions)
    piece_radius = edge_radius[piece_of]
    both = np.concatenate([edges, edges[:, ::-1]])
    weight = np.tile(piece_radius**2, 2)  # a wide vessel goes straight on past a narrow branch
    neighbours = csr_array((weight, (both[:, 0], both[:, 1])), shape=(n_nodes, n_nodes))
    total = neighbours.sum(axis=1)
    radius = np.zeros(n_nodes)
    np.maximum.at(radius, edges, piece_radius[:, None])
    vessel_type = np.full(n_nodes, CAPILLARY, dtype=np.int8)
    by_radius = np.argsort(np.repeat(piece_radius, 2), kind="stable")  # the widest vessel names a branching
    vessel_type[edges.ravel()[by_radius]] = np.repeat(mesh.edge_type[piece_of], 2)[by_radius]

    free = (np.bincount(edges.ravel(), minlength=n_nodes) > 1)[:, None]
    n_steps = round((statistics.cell_size / 3.5 / statistics.node_spacing) ** 2)
    for _ in range(max(n_steps, 1)):
        positions = np.where(
            free, 0.5 * positions + 0.5 * (neighbours @ positions) / total[:, None], positions
        )
    for _ in range(4):
        radius = 0.5 * radius + 0.5 * (neighbours @ radius) / total

    winding = statistics.tortuosity * np.minimum(middle / radius, 1.0)[:, None]
    length = statistics.tortuosity_length
    moved = positions + winding * _random_field(rng, positions, half, length)
    moved += 2 * statistics.tortuosity * _random_field(rng, positions, half, 4 * length)
    return VesselGraph(moved, edges, radius, vessel_type, np.zeros(n_nodes, dtype=bool))


def _subdivide(mesh: Mesh, spacing: float) -> tuple[_Floats, _Integers, _Integers]:
    """Cut edges into pieces of ``spacing``: positions, edges, and the old edge each new one is part of."""
    used, ends = np.unique(mesh.edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    start, end = mesh.positions[mesh.edges[:, 0]], mesh.positions[mesh.edges[:, 1]]
    n_pieces = np.maximum(np.ceil(np.linalg.norm(end - start, axis=1) / spacing), 1).astype(np.int64)
    piece_of = np.repeat(np.arange(len(ends)), n_pieces)
    first_piece = np.cumsum(n_pieces) - n_pieces
    number = np.arange(len(piece_of)) - first_piece[piece_of]
    inner = number > 0  # the node before the piece is a new one
    fraction = (number / n_pieces[piece_of])[inner, None]
    new = (1 - fraction) * start[piece_of[inner]] + fraction * end[piece_of[inner]]
    before = np.where(inner, len(used) + np.cumsum(inner) - 1, ends[piece_of, 0])
    last = number == n_pieces[piece_of] - 1
    after = np.where(last, ends[piece_of, 1], np.roll(before, -1))
    return np.concatenate([mesh.positions[used], new]), np.column_stack([before, after]), piece_of


def _random_field(rng: np.random.Generator, positions: _Floats, half: float, length: float) -> _Floats:
    """Smooth random vectors (N, 3) of unit variance per axis that vary over ``length``."""
    cells = int(np.ceil(2 * half / length)) * 2 + 4
    places = (positions / length * 2 + cells / 2).T
    field = np.empty_like(positions)
    for axis in range(3):
        noise = gaussian_filter(rng.standard_normal((cells,) * 3), 1.5, mode="wrap")
        field[:, axis] = map_coordinates(noise / noise.std(), places, order=3, mode="grid-wrap")
    return field
