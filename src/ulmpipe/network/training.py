"""Training of any network of this package: one loop, resumable after every epoch."""

from __future__ import annotations

import copy
import io
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ulmpipe import progress as progress_bar
from ulmpipe.errors import InputError
from ulmpipe.network.dataset import TrackDataset
from ulmpipe.network.losses import LOSSES

_log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
COLUMNS = ("epoch", "learning_rate", "training_loss", "validation_loss", "validation_dice", "seconds")
Row = dict[str, float]


@dataclass(frozen=True)
class TrainingSettings:
    """How one phase is trained.

    Attributes
    ----------
    n_epochs, batch_size : int
        Passes over the training set; blocks a step.
    learning_rate : float
        Largest rate of Adam.
    schedule : str
        "cosine": linear warm-up over `warm_up` (a share of all steps), then half a cosine to zero.
        "multistep": times `decay` after each epoch in `milestones`, as the paper.
    loss : str
        A name of `ulmpipe.network.losses.LOSSES`.
    precision : str
        "bfloat16" (autocast; weights stay float32) or "float32".
    weight_decay : float
        Of AdamW; 0 is Adam.
    gradient_norm : float or None
        Longer gradients are shortened to this norm.

    """

    n_epochs: int = 10
    batch_size: int = 2
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    warm_up: float = 0.05
    loss: str = "bce_dice"
    precision: str = "bfloat16"
    weight_decay: float = 0.0
    gradient_norm: float | None = None

    def __post_init__(self) -> None:
        """Refuse names and numbers that mean nothing."""
        for field, value, names in (
            ("schedule", self.schedule, ("cosine", "multistep")),
            ("loss", self.loss, tuple(LOSSES)),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in names:
                raise InputError(f"training.{field}: '{value}'; expected one of {', '.join(names)}")
        for field in ("n_epochs", "batch_size", "learning_rate"):
            if not getattr(self, field) > 0:
                raise InputError(f"training.{field}: {getattr(self, field)}; expected more than 0")


def learning_rate_factor(settings: TrainingSettings, step: int, *, steps_per_epoch: int) -> float:
    """Share of the largest learning rate at a step, counted from 0."""
    if settings.schedule == "multistep":
        return settings.decay ** sum(
            step // steps_per_epoch >= milestone for milestone in settings.milestones
        )
    n_steps = settings.n_epochs * steps_per_epoch
    n_warm_up = max(1, round(settings.warm_up * n_steps))
    if step < n_warm_up:
        return (step + 1) / n_warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm_up) / max(1, n_steps - n_warm_up)))


