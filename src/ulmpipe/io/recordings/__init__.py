"""Recordings of users' scanners, read block by block from the formats that they come in.

Channel data become complex baseband (frame, angle, element, time), images stay (frame, z, x), both complex64. A format
is one module here and one entry of `FORMATS`. What a file says of the scan is held against what the user says, and
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import deep_stulm, must, pala, plain, ustb, verasonics, zea
from ulmpipe.io.recordings.deep_stulm import TrainingBlock, count_training_blocks, read_training_block
from ulmpipe.io.recordings.description import Description, ScanFacts, read_description
from ulmpipe.io.recordings.inspection import (
    MOST_LINES,
    describe_recording,
    dynamic_range,
    is_mat,
    list_arrays,
    quick_look,
)
from ulmpipe.io.recordings.matlab import open_mat
from ulmpipe.io.recordings.quality import BlockQuality, examine_block
from ulmpipe.io.recordings.recording import Recording, Source, build_recording, find_files

__all__ = [
    "FORMATS",
    "BlockQuality",
    "Recording",
    "ScanFacts",
    "TrainingBlock",
    "count_training_blocks",
    "describe",
    "dynamic_range",
    "examine_block",
    "guess_format",
    "open_recording",
    "quick_look",
    "read_training_block",
]


@dataclass(frozen=True)
class _Format:
    open_file: Callable[[Path, Description], Source]
    options: tuple[str, ...]


FORMATS = {
    "verasonics": _Format(verasonics.open_file, verasonics.OPTIONS),
    "pala": _Format(pala.open_file, pala.OPTIONS),
    "must": _Format(must.open_file, must.OPTIONS),
    "ustb": _Format(ustb.open_file, ustb.OPTIONS),
    "zea": _Format(zea.open_file, zea.OPTIONS),
    "plain": _Format(plain.open_file, plain.OPTIONS),
}
MAT_FORMATS = {"verasonics": verasonics.recognise, "must": must.recognise, "pala": pala.recognise}
HDF5_FORMATS = {"ustb": ustb.recognise, "zea": zea.recognise, "deep_stulm": deep_stulm.recognise}


def open_recording(
    path: str | Path, description: Mapping[str, Any] | None = None, *, expected_frames: int | None = None
) -> Recording:
    """Open a recording; samples are read when a block is asked for.

    Parameters
    ----------
    path
        A file, or a pattern such as ``block_*.mat``: the files in natural order, block_2 before block_10.
    description
        What the user says: `format` if it is not to be guessed, facts of the scan by the names of `ScanFacts`,
        `frames_per_block`, `bandwidth`, `time_offset`, `units`, and words of the format (see its module).
    expected_frames
        Of a block, where faulty files are to be passed over: the first file that can be opened and has such blocks
        says what the others must be like. Without it, or where there is none, the first file does.

    Returns
    -------
    Recording

    Raises
    ------
    InputError
        In one line, naming file and field: no such file, an unknown format, something that is missing, or that file
        and description say differently.
    """
    files, words = find_files(path), dict(description or {})
    for file in files if expected_frames else ():
        with suppress(InputError):
            recording = _open_like(file, path, words)
            if recording.block_shape[0] == expected_frames:
                return recording
    return _open_like(files[0], path, words)


def _open_like(reference: Path, path: str | Path, words: Mapping[str, Any]) -> Recording:
    """The recording, if `reference` says what all its files must be like."""
    name = words.get("format") or guess_format(reference)
    if name == "deep_stulm":
        raise InputError(
            f"{reference}: a training set of Deep-stULM, no recording, expected read_training_block to read it"
        )
    if name not in FORMATS:
        raise InputError(f"{reference}: format is {name!r}, expected one of {', '.join(FORMATS)}")
    chosen = FORMATS[name]
    read = read_description(words, source=f"description of {path}", options=chosen.options)
    # The plain format has no words of its own: it weighs those of the file beside it against the description itself.
    merged = replace(read, facts=ScanFacts()) if name == "plain" else read
    return build_recording(name, path, merged, lambda file: chosen.open_file(file, read), reference=reference)


def guess_format(path: str | Path) -> str:
    """Format of a recording, by the content of its first file.

    A file with a YAML file beside it that lays out its axes is "plain".

    Raises
    ------
    InputError
        No such file, or none of `FORMATS` (nor "deep_stulm", a training set).
    """
    import h5py

    file = find_files(path)[0]
    sidecar = plain.sidecar_of(file)
    if plain.lays_out(sidecar):
        return "plain"
    try:
        if is_mat(file):
            with open_mat(file) as opened:
                variables = set(opened.names())
            signs = {name: recognise(variables) for name, recognise in MAT_FORMATS.items()}
        elif file.is_file() and h5py.is_hdf5(file):
            with h5py.File(file, "r") as opened:
                signs = {name: recognise(opened) for name, recognise in HDF5_FORMATS.items()}
        else:
            signs = {}
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{file}: cannot be read ({' '.join(str(error).split())}), expected a whole file"
        ) from error
    for name, seen in signs.items():
        if seen:
            return name
    if sidecar is not None:
        return "plain"
    if file.suffix.lower() in plain.SUFFIXES:
        raise InputError(
            f"{file}: none of the known layouts, expected a file {file.stem}.yaml beside it that describes the array, "
            "or format in the description"
        )
    raise InputError(f"{file}: not a recording known here, expected one of {', '.join(FORMATS)}")


def describe(path: str | Path, description: Mapping[str, Any] | None = None) -> str:
    """What is in a recording, in a few lines: format, arrays, rates, dynamic range of the first block.

    What keeps it from being opened is one of the lines, not an error.

    Raises
    ------
    InputError
        No such file.
    """
    files = find_files(path)
    lines = [f"{files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")]
    try:
        name = (description or {}).get("format") or guess_format(path)
        lines.append(f"format: {name}")
    except InputError as error:
        name = None
        lines.append(f"format: unknown ({error})")
    try:
        arrays = list(list_arrays(files[0]))
    except Exception as error:  # readers of damaged files raise many kinds
        arrays = [f"cannot be read ({' '.join(str(error).split())})"]
    lines += [f"  {line}" for line in arrays[:MOST_LINES]]
    if len(arrays) > MOST_LINES:
        lines.append("  …")
    if name == "deep_stulm":
        lines.append(f"{count_training_blocks(files[0])} training blocks")
    elif name is not None:
        try:
            lines += describe_recording(open_recording(path, description))
        except InputError as error:
            lines.append(f"not to be opened as it is: {error}")
    return "\n".join(lines)
