"""Loss curves of the training phases, from their per-epoch tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ulmpipe.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, float]

_NEEDED = ("epoch", "learning_rate", "training_loss", "validation_loss", "validation_dice")
_TRAINING, _VALIDATION, _DICE = "#9a9a9a", "#0b6e99", "#c4572e"


def write_epochs(path: Path, rows: Sequence[Row]) -> None:
    """Write one row per epoch as CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else list(_NEEDED))
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)


def read_epochs(path: Path) -> list[dict[str, float]]:
    """Read a table of `write_epochs`.

    Raises
    ------
    InputError
        If a column is missing or a value is not a number.

    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or [])]
        if missing:
            raise InputError(f"{path}: columns {reader.fieldnames}; expected also {', '.join(missing)}")
        try:
            return [{name: float(value) for name, value in row.items()} for row in reader]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: {error}; expected a number in every column") from error


def loss_figure(phases: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw training and validation loss and validation Dice over the epochs, a panel per phase.

    Parameters
    ----------
    phases : mapping
        Rows per epoch (see `ulmpipe.network.training.COLUMNS`) under the name of their phase, in order.

    Returns
    -------
    Figure
        The dot is the epoch whose weights are kept: the least validation loss.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * max(1, len(phases)), 3.4), layout="constrained")
    for number, (name, rows) in enumerate(phases.items(), start=1):
        axes = figure.add_subplot(1, len(phases), number)
        epochs = [row["epoch"] for row in rows]
        for column, colour in (("training_loss", _TRAINING), ("validation_loss", _VALIDATION)):
            axes.plot(epochs, [row[column] for row in rows], color=colour, label=column.replace("_", " "))
        if rows:
            best = min(rows, key=lambda row: row["validation_loss"])
            axes.plot(best["epoch"], best["validation_loss"], "o", color=_VALIDATION, label="kept")
        axes.set(title=name, xlabel="epoch", ylabel="loss")
        score = axes.twinx()
        score.plot(epochs, [row["validation_dice"] for row in rows], color=_DICE, label="validation Dice")
        score.set_ylim(bottom=0)
        score.set_ylabel("Dice per block at probability ½", color=_DICE)
        for side in (axes, score):
            side.spines["top"].set_visible(False)
        handles = [*axes.get_lines(), *score.get_lines()]
        axes.legend(handles, [str(line.get_label()) for line in handles], frameon=False, fontsize="small")
    return figure
