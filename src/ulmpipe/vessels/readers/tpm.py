"""TPM: MATLAB struct ``im2`` of two-photon angiographies, loops and vessel types included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ulmpipe.errors import InputError
from ulmpipe.vessels.graph import CAPILLARY
from ulmpipe.vessels.readers.raw import RawGraph

_TPM_FIELDS = ("nodePos_um", "nodeEdges", "nodeDiam", "nodeSegN", "segVesType")


def read_tpm(path: Path) -> RawGraph:
    """Read node positions, one-based edges, diameters, and the vessel type of each node's segment."""
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
    return RawGraph(positions, edges, radius=diameter / 2, vessel_type=node_type)


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
