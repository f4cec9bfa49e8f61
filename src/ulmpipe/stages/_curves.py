"""Curves of a training: those it ends with, and those a person looks at meanwhile."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ulmpipe.errors import InputError
from ulmpipe.io.stores import complete_or_absent
from ulmpipe.network.checkpoint import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curves:
    """A training's rows, one an epoch, as a table of `columns` and as a picture."""

    columns: tuple[str, ...]
    draw: Callable[[list[Row]], Figure]

    def write(self, rows: list[Row], *, table: Path, picture: Path) -> None:
        """Write both."""
        with complete_or_absent(table) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        with complete_or_absent(picture) as temporary:
            self.draw(rows).savefig(temporary)

    def show(self, rows: list[Row], so_far: Path) -> None:
        """Write `so_far`, a picture, and its table: all that a training that fails leaves, not worth failing for."""
        try:
            self.write(rows, table=so_far.with_suffix(".csv"), picture=so_far)
        except (OSError, InputError) as error:
            _log.warning("curves so far: %s", error)


def begin(checkpoint: Path, so_far: Path) -> None:
    """Unless a training goes on from its checkpoint: take away what another one showed, and say if there was one."""
    if checkpoint.exists():
        return
    name = checkpoint.stem.rpartition("_")[0]
    if any(checkpoint.parent.glob(f"{name}_*{checkpoint.suffix}")):
        _log.warning(
            "%s: the checkpoints in %s are of other settings, data or code; training starts anew",
            name,
            checkpoint.parent,
        )
    for path in (so_far, so_far.with_suffix(".csv")):
        path.unlink(missing_ok=True)
