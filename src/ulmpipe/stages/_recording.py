"""A user's recording, opened and held against the configuration, and its sound blocks; whatever its format."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import Recording, examine_block, open_recording
from ulmpipe.io.recordings.description import agree
from ulmpipe.io.stores import bytes_identity, new_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._parameters import Parameters

Write = Callable[[int, NDArray[np.complex64]], None]


def import_recording(
    stage: str,
    parameters: Parameters,
    store: Path,
    begin: Callable[[Any, Recording, int], Write],
) -> None:
    """Write the sound blocks of a recording, one at a time; what files and configuration say differently is refused.

    `begin` makes the arrays of a store for so many blocks and returns what writes a block to a place.
    """
    entry = parameters["acquisition"]
    skip = entry["faulty_blocks"] == "skip"
    recording = open_recording(
        entry["recording"],
        {**entry["description"], "format": entry["format"]},
        expected_frames=parameters["sequence"]["frames_per_block"] if skip else None,
    )
    if recording.kind != entry["kind"]:
        raise InputError(f"{recording.source}: holds {recording.kind}, expected kind: {entry['kind']}")
    _check_frames(parameters, recording)
    _check_scan(parameters, recording)
    n_blocks = min(entry["n_blocks"] or recording.n_blocks, recording.n_blocks)
    inputs = {str(file): bytes_identity(file) for file in recording.files}
    kept: list[int] = []
    with new_store(store, provenance=provenance(stage, parameters) | {"inputs": inputs}) as written:
        write = begin(written, recording, n_blocks)
        for index, block in _sound_blocks(recording, n_blocks, skip=skip):
            write(len(kept), block)
            kept.append(index)
        if not kept:
            raise InputError(f"{recording.source}: none of {n_blocks} blocks is sound, expected some")
        for _, array in written.arrays():
            array.resize((len(kept), *array.shape[1:]))
        written.attrs["blocks"] = kept


def _check_frames(parameters: Parameters, recording: Recording) -> None:
    expected, found = parameters["sequence"]["frames_per_block"], recording.block_shape[0]
    if found != expected:
        raise InputError(
            f"{recording.reference}: blocks of {found} frames, expected sequence.frames_per_block ({expected}): "
            "change it, or say description.frames_per_block"
        )


def _check_scan(parameters: Parameters, recording: Recording) -> None:
    """Refuse a scan unlike the one that the point spread function and the network are made for."""
    sequence = parameters["sequence"]
    expected: dict[str, tuple[str, Any]] = {
        "speed_of_sound": ("medium.speed_of_sound", parameters["medium"]["speed_of_sound"]),
        "frame_rate": ("sequence.frame_rate", sequence["frame_rate"]),
    }
    if recording.kind == "channel_data":
        expected |= {
            "n_elements": ("probe.n_elements", parameters["probe"]["n_elements"]),
            "pitch": ("probe.pitch", parameters["probe"]["pitch"]),
            "angles": ("sequence.angles_deg", np.deg2rad(sequence["angles_deg"]).tolist()),
        }
    else:
        pixel = parameters["beamforming"]["pixel"]
        expected |= dict.fromkeys(("spacing_z", "spacing_x"), ("beamforming.pixel", pixel))
    for name, (field, value) in expected.items():
        found = getattr(recording.scan, name)
        if found is not None and not agree(name, found, value):
            raise InputError(f"{recording.source}: {name} is {found}, expected {value} as {field} says")
    shape = recording.block_shape
    if recording.kind == "channel_data" and shape[1:3] != (
        len(sequence["angles_deg"]),
        parameters["probe"]["n_elements"],
    ):
        raise InputError(
            f"{recording.source}: {shape[1]} angles and {shape[2]} elements, expected those of sequence.angles_deg "
            f"({len(sequence['angles_deg'])}) and probe.n_elements ({parameters['probe']['n_elements']})"
        )


def _sound_blocks(
    recording: Recording, n_blocks: int, *, skip: bool
) -> Iterator[tuple[int, NDArray[np.complex64]]]:
    """Number and samples of the blocks without a fault; a faulty one ends the import, or is told of and left out."""
    for index in progress(range(n_blocks), "recording"):
        try:
            with np.errstate(invalid="ignore", over="ignore"):  # damaged samples are counted instead
                block = recording.read_block(index)
                fault = _fault(block)
            if fault:
                raise InputError(
                    f"{recording.file_of(index)}: block {index}: {fault}, expected a sound block"
                )
        except InputError as error:
            _check_all_there(recording)
            if not skip:
                raise InputError(f"{error} (faulty_blocks: skip leaves such blocks out)") from error
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield index, block


def _check_all_there(recording: Recording) -> None:
    """Refuse a recording of which files were taken away since it was opened: that is no fault of a block."""
    for file in recording.files:
        if not file.exists():
            raise InputError(f"{file}: was removed while the recording was being imported")


def _fault(block: NDArray[np.complex64]) -> str | None:
    """What is wrong with a block in words, if anything is; clipped samples alone are told of."""
    quality = examine_block(block)
    if quality.saturated:
        print(f"{100 * quality.saturated:.2g} % of the samples are at full scale", file=sys.stderr)
    if quality.not_finite:
        return f"{100 * quality.not_finite:.2g} % of the samples are not finite"
    if quality.dropped_frames:
        return f"{len(quality.dropped_frames)} empty frames, the first is {quality.dropped_frames[0]}"
    if quality.torn_frames:
        return f"{len(quality.torn_frames)} frames with holes of zeros, the first is {quality.torn_frames[0]}"
    if quality.absurd_frames:
        return f"{len(quality.absurd_frames)} frames with absurd samples, the first is {quality.absurd_frames[0]}"
    if quality.repeated_frames:
        return f"{len(quality.repeated_frames)} repeated frames, the first is {quality.repeated_frames[0]}"
    return None
