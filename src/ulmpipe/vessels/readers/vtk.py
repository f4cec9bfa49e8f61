"""VTP and VTK: polylines with a radius array, of points or of whole lines. Read by PyVista, an optional package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.errors import InputError
from ulmpipe.vessels.readers.raw import RawGraph, radius_among


def read_vtk(path: Path) -> RawGraph:
    """Read lines of a VTK file, the legacy format or XML."""
    try:
        import pyvista
    except ImportError:
        raise InputError(
            f"{path}: a VTK file, for which PyVista was expected: pip install 'ulmpipe[vtk]'"
        ) from None
    try:
        mesh = pyvista.read(path)
        mesh = mesh if isinstance(mesh, pyvista.PolyData) else mesh.extract_surface(algorithm=None)
        cells, points = np.asarray(mesh.lines), np.asarray(mesh.points, dtype=np.float64)
    except Exception as error:  # VTK's readers raise many kinds
        raise InputError(f"{path}: cannot be read as VTK ({' '.join(str(error).split())})") from None
    pairs, line_of_pair = [], []
    at = 0
    while at < len(cells):
        nodes = cells[at + 1 : at + 1 + cells[at]]
        pairs.append(np.stack([nodes[:-1], nodes[1:]], axis=1))
        line_of_pair += [len(pairs) - 1] * (len(nodes) - 1)
        at += 1 + int(cells[at])
    if not pairs:
        raise InputError(f"{path}: no lines, polylines along vessel axes were expected")
    edges = np.concatenate(pairs).astype(np.int64)
    radius = radius_among(dict(mesh.point_data.items()))
    if radius is not None:
        return RawGraph(points, edges, radius=radius)
    # VTK counts the cells that are points before the lines
    of_lines = radius_among(dict(mesh.cell_data.items()))
    if of_lines is None:
        raise InputError(
            f"{path}: radius or diameter is missing, points have {', '.join(mesh.point_data) or 'nothing'}, "
            f"lines {', '.join(mesh.cell_data) or 'nothing'}; an array named radius or diameter was expected"
        )
    return RawGraph(points, edges, edge_radius=of_lines[mesh.n_verts + np.array(line_of_pair)])
