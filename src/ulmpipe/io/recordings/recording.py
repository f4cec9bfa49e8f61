"""What every importer hands over: a recording that is read block by block, and what is known of its scan.

An importer describes one file as a `Source` (how many frames, of which shape, how to read some of them, what the file
says of the scan). Here files become blocks, and the file's words are held against the user's.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.description import (
    Description,
    ScanFacts,
    agree,
    check_plausible,
    merge_facts,
    missing,
)

KINDS = {"channel_data": ("angle", "element", "time"), "iq": ("z", "x")}


# ---------------------------------------------------------------- files
def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Key by which block_2 comes before block_10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def find_files(path: str | Path) -> list[Path]:
    """The files that a path or a pattern (with *, ? or []) means, in natural order.

    Raises
    ------
    InputError
        None, or one that may not be read.
    """
    text = str(path)
    found = [text] if os.path.exists(text) else []
    if not found and glob.has_magic(text):
        found = sorted(glob.glob(text, recursive=True), key=natural_order)
    folder = os.path.dirname(text) or "."
    if not found and os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"{text}: no right to look into {folder}")
    if not found:
        raise InputError(f"{text}: no such file, expected a recording or a pattern such as block_*.mat")
    for name in found:
        if not os.access(name, os.R_OK):
            reason = "no right to read it" if os.path.exists(name) else "a link to a file that is not there"
            raise InputError(f"{name}: {reason}")
    return [Path(name) for name in found]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of a recording.

    Parameters
    ----------
    kind
        "channel_data" or "iq".
    n_frames
        In the file.
    frame_shape
        (angle, element, time) or (z, x).
    read
        `read(start, stop)`: frames [start, stop) as complex64 (frame, *frame_shape).
    facts
        What the file says of the scan.
    frames_in_block
        Where the file itself has blocks; None: the whole file is one.
    """

    kind: str
    n_frames: int
    frame_shape: tuple[int, ...]
    read: Callable[[int, int], NDArray[np.complex64]]
    facts: ScanFacts
    frames_in_block: int | None = None

    def layout(self) -> tuple[str, int, tuple[int, ...]]:
        """What must be the same in all files of a recording."""
        return self.kind, self.n_frames, self.frame_shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A user's recording: blocks that are read one at a time, and what is known of the scan.

    Parameters
    ----------
    format
        Name in the registry.
    kind
        "channel_data": blocks (frame, angle, element, time) of complex baseband, sample n the analytic echo at
        t = start_time + n / sampling_frequency times exp(-2πi f_d t), elements from -x to +x. "iq": beamformed images
        (frame, z, x).
    source
        The path or pattern.
    n_blocks
        In all files.
    block_shape
        Of every block.
    scan
        What the files and the description say; None where both are silent.
    in_file
        What the files say.
    files
        In the order of their blocks.
    reference
        The one of them that says what all must be like.
    """

    format: str
    kind: str
    source: str
    n_blocks: int
    block_shape: tuple[int, ...]
    scan: ScanFacts
    in_file: ScanFacts
    files: tuple[Path, ...]
    reference: Path
    _read: Callable[[int], NDArray[np.complex64]]

    def file_of(self, index: int) -> Path:
        """The file that a block is in; all have as many."""
        return self.files[index * len(self.files) // self.n_blocks]

    def read_block(self, index: int) -> NDArray[np.complex64]:
        """One block, complex64 of `block_shape`; no more than one block is held at a time.

        Raises
        ------
        InputError
            No such block, or one that cannot be read or is not as long as the others, naming file and block.
        """
        if not 0 <= index < self.n_blocks:
            raise InputError(f"{self.source}: block {index}, expected 0 to {self.n_blocks - 1}")
        return self._read(index)

    def blocks(self) -> Iterator[NDArray[np.complex64]]:
        """All blocks, one after the other."""
        return (self.read_block(index) for index in range(self.n_blocks))

    def require(self, *names: str) -> tuple[Any, ...]:
        """Facts of the scan that the caller cannot do without.

        Raises
        ------
        InputError
            One that neither file nor description says.
        """
        for name in names:
            if getattr(self.scan, name) is None:
                raise missing(self.source, name)
        return tuple(getattr(self.scan, name) for name in names)


def build_recording(
    name: str,
    path: str | Path,
    description: Description,
    open_file: Callable[[Path], Source],
    *,
    reference: Path,
) -> Recording:
    """A recording over one or many files.

    One file says how long the blocks are; the others are opened when one of their blocks is read.

    Parameters
    ----------
    name
        Of the format.
    path
        A file or a pattern.
    open_file
        The importer: reads what a file says without its samples.
    reference
        The file that says what all must be like.

    Raises
    ------
    InputError
        No file, one that cannot be read, words that disagree, frames that do not divide into blocks.
    """
    files, source = find_files(path), str(path)
    opened = lru_cache(maxsize=2)(open_file)
    first = _guarded(lambda: opened(reference), reference, "cannot be read")
    check_plausible(first.facts, str(reference))
    scan = merge_facts(first.facts, description.facts, str(reference))
    _check_counts(scan, first, str(reference))
    length = _frames_per_block(first, description, str(reference))
    per_file = first.n_frames // length

    def read(index: int) -> NDArray[np.complex64]:
        file, start = files[index // per_file], index % per_file * length
        return _guarded(lambda: read_from(file, start), file, f"block {index} cannot be read")

    def read_from(file: Path, start: int) -> NDArray[np.complex64]:
        this = opened(file)
        if this.layout() != first.layout():
            kind, n_frames, shape = first.layout()
            raise InputError(
                f"{this.kind} of {this.n_frames} frames of shape {this.frame_shape}, expected {kind} of {n_frames} "
                f"frames of shape {shape} as in {reference.name}"
            )
        for fact, value in this.facts.known().items():
            expected = getattr(first.facts, fact)
            if expected is not None and not agree(fact, value, expected):
                raise InputError(f"{fact} is {value}, expected {expected} as in {reference.name}")
        samples = np.ascontiguousarray(this.read(start, start + length), dtype=np.complex64)
        if samples.shape != (length, *first.frame_shape):
            raise InputError(f"samples of shape {samples.shape}, expected {(length, *first.frame_shape)}")
        return samples

    return Recording(
        format=name,
        kind=first.kind,
        source=source,
        n_blocks=per_file * len(files),
        block_shape=(length, *first.frame_shape),
        scan=scan,
        in_file=first.facts,
        files=tuple(files),
        reference=reference,
        _read=read,
    )


def _guarded(action: Callable[[], Any], file: Path, what: str) -> Any:
    """Do it; whatever goes wrong with a damaged file becomes one line that names it."""
    try:
        return action()
    except InputError as error:
        reason = str(error)
        if what == "cannot be read" and os.path.exists(reason.split(": ", maxsplit=1)[0]):
            raise  # it names its file, this one or the one beside it
        named = f"{file}: " if what == "cannot be read" else f"{file}: {what}: "
        raise InputError(named + reason.removeprefix(f"{file}: ")) from error
    except FileNotFoundError:
        raise InputError(f"{file}: {what}: no such file") from None
    except Exception as error:  # readers of damaged files raise many kinds
        reason = " ".join(str(error).split())
        raise InputError(
            f"{file}: {what} ({type(error).__name__}: {reason}): damaged or not of this format"
        ) from error


def _frames_per_block(first: Source, description: Description, file: str) -> int:
    own, asked = first.frames_in_block or first.n_frames, description.frames_per_block
    length = own if asked is None else asked
    if own < 1 or length > own or own % length:
        raise InputError(
            f"{file}: frames_per_block is {length}, expected a divisor of the {own} frames in a row"
        )
    return length


def _check_counts(scan: ScanFacts, first: Source, file: str) -> None:
    if first.kind != "channel_data":
        return
    n_angles, n_elements, _ = first.frame_shape
    if scan.angles is not None and len(scan.angles) != n_angles:
        raise InputError(f"{file}: {len(scan.angles)} angles for samples of {n_angles}, expected as many")
    if scan.n_elements is not None and scan.n_elements != n_elements:
        raise InputError(
            f"{file}: n_elements is {scan.n_elements} for samples of {n_elements}, expected as many"
        )
