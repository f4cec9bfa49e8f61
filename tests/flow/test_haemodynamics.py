from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.flow.haemodynamics import Flow, edge_radius, solve_flow
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, VesselGraph, cut_cube, edge_lengths
from ulmpipe.vessels.readers import read_graph

MICRON = 1e-6
BLOOD = {"viscosity": 3.5e-3, "arterial_pressure": 8000.0, "venous_pressure": 2000.0}
GRAPHS = Path(os.environ.get("ULMPIPE_GRAPHS", Path(__file__).parents[3] / "shared/graphs"))


def network(positions: object, edges: object, radius: object, types: dict[int, int]) -> VesselGraph:
    """Graph in micrometres whose boundary nodes are those with a type."""
    points = np.array(positions, dtype=float) * MICRON
    vessel_type = np.full(len(points), CAPILLARY, dtype=np.int8)
    boundary = np.zeros(len(points), dtype=bool)
    for node, kind in types.items():
        vessel_type[node], boundary[node] = kind, True
    radii = np.broadcast_to(np.array(radius, dtype=float), len(points)) * MICRON
    return VesselGraph(points, np.array(edges, dtype=np.int64), radii, vessel_type, boundary)


def conservation_error(graph: VesselGraph, flow: Flow) -> float:
    tail, head = graph.edges.T
    n_nodes = len(graph.positions)
    net = np.bincount(tail, flow.edge_flow, n_nodes) - np.bincount(head, flow.edge_flow, n_nodes)
    through = sum(np.bincount(end, np.abs(flow.edge_flow), n_nodes) for end in (tail, head)) / 2
    inner = ~graph.boundary & (through > 0)
    return float(np.max(np.abs(net[inner]) / through[inner]))


def lattice(rng: np.random.Generator, n: int = 8) -> VesselGraph:
    """Cubic lattice with diameters from 2 to 60 µm: conductances over six decades."""
    index = np.arange(n**3).reshape(n, n, n)
    edges = [
        np.stack([index.take(range(n - 1), axis).ravel(), index.take(range(1, n), axis).ravel()], 1)
        for axis in range(3)
    ]
    points = np.stack(np.unravel_index(index.ravel(), index.shape), 1) * 20.0 + rng.uniform(-8, 8, (n**3, 3))
    return network(
        points, np.concatenate(edges), np.exp(rng.uniform(0, np.log(30), n**3)), {0: ARTERY, n**3 - 1: VEIN}
    )


def test_vessels_in_series_add_their_resistances() -> None:
    graph = network([[0, 0, 0], [100, 0, 0], [300, 0, 0]], [[0, 1], [2, 1]], [10, 5, 5], {0: ARTERY, 2: VEIN})
    resistance = 8 * 3.5e-3 * 300e-6 / (np.pi * 5e-6**4)
    flow = solve_flow(graph, **BLOOD)
    np.testing.assert_allclose(flow.edge_flow, [6000 / resistance, -6000 / resistance], rtol=1e-12)
    np.testing.assert_allclose(flow.pressure, [8000, 6000, 2000], rtol=1e-12)
    assert flow.inlets.tolist() == [0]
    assert flow.outlets.tolist() == [2]
    np.testing.assert_allclose(flow.boundary_flow, [6000 / resistance, 0, -6000 / resistance], rtol=1e-12)


def test_parallel_vessels_share_the_flow_by_conductance() -> None:
    points = [[0, 0, 0], [50, 0, 0], [100, 50, 0], [100, -50, 0], [150, 0, 0], [200, 0, 0]]
    edges = [[0, 1], [1, 2], [2, 4], [3, 1], [3, 4], [4, 5]]
    graph = network(points, edges, [10, 10, 6, 3, 10, 10], {0: ARTERY, 5: VEIN})
    flow = solve_flow(graph, **BLOOD).edge_flow
    assert flow[1] / -flow[3] == pytest.approx(2**4, rel=1e-12)
    assert flow[1] - flow[3] == pytest.approx(flow[0], rel=1e-12)


