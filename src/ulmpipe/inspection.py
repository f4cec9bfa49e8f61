"""``ulmpipe inspect FILE``: what is in a recording, in words and as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import Recording, describe, open_recording, quick_look
from ulmpipe.io.stores import complete_or_absent


def inspect(path: str, *, words: dict[str, Any], picture: Path) -> None:
    """Print what a recording holds; draw a quick look at its first block, if it can be opened as it is.

    Raises
    ------
    InputError
        No such file.
    """
    print(describe(path, words))
    try:
        recording = open_recording(path, words)
    except InputError:  # described above
        return
    _draw(recording, picture)
    print(f"quick look at block 0: {picture}")


def _draw(recording: Recording, picture: Path) -> None:
    from ulmpipe.figures.recordings import quick_look_figure

    figure = quick_look_figure(quick_look(recording), recording.kind, recording.scan, title=recording.source)
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)


def main(arguments: Sequence[str]) -> None:
    """Read the command line and inspect."""
    parser = argparse.ArgumentParser(
        prog="ulmpipe inspect", description="What is in a recording, in words and as a picture."
    )
    parser.add_argument("file", help="a file, or a pattern in quotes: 'data/block_*.mat'")
    parser.add_argument(
        "--description", type=Path, help="YAML with what the files do not say, see docs/recordings.md"
    )
    parser.add_argument("--picture", type=Path, help="default: FILE_quick_look.png in this folder")
    given = parser.parse_args(arguments)
    words: dict[str, Any] = {}
    if given.description:
        from ulmpipe.configuration import read_yaml

        words = read_yaml(given.description)
    stem = Path(given.file).stem.replace("*", "").replace("?", "").strip("_.-") or "recording"
    inspect(given.file, words=words, picture=given.picture or Path(f"{stem}_quick_look.png"))
