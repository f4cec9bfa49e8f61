"""A synthetic network must look like cortex: the statistics of two-photon angiographies."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from ulmpipe.vessels import CortexStatistics, check_graph, dilate, synthetic_cortex
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, edge_lengths, node_degrees
from ulmpipe.vessels.morphometry import morphometry

SIDE = 500e-6


@pytest.fixture(scope="module", params=[0, 1, 2, 3])
def cortex(request):
    return synthetic_cortex(np.random.default_rng(request.param), side=SIDE)


def test_its_statistics_are_those_of_cortex(cortex):
    check_graph(cortex, source="synthetic")
    found = morphometry(cortex, side=SIDE)
    assert 0.5 <= found["length_density_m_per_mm3"] <= 0.85
    assert 4 <= found["capillary_diameter_median_um"] <= 8
    assert 40 <= found["branch_length_mean_um"] <= 80
    assert found["bifurcation_share"] >= 0.93
    assert found["diameter_minimum_um"] >= 2
    assert 30 <= found["diameter_maximum_um"] <= 60
    assert found["loops"] >= 150
    assert 0.015 <= found["volume_share"] <= 0.06
    assert 1.05 <= found["tortuosity"] <= 1.35


def test_arteries_capillaries_and_veins_are_told_apart_by_width_too(cortex):
    for kind in (ARTERY, VEIN):
        assert np.median(cortex.radius[cortex.vessel_type == kind]) > 1.5 * np.median(
            cortex.radius[cortex.vessel_type == CAPILLARY]
        )


def test_blood_can_enter_by_arteries_and_leave_by_veins(cortex):
    for kind in (ARTERY, VEIN):
        assert (cortex.boundary & (cortex.vessel_type == kind)).sum() >= 2


def test_every_open_end_is_a_boundary_node_on_a_face(cortex):
    ends = node_degrees(cortex) == 1
    np.testing.assert_array_equal(ends, cortex.boundary)
    np.testing.assert_allclose(np.abs(cortex.positions[ends]).max(axis=1), SIDE / 2, rtol=1e-4)


def test_nodes_are_close_enough_to_look_smooth(cortex):
    length = edge_lengths(cortex)
    assert np.quantile(length, 0.99) < 10e-6
    through = np.flatnonzero(node_degrees(cortex) == 2)
    first = {node: [] for node in through.tolist()}
    for one, other in cortex.edges.tolist():
        for node, neighbour in ((one, other), (other, one)):
            if node in first:
                first[node].append(neighbour)
    pairs = np.array([first[node] for node in through.tolist()])
    before = cortex.positions[through] - cortex.positions[pairs[:, 0]]
    after = cortex.positions[pairs[:, 1]] - cortex.positions[through]
    cosine = np.sum(before * after, axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert np.quantile(cosine, 0.02) > np.cos(np.radians(60))


def test_capillaries_run_in_every_direction(cortex):
    capillary = (cortex.vessel_type[cortex.edges] == CAPILLARY).all(axis=1)
    direction = np.diff(cortex.positions[cortex.edges[capillary]], axis=1)[:, 0]
    share = np.sum(direction**2, axis=0) / np.sum(direction**2)
    assert (share > 0.25).all()


def test_penetrating_trees_obey_murray_where_they_branch(cortex):
    """At wide bifurcations the cube of the widest radius is the sum of the cubes of the two others."""
    degree = node_degrees(cortex)
    both = np.concatenate([cortex.edges, cortex.edges[:, ::-1]])
    ratios = []
    for node in np.flatnonzero((degree == 3) & (cortex.radius > 6e-6)):
        # A few steps along each vessel, past the short taper at the branching.
        ends = []
        for neighbour in both[both[:, 0] == node, 1]:
            previous, current = node, neighbour
            for _ in range(4):
                onward = both[(both[:, 0] == current) & (both[:, 1] != previous), 1]
                if len(onward) != 1:
                    break
                previous, current = current, onward[0]
            ends.append(cortex.radius[current])
        low, middle, high = np.sort(ends) ** 3
        ratios.append((low + middle) / high)
    assert len(ratios) >= 10
    assert np.median(ratios) == pytest.approx(1, abs=0.1)


def test_the_same_seed_gives_the_same_network_bit_for_bit_and_another_seed_another():
    one, same, other = (synthetic_cortex(np.random.default_rng(seed), side=SIDE) for seed in (5, 5, 6))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(same, field.name))
    assert one.positions.shape != other.positions.shape or not np.array_equal(one.positions, other.positions)


def test_smaller_cells_give_a_denser_network():
    densities = [
        morphometry(
            synthetic_cortex(
                np.random.default_rng(0), side=300e-6, statistics=CortexStatistics(cell_size=size)
            ),
            side=300e-6,
        )["length_density_m_per_mm3"]
        for size in (60e-6, 90e-6)
    ]
    assert densities[0] > 1.5 * densities[1]


def test_morphometry_is_native_whatever_the_dilation(cortex):
    native, dilated = morphometry(cortex, side=SIDE), morphometry(dilate(cortex, 2.0), side=2 * SIDE)
    assert native == pytest.approx(dilated)