def train(
    network: nn.Module,
    train_set: TrackDataset,
    validation_set: TrackDataset,
    *,
    settings: TrainingSettings,
    checkpoint_path: Path | None = None,
    fingerprint: str = "",
    on_epoch: Callable[[list[Row]], None] | None = None,
    progress: Callable[..., Any] = progress_bar.progress,
    description: str = "training",
) -> list[Row]:
    """Train a network in place and leave the weights of the best validation loss in it.

    Parameters
    ----------
    network : nn.Module
        (batch, 2, T, Z, X) to logits (batch, 1, 8Z, 8X), on any device.
    train_set, validation_set : TrackDataset
        Blocks; `train_set.epoch` is set at every epoch.
    settings : TrainingSettings
        The schedule.
    checkpoint_path : Path, optional
        Replaced as a whole after every epoch. If it exists and has the same fingerprint, the training goes on
        from it.
    fingerprint : str
        Whatever the result depends on (settings, data, code); a checkpoint of another fingerprint is left
        aside.
    on_epoch : callable, optional
        Called with all rows so far after every epoch, before the checkpoint is written.
    progress : callable
        ``progress(items, description, total=, unit=)`` returning a tqdm bar.
    description : str
        Of the bar and the messages.

    Returns
    -------
    list of dict
        One row per epoch: `COLUMNS`.

    Raises
    ------
    InputError
        If the loss is no longer a number, or the network cannot be trained in this precision on this device.

    Notes
    -----
    On one machine, with one number of threads, a resumed training ends with the same numbers as an
    uninterrupted one.

    """
    device = next(network.parameters()).device
    if settings.precision == "bfloat16" and device.type == "cpu" and _has_3d_convolutions(network):
        raise InputError(
            f"training.precision: bfloat16 for {type(network).__name__} on a processor; expected float32: "
            "oneDNN's bfloat16 gradient of 3-D convolutions writes outside its memory (torch 2.13)"
        )
    _lay_out_channels_last(network)
    loss_of = LOSSES[settings.loss]
    batch_size = min(settings.batch_size, len(train_set))
    steps_per_epoch = len(train_set) // batch_size
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(settings, step, steps_per_epoch=steps_per_epoch)
    )
    state = _State(network, optimizer, scheduler)
    if checkpoint_path is not None:
        state.resume(checkpoint_path, fingerprint)
    bar = progress((), description, total=settings.n_epochs * steps_per_epoch, unit="step")
    bar.n = bar.initial = bar.last_print_n = (
        state.epoch * steps_per_epoch
    )  # the ETA counts this run's steps only
    while state.epoch < settings.n_epochs:
        start = time.perf_counter()
        network.train()
        train_set.epoch = state.epoch
        learning_rate, total = float(scheduler.get_last_lr()[0]), 0.0
        for correlation, tracks in DataLoader(
            train_set, batch_size, sampler=train_set.order(), drop_last=True
        ):
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
                logits = network(correlation.to(device))
            loss = loss_of(logits.float(), tracks.to(device))
            optimizer.zero_grad()
            loss.backward()
            if settings.gradient_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            optimizer.step()
            scheduler.step()
            value = _finite(loss, description, state.epoch, learning_rate)
            total += value
            bar.set_postfix_str(f"loss {value:.3f}", refresh=False)
            bar.update()
        validation_loss, validation_dice = validate(network, validation_set, settings=settings)
        row = (
            state.epoch + 1,
            learning_rate,
            total / steps_per_epoch,
            validation_loss,
            validation_dice,
            time.perf_counter() - start,
        )
        state.end_epoch(dict(zip(COLUMNS, row, strict=True)))
        _log.info("%s: epoch %d: %s", description, state.epoch, state.history[-1])
        if on_epoch is not None:
            on_epoch(state.history)
        if checkpoint_path is not None:
            state.save(checkpoint_path, fingerprint)
    bar.close()
    network.load_state_dict(state.best_weights)
    return state.history


@torch.inference_mode()
def validate(network: nn.Module, blocks: TrackDataset, *, settings: TrainingSettings) -> tuple[float, float]:
    """Loss and mean per-block Dice (probability above ½) of a data set; warns if every pixel gets the same
    answer.
    """
    device = next(network.parameters()).device
    network.eval()
    losses, scores, share = 0.0, 0.0, 0.0
    for correlation, tracks in DataLoader(blocks, settings.batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = network(correlation.to(device)).float()
        target = tracks.to(device)
        found = (logits > 0).float()
        size = found.sum((1, 2, 3)) + target.sum((1, 2, 3))
        losses += float(LOSSES[settings.loss](logits, target)) * len(target)
        scores += float((2 * (found * target).sum((1, 2, 3)) / size.clamp(min=1)).sum())
        share += float(found.mean((1, 2, 3)).sum())
    share /= len(blocks)
    if share in (0.0, 1.0):
        _log.warning(
            "every validation pixel is %s: the network has collapsed, or has only begun",
            "track" if share else "background",
        )
    return losses / len(blocks), scores / len(blocks)


def _has_3d_convolutions(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv3d) for module in network.modules())


def _lay_out_channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions out as their fast kernels want them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _finite(loss: Tensor, description: str, epoch: int, learning_rate: float) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise InputError(
            f"{description}: the loss is {value} in epoch {epoch + 1} at learning rate {learning_rate:.3g}; "
            "expected a number: lower learning_rate, or look for NaN in the training blocks"
        )
    return value


class _State:
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
        own = {name: getattr(self, name) for name in ("epoch", "history", "best_loss", "best_weights")}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        whole = io.BytesIO()  # written by Python, which says plainly when the disk is full
        torch.save({**content, **own, "fingerprint": fingerprint}, whole)
        try:
            temporary.write_bytes(whole.getbuffer())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
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
        for name in ("epoch", "history", "best_loss", "best_weights"):
            setattr(self, name, content[name])
        _log.info("%s: going on after epoch %d", path, self.epoch)
