"""Tracks on disk: one HDF5 file an acquisition, block after block, in SI units, with what they were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.hdf5 import new_file, open_file

_FORMAT = "ulmpipe tracks"
_VERSION = 1
UNITS = {"z": "m", "x": "m", "vz": "m/s", "vx": "m/s", "speed": "m/s", "value": "|χ|"}


def write_tracks(
    path: str | Path,
    blocks: Iterable[NDArray[np.void]],
    *,
    frame_rate: float,
    provenance: dict[str, Any],
) -> None:
    """Write the tracks of all blocks, one block in memory at a time; the file appears whole or not at all.

    Parameters
    ----------
    path
        Of the HDF5 file: the data set ``tracks`` has all records, ``first`` the place of each block's first one and,
        last, how many there are.
    blocks
        Records of one dtype (`ulmpipe.localization.TRACK`), one array a block.
    frame_rate
        Hz.
    provenance
        What they were made from and with, anything JSON can hold.

    Raises
    ------
    InputError
        There is no block.
    """
    with new_file(path, kind=_FORMAT, version=_VERSION, provenance=provenance) as file:
        first, tracks = [0], None
        for block in blocks:
            if tracks is None:
                tracks = file.create_dataset("tracks", (0,), block.dtype, maxshape=(None,), chunks=(16384,))
            tracks.resize(first[-1] + len(block), axis=0)
            tracks[first[-1] :] = block
            first.append(first[-1] + len(block))
        if tracks is None:
            raise InputError(f"{path}: no block to track, expected one at least")
        tracks.attrs["units"] = json.dumps(UNITS)
        file.create_dataset("first", data=np.array(first, np.int64))
        file.attrs["frame_rate"] = frame_rate


def read_tracks(path: str | Path) -> Iterator[NDArray[np.void]]:
    """The tracks of each block, one after the other; track numbers are those of the block.

    Raises
    ------
    InputError
        No such file, or not a whole one of this kind.
    """
    with open_file(path, kind=_FORMAT, version=_VERSION) as file:
        first = file["first"][:]
        for start, stop in pairwise(first):
            yield file["tracks"][start:stop]


def track_frame_rate(path: str | Path) -> float:
    """Frames per second of an acquisition's tracks, Hz."""
    with open_file(path, kind=_FORMAT, version=_VERSION) as file:
        return float(file.attrs["frame_rate"])
