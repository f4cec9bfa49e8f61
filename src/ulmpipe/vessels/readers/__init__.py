"""Vessel graphs of other laboratories, read from their own formats into one.

No format says reliably what its coordinates mean (SWC files of this field hold pixels in x and y and
micrometres in z), so the size of a file unit along each axis is the user's to give, always. A format is one module
here and one entry of `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import UNKNOWN, VesselGraph, check_graph, merge_same_place, node_degrees
from ulmpipe.vessels.readers.attributed import read_graphml, read_pajek
from ulmpipe.vessels.readers.raw import RawGraph, radius_at_nodes, without_lone_nodes
from ulmpipe.vessels.readers.secomb import looks_like_secomb, read_secomb
from ulmpipe.vessels.readers.swc import looks_like_swc, read_swc
from ulmpipe.vessels.readers.tables import looks_like_table, read_tables
from ulmpipe.vessels.readers.tpm import read_tpm
from ulmpipe.vessels.readers.vtk import read_vtk

READERS: dict[str, Callable[[Path], RawGraph]] = {
    "swc": read_swc,
    "tpm": read_tpm,
    "graphml": read_graphml,
    "pajek": read_pajek,
    "secomb": read_secomb,
    "vtk": read_vtk,
}
FORMATS = (*READERS, "csv")


def read_graph(
    path: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    format: str | None = None,
    edges: str | Path | None = None,
    index_base: int | None = None,
    connected: bool = True,
) -> VesselGraph:
    """Read a vessel graph.

    Every open end becomes a boundary node: the vessel goes on where the file does not. Nodes at the same place are
    merged, nodes without an edge left out. Where radii belong to edges, each edge gets two inner nodes that have its
    radius.

    Parameters
    ----------
    path : path of the file
    voxel_size : three floats
        Metres per file unit along x, y, z; mandatory. ``(1e-6, 1e-6, 1e-6)`` for micrometres, as in every
        ``tpm`` and ``secomb`` file. Radii are scaled by the geometric mean of the three.
    format : {"swc", "tpm", "graphml", "pajek", "secomb", "vtk", "csv"}, optional
        Found from the file's content if not given.
    edges : path, optional
        The second table of ``csv``.
    index_base : {0, 1}, optional
        What the row numbers in the edges of ``csv`` count from, if nodes have no ids and the numbers do not tell.
    connected : bool
        Whether a graph in several pieces is refused; `clean_graph` keeps the largest.

    Returns
    -------
    VesselGraph
        Positions and radii in metres, checked by :func:`check_graph`.

    Raises
    ------
    InputError
        Missing file, missing or wrong voxel size, radius or index base, unknown format, or a graph that is not one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, a vessel graph was expected")
    scale = _check_voxel_size(voxel_size, path)
    name = guess_format(path) if format is None else format
    if name not in FORMATS:
        raise InputError(f"{path}: unknown graph format {name!r}, one of {', '.join(FORMATS)} was expected")
    if name == "csv":
        raw = read_tables(path, None if edges is None else Path(edges), index_base)
    else:
        raw = READERS[name](path)
    if len(raw.edges) and raw.edges.min() >= 0 and raw.edges.max() < len(raw.positions):
        raw = without_lone_nodes(raw)
        if raw.radius is None:
            raw = radius_at_nodes(raw, str(path))
    n_nodes = len(raw.positions)
    radius = np.full(n_nodes, np.nan) if raw.radius is None else raw.radius
    types = raw.vessel_type
    graph = VesselGraph(
        positions=raw.positions * scale,
        edges=raw.edges,
        radius=radius * float(np.prod(scale)) ** (1 / 3),
        vessel_type=np.full(n_nodes, UNKNOWN, dtype=np.int8) if types is None else types,
        boundary=np.zeros(n_nodes, dtype=bool),
    )
    if len(raw.edges) and raw.edges.min() >= 0 and raw.edges.max() < n_nodes:
        graph = merge_same_place(graph)
        graph.boundary[:] = node_degrees(graph) == 1
    check_graph(graph, source=str(path), connected=connected)
    return graph


def _check_voxel_size(voxel_size: Sequence[float] | None, path: Path) -> NDArray[np.float64]:
    expected = "three metres per file unit (x, y, z), for example [1.0e-6, 1.0e-6, 1.0e-6] for micrometres"
    if voxel_size is None:
        raise InputError(f"{path}: voxel_size is missing, {expected} were expected")
    try:
        scale = np.asarray(voxel_size, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: voxel_size is {voxel_size!r}, {expected} were expected") from None
    if scale.shape != (3,) or not np.isfinite(scale).all() or (scale <= 0).any():
        raise InputError(f"{path}: voxel_size is {voxel_size!r}, {expected}, all positive, were expected")
    return scale


def guess_format(path: Path) -> str:
    """Format of a file by its content, by its name where the content does not tell.

    Raises
    ------
    InputError
        None that is known here.
    """
    with path.open("rb") as file:
        beginning = file.read(4096)
    ending, text = path.suffix.lower(), beginning.decode("utf-8", errors="replace")
    is_text = b"\0" not in beginning
    signs = {
        "tpm": beginning.startswith(b"MATLAB") or ending == ".mat",
        "graphml": "<graphml" in text,
        "vtk": "<VTKFile" in text or text.startswith("# vtk DataFile"),
        "pajek": is_text and text.lstrip().lower().startswith(("*vertices", "*network")),
        "secomb": is_text and looks_like_secomb(text),
        "csv": is_text and looks_like_table(beginning),
        "swc": is_text and (ending == ".swc" or looks_like_swc(beginning)),
    }
    for name, seen in signs.items():
        if seen:
            return name
    raise InputError(
        f"{path}: not a vessel graph known here, one of {', '.join(FORMATS)} was expected: give its format if it is one"
    )
