"""Progress bars with an ETA that read well in a terminal and in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


class _Lines:
    """A stream on which each refresh of a progress bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        if line:
            self.stream.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def progress(
    items: Iterable[Item],
    description: str,
    *,
    total: int | None = None,
    unit: str = "block",
    done: int = 0,
    shown: bool = True,
) -> Any:
    """Iterate over `items` showing how far it is and how long it still takes.

    In a terminal this is a moving bar; elsewhere (a log, a pipe) a line every ten seconds. The returned object is a
    `tqdm.tqdm`. What an earlier run has `done` counts in the percentage but not in the time left.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        desc=description,
        total=total,
        initial=done,
        disable=not shown,
        unit=unit,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.1 if terminal else SECONDS_BETWEEN_LINES,
        ncols=None if terminal else 100,
        bar_format="{desc}: {percentage:3.0f} % |{bar:20}| {n_fmt}/{total_fmt} {unit}s, "
        "{elapsed} gone, {remaining} left{postfix}",
    )
