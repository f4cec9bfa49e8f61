"""Recordings of a Verasonics Vantage: `RcvData` as its receive buffer holds it, or images `IQData` / `IData` + `QData`.

The workspace's own structures say how it was recorded: Receive (rows of each acquisition, sampling), Trans (array,
channels, lens), TX (angles), TW (pulse), Resource (speed of sound), PData (pixels), Event (which TX goes with which
Receive; without it they are taken in turn). They are looked for in the file, or in the MATLAB file that the
description names as `metadata`. RcvData is (row, channel, frame); a frame of the buffer may hold many images' worth of
transmissions, and then is a block.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.description import Description, ScanFacts
from ulmpipe.io.recordings.matlab import WHOLE, LazyArray, number, open_mat, padded
from ulmpipe.io.recordings.recording import Source
from ulmpipe.io.recordings.verasonics_sequence import (
    acquisitions_of,
    angles_of,
    frames_in_turn,
    sampling_of,
    start_time_of,
)
from ulmpipe.io.recordings.verasonics_workspace import Workspace, open_workspace, pixel_facts

OPTIONS = ("buffer", "metadata")


def recognise(variables: set[str]) -> bool:
    """Whether a MATLAB file with these variables is one."""
    return bool(variables & {"RcvData", "IQData"}) or {"IData", "QData"} <= variables


def open_file(path: Path, description: Description) -> Source:
    """What a file says, and how to read its frames.

    Description, beside the facts: `buffer`, which of several receive buffers (from 1); `metadata`, the file that has
    the structures.

    Raises
    ------
    InputError
        A variable or field that is missing or contradicts another; sampling or transmissions that are not supported.
    """
    with open_workspace(path, description) as workspace:
        if "RcvData" in workspace.data.names():
            return _channel_data(workspace)
        return _images(workspace)


# ---------------------------------------------------------------- channel data
def _channel_data(workspace: Workspace) -> Source:
    path, description = workspace.path, workspace.description
    buffer, buffer_number = _buffer(workspace)
    acquisitions = acquisitions_of(workspace, buffer_number)
    first = acquisitions.receive[0]
    sampling = sampling_of(workspace, first)
    n_rows, n_channels, n_buffer_frames = buffer.shape
    last_row = max(acquisitions.first_row) + acquisitions.n_rows
    if last_row > n_rows:
        raise InputError(
            f"{path}: Receive.endSample is {last_row}, expected at most the {n_rows} rows of RcvData"
        )
    columns, pitch = workspace.columns_and_pitch(first, n_channels)
    angles, transmits = angles_of(workspace, acquisitions)
    start_time = start_time_of(workspace, first, transmits)
    in_turn = frames_in_turn(workspace, buffer_number, n_buffer_frames)
    n_angles, per_buffer_frame = len(angles), len(acquisitions.receive) // len(angles)
    frame_shape = (n_angles, len(columns), len(range(0, acquisitions.n_rows, sampling.step)))

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        block = np.empty((stop - start, *frame_shape), dtype=np.complex64)
        with open_workspace(path, description) as again:
            stored, _ = _buffer(again)
            for frame in range(start, stop):
                turn, part = divmod(frame, per_buffer_frame)
                begin = acquisitions.first_row[part * n_angles : (part + 1) * n_angles]
                low = min(begin)
                rows = stored.read((slice(low, max(begin) + acquisitions.n_rows), WHOLE, in_turn[turn]))
                samples = [
                    _elements(rows[row - low : row - low + acquisitions.n_rows], columns) for row in begin
                ]
                block[frame - start] = sampling.baseband(np.stack(samples), start_time)
        return block

    return Source(
        kind="channel_data",
        n_frames=n_buffer_frames * per_buffer_frame,
        frame_shape=frame_shape,
        read=read,
        frames_in_block=per_buffer_frame if per_buffer_frame > 1 else None,
        facts=ScanFacts(
            sampling_frequency=sampling.complex_rate,
            demodulation_frequency=sampling.demodulation_frequency,
            start_time=start_time,
            angles=tuple(angles),
            speed_of_sound=workspace.speed,
            n_elements=len(columns),
            pitch=pitch,
        ),
    )


def _buffer(workspace: Workspace) -> tuple[LazyArray, int]:
    """The receive buffer (row, channel, frame) and its number, from 1."""
    buffers, asked = workspace.data.arrays("RcvData"), workspace.description.options.get("buffer")
    if not buffers:
        raise InputError(f"{workspace.path}: RcvData is empty, expected samples (row, channel, frame)")
    if asked is None and len(buffers) > 1:
        raise InputError(
            f"{workspace.path}: RcvData has {len(buffers)} buffers, expected the description to say which (buffer: 1)"
        )
    chosen = 1 if asked is None else asked
    if not isinstance(chosen, int) or not 1 <= chosen <= len(buffers):
        raise InputError(f"{workspace.path}: buffer is {chosen}, expected 1 to {len(buffers)}")
    buffer = padded(buffers[chosen - 1], 3)
    if len(buffer.shape) != 3:
        raise InputError(f"{workspace.path}: RcvData of shape {buffer.shape}, expected (row, channel, frame)")
    return buffer, chosen


def _elements(rows: NDArray[Any], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """(element, time) of (time, channel); elements that no channel was connected to are silent."""
    samples = rows[:, np.maximum(columns, 0)].T.astype(np.float32)
    samples[columns < 0] = 0
    return samples


# ---------------------------------------------------------------- images
def _images(workspace: Workspace) -> Source:
    path = workspace.path
    names = ("IQData",) if "IQData" in workspace.data.names() else ("IData", "QData")
    arrays = [workspace.data.arrays(name) for name in names]
    if not all(arrays):
        raise InputError(f"{path}: {' or '.join(names)} is empty, expected images (z, x, …, frame)")
    n_z, n_x, *rest = arrays[0][0].shape
    n_frames = int(np.prod(rest)) if rest else 1
    # Pages of a frame of the buffer, the successive images, come before the next frame.
    in_block = int(np.prod(rest[:-1])) if len(rest) > 1 else 1

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with open_mat(path) as again:
            parts = [_frames(again.arrays(name)[0], start, stop) for name in names]
        samples = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
        return np.moveaxis(samples, -1, 0).astype(np.complex64)

    return Source(
        kind="iq",
        n_frames=n_frames,
        frame_shape=(n_z, n_x),
        read=read,
        frames_in_block=in_block if 1 < in_block < n_frames else None,
        facts=_image_facts(workspace),
    )


def _frames(array: LazyArray, start: int, stop: int) -> NDArray[Any]:
    """Frames [start, stop) of (z, x, …): the further axes are counted as MATLAB does, the first one fastest."""
    rest = array.shape[2:]
    if not rest:
        return array.read((WHOLE, WHOLE))[..., None]
    if int(np.prod(rest[:-1])) == 1:
        return array.read((WHOLE, WHOLE, *(0,) * (len(rest) - 1), slice(start, stop)))
    places = [np.unravel_index(frame, rest, order="F") for frame in range(start, stop)]
    return np.stack([array.read((WHOLE, WHOLE, *map(int, place))) for place in places], axis=-1)


def _image_facts(workspace: Workspace) -> ScanFacts:
    if workspace.structure("Trans") is None:
        return ScanFacts()
    stored = number(workspace.structure("Receive"), "demodFrequency")
    pixels = {}
    if workspace.speed is not None:
        pixels = pixel_facts(workspace.structure("PData"), workspace.speed / workspace.frequency)
    return ScanFacts(
        speed_of_sound=workspace.speed,
        demodulation_frequency=workspace.frequency if stored is None else 1e6 * stored,
        **pixels,
    )
