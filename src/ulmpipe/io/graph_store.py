"""Vessel graphs on disk: one small HDF5 file each, in SI units, with what they were made from.

Every data set carries its dimensions and unit; the attribute ``complete`` is written last and a file without
it is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.errors import InputError
from ulmpipe.io.hdf5 import new_file, open_file
from ulmpipe.io.stores import complete_or_absent
from ulmpipe.vessels.graph import VesselGraph, check_graph

_FORMAT = "ulmpipe vessel graph"
_VERSION = 1
_ARRAYS = {
    "positions": (np.float64, ("node", "xyz"), "m"),
    "edges": (np.int64, ("edge", "end"), ""),
    "radius": (np.float64, ("node",), "m"),
    "vessel_type": (np.int8, ("node",), "0 unknown, 1 artery, 2 capillary, 3 vein"),
    "boundary": (np.bool_, ("node",), ""),
}


def write_graph(path: str | Path, graph: VesselGraph, *, provenance: dict[str, object]) -> None:
    """Write a graph; the file appears whole or not at all.

    Parameters
    ----------
    path : path of the HDF5 file
    graph : VesselGraph
    provenance : dict
        What the graph was made from and with, anything JSON can hold.
    """
    with new_file(path, kind=_FORMAT, version=_VERSION, provenance=provenance) as file:
        for name, (kind, dimensions, unit) in _ARRAYS.items():
            data = file.create_dataset(name, data=getattr(graph, name).astype(kind))
            data.attrs["dims"] = dimensions
            data.attrs["units"] = unit
        file.attrs["dilation"] = graph.dilation


def write_graphml(path: str | Path, graph: VesselGraph) -> None:
    """Write a graph for other programs: GraphML, whole or not at all.

    Nodes carry ``x``, ``y``, ``z`` and ``radius`` in metres, ``vessel_type`` and ``boundary``; the graph ``units`` and
    ``dilation``. `vessels.read_graph` reads it with a ``voxel_size`` of ``(1, 1, 1)``.
    """
    import networkx

    written = networkx.Graph(units="m", dilation=float(graph.dilation))
    rows = zip(
        graph.positions.tolist(), graph.radius.tolist(), graph.vessel_type, graph.boundary, strict=True
    )
    for node, ((x, y, z), radius, vessel_type, boundary) in enumerate(rows):
        written.add_node(
            node, x=x, y=y, z=z, radius=radius, vessel_type=int(vessel_type), boundary=bool(boundary)
        )
    written.add_edges_from(graph.edges.tolist())
    with complete_or_absent(path) as temporary:
        networkx.write_graphml(written, temporary)


def load_graph(path: str | Path) -> VesselGraph:
    """Load a graph written by :func:`write_graph`.

    Raises
    ------
    InputError
        No such file, not such a file, an incomplete one, or a graph that :func:`check_graph` refuses.
    """
    with open_file(path, kind=_FORMAT, version=_VERSION) as file:
        try:
            arrays = {name: file[name][()].astype(kind) for name, (kind, _, _) in _ARRAYS.items()}
        except (KeyError, OSError) as error:
            raise InputError(f"{path}: a vessel graph with a damaged or missing array ({error})") from None
        graph = VesselGraph(**arrays, dilation=float(file.attrs["dilation"]))
    check_graph(graph, source=str(path))
    return graph
