"""GraphML, Pajek, tables, VTK and Secomb's files: the same small network from each, and the line a mistake gets."""

from __future__ import annotations

import re

import networkx
import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.graph_store import load_graph, write_graph, write_graphml
from ulmpipe.vessels import read_graph, synthetic_cortex
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, edge_lengths, node_degrees
from ulmpipe.vessels.readers import guess_format

MICROMETRE = (1e-6, 1e-6, 1e-6)
# a loop with an open end: places and radii in micrometres
PLACES = np.array([[0.0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0], [-50, 0, 20]])
RADII = np.array([4.0, 3, 2.5, 2.5, 4.5])
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 4]])


def graphml(folder, *, change=lambda graph: None, name="g.graphml"):
    graph = networkx.Graph()
    for node, ((x, y, z), radius) in enumerate(zip(PLACES.tolist(), RADII.tolist(), strict=True)):
        graph.add_node(f"n{node}", x=x, y=y, z=z, radius=radius)
    graph.add_edges_from((f"n{a}", f"n{b}") for a, b in EDGES)
    change(graph)
    networkx.write_graphml(graph, folder / name)
    return folder / name


def pajek(folder):
    graph = networkx.Graph()
    for node, (place, radius) in enumerate(zip(PLACES, RADII, strict=True)):
        graph.add_node(str(node), pos=str(place), r=str(radius))
    graph.add_edges_from((str(a), str(b)) for a, b in EDGES)
    networkx.write_pajek(graph, folder / "g.pajek")
    return folder / "g.pajek"


def tables(folder, *, nodes=None, edges=None):
    rows = zip(PLACES, RADII, strict=True)
    text = "x,y,z,radius\n" + "".join(f"{x},{y},{z},{r}\n" for (x, y, z), r in rows)
    (folder / "nodes.csv").write_text(nodes or text)
    (folder / "edges.csv").write_text(edges or "source,target\n" + "".join(f"{a},{b}\n" for a, b in EDGES))
    return {"path": folder / "nodes.csv", "edges": folder / "edges.csv"}


def vtk(folder, name="g.vtp"):
    pyvista = pytest.importorskip("pyvista", exc_type=ImportError)
    mesh = pyvista.PolyData()
    mesh.points = PLACES
    mesh.lines = np.array([5, 0, 1, 2, 3, 0, 2, 0, 4])  # the loop, and the open end
    mesh.point_data["Radius"] = RADII
    mesh.save(folder / name)
    return folder / name


SECOMB = """A small network
 150. 160. 140.  box dimensions in microns
 15 16 14  number of tissue points in x,y,z directions
 10. outer bound distance, lb
 100. max. segment length
 30 maximum number of segments per node, nodsegm
 5 total number of segments
name type from to  diam  flow  hd
 11 5 1 2  7.0 0.1 0.4
 12 5 2 3  5.5 0.1 0.4
 13 5 3 4  5.0 0.1 0.4
 14 5 4 1  6.5 0.1 0.4
 15 5 1 9  8.5 0.1 0.4
 5 total number of nodes
name x y z
 1   0   0  0
 2 100   0  0
 3 100 100  0
 4   0 100  0
 9 -50   0 20
 1 total number of boundary nodes
node type press/flow hd
 9 0 60. 0.4
"""


@pytest.mark.parametrize("write", [graphml, pajek, tables, vtk])
def test_each_gives_the_same_network(tmp_path, write):
    written = write(tmp_path)
    graph = (
        read_graph(**written, voxel_size=MICROMETRE)
        if isinstance(written, dict)
        else read_graph(written, voxel_size=MICROMETRE)
    )
    np.testing.assert_allclose(graph.positions * 1e6, PLACES, atol=1e-4)
    np.testing.assert_allclose(graph.radius * 1e6, RADII, rtol=1e-6)
    assert {tuple(sorted(edge)) for edge in graph.edges.tolist()} == {
        tuple(sorted(e)) for e in EDGES.tolist()
    }
    np.testing.assert_array_equal(graph.boundary, [False, False, False, False, True])


