"""Trains a small network and writes how it went, in as many processes as torchrun starts: see test_training.py."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulmpipe.network import TrackDataset, TrainingSettings, train
from ulmpipe.network.devices import is_first_process

# loss, optimizer, and the longest gradients that are left alone: some steps are shortened and some are not, so that an
# optimizer to which a common factor means nothing would show a gradient of another length
TRAININGS: dict[str, dict[str, Any]] = {
    "a mean over blocks": {"loss": "bce_dice", "optimizer": "adam", "gradient_norm": 0.024},
    "no mean over blocks": {"loss": "dice", "optimizer": "adam", "gradient_norm": 0.0037},
    "Muon": {"loss": "dice", "optimizer": "muon", "gradient_norm": 0.0037},
    "windows": {"loss": "dice", "optimizer": "adam", "window_weight": 0.5},
}


class Plain(nn.Module):
    """Without batch normalisation: a batch in parts is the same as a batch."""

    tells_windows = True

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 64, 3, padding=1)

    def forward(self, correlation: Tensor, *, windows: bool = False) -> Tensor:
        """(batch, 2, T, Z, X) to (batch, 1, 8Z, 8X), and as many again."""
        logits = nn.functional.pixel_shuffle(self.last(self.first(correlation.mean(dim=2)).relu()), 8)
        return torch.cat([logits, 2 * logits], dim=1) if windows else logits


class Normalized(Plain):
    """Whose input is normalised by what it has seen; a batch's halves have different means."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)

    def forward(self, correlation: Tensor, *, windows: bool = False) -> Tensor:
        """As that of `Plain`."""
        return super().forward(self.norm(correlation.mean(dim=2))[:, :, None], windows=windows)


class _KilledError(Exception):
    pass


def _kill_after_two_epochs(history: list[dict[str, float]]) -> None:
    if len(history) == 3:
        raise _KilledError


def main(folder: Path) -> None:
    """Leave a checkpoint and trained.json: every training, and one that was killed and resumed."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((13, 2, 16, 8, 8)).astype(np.float32)
    tracks = rng.random((13, 64, 64)) < np.linspace(0.01, 0.3, 13)[:, None, None]  # unlike each other

    def trained(name: str, **keywords: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        network = Plain()
        settings = TrainingSettings(
            n_epochs=4, batch_size=4, learning_rate=1e-2, precision="float32", **TRAININGS[name]
        )
        windows = [tracks[1:9, None].astype(np.uint8)] if settings.window_weight else None  # of other blocks
        train_set = TrackDataset([maps[:8]], [tracks[:8]], windows=windows, seed=1)
        validation_set = TrackDataset([maps[8:]], [tracks[8:]])  # five: no multiple of two
        history = train(network, train_set, validation_set, settings=settings, **keywords).history
        weights = {name: tensor.tolist() for name, tensor in network.state_dict().items()}
        return {"history": history, "weights": weights}

    straight = {name: trained(name) for name in TRAININGS}
    path = folder / "checkpoints/c.pt"
    with contextlib.suppress(_KilledError):
        trained("Muon", checkpoint_path=path, on_epoch=_kill_after_two_epochs)
    resumed = trained("Muon", checkpoint_path=path)
    normalized = Normalized()
    brighter = maps + np.linspace(0, 5, 13, dtype=np.float32)[:, None, None, None, None]
    train(
        normalized,
        TrackDataset([brighter[:8]], [tracks[:8]], seed=1),
        TrackDataset([brighter[8:]], [tracks[8:]]),
        settings=TrainingSettings(n_epochs=1, batch_size=4, precision="float32"),
    )
    statistics = {"running_mean": normalized.norm.running_mean.tolist()}
    if is_first_process():
        content = {"straight": straight, "resumed": resumed, "statistics": statistics}
        (folder / "trained.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
