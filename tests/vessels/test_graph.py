"""Known answers for the operations on vessel graphs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.vessels import VesselGraph, check_graph, cut_cube, dilate, join_open_ends, resample
from ulmpipe.vessels.branches import branches
from ulmpipe.vessels.graph import (
    densest_center,
    drop_dead_ends,
    edge_lengths,
    largest_component,
    merge_coincident,
    node_degrees,
)


def make_graph(positions, edges, radius=1.0, boundary=()):
    positions = np.array(positions, dtype=float)
    marked = np.zeros(len(positions), dtype=bool)
    marked[list(boundary)] = True
    return VesselGraph(
        positions=positions,
        edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
        radius=np.broadcast_to(np.asarray(radius, dtype=float), len(positions)).copy(),
        vessel_type=np.full(len(positions), 2, dtype=np.int8),
        boundary=marked,
    )


def straight_line():
    """A vessel along x from -6 to 6 whose radius grows from 1 to 4."""
    x = np.array([-6.0, -2.0, 2.0, 6.0])
    return make_graph(
        np.column_stack([x, 0 * x, 0 * x]), [(0, 1), (1, 2), (2, 3)], [1, 2, 3, 4], boundary=[0, 3]
    )


def test_an_edge_across_a_face_ends_on_the_face_with_the_interpolated_radius():
    cut = cut_cube(straight_line(), side=8.0, center=np.zeros(3))
    order = np.argsort(cut.positions[:, 0])
    np.testing.assert_allclose(cut.positions[order], [[-4, 0, 0], [-2, 0, 0], [2, 0, 0], [4, 0, 0]])
    np.testing.assert_allclose(cut.radius[order], [1.5, 2, 3, 3.5])
    np.testing.assert_array_equal(cut.boundary[order], [True, False, False, True])


def test_an_edge_that_crosses_the_whole_cube_is_cut_twice():
    cut = cut_cube(make_graph([[-5, 0.5, 0], [15, 0.5, 0]], [(0, 1)], [1, 5]), side=2.0, center=np.zeros(3))
    order = np.argsort(cut.positions[:, 0])
    np.testing.assert_allclose(cut.positions[order], [[-1, 0.5, 0], [1, 0.5, 0]])
    np.testing.assert_allclose(cut.radius[order], [1.8, 2.2])
    assert cut.boundary.all()


def test_the_cube_is_moved_to_the_origin():
    moved = replace(straight_line(), positions=straight_line().positions + np.array([100, 200, 300]))
    cut = cut_cube(moved, side=8.0, center=np.array([100, 200, 300]))
    np.testing.assert_allclose(np.sort(cut.positions[:, 0]), [-4, -2, 2, 4])


def test_the_longest_piece_is_kept_and_the_others_are_dropped():
    graph = make_graph(
        [[-3, 0, 0], [3, 0, 0], [0.5, 5, 0], [0.5, 0.5, 0.5], [0.7, 5, 0]], [(0, 1), (1, 2), (2, 3), (2, 4)]
    )
    cut = cut_cube(graph, side=2.0, center=np.zeros(3))
    np.testing.assert_allclose(edge_lengths(cut).sum(), 2.0)
    assert len(cut.positions) == 2


def test_a_node_on_a_face_becomes_a_boundary_node_without_a_sliver_of_vessel():
    cut = cut_cube(straight_line(), side=4.0, center=np.zeros(3))
    np.testing.assert_allclose(np.sort(cut.positions[:, 0]), [-2, 2])
    assert cut.boundary.all()


def test_the_densest_cube_is_found_where_the_vessels_are():
    rng = np.random.default_rng(0)
    dense = rng.uniform(10, 14, (200, 3))
    graph = make_graph(
        np.concatenate([dense, [[0, 0, 0], [30, 30, 30]]]),
        [(i, i + 1) for i in range(199)] + [(200, 0), (199, 201)],
    )
    center = densest_center(graph, side=5.0)
    assert (np.abs(center - 12) <= 0.75).all()


def test_a_cube_larger_than_the_graph_keeps_everything_and_centres_it():
    cut = cut_cube(straight_line(), side=20.0)
    np.testing.assert_allclose(np.sort(cut.positions[:, 0]), [-6, -2, 2, 6])


def test_an_empty_cube_is_refused():
    with pytest.raises(InputError, match=r"no vessel in the cube of side 1.0 m"):
        cut_cube(straight_line(), side=1.0, center=np.array([0, 50.0, 0]))


@pytest.mark.parametrize("side", [0.0, -1.0, np.nan])
def test_a_cube_without_a_positive_side_is_refused(side):
    with pytest.raises(InputError, match="side of the cube"):
        cut_cube(straight_line(), side=side)


def test_dilation_scales_positions_and_radius_and_keeps_the_native_radius_known():
    twice = dilate(dilate(straight_line(), 2.0), 1.5)
    np.testing.assert_allclose(twice.positions, 3 * straight_line().positions)
    np.testing.assert_allclose(twice.radius / twice.dilation, straight_line().radius)
    with pytest.raises(InputError, match="dilation factor is 0"):
        dilate(straight_line(), 0)


def test_branches_run_from_branching_to_branching_and_cover_every_edge_once():
    # A ring of four nodes, 0 to 3, with a tail 0-4-5 and a second bridge 1-6-3.
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (4, 5), (1, 6), (6, 3)]
    graph = make_graph(np.random.default_rng(1).normal(size=(7, 3)), edges)
    chains = [tuple(chain) for chain in branches(graph)]
    walked = [tuple(sorted(pair)) for chain in chains for pair in pairwise(chain)]
    assert sorted(walked) == sorted(tuple(sorted(edge)) for edge in edges)
    assert sorted(tuple(sorted((chain[0], chain[-1]))) for chain in chains) == [
        (0, 1),
        (0, 3),
        (0, 5),
        (1, 3),
        (1, 3),
    ]


def test_a_ring_and_a_loop_at_a_branching_are_one_branch_each():
    ring = make_graph(np.eye(3), [(0, 1), (1, 2), (2, 0)])
    assert [len(chain) for chain in branches(ring)] == [4]
    lasso = make_graph(np.random.default_rng(2).normal(size=(4, 3)), [(0, 1), (1, 2), (2, 0), (0, 3)])
    assert sorted(len(chain) for chain in branches(lasso)) == [2, 4]


def test_resampling_keeps_branchings_and_interpolates_along_the_vessel():
    line = resample(straight_line(), spacing=1.0)
    order = np.argsort(line.positions[:, 0])
    np.testing.assert_allclose(line.positions[order, 0], np.arange(-6, 7), atol=1e-12)
    np.testing.assert_allclose(line.radius[order], 1 + np.arange(13) / 4)
    np.testing.assert_array_equal(np.flatnonzero(line.boundary[order]), [0, 12])
    check_graph(line, source="line")


def test_nodes_at_one_place_are_merged_and_doubled_edges_dropped():
    graph = make_graph(
        [[0, 0, 0], [1, 0, 0], [1, 0, 0], [2, 0, 0]], [(0, 1), (1, 2), (2, 3), (3, 2), (1, 0)], boundary=[2]
    )
    merged = merge_coincident(graph)
    assert len(merged.positions) == 3
    assert len(merged.edges) == 2
    np.testing.assert_array_equal(merged.boundary, [False, True, False])


def test_the_end_of_a_cut_loop_is_joined_again():
    # A line along x from -4 to 4; from x = 3 a vessel turns back to it and stops 0.5 above x = 0.
    line = [[x, 0, 0] for x in range(-4, 5)]
    graph = make_graph(
        [*line, [3, 3, 0], [0, 3, 0], [0, 0.5, 0]],
        [(i, i + 1) for i in range(8)] + [(7, 9), (9, 10), (10, 11)],
        0.3,
        boundary=[0, 8, 11],
    )
    assert join_open_ends(graph, gap=0.19) is graph
    joined = join_open_ends(graph, gap=0.21)
    assert [tuple(edge) for edge in joined.edges.tolist()][-1] == (11, 4)
    assert len(joined.edges) == len(graph.edges) + 1
    np.testing.assert_array_equal(np.flatnonzero(joined.boundary), [0, 8])


def test_two_ends_of_one_cut_are_joined_once():
    graph = make_graph(
        [[-2, 0, 0], [-0.1, 0, 0], [0.1, 0, 0], [2, 0, 0]], [(0, 1), (2, 3)], 0.3, boundary=[0, 1, 2, 3]
    )
    joined = join_open_ends(graph, gap=0.0)
    assert len(joined.edges) == 3
    np.testing.assert_array_equal(joined.boundary, [True, False, False, True])


def test_dead_ends_are_dropped_back_to_the_last_branching():
    graph = make_graph(
        [[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0], [1, 2, 0]],
        [(0, 1), (1, 2), (1, 3), (3, 4)],
        boundary=[0, 2],
    )
    np.testing.assert_allclose(drop_dead_ends(graph).positions, [[0, 0, 0], [1, 0, 0], [2, 0, 0]])


def test_the_largest_component_is_the_longest_not_the_one_with_most_nodes():
    graph = make_graph([[0, 0, 0], [9, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 0]], [(0, 1), (2, 3), (3, 4)])
    assert len(largest_component(graph).positions) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.zeros((0, 2), dtype=np.int64)}, r"f: the graph has no edges"),
        ({"edges": np.array([[0, 1], [1, 9]])}, r"f: edge 1 joins nodes \[1, 9\] but there are 4 nodes"),
        ({"radius": np.array([1.0, 2, 0, 4])}, r"f: radius of node 2 is 0.0, a positive number"),
        ({"radius": np.array([1.0, -2, 3, 4])}, r"f: radius of node 1 is -2.0, a positive number"),
        ({"radius": np.array([1.0, 2, np.nan, 4])}, r"f: radius of node 2 is nan, a finite number"),
        ({"radius": np.array([1.0, 2])}, r"f: 2 values of radius for 4 nodes"),
        ({"positions": np.full((4, 3), np.nan)}, r"f: position of node 0 is \[nan nan nan\], finite numbers"),
        ({"positions": np.zeros((4, 3))}, r"f: edge 0 \(nodes \[0, 1\]\) has no length"),
        ({"dilation": 0.0}, r"f: dilation is 0.0"),
        ({"edges": np.array([[0, 1], [2, 3]])}, r"f: disconnected graph, 2 components of 2, 2 nodes"),
    ],
)
def test_a_graph_no_blood_could_flow_through_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        check_graph(replace(straight_line(), **change), source="f")
    assert "\n" not in str(caught.value)


def test_a_good_graph_passes():
    check_graph(straight_line(), source="f")
    np.testing.assert_array_equal(node_degrees(straight_line()), [1, 2, 2, 1])
