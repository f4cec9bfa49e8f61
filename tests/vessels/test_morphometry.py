"""Morphometry of a network small enough to measure by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.vessels import VesselGraph
from ulmpipe.vessels.morphometry import morphometry


def test_a_square_with_a_tail_is_measured_as_by_hand():
    micrometres = np.array([[0, 0, 0], [40, 0, 0], [40, 40, 0], [0, 40, 0], [0, -60, 0]], dtype=float)
    graph = VesselGraph(
        positions=micrometres * 1e-6,
        edges=np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 4]]),
        radius=np.array([10.0, 3, 3, 3, 10]) * 1e-6,
        vessel_type=np.zeros(5, dtype=np.int8),
        boundary=np.array([False, False, False, False, True]),
    )
    found = morphometry(graph, side=100e-6)
    assert found["loops"] == 1
    assert found["branches"] == 2
    assert found["components"] == 1
    assert found["boundary_nodes"] == 1
    assert found["bifurcation_share"] == 1.0
    # 220 µm in (100 µm)³
    assert found["length_density_m_per_mm3"] == pytest.approx(0.22)
    # two edges of mean diameter 6 µm, two of 13, one of 20
    volume = np.pi / 4 * (80 * 6**2 + 80 * 13**2 + 60 * 20**2)
    assert found["volume_share"] == pytest.approx(volume / 1e6)
    assert found["capillary_volume_share"] == pytest.approx(np.pi / 4 * 80 * 36 / volume)
    assert found["capillary_diameter_median_um"] == pytest.approx(6)
    assert found["diameter_median_um"] == pytest.approx(13)
    assert found["diameter_minimum_um"] == pytest.approx(6)
    assert found["diameter_maximum_um"] == pytest.approx(20)
    assert found["branch_length_mean_um"] == pytest.approx((160 + 60) / 2)
    assert found["tortuosity"] == pytest.approx(1.0)
