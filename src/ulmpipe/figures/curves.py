"""Loss curves of the training phases, from their rows per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, float]

_TRAINING, _VALIDATION, _SCORE = "#9a9a9a", "#0b6e99", "#c4572e"


def loss_figure(
    phases: Mapping[str, Sequence[Row]],
    *,
    score: str = "validation_dice",
    label: str = "validation Dice",
    meaning: str = "Dice per block at probability ½",
) -> Figure:
    """Draw training and validation loss and a score over the epochs, a panel per phase.

    Parameters
    ----------
    phases : mapping
        Rows per epoch (see `ulmpipe.network.training.COLUMNS`) under the name of their phase, in order.
    score, label, meaning
        Column of the score, its name in the legend, and what its axis says.

    Returns
    -------
    Figure
        The dot is the epoch whose weights are kept: the least validation loss.

    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.0 * max(1, len(phases)), 4.4), dpi=150, layout="constrained")
    for number, (name, rows) in enumerate(phases.items(), start=1):
        axes = figure.add_subplot(1, len(phases), number)
        epochs = [row["epoch"] for row in rows]
        for column, colour in (("training_loss", _TRAINING), ("validation_loss", _VALIDATION)):
            axes.plot(epochs, [row[column] for row in rows], color=colour, label=column.replace("_", " "))
        if rows:
            best = min(rows, key=lambda row: row["validation_loss"])
            axes.plot(best["epoch"], best["validation_loss"], "o", color=_VALIDATION, label="kept")
        axes.set(title=name, xlabel="epoch", ylabel="loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        other = axes.twinx()
        other.plot(epochs, [row[score] for row in rows], color=_SCORE, label=label)
        other.set_ylim(bottom=0)
        other.set_ylabel(meaning, color=_SCORE)
        for side in (axes, other):
            side.spines["top"].set_visible(False)
        handles = [*axes.get_lines(), *other.get_lines()]
        # below the axes: anywhere inside it would cover a curve sooner or later
        axes.legend(
            handles,
            [str(line.get_label()) for line in handles],
            frameon=False,
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=len(handles),
        )
    return figure
