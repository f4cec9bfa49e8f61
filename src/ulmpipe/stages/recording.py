"""Stage 3 of a user's own acquisition: a recording, whatever its format, as a store of channel data or of images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import Recording, examine_block, open_recording
from ulmpipe.io.recordings.description import agree
from ulmpipe.io.recordings.recording import find_files
from ulmpipe.io.stores import bytes_identity, new_array, new_store, provenance
from ulmpipe.progress import progress
from ulmpipe.stages._parameters import Parameters

LARGEST_INTEGER = 32767
Blocks = Iterator[tuple[int, NDArray[np.complex64]]]


def run(parameters: Parameters, *, store: Path) -> None:
    """Import a recording block by block; what files and configuration say differently is refused."""
    entry = parameters["acquisition"]
    recording = open_recording(entry["recording"], {**entry["description"], "format": entry["format"]})
    if recording.kind != entry["kind"]:
        raise InputError(f"{recording.source}: holds {recording.kind}, expected kind: {entry['kind']}")
    _check_frames(parameters, recording)
    _check_scan(parameters, recording)
    n_blocks = min(entry["n_blocks"] or recording.n_blocks, recording.n_blocks)
    sound = _sound_blocks(recording, n_blocks, skip=entry["faulty_blocks"] == "skip")
    files = {str(file): bytes_identity(file) for file in find_files(entry["recording"])}
    made = provenance("recording", parameters) | {"inputs": files}
    write = _write_channel_data if recording.kind == "channel_data" else _write_images
    with new_store(store, provenance=made) as written:
        kept = write(written, parameters, recording, sound, n_blocks)
        if not kept:
            raise InputError(f"{recording.source}: none of {n_blocks} blocks is sound, expected some")
        for _, array in written.arrays():
            array.resize((len(kept), *array.shape[1:]))
        written.attrs["blocks"] = kept


def _check_frames(parameters: Parameters, recording: Recording) -> None:
    expected, found = parameters["sequence"]["frames_per_block"], recording.block_shape[0]
    if found != expected:
        raise InputError(
            f"{recording.source}: blocks of {found} frames, expected sequence.frames_per_block ({expected}): "
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


def _sound_blocks(recording: Recording, n_blocks: int, *, skip: bool) -> Blocks:
    """Number and samples of the blocks without a fault; a faulty one ends the import, or is told of and left out."""
    for index in progress(range(n_blocks), "recording"):
        try:
            block = recording.read_block(index)
            fault = _fault(block)
            if fault:
                raise InputError(f"{recording.source}: block {index}: {fault}, expected a sound block")
        except InputError as error:
            if not skip:
                raise InputError(f"{error} (faulty_blocks: skip leaves such blocks out)") from error
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield index, block


def _fault(block: NDArray[np.complex64]) -> str | None:
    """What is wrong with a block in words, if anything is; clipped samples alone are told of."""
    quality = examine_block(block)
    if quality.saturated:
        print(f"{100 * quality.saturated:.2g} % of the samples are at full scale", file=sys.stderr)
    if quality.not_finite:
        return f"{100 * quality.not_finite:.2g} % of the samples are not finite"
    if quality.dropped_frames:
        return f"{len(quality.dropped_frames)} empty frames, the first is {quality.dropped_frames[0]}"
    if quality.repeated_frames:
        return f"{len(quality.repeated_frames)} repeated frames, the first is {quality.repeated_frames[0]}"
    return None


def _write_channel_data(
    store: Any, parameters: Parameters, recording: Recording, blocks: Blocks, n_blocks: int
) -> list[int]:
    """Pairs of integers, each block with a scale of its own; the numbers of the blocks that were written."""
    (start_time,) = recording.require("start_time")
    own = ("sampling_frequency", "demodulation_frequency")  # of the baseband: images do not depend on them
    stored = {
        name: getattr(recording.scan, name) for name in own if getattr(recording.scan, name) is not None
    }
    sequence = parameters["sequence"] | stored
    store.attrs["scan"] = {
        **{name: parameters[name] for name in ("probe", "medium")},
        "sequence": sequence,
        "start_time": start_time,
        "field": parameters["acquisition"]["field"],
    }
    samples = new_array(
        store,
        "samples",
        shape=(n_blocks, *recording.block_shape, 2),
        dtype="int16",
        dims=("block", "frame", "angle", "element", "time", "part"),
        units="1",
        compressed=False,
        spacing={"time": 1 / sequence["sampling_frequency"]},
        origin={"time": start_time},
    )
    kept: list[int] = []
    scales: list[float] = []
    for index, block in blocks:
        parts = block[..., None].view(np.float32)
        scales.append(float(np.abs(parts).max()) / LARGEST_INTEGER)
        samples[len(kept)] = np.rint(parts / np.float32(scales[-1])).astype(np.int16)
        kept.append(index)
    samples.attrs["scale"] = scales
    return kept


def _write_images(
    store: Any, parameters: Parameters, recording: Recording, blocks: Blocks, n_blocks: int
) -> list[int]:
    """Images as they are; the numbers of the blocks that were written."""
    origin_z, origin_x, spacing_z, spacing_x = recording.require(
        "origin_z", "origin_x", "spacing_z", "spacing_x"
    )
    images = new_array(
        store,
        "iq",
        shape=(n_blocks, *recording.block_shape),
        dtype="complex64",
        dims=("block", "frame", "z", "x"),
        units="1",
        compressed=False,
        spacing={"z": spacing_z, "x": spacing_x, "frame": 1 / parameters["sequence"]["frame_rate"]},
        origin={"z": origin_z, "x": origin_x},
        carrier=parameters["acquisition"]["carrier"],
    )
    kept: list[int] = []
    for index, block in blocks:
        images[len(kept)] = block
        kept.append(index)
    return kept
