"""Graph files: what is read, and the one line a mistake in them gets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from ulmpipe.errors import InputError
from ulmpipe.vessels import read_graph
from ulmpipe.vessels.graph import node_degrees

MICROMETRE = (1e-6, 1e-6, 1e-6)
GOOD_SWC = """# id type x y z radius parent

7 2 0 0 0 3 -1
3 2 10 0 0 2 7
12 2 10 5 0 1 3
1 2 10 0 5 1.5 3 # tip
"""


def write_swc(folder, text, name="graph.swc"):
    path = folder / name
    path.write_text(text)
    return path


def im2(**changes):
    fields = {
        "nodePos_um": np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0], [-5, 0, 0]]),
        "nodeEdges": np.array([[1, 2], [2, 3], [3, 4], [4, 1], [1, 5]], dtype=np.uint16),
        "nodeDiam": np.array([[8.0], [6.0], [5.0], [5.0], [9.0]]),
        "nodeSegN": np.array([[1], [1], [2], [3], [4]], dtype=np.uint16),
        "segVesType": np.array([[1.0], [2.0], [2.5], [3.0]]),
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def write_tpm(folder, **changes):
    path = folder / "mesh.mat"
    savemat(path, {"im2": im2(**changes)})
    return path


def test_an_swc_tree_is_read_in_metres_with_arbitrary_ids(tmp_path):
    graph = read_graph(write_swc(tmp_path, GOOD_SWC), voxel_size=MICROMETRE)
    np.testing.assert_allclose(graph.positions * 1e6, [[0, 0, 0], [10, 0, 0], [10, 5, 0], [10, 0, 5]])
    np.testing.assert_allclose(graph.radius * 1e6, [3, 2, 1, 1.5])
    np.testing.assert_array_equal(graph.edges, [[0, 1], [1, 2], [1, 3]])
    np.testing.assert_array_equal(graph.boundary, [True, False, True, True])
    assert (graph.vessel_type == 0).all()
    assert graph.dilation == 1.0


def test_each_axis_has_its_own_voxel_size_and_the_radius_their_geometric_mean(tmp_path):
    graph = read_graph(write_swc(tmp_path, GOOD_SWC), voxel_size=(2e-6, 4e-6, 1e-6))
    np.testing.assert_allclose(graph.positions[2] * 1e6, [20, 20, 0])
    np.testing.assert_allclose(graph.radius[0] * 1e6, 3 * 2)


def test_a_tpm_file_keeps_its_loops_and_vessel_types(tmp_path):
    graph = read_graph(write_tpm(tmp_path), voxel_size=MICROMETRE)
    np.testing.assert_allclose(graph.radius * 1e6, [4, 3, 2.5, 2.5, 4.5])
    np.testing.assert_array_equal(node_degrees(graph), [3, 2, 2, 2, 1])
    np.testing.assert_array_equal(graph.vessel_type, [1, 1, 2, 2, 3])
    np.testing.assert_array_equal(graph.boundary, [False, False, False, False, True])


def test_the_format_is_found_by_content_when_the_name_says_nothing(tmp_path):
    assert len(read_graph(write_swc(tmp_path, GOOD_SWC, "graph"), voxel_size=MICROMETRE).positions) == 4
    tpm = write_tpm(tmp_path).rename(tmp_path / "unnamed")
    assert len(read_graph(tpm, voxel_size=MICROMETRE).positions) == 5


def test_two_nodes_at_one_place_become_one(tmp_path):
    graph = read_graph(write_swc(tmp_path, GOOD_SWC + "2 2 10 0 5 1 1\n"), voxel_size=MICROMETRE)
    assert len(graph.positions) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 0 0 0 1 -1\n1 2 nan 0 0 1 0\n", r"graph.swc, line 2: x is nan, a finite number"),
        ("0 2 0 0 0 1 -1\n1 2 1 0 0 inf 0\n", r"graph.swc, line 2: radius is inf, a finite number"),
        ("0 2 0 0 0 1 -1\n1 2 1 0 0 0 0\n", r"graph.swc, line 2: radius is 0, a positive number"),
        ("0 2 0 0 0 -1 -1\n1 2 1 0 0 1 0\n", r"graph.swc, line 1: radius is -1, a positive number"),
        (
            "0 2 0 0 0 1 -1\n#\n1 2 1 0 0 1 5\n",
            r"graph.swc, line 3: parent is 5, the id of a node of this file",
        ),
        ("0 2 0 0 0 1 -1\n1 2 1 0 0 1 1\n", r"graph.swc, line 2: parent is 1, the id of another node"),
        (
            "0 2 0 0 0 1 -1\n1 2 1 0 0 1 0\n1 2 2 0 0 1 0\n",
            r"graph.swc, line 3: id is 1, an id used once only",
        ),
        ("0 2 0 0 0 1 -1\n1.5 2 1 0 0 1 0\n", r"graph.swc, line 2: id is 1.5, a whole number"),
        ("0 2 0 0 0 1 -1\n1 2 1 0 0 0\n", r"graph.swc, line 2: 6 columns, expected were id type x y z"),
        ("0 2 0 0 0 1 -1\n1 2 one 0 0 1 0\n", r"graph.swc, line 2: '1 2 one 0 0 1 0', numbers were expected"),
        ("0 2 0 0 0 1 1\n1 2 1 0 0 1 0\n", r"graph.swc: no root"),
        ("# nothing\n", r"graph.swc: no nodes"),
        ("0 2 0 0 0 1 -1\n", r"graph.swc: the graph has no edges"),
        (
            "0 2 0 0 0 1 -1\n1 2 1 0 0 1 0\n2 2 2 0 0 1 1\n3 2 9 0 0 1 -1\n4 2 9 1 0 1 3\n",
            r"graph.swc: disconnected graph, 2 components of 3, 2 nodes",
        ),
    ],
)
def test_a_mistake_in_an_swc_file_is_told_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_graph(write_swc(tmp_path, text), voxel_size=MICROMETRE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodeDiam": np.array([8.0, 6, 0, 5, 9])}, r"mesh.mat: radius of node 2 is 0.0, a positive number"),
        ({"nodeDiam": np.array([8.0, 6, np.nan, 5, 9])}, r"mesh.mat: radius of node 2 is nan"),
        ({"nodeDiam": np.array([8.0, 6])}, r"mesh.mat: 2 values of nodeDiam for 5 nodes"),
        ({"nodeEdges": np.array([[1, 2], [2, 6]])}, r"mesh.mat: edge 1 joins nodes \[1, 5\]"),
        (
            {"nodeEdges": np.array([[0, 2], [2, 3]], dtype=np.uint16)},
            r"mesh.mat: edge 0 joins nodes \[-1, 1\]",
        ),
        (
            {"nodeEdges": np.array([[1, 2], [3, 4]])},
            r"mesh.mat: disconnected graph, 2 components of 2, 2 nodes",
        ),
        ({"nodePos_um": np.zeros((5, 2))}, r"mesh.mat: im2.nodePos_um is \(5, 2\)"),
        ({"nodeSegN": np.array([1, 1, 1, 1, 9])}, r"mesh.mat: im2.nodeSegN does not name a segment"),
        ({"nodeEdges": None}, r"mesh.mat: im2 lacks one of the fields"),
    ],
)
def test_a_mistake_in_a_tpm_file_is_told_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read_graph(write_tpm(tmp_path, **changes), voxel_size=MICROMETRE)
    assert "\n" not in str(caught.value)


def test_a_matlab_file_of_something_else_and_a_truncated_one_are_refused(tmp_path):
    other = tmp_path / "other.mat"
    savemat(other, {"image": np.zeros(3)})
    with pytest.raises(InputError, match=r"other.mat: no struct im2"):
        read_graph(other, voxel_size=MICROMETRE)
    whole = write_tpm(tmp_path)
    whole.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(InputError, match=r"mesh.mat: cannot be read as a MATLAB file"):
        read_graph(whole, voxel_size=MICROMETRE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.swc: no such file"):
        read_graph(tmp_path / "nowhere.swc", voxel_size=MICROMETRE)


@pytest.mark.parametrize("writer", [lambda folder: write_swc(folder, GOOD_SWC), write_tpm])
def test_the_voxel_size_is_mandatory_for_every_format(tmp_path, writer):
    with pytest.raises(InputError, match="voxel_size is missing, three metres per file unit"):
        read_graph(writer(tmp_path))


@pytest.mark.parametrize(
    "voxel_size", [(1e-6, -1e-6, 1e-6), (1e-6, 0, 1e-6), (1e-6, 1e-6), (np.nan,) * 3, "abc"]
)
def test_a_wrong_voxel_size_is_refused(tmp_path, voxel_size):
    with pytest.raises(InputError, match=r"graph.swc: voxel_size is .*three metres per file unit"):
        read_graph(write_swc(tmp_path, GOOD_SWC), voxel_size=voxel_size)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"unknown graph format 'dxf', one of swc, tpm, graphml"):
        read_graph(write_swc(tmp_path, GOOD_SWC), voxel_size=MICROMETRE, format="dxf")
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\0\0")
    with pytest.raises(InputError, match=r"picture.png: not a vessel graph known here"):
        read_graph(picture, voxel_size=MICROMETRE)
