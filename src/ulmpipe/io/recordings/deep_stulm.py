"""The public training set of Deep-stULM's authors: HDF5, a group for each block, named 1, 2, …

A group has `CorrMap`, the correlation map as (frame, second axis, first axis, part) in HDF5's order, part real and
imaginary, and ground_truth/coords, (…, 4, …): of every bubble and frame the place along the image's first axis, across
the image and along its second axis, in pixels from the first pixel's centre, and the time in s. Which of the image's
axes is depth is written nowhere: here the first is, which is drawn as rows. Data: DOI 10.5281/zenodo.10711657;
Milecki et al., IEEE TMI 40(5) 2021 (DOI 10.1109/TMI.2021.3056951).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBlock:
    """One block of the training set.

    Parameters
    ----------
    correlation
        (2, frame, z, x) float32: real and imaginary part.
    position
        (event, 3) float64: y and x across and along the image, z in depth, as (x, y, z), in pixels.
    time
        (event,) float64, s.
    """

    correlation: NDArray[np.float32]
    position: NDArray[np.float64]
    time: NDArray[np.float64]


def recognise(file: Any) -> bool:
    """Whether an open HDF5 file is one."""
    return "1/CorrMap" in file


def count_training_blocks(path: str | Path) -> int:
    """Number of blocks of a training set."""
    import h5py

    with h5py.File(path, "r") as file:
        return sum(name.isdigit() for name in file)


def read_training_block(path: str | Path, index: int) -> TrainingBlock:
    """One block, counted from 0 (group "1").

    Raises
    ------
    InputError
        No such file or block, or arrays of another shape, naming file and group.
    """
    import h5py

    group = f"{path}: group {index + 1}"
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file, expected a training set of Deep-stULM")
    try:
        with h5py.File(path, "r") as file:
            block = file.get(str(index + 1))
            if block is None or "CorrMap" not in block:
                raise InputError(f"{group}/CorrMap is missing, expected blocks 0 to {len(file) - 1}")
            correlation = _channels(block["CorrMap"], group)
            coordinates = block.get("ground_truth/coords")
            if coordinates is None:
                raise InputError(f"{group}/ground_truth/coords is missing, expected (…, 4, …)")
            events = _events(np.asarray(coordinates[()], dtype=np.float64), group)
    except OSError as error:
        raise InputError(f"{group}: cannot be read ({error})") from error
    return TrainingBlock(correlation=correlation, position=events[:, [2, 1, 0]], time=events[:, 3])


def _channels(item: Any, group: str) -> NDArray[np.float32]:
    """(2, frame, z, x) of a map that is complex, or has its two parts last or first."""
    values = np.asarray(item[()])
    if values.dtype.names == ("real", "imag"):
        values = values["real"] + 1j * values["imag"]
    if np.iscomplexobj(values) and values.ndim == 3:
        parts = np.stack([values.real, values.imag])
    elif values.ndim == 4 and values.shape[-1] == 2:
        parts = np.moveaxis(values, -1, 0)
    elif values.ndim == 4 and values.shape[0] == 2:
        parts = values
    else:
        raise InputError(
            f"{group}/CorrMap of shape {values.shape} and type {values.dtype}, expected (frame, x, z, 2) or complex"
        )
    return np.ascontiguousarray(parts.swapaxes(-1, -2), dtype=np.float32)


def _events(coordinates: NDArray[np.float64], group: str) -> NDArray[np.float64]:
    """(event, 4)."""
    if coordinates.ndim == 2 and coordinates.shape[1] == 4:
        return coordinates
    if coordinates.ndim == 3 and coordinates.shape[1] == 4:
        return coordinates.transpose(0, 2, 1).reshape(-1, 4)
    raise InputError(f"{group}/ground_truth/coords of shape {coordinates.shape}, expected (…, 4, …)")
