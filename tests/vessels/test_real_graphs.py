"""Mouse-cortex graphs, where they are at hand: every one goes through reading, cutting and checking."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ulmpipe.vessels import check_graph, cut_cube, join_open_ends, read_graph
from ulmpipe.vessels.graph import node_degrees
from ulmpipe.vessels.morphometry import morphometry

MICROMETRE = (1e-6, 1e-6, 1e-6)
SIDE = 500e-6
ANIMALS = ("20100203", "20110408", "20111202", "20120409", "20120625", "20120626")
NAMES = [f"swc/seg{number}.swc" for number in range(1, 7)] + [f"tpm/mouse_{animal}.mat" for animal in ANIMALS]


def graph_file(name):
    given = os.environ.get("ULMPIPE_GRAPHS")
    repository = Path(__file__).parents[2]
    folders = [Path(given)] if given else [repository / "shared/graphs", repository.parent / "shared/graphs"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    return pytest.skip(f"{name} is not here (set ULMPIPE_GRAPHS to the folder that holds swc/ and tpm/)")


@pytest.mark.parametrize("name", NAMES)
def test_a_real_graph_is_read_cut_and_accepted(name):
    cut = cut_cube(read_graph(graph_file(name), voxel_size=MICROMETRE), side=SIDE)
    check_graph(cut, source=name)
    assert np.abs(cut.positions).max() <= SIDE / 2
    assert cut.boundary[node_degrees(cut) == 1].all()
    assert len(cut.positions) > 5000


@pytest.mark.parametrize("name", NAMES[:6])
def test_a_tree_joined_at_its_open_ends_is_as_dense_as_cortex_once_cut(name):
    tree = read_graph(graph_file(name), voxel_size=MICROMETRE)
    joined = join_open_ends(tree, gap=0.0)
    check_graph(joined, source=name)
    found = morphometry(cut_cube(joined, side=SIDE), side=SIDE)
    assert found["loops"] > 150
    assert 0.4 < found["length_density_m_per_mm3"] < 0.85


@pytest.mark.parametrize("name", NAMES[6:])
def test_an_angiography_keeps_its_loops(name):
    found = morphometry(cut_cube(read_graph(graph_file(name), voxel_size=MICROMETRE), side=SIDE), side=SIDE)
    assert found["loops"] > 150
    assert 0.5 < found["length_density_m_per_mm3"] < 0.8
    assert found["bifurcation_share"] > 0.9