@pytest.mark.parametrize("write", [graphml, pajek, tables, vtk])
def test_the_format_is_found_by_content(tmp_path, write):
    written = write(tmp_path)
    path = written["path"] if isinstance(written, dict) else written
    assert guess_format(path.rename(tmp_path / "unnamed")) == write.__name__.replace("tables", "csv")


def test_radii_of_edges_hold_along_them(tmp_path):
    path = tmp_path / "Network.dat"
    path.write_text(SECOMB)
    assert guess_format(path) == "secomb"
    graph = read_graph(path, voxel_size=MICROMETRE)
    assert len(graph.positions) == 5 + 2 * 5
    assert node_degrees(graph)[:5].tolist() == [3, 2, 2, 2, 1]
    np.testing.assert_allclose(edge_lengths(graph).sum() * 1e6, 400 + np.hypot(50, 20))
    np.testing.assert_allclose(graph.radius[:5] * 1e6, [(3.5 + 3.25 + 4.25) / 3, 3.125, 2.625, 2.875, 4.25])
    np.testing.assert_allclose(graph.radius[5:] * 1e6, 2 * [3.5, 2.75, 2.5, 3.25, 4.25])
    # the narrowest segment's inner piece begins one diameter from its ends
    np.testing.assert_allclose(graph.positions[7] * 1e6, [95, 100, 0])


def test_a_table_may_have_ids_other_separators_and_diameters_of_edges(tmp_path):
    nodes = "id;pos_x;pos_y;pos_z\n" + "".join(
        f"{10 * n + 7};{x};{y};{z}\n" for n, (x, y, z) in enumerate(PLACES)
    )
    edges = "node1id;node2id;diameter_um\n" + "".join(f"{10 * a + 7};{10 * b + 7};6\n" for a, b in EDGES)
    graph = read_graph(**tables(tmp_path, nodes=nodes, edges=edges), voxel_size=MICROMETRE)
    np.testing.assert_allclose(graph.positions[:5] * 1e6, PLACES)
    np.testing.assert_allclose(graph.radius * 1e6, 3)


def test_row_numbers_may_count_from_one(tmp_path):
    edges = "source,target\n" + "".join(f"{a + 1},{b + 1}\n" for a, b in EDGES)
    graph = read_graph(**tables(tmp_path, edges=edges), voxel_size=MICROMETRE)
    np.testing.assert_array_equal(graph.edges, EDGES)


def test_lines_of_a_vtk_file_may_have_the_radius(tmp_path):
    pyvista = pytest.importorskip("pyvista", exc_type=ImportError)
    mesh = pyvista.read(vtk(tmp_path))
    mesh.point_data.clear()
    mesh.cell_data["diameter"] = [6.0, 9.0]
    mesh.save(tmp_path / "lines.vtk")
    graph = read_graph(tmp_path / "lines.vtk", voxel_size=MICROMETRE)
    assert sorted(np.unique(np.round(graph.radius[5:] * 1e6, 6))) == [3.0, 4.5]


def test_a_grown_network_makes_the_round_trip_through_graphml_and_hdf5(tmp_path):
    graph = synthetic_cortex(np.random.default_rng(0), side=200e-6)
    write_graphml(tmp_path / "g.graphml", graph)
    write_graph(tmp_path / "g.h5", graph, provenance={})
    for again in (read_graph(tmp_path / "g.graphml", voxel_size=(1, 1, 1)), load_graph(tmp_path / "g.h5")):
        np.testing.assert_array_equal(again.positions, graph.positions)
        np.testing.assert_array_equal(again.radius, graph.radius)
        np.testing.assert_array_equal(again.vessel_type, graph.vessel_type)
        pairs = [{tuple(sorted(edge)) for edge in each.edges.tolist()} for each in (again, graph)]
        assert pairs[0] == pairs[1]


def no_radius(graph):
    for node in graph:
        del graph.nodes[node]["radius"]


def one_without(graph):
    del graph.nodes["n2"]["radius"]


