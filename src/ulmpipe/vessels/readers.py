"""Vessel graphs of other laboratories, read from their own formats into one.

No format says reliably what its coordinates mean (SWC files of this field hold pixels in x and y and
micrometres in z), so the size of a file unit along each axis is the user's to give, always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import CAPILLARY, UNKNOWN, VesselGraph, check_graph, merge_coincident, node_degrees

_SWC_COLUMNS = "id type x y z radius parent"
_TPM_FIELDS = ("nodePos_um", "nodeEdges", "nodeDiam", "nodeSegN", "segVesType")


def read_graph(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, format: str | None = None
) -> VesselGraph:
    """Read a vessel graph.

    Formats: ``swc`` (columns ``id type x y z radius parent``, any ids, one root with parent −1) and ``tpm``
    (MATLAB struct ``im2`` of two-photon angiographies, loops included). Every open end becomes a boundary
    node: the vessel goes on where the file does not. Nodes at the same place that share an edge are merged.

    Parameters
    ----------
    path : path of the file
    voxel_size : three floats
        Metres per file unit along x, y, z; mandatory. ``(1e-6, 1e-6, 1e-6)`` for micrometres, as in every
        ``tpm`` file. Radii are scaled by the geometric mean of the three.
    format : "swc" or "tpm", optional
        Found from the file's content if not given.

    Returns
    -------
    VesselGraph
        Positions and radii in metres, checked by :func:`check_graph`.

    Raises
    ------
    InputError
        Missing file, missing or wrong voxel size, unknown format, or a graph that is not one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, a vessel graph was expected")
    scale = _check_voxel_size(voxel_size, path)
    name = _guess_format(path) if format is None else format
    if name not in _READERS:
        raise InputError(f"{path}: unknown graph format {name!r}, one of {', '.join(_READERS)} was expected")
    positions, edges, radius, vessel_type = _READERS[name](path)
    graph = VesselGraph(
        positions=positions * scale,
        edges=edges,
        radius=radius * float(np.prod(scale)) ** (1 / 3),
        vessel_type=vessel_type,
        boundary=np.zeros(len(positions), dtype=bool),
    )
    if len(edges) and edges.min() >= 0 and edges.max() < len(positions):
        graph = merge_coincident(graph)
        graph.boundary[:] = node_degrees(graph) == 1
    check_graph(graph, source=str(path))
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


def _guess_format(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(512)
    if beginning.startswith(b"MATLAB") or path.suffix.lower() == ".mat":
        return "tpm"
    if b"\0" not in beginning and (path.suffix.lower() == ".swc" or _looks_like_swc(beginning)):
        return "swc"
    raise InputError(
        f"{path}: not a vessel graph known here, an SWC text or a MATLAB file with im2 was expected"
    )


def _looks_like_swc(beginning: bytes) -> bool:
    lines = [line.split() for line in beginning.decode(errors="replace").splitlines()]
    rows = [fields for fields in lines if fields and not fields[0].startswith("#")]
    return bool(rows) and len(rows[0]) == len(_SWC_COLUMNS.split())


_Arrays = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]


def _read_swc(path: Path) -> _Arrays:
    table, line_numbers = _read_swc_table(path)
    ids, parents = table[:, 0], table[:, 6]
    for name, values in (("id", ids), ("parent", parents)):
        _refuse_line(values != np.floor(values), (path, line_numbers), name, values, "a whole number")
    for column, name in enumerate(_SWC_COLUMNS.split()):
        _refuse_line(
            ~np.isfinite(table[:, column]), (path, line_numbers), name, table[:, column], "a finite number"
        )
    radius = table[:, 5]
    _refuse_line(radius <= 0, (path, line_numbers), "radius", radius, "a positive number")

    order = np.argsort(ids, kind="stable")
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    _refuse_line(repeated, (path, line_numbers), "id", ids, "an id used once only")
    child = np.flatnonzero(parents != -1)
    if len(child) == len(ids):
        raise InputError(f"{path}: no root, one node with parent -1 was expected")
    place = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    missing = (parents != -1) & (ids[order[place]] != parents)
    _refuse_line(missing, (path, line_numbers), "parent", parents, "the id of a node of this file")
    _refuse_line(parents == ids, (path, line_numbers), "parent", parents, "the id of another node")
    edges = np.stack([order[place[child]], child], axis=1).astype(np.int64)
    # The type column of vascular SWC files is a tracing program's leftover, not artery or vein.
    return table[:, 2:5], edges, radius, np.full(len(ids), UNKNOWN, dtype=np.int8)


