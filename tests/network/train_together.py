"""Trains a small network and writes its history, in as many processes as torchrun starts: see test_training.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ulmpipe.network import TrackDataset, TrainingSettings, train
from ulmpipe.network.training import is_first_process


class Plain(nn.Module):
    """Without batch normalisation: a batch in parts is the same as a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 64, 3, padding=1)

    def forward(self, correlation: Tensor) -> Tensor:
        """(batch, 2, T, Z, X) to (batch, 1, 8Z, 8X)."""
        return nn.functional.pixel_shuffle(self.last(self.first(correlation.mean(dim=2)).relu()), 8)


def main(folder: Path) -> None:
    """Leave history.json and a checkpoint in the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((13, 2, 16, 8, 8)).astype(np.float32)
    tracks = rng.random((13, 64, 64)) < 0.2
    train_set = TrackDataset([maps[:8]], [tracks[:8]], seed=1)
    validation_set = TrackDataset([maps[8:]], [tracks[8:]])  # five: no multiple of two
    settings = TrainingSettings(n_epochs=3, batch_size=4, learning_rate=1e-2, precision="float32")
    network = Plain()
    trained = train(
        network, train_set, validation_set, settings=settings, checkpoint_path=folder / "checkpoints/c.pt"
    )
    if is_first_process():
        weights = {name: tensor.tolist() for name, tensor in network.state_dict().items()}
        (folder / "history.json").write_text(json.dumps({"history": trained.history, "weights": weights}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