def no_places(graph):
    for node in graph:
        del graph.nodes[node]["y"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_radius, r"g.graphml: radius or diameter is missing, nodes have x, y, z, edges nothing"),
        (one_without, r"g.graphml: node 2 has no radius"),
        (no_places, r"g.graphml: positions are missing, nodes have x, z, radius"),
        (
            lambda graph: graph.nodes["n1"].update(radius=-1.0),
            r"g.graphml: radius of node 1 is -1.0\d*e-06, a positive",
        ),
    ],
)
def test_a_mistake_in_graphml_is_told_in_one_line(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read_graph(graphml(tmp_path, change=change), voxel_size=MICROMETRE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"nodes": "x,y,z\n0,0,0\n1,0,0\n"},
            r"nodes.csv: radius or diameter is missing, columns are x, y, z",
        ),
        ({"nodes": "x,y,radius\n0,0,1\n"}, r"nodes.csv: no columns of coordinates, they are x, y, radius"),
        (
            {"nodes": "x,y,z,radius\n0,0,0,1\n1,0\n"},
            r"nodes.csv, line 3: 2 columns, expected were x, y, z, radius",
        ),
        ({"nodes": "x,y,z,radius\n0,zero,0,1\n"}, r"nodes.csv: y of row 0 is 'zero', a number was expected"),
        ({"edges": "a,b\n0,1\n"}, r"edges.csv: no columns of the nodes that an edge joins, they are a, b"),
        ({"edges": "source,target\n1,2\n2,3\n"}, r"edges.csv: .*index_base, 0 or 1, was expected"),
        ({"edges": "source,target\n0,1.5\n"}, r"edges.csv: target of row 0 is '1.5', a whole number"),
        ({"edges": "source,target\n0,9\n"}, r"edge 0 joins nodes \[0, 9\] but there are 5 nodes"),
    ],
)
def test_a_mistake_in_tables_is_told_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read_graph(**tables(tmp_path, **changes), voxel_size=MICROMETRE, format="csv")
    assert "\n" not in str(caught.value)


def test_the_second_table_is_asked_for(tmp_path):
    path = tables(tmp_path)["path"]
    with pytest.raises(InputError, match=r"the table of its edges \(edges: PATH\) was expected too"):
        read_graph(path, voxel_size=MICROMETRE)
    with pytest.raises(InputError, match=r"none.csv: no such file"):
        read_graph(path, voxel_size=MICROMETRE, edges=tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 5 total number of nodes", "", r"no line such as '40 total number of nodes' below the segments"),
        (
            " 15 5 1 9  8.5 0.1 0.4",
            " 15 5 1 8  8.5 0.1 0.4",
            r"segment 4 ends at node 8, a node of this file",
        ),
        (
            " 9 -50   0 20\n",
            "",
            r"line 20: ' ?1 total number of boundary nodes'|line 20: .*numbers were expected",
        ),
        (" 12 5 2 3  5.5 0.1 0.4", " 12 5 2 3", r"line 10: 4 columns, at least 5 were expected"),
    ],
)
def test_a_mistake_in_a_network_dat_is_told_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "Network.dat"
    path.write_text(SECOMB.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read_graph(path, voxel_size=MICROMETRE)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_told_in_one_line(tmp_path):
    for name, text in (("g.graphml", "<graphml><node"), ("g.net", "*Vertices 2\n1 a b c\n*edges\n1 7\n")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            read_graph(path, voxel_size=MICROMETRE)
        assert "\n" not in str(caught.value)


def read_text(folder, text, name="g.txt", **more):
    path = folder / name
    path.write_text(text)
    return read_graph(path, voxel_size=MICROMETRE, **more)


PAJEK = """*vertices 3
1 0 0.0 0.0 ellipse pos "[0. 0. 0.]" r {} type 1
2 1 0.0 0.0 ellipse pos "[10. 0. 0.]" r {} type 2
3 2 0.0 0.0 ellipse pos "[20. 0. 0.]" r {} type 3
*edges
1 2 1.0
2 3 1.0
"""


def test_of_vascgraph_types_2_is_a_vein_and_3_a_capillary(tmp_path):
    graph = read_text(tmp_path, PAJEK.format(2.0, 3.0, 4.0))
    assert graph.vessel_type.tolist() == [ARTERY, VEIN, CAPILLARY]
    np.testing.assert_allclose(graph.radius, [2e-6, 3e-6, 4e-6])


@pytest.mark.parametrize(
    "text",
    [
        PAJEK.format("[2.]", "[3.]", "[4.]"),
        PAJEK.replace(" r ", " d ").format(2.0, 3.0, 4.0),  # the distance to the wall
        "*network mine\n" + PAJEK.format(2.0, 3.0, 4.0),
    ],
)
def test_radii_of_vascgraph_in_its_other_ways(tmp_path, text):
    np.testing.assert_allclose(read_text(tmp_path, text).radius, [2e-6, 3e-6, 4e-6])


def test_points_among_the_cells_of_a_vtk_file_do_not_shift_the_radii(tmp_path):
    pyvista = pytest.importorskip("pyvista", exc_type=ImportError)
    points = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [0, 50, 0]])
    lines = pyvista.PolyData(points, verts=np.array([1, 3]), lines=np.array([2, 0, 1, 2, 1, 2]))
    lines.cell_data["diameter"] = [8.0, 2.0, 3.0]
    lines.save(tmp_path / "lines.vtp")
    cells = np.array([2, 0, 1, 1, 3, 2, 1, 2])
    grid = pyvista.UnstructuredGrid(cells, np.array([3, 1, 3]), points)
    grid.cell_data["diameter"] = [2.0, 8.0, 3.0]
    grid.save(tmp_path / "grid.vtk")
    for name in ("lines.vtp", "grid.vtk"):
        graph = read_graph(tmp_path / name, voxel_size=MICROMETRE)
        middle = 1e6 * graph.positions[graph.edges].mean(axis=1)[:, 0]
        radius = 1e6 * graph.radius[graph.edges].min(axis=1)
        assert radius[middle < 10].min() == pytest.approx(1.0)
        assert radius[middle > 10].max() == pytest.approx(1.5)