def _read_swc_table(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the numbers (row, 7) and the line each row stands on."""
    n_columns = len(_SWC_COLUMNS.split())
    rows: list[list[float]] = []
    line_numbers: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            if len(fields) != n_columns:
                raise InputError(
                    f"{path}, line {number}: {len(fields)} columns, expected were {_SWC_COLUMNS}"
                )
            try:
                rows.append([float(field) for field in fields])
            except ValueError:
                raise InputError(
                    f"{path}, line {number}: {line.strip()!r}, numbers were expected for {_SWC_COLUMNS}"
                ) from None
            line_numbers.append(number)
    if not rows:
        raise InputError(f"{path}: no nodes, lines of {_SWC_COLUMNS} were expected")
    return np.array(rows), np.array(line_numbers)


def _refuse_line(
    wrong: NDArray[np.bool_],
    where: tuple[Path, NDArray[np.int64]],
    column: str,
    values: NDArray[np.float64],
    expected: str,
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        path, line_numbers = where
        raise InputError(
            f"{path}, line {line_numbers[row]}: {column} is {values[row]:g}, {expected} was expected"
        )


def _read_tpm(path: Path) -> _Arrays:
    fields = _load_im2(path)
    positions = np.asarray(fields["nodePos_um"], dtype=np.float64)
    # uint16 in the files: one-based indices must not wrap when made zero-based.
    edges = np.asarray(fields["nodeEdges"]).astype(np.int64) - 1
    diameter = np.asarray(fields["nodeDiam"], dtype=np.float64).ravel()
    if positions.ndim != 2 or positions.shape[1] != 3 or edges.ndim != 2 or edges.shape[1] != 2:
        raise InputError(
            f"{path}: im2.nodePos_um is {positions.shape} and im2.nodeEdges {edges.shape}, "
            "(nodes, 3) and (edges, 2) were expected"
        )
    if len(diameter) != len(positions):
        raise InputError(f"{path}: {len(diameter)} values of nodeDiam for {len(positions)} nodes")
    segment = np.asarray(fields["nodeSegN"]).astype(np.int64).ravel() - 1
    segment_type = np.asarray(fields["segVesType"], dtype=np.float64).ravel()
    if len(segment) != len(positions) or segment.min() < 0 or segment.max() >= len(segment_type):
        raise InputError(f"{path}: im2.nodeSegN does not name a segment of im2.segVesType for every node")
    # 1.5 and 2.5 mark the passage from capillary to artery or vein.
    whole = segment_type == np.floor(segment_type)
    node_type = np.where(whole, segment_type, CAPILLARY)[segment].astype(np.int8)
    return positions, edges, diameter / 2, node_type


def _load_im2(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        struct = loadmat(path, variable_names=["im2"], struct_as_record=True)["im2"]
        return {name: struct[name][0, 0] for name in _TPM_FIELDS}
    except KeyError:
        raise InputError(
            f"{path}: no struct im2 in this MATLAB file, one of the TPM format was expected"
        ) from None
    except (ValueError, IndexError):
        raise InputError(f"{path}: im2 lacks one of the fields {', '.join(_TPM_FIELDS)}") from None
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise InputError(f"{path}: cannot be read as a MATLAB file up to version 7 ({error})") from None


_READERS: dict[str, Callable[[Path], _Arrays]] = {"swc": _read_swc, "tpm": _read_tpm}
