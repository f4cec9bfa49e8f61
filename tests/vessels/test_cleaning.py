"""What cleaning takes from a graph, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.vessels import VesselGraph, clean_graph
from ulmpipe.vessels.cleaning import remove_spurs
from ulmpipe.vessels.graph import check_graph, edge_lengths


def graph_of(places, edges, radius=5.0):
    """Micrometres."""
    places = np.array(places, dtype=float) * 1e-6
    return VesselGraph(
        positions=places,
        edges=np.array(edges),
        radius=np.broadcast_to(np.asarray(radius, dtype=float) * 1e-6, len(places)).copy(),
        vessel_type=np.zeros(len(places), dtype=np.int8),
        boundary=np.zeros(len(places), dtype=bool),
    )


# a vessel along x with a short and a long side branch
TRUNK = [[0, 0, 0], [50, 0, 0], [100, 0, 0], [150, 0, 0]]
SIDES = [[50, 4, 0], [100, 12, 0]]
EDGES = [[0, 1], [1, 2], [2, 3], [1, 4], [2, 5]]


def test_a_spur_within_the_vessels_wall_goes_and_a_vessel_beyond_it_stays():
    cleaned, steps = clean_graph(graph_of(TRUNK + SIDES, EDGES))
    np.testing.assert_allclose(cleaned.positions * 1e6, [*TRUNK, SIDES[1]])
    np.testing.assert_array_equal(cleaned.boundary, [True, False, False, True, True])
    assert [step.name for step in steps] == ["as read", "spurs removed"]
    assert (steps[0].nodes, steps[1].nodes) == (6, 5)
    assert steps[0].length - steps[1].length == pytest.approx(4e-6)


def test_without_spurs_everything_stays():
    graph = graph_of(TRUNK + SIDES, EDGES)
    cleaned, steps = clean_graph(graph, spur_radii=0.0)
    assert len(cleaned.positions) == 6
    assert len(steps) == 1


def test_of_a_star_of_spurs_the_longest_stays():
    star = graph_of([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], [[0, 1], [0, 2], [0, 3]])
    left = remove_spurs(star, radii=1.0)
    np.testing.assert_allclose(left.positions * 1e6, [[0, 0, 0], [0, 0, 3]])


def test_spurs_on_spurs_go_together():
    places = [*TRUNK, [50, 2, 0], [51, 3, 0], [49, 3, 0]]
    left = remove_spurs(graph_of(places, [[0, 1], [1, 2], [2, 3], [1, 4], [4, 5], [4, 6]]), radii=1.0)
    np.testing.assert_allclose(left.positions * 1e6, TRUNK)


def test_specks_doubled_nodes_and_doubled_edges_go_and_each_step_says_so():
    # two polylines that repeat the node where they meet, an edge twice, and a speck elsewhere
    places = [*TRUNK[:2], [50, 0, 0], *TRUNK[2:], [500, 500, 0], [510, 500, 0]]
    edges = [[0, 1], [1, 0], [2, 3], [3, 4], [5, 6]]
    cleaned, steps = clean_graph(graph_of(places, edges), longest_edge=30e-6)
    check_graph(cleaned, source="cleaned")
    assert [(step.name, step.nodes, step.edges) for step in steps] == [
        ("as read", 7, 5),
        ("nodes at one place merged, doubled edges dropped", 6, 4),
        ("largest connected piece kept", 4, 3),
        ("nodes set along branches", 6, 5),
    ]
    np.testing.assert_allclose(edge_lengths(cleaned), 30e-6)
    assert str(steps[2]) == "largest connected piece kept: 4 nodes, 3 edges, 0.150 mm"


def test_two_halves_of_a_network_are_refused():
    places = TRUNK + [[x, 400, 0] for x, _, _ in TRUNK]
    edges = [[0, 1], [1, 2], [2, 3], [4, 5], [5, 6], [6, 7]]
    with pytest.raises(
        InputError, match=r"a.swc: disconnected graph, 2 pieces .* 50 % .* at least 90 % was expected"
    ):
        clean_graph(graph_of(places, edges), source="a.swc")
    assert len(clean_graph(graph_of(places, edges), least_share=0.4)[0].positions) == 4


@pytest.mark.parametrize("radii", [-1.0, np.nan])
def test_a_wrong_number_of_radii_is_refused(radii):
    with pytest.raises(InputError, match="spur_radii"):
        remove_spurs(graph_of(TRUNK, EDGES[:3]), radii=radii)
