"""Loss curves."""

from __future__ import annotations

from ulmpipe.figures.curves import loss_figure

ROWS = [
    {
        "epoch": float(epoch),
        "learning_rate": 1e-3,
        "training_loss": 1.0 / epoch,
        "validation_loss": loss,
        "validation_dice": 0.1,
        "seconds": 2.0,
    }
    for epoch, loss in ((1, 0.9), (2, 0.4), (3, 0.6))
]


def test_the_kept_epoch_is_marked_at_the_least_validation_loss() -> None:
    figure = loss_figure({"phase 1": ROWS, "phase 2": ROWS[:1]})
    axes = figure.axes[0]
    kept = next(line for line in axes.get_lines() if line.get_label() == "kept")
    assert (float(kept.get_xdata()[0]), float(kept.get_ydata()[0])) == (2.0, 0.4)
    assert axes.get_title() == "phase 1"