def test_segments_that_carry_no_blood_are_left_out_and_counted(tmp_path, caplog):
    text = SECOMB.replace("15 5 1 9", "15 10 1 9")
    graph = read_text(tmp_path, text, "Network.dat")
    assert not graph.boundary.any()  # the open end is gone, its node too
    assert graph.positions[:, 0].min() == 0
    assert "1 segments of types [10], which carry no blood, are left out" in caplog.text
    without_types = read_text(
        tmp_path, re.sub(r"^( 1.) 5", r"\1 0", SECOMB, flags=re.MULTILINE), "Network.dat"
    )
    assert without_types.boundary.sum() == 1


TABLES = {
    "nodes": "x,y,z\n0,0,0\n10,0,0\n20,0,0\n50,50,50\n",
    "edges": "vertex_1,vertex_2,diameter\n0,1,4\n1,2,6\n",
}


def read_tables(folder, **changes):
    written = tables(folder, **(TABLES | changes))
    return read_graph(**written, voxel_size=MICROMETRE)


def test_a_node_without_an_edge_is_no_vessel(tmp_path):
    graph = read_tables(tmp_path)
    assert graph.positions.max() == pytest.approx(20e-6)
    assert graph.boundary.sum() == 2


def test_two_edges_between_the_same_nodes_are_two_vessels(tmp_path):
    once = read_tables(tmp_path)
    twice = read_tables(tmp_path, edges=TABLES["edges"] + "1,2,6\n2,1,6\n")
    assert edge_lengths(twice).sum() == pytest.approx(edge_lengths(once).sum() + 20e-6)
    ring = len(twice.edges) - len(twice.positions) + 1
    assert ring == 2
    assert twice.boundary.sum() == 1  # where two come back together is no open end


def test_an_edge_from_a_node_to_itself_counts_for_nothing(tmp_path):
    once = read_tables(tmp_path)
    looped = read_tables(tmp_path, edges=TABLES["edges"] + "1,1,40\n")
    np.testing.assert_allclose(looped.radius, once.radius)


def test_a_radius_below_zero_names_the_edge(tmp_path):
    with pytest.raises(
        InputError, match=r"nodes.csv: radius of edge 1 is -3, a positive number was expected"
    ):
        read_tables(tmp_path, edges=TABLES["edges"].replace("1,2,6", "1,2,-6"))