def test_a_honeycomb_is_layers_in_series_of_vessels_in_parallel() -> None:
    """Rolled up, so that all vessels of a layer are alike: n with the flow, then 2n slanting ones, and so on."""
    n, n_layers = 9, 6
    height = np.cumsum([0, *[40, 25] * n_layers, 40])
    here = np.arange(n)
    rows = []
    for row, z in enumerate(height):
        angle = 2 * np.pi * (here + row // 2 % 2 / 2) / n
        rows.append(np.stack([100 * np.cos(angle), 100 * np.sin(angle), np.full(n, z)], 1))
    edges = []
    for row in range(len(rows) - 1):
        if row % 2 == 0:
            edges.append(np.stack([row * n + here, (row + 1) * n + here], 1))
        else:  # to both neighbours of the next row, which is turned by half a step or back
            step = 1 if row % 4 == 3 else -1
            for other in (here, (here + step) % n):
                edges.append(np.stack([row * n + here, (row + 1) * n + other], 1))
    last = (len(rows) - 1) * n
    types = {int(node): ARTERY for node in here} | {last + int(node): VEIN for node in here}
    graph = network(np.concatenate(rows), np.concatenate(edges), 5, types)
    length = edge_lengths(graph)
    assert np.unique(np.round(length, 12)).size == 2

    flow = solve_flow(graph, **BLOOD)
    of_one = 8 * 3.5e-3 / (np.pi * 5e-6**4)
    is_straight = np.abs(length - 40e-6) < 1e-9
    straight, slanting = of_one * 40e-6, of_one * length[~is_straight][0]
    resistance = (n_layers + 1) * straight / n + n_layers * slanting / (2 * n)
    assert flow.boundary_flow[flow.inlets].sum() == pytest.approx(6000 / resistance, rel=1e-12)
    through = np.abs(flow.edge_flow) * n * resistance / 6000
    np.testing.assert_allclose(through, np.where(is_straight, 1.0, 0.5), rtol=1e-9)
    assert conservation_error(graph, flow) < 1e-9


def test_a_balanced_bridge_carries_nothing_and_dead_ends_and_hanging_loops_neither() -> None:
    points = [[0, 0, 0], [50, 30, 0], [50, -30, 0], [100, 0, 0]]
    points += [[50, 90, 0], [10, -90, 0], [90, -90, 0]]
    edges = [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [1, 4], [2, 5], [5, 6], [6, 2]]
    flow = solve_flow(network(points, edges, 5, {0: ARTERY, 3: VEIN}), **BLOOD).edge_flow
    assert np.flatnonzero(flow).tolist() == [0, 1, 3, 4]


def test_flow_is_conserved_at_every_inner_node_of_a_network_with_contrasts() -> None:
    graph = lattice(np.random.default_rng(1))
    flow = solve_flow(graph, **BLOOD)
    assert conservation_error(graph, flow) < 1e-9
    assert flow.boundary_flow.sum() == pytest.approx(0, abs=1e-9 * flow.boundary_flow.max())
    carrying = flow.edge_flow != 0
    assert carrying.mean() > 0.99
    poiseuille = np.pi * edge_radius(graph) ** 4 / (8 * 3.5e-3 * edge_lengths(graph))
    drop = flow.pressure[graph.edges[:, 0]] - flow.pressure[graph.edges[:, 1]]
    np.testing.assert_allclose(
        flow.edge_flow, poiseuille * drop, rtol=1e-3, atol=1e-6 * np.abs(flow.edge_flow).max()
    )


def test_what_hangs_on_one_node_of_a_network_with_contrasts_carries_exactly_nothing() -> None:
    rng = np.random.default_rng(3)
    alive, hanging = lattice(rng), lattice(rng, n=3)
    n_nodes = len(alive.positions)
    graph = VesselGraph(
        np.concatenate([alive.positions, hanging.positions + alive.positions[200] + 5e-6]),
        np.concatenate([alive.edges, hanging.edges + n_nodes, [[200, n_nodes]]]),
        np.concatenate([alive.radius, hanging.radius]),
        np.concatenate([alive.vessel_type, np.full(27, CAPILLARY, np.int8)]),
        np.concatenate([alive.boundary, np.zeros(27, dtype=bool)]),
    )
    flow = solve_flow(graph, **BLOOD)
    assert not flow.edge_flow[len(alive.edges) :].any()
    assert conservation_error(graph, flow) < 1e-9
    np.testing.assert_allclose(
        flow.edge_flow[: len(alive.edges)], solve_flow(alive, **BLOOD).edge_flow, rtol=1e-6
    )


def test_the_default_units_change_only_the_scale() -> None:
    graph = lattice(np.random.default_rng(2), n=4)
    ratio = solve_flow(graph, **BLOOD).edge_flow / solve_flow(graph).edge_flow
    np.testing.assert_allclose(ratio, 6000 / 3.5e-3, rtol=1e-6)


@pytest.mark.parametrize("downward", [True, False])
def test_a_tree_divides_the_flow_by_the_cubes_of_its_leaves(downward: bool) -> None:
    points = [[0, 0, 0], [0, 0, 100], [50, 0, 150], [-50, 0, 150], [80, 0, 200], [20, 0, 200]]
    edges = np.array([[0, 1], [1, 2], [1, 3], [2, 4], [2, 5]])
    graph = network(
        points, edges if downward else edges[:, ::-1], [10, 8, 6, 2, 4, 3], dict.fromkeys([0, 3, 4, 5], 0)
    )
    flow = solve_flow(graph, **BLOOD)
    away_from_root = flow.edge_flow if downward else -flow.edge_flow
    expected = np.array([99, 91, 8, 64, 27]) / 99
    np.testing.assert_allclose(away_from_root / away_from_root[0], expected, rtol=1e-12)
    assert away_from_root[0] > 0
    assert flow.inlets.tolist() == [0]
    assert flow.outlets.tolist() == [3, 4, 5]
    assert flow.pressure.max() == flow.pressure[0] == 8000
    assert flow.pressure.min() == pytest.approx(2000)


def test_blood_enters_by_the_widest_artery_and_leaves_by_the_widest_vein() -> None:
    points = [[0, 0, 0], [100, 0, 0], [50, 60, 0], [50, -60, 0], [50, 0, 0]]
    edges = [[0, 4], [1, 4], [2, 4], [3, 4], [0, 2]]
    graph = network(points, edges, [10, 12, 5, 4, 5], {0: ARTERY, 1: VEIN, 2: ARTERY, 3: VEIN})
    flow = solve_flow(graph, **BLOOD)
    assert flow.pressure[[0, 1]].tolist() == [8000, 2000]
    np.testing.assert_allclose(flow.pressure[[2, 3]], [5000 + 3000 * 5 / 10, 5000 - 3000 * 4 / 12])


def test_a_network_without_types_is_fed_by_its_widest_end() -> None:
    points = [[0, 0, 0], [50, 30, 0], [50, -30, 0], [100, 0, 0], [50, 0, 40]]
    edges = [[0, 1], [0, 2], [1, 3], [2, 3], [1, 4]]
    graph = network(points, edges, [10, 5, 5, 9, 3], dict.fromkeys([0, 3, 4], 0))
    flow = solve_flow(graph, **BLOOD)
    assert flow.inlets.tolist() == [0]
    assert 3 in flow.outlets
    assert 3500 <= flow.pressure[4] <= 6500


@pytest.mark.parametrize(
    ("types", "changed", "message"),
    [
        ({0: ARTERY}, {}, "1 boundary nodes"),
        ({0: ARTERY, 3: VEIN}, {"viscosity": 0.0}, "viscosity is 0.0"),
        ({0: ARTERY, 3: VEIN}, {"arterial_pressure": 2000.0}, "arterial_pressure is 2000.0"),
    ],
)
def test_what_cannot_flow_is_refused(types: dict[int, int], changed: dict[str, float], message: str) -> None:
    points = [[0, 0, 0], [50, 30, 0], [50, -30, 0], [100, 0, 0]]
    graph = network(points, [[0, 1], [0, 2], [1, 3], [2, 3]], 5, types)
    with pytest.raises(InputError, match=message):
        solve_flow(graph, **(BLOOD | changed))


def _real(name: str) -> VesselGraph:
    path = GRAPHS / name
    if not path.exists():
        pytest.skip(f"real graph {name} not found; set ULMPIPE_GRAPHS")
    return read_graph(path, voxel_size=(1e-6,) * 3)


def test_a_real_cortex_with_loops_conserves_flow_and_is_nowhere_dry() -> None:
    graph = cut_cube(_real("tpm/mouse_20120626.mat"), side=500e-6)
    flow = solve_flow(graph)
    length: NDArray[np.float64] = edge_lengths(graph)
    assert conservation_error(graph, flow) < 1e-9
    assert length[flow.edge_flow == 0].sum() < 0.01 * length.sum()


def test_a_real_tree_is_fed_by_the_root_of_the_file() -> None:
    graph = _real("swc/seg6.swc")
    flow = solve_flow(graph)
    assert len(flow.inlets) == 1
    assert np.all(flow.edge_flow > 0)  # SWC: from parent to child
