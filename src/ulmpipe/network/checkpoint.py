"""The state of a training, kept in a file after every epoch, so that a killed one goes on."""

from __future__ import annotations

import copy
import io
import logging
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ulmpipe.errors import InputError, is_disk_full

_log = logging.getLogger(__name__)

# beside the states of the parts
KEPT = ("epoch", "history", "best_loss", "best_weights", "examples", "alike")
Row = dict[str, float]


class TrainingState:
    """What a checkpoint holds."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        self.parts: dict[str, Any] = {"weights": network, "optimizer": optimizer, "scheduler": scheduler}
        self.epoch = 0
        self.history: list[Row] = []
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = copy.deepcopy(network.state_dict())
        self.examples: dict[int, Tensor] = {}
        self.alike = 0  # epochs in a row with the same answer for every pixel

    def end_epoch(self, row: Row) -> None:
        """Count the epoch; keep the weights if they are the best so far."""
        self.epoch += 1
        self.history.append(row)
        if row["validation_loss"] < self.best_loss:
            self.best_loss = row["validation_loss"]
            self.best_weights = copy.deepcopy(self.parts["weights"].state_dict())

    def save(self, path: Path, fingerprint: str) -> None:
        """Replace the checkpoint as a whole: a killed run leaves the old one or the new one."""
        content = {name: part.state_dict() for name, part in self.parts.items()}
        own = {name: getattr(self, name) for name in KEPT}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        whole = io.BytesIO()  # written by Python, which says plainly when the disk is full
        torch.save({**content, **own, "fingerprint": fingerprint}, whole)
        try:
            temporary.write_bytes(whole.getbuffer())
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if is_disk_full(error):
                raise InputError(
                    f"no space left on the disk for {path}; nothing half-written was kept"
                ) from error
            raise

    def resume(self, path: Path, fingerprint: str) -> None:
        """Go on from a checkpoint if there is one of this fingerprint."""
        if not path.exists():
            return
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            _log.warning(
                "%s: not a readable checkpoint (%s); training starts anew", path, str(error).splitlines()[0]
            )
            return
        if content.get("fingerprint") != fingerprint:
            _log.warning("%s: a checkpoint of other settings, data or code; training starts anew", path)
            return
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        for name in KEPT:
            setattr(self, name, content[name])
        _log.info("%s: going on after epoch %d", path, self.epoch)
