"""A graph file holds the graph bit for bit, and is whole or refused."""

from __future__ import annotations

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.graph_store import load_graph, write_graph
from ulmpipe.io.hdf5 import file_provenance
from ulmpipe.vessels import VesselGraph


@pytest.fixture
def graph():
    return VesselGraph(
        positions=np.random.default_rng(0).normal(size=(4, 3)) * 1e-4,
        edges=np.array([[0, 1], [1, 2], [1, 3]]),
        radius=np.array([3e-6, 2e-6, 1e-6, 5e-6]),
        vessel_type=np.array([1, 2, 2, 3], dtype=np.int8),
        boundary=np.array([True, False, True, True]),
        dilation=2.0,
    )


def test_a_graph_comes_back_bit_for_bit(tmp_path, graph):
    path = tmp_path / "graph.h5"
    write_graph(path, graph, provenance={"seed": 3, "file": "a.swc"})
    loaded = load_graph(path)
    for field in fields(graph):
        value, expected = getattr(loaded, field.name), getattr(graph, field.name)
        np.testing.assert_array_equal(value, expected)
        assert np.asarray(value).dtype == np.asarray(expected).dtype
    assert file_provenance(path) == {"seed": 3, "file": "a.swc"}


def test_every_array_carries_its_dimensions_and_unit(tmp_path, graph):
    write_graph(tmp_path / "graph.h5", graph, provenance={})
    with h5py.File(tmp_path / "graph.h5") as file:
        assert list(file["positions"].attrs["dims"]) == ["node", "xyz"]
        assert file["radius"].attrs["units"] == "m"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, graph):
    path = tmp_path / "graph.h5"
    write_graph(path, graph, provenance={"version": 1})
    with pytest.raises(TypeError):
        write_graph(path, graph, provenance={"version": object()})
    assert file_provenance(path) == {"version": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["graph.h5"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.h5: no such file"):
        load_graph(tmp_path / "nowhere.h5")


def test_a_truncated_file_is_refused(tmp_path, graph):
    path = tmp_path / "graph.h5"
    write_graph(path, graph, provenance={})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"graph.h5: not a whole HDF5 file"):
        load_graph(path)


@pytest.mark.parametrize("attribute", ["complete", "format", "version"])
def test_a_file_without_its_marks_is_refused(tmp_path, graph, attribute):
    path = tmp_path / "graph.h5"
    write_graph(path, graph, provenance={})
    with h5py.File(path, "a") as file:
        del file.attrs[attribute]
    with pytest.raises(InputError, match=r"graph.h5: format .*, expected .ulmpipe vessel graph"):
        load_graph(path)


def test_a_file_without_one_of_its_arrays_is_refused(tmp_path, graph):
    path = tmp_path / "graph.h5"
    write_graph(path, graph, provenance={})
    with h5py.File(path, "a") as file:
        del file["radius"]
    with pytest.raises(InputError, match=r"graph.h5: .*damaged or missing array"):
        load_graph(path)


def test_a_graph_no_blood_could_flow_through_is_refused_on_loading(tmp_path, graph):
    path = tmp_path / "graph.h5"
    write_graph(path, replace(graph, radius=np.array([1e-6, np.nan, 1e-6, 1e-6])), provenance={})
    with pytest.raises(InputError, match=r"graph.h5: radius of node 1 is nan"):
        load_graph(path)
