"""Training of any network of this package: one loop, resumable after every epoch."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from ulmpipe.errors import InputError
from ulmpipe.network.checkpoint import Row, TrainingState
from ulmpipe.network.dataset import TrackDataset
from ulmpipe.network.devices import (
    devices_of,
    gather,
    has_3d_convolutions,
    lay_out_channels_last,
    precision_of,
    sum_over_processes,
)
from ulmpipe.network.losses import LOSSES, loss_of_windows
from ulmpipe.network.optimizers import OPTIMIZERS
from ulmpipe.network.schedule import TrainingSettings, learning_rate_factor
from ulmpipe.progress import progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_log = logging.getLogger(__name__)

COLUMNS = ("epoch", "learning_rate", "training_loss", "validation_loss", "validation_dice", "seconds")
ENOUGH_STEPS = 100  # for a judgement
PATIENCE = 20  # epochs in a row with the same answer for every pixel, while the loss does not fall
LITTLE = 0.98  # of the first epoch's loss: it has not fallen
LOADERS = 4  # threads that make the next batches while a GPU is at work


@dataclass(frozen=True)
class Trained:
    """What a training leaves besides the weights.

    Attributes
    ----------
    history : list of dict
        One row per epoch: `COLUMNS`; losses are those of the joined tracks, without windows.
    examples : dict of int to (8Z, 8X) uint8
        Probabilities (255 is 1) of the fullest validation block after some epochs: 1, 2, 4, 8, … and the last.

    """

    history: list[Row]
    examples: dict[int, NDArray[np.uint8]]


def train(
    network: nn.Module,
    train_set: TrackDataset,
    validation_set: TrackDataset,
    *,
    settings: TrainingSettings,
    checkpoint_path: Path | None = None,
    fingerprint: str = "",
    on_epoch: Callable[[list[Row]], None] | None = None,
    description: str = "training",
) -> Trained:
    """Train a network in place and leave the weights of the best validation loss in it.

    On a GPU if there is one. Under ``torchrun`` all processes train together, each on its share of every batch.

    Parameters
    ----------
    network : nn.Module
        (batch, 2, T, Z, X) to logits (batch, 1, 8Z, 8X); left on the device it was trained on. With a `window_weight`
        it must have those of windows too, as `ulmpipe.network.light.Light`, and `train_set` their truth.
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
    description : str
        Of the bar and the messages.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If windows are to be learnt and network or training set have none, the loss is no longer a number, the network
        ends with the same answer for every pixel or has given it for `PATIENCE` epochs without learning, or it cannot
        be trained in this precision on this device.

    Notes
    -----
    On a processor, with one number of threads, a resumed training ends with the same numbers as an uninterrupted one;
    kernels of a GPU may add in another order from run to run.
    Several processes see the batches that one would, and every loss is that of a whole batch. They add gradients in
    another order: their numbers are those of one to rounding, but for networks with batch normalisation, which works
    on each process's own share of a batch.

    """
    fabric = devices_of(network, settings.precision)
    _check_precision(network, settings.precision, fabric)
    precision = precision_of(network, settings.precision, fabric.device.type)
    _log.info("%s: in %s on %s", description, precision, fabric.device)
    if settings.window_weight and not (getattr(network, "tells_windows", False) and train_set.windows):
        raise InputError(
            f"training.window_weight: {settings.window_weight}; expected 0, since {type(network).__name__} or the "
            "training set has no windows"
        )
    network.to(fabric.device)
    lay_out_channels_last(network)
    # all batches are of one shape: worth trying which convolutions are fastest
    torch.backends.cudnn.benchmark = True
    steps_per_epoch = len(train_set) // min(settings.batch_size, len(train_set))
    optimizer = OPTIMIZERS[settings.optimizer](
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(learning_rate_factor, settings, steps_per_epoch=steps_per_epoch)
    )
    state = TrainingState(network, optimizer, scheduler)
    if checkpoint_path is not None:
        state.resume(checkpoint_path, fingerprint)
    n_steps, done = settings.n_epochs * steps_per_epoch, state.epoch * steps_per_epoch
    bar = progress((), description, total=n_steps, unit="step", done=done, shown=fabric.is_global_zero)
    wanted: Any = network
    if settings.compile and fabric.device.type == "cuda":
        wanted = torch.compile(network)
    model, stepper = fabric.setup(wanted, optimizer)
    while state.epoch < settings.n_epochs:
        start, learning_rate = time.perf_counter(), float(scheduler.get_last_lr()[0])
        model.train()
        train_set.epoch, losses = state.epoch, []
        for batch in batches_of(fabric, train_set, settings.batch_size):
            losses.append(_step(fabric, model, stepper, batch, settings))
            scheduler.step()
            latest = float(losses[-2:][0])  # of the step before: a GPU is at work on this one
            check_finite(latest, description, state.epoch, learning_rate)
            bar.set_postfix_str(f"loss {latest:.3f}", refresh=False)
            bar.update()
        check_finite(float(losses[-1]), description, state.epoch, learning_rate)
        found = validate(network, validation_set, settings=settings, fabric=fabric)
        check_finite(found.loss, description, state.epoch, learning_rate)
        means = (sum(map(float, losses)) / steps_per_epoch, found.loss, found.dice)
        row = (state.epoch + 1, learning_rate, *means, time.perf_counter() - start)
        state.end_epoch(dict(zip(COLUMNS, row, strict=True)))
        if state.epoch & (state.epoch - 1) == 0 or state.epoch == settings.n_epochs:
            state.examples[state.epoch] = _example(network, validation_set, fabric)
        _log.info("%s: epoch %d: %s", description, state.epoch, _in_words(state.history[-1]))
        if on_epoch is not None:
            on_epoch(state.history)
        state.alike = state.alike + 1 if found.share in (0.0, 1.0) else 0
        stuck = state.alike >= PATIENCE and not _has_fallen(state.history[-PATIENCE:])
        at_end = state.epoch == settings.n_epochs
        enough = (at_end or stuck) and state.epoch * steps_per_epoch >= ENOUGH_STEPS
        _say_how_it_went(state.history, found, enough=enough, description=description)
        if checkpoint_path is not None and fabric.is_global_zero:
            state.save(checkpoint_path, fingerprint)
    bar.close()
    network.load_state_dict(state.best_weights)
    return Trained(state.history, {epoch: example.numpy() for epoch, example in state.examples.items()})


def _step(
    fabric: Fabric, model: Any, stepper: Any, batch: tuple[Tensor, Tensor], settings: TrainingSettings
) -> Tensor:
    """One step of the optimizer on this process's share of a batch; the loss of the whole batch's joined tracks."""
    correlation, tracks = batch
    stepper.zero_grad()
    given = {"windows": True} if settings.window_weight else {}
    logits, targets = gather(fabric, model(correlation, **given)), gather(fabric, tracks)
    loss_of = LOSSES[settings.loss]
    total = loss = loss_of(logits[:, :1], targets[:, :1])
    if settings.window_weight:
        total = loss + settings.window_weight * loss_of_windows(loss_of, logits, targets)
    fabric.backward(total)
    if settings.gradient_norm is not None:
        fabric.clip_gradients(model, stepper, max_norm=settings.gradient_norm)
    stepper.step()
    return loss.detach()


def _in_words(row: dict[str, float]) -> str:
    return (
        f"loss {row['training_loss']:.4f}, on validation blocks {row['validation_loss']:.4f}, "
        f"Dice {100 * row['validation_dice']:.1f} %, {row['seconds']:.0f} s"
    )


class Validation(NamedTuple):
    """Loss, mean per-block Dice (probability above ½), and the share of pixels taken for tracks."""

    loss: float
    dice: float
    share: float


@torch.inference_mode()
def validate(
    network: nn.Module, blocks: TrackDataset, *, settings: TrainingSettings, fabric: Fabric | None = None
) -> Validation:
    """Scores of a data set; every process takes its share of the batches."""
    fabric = fabric or devices_of(network, settings.precision)
    network.to(fabric.device).eval()
    for buffer in network.buffers():
        if buffer.is_floating_point():  # statistics of batch normalisation: those of all processes
            buffer.copy_(sum_over_processes(fabric, buffer) / fabric.world_size)
    sums = torch.zeros(3, dtype=torch.float64)
    order, size = list(range(len(blocks))), settings.batch_size
    batches = [order[first : first + size] for first in range(0, len(order), size)]
    own = batches[fabric.global_rank :: fabric.world_size]  # whole: some losses are not means over the blocks
    for correlation, tracks in _loaded(blocks, own, ahead=_loaders(fabric)):
        with fabric.autocast():
            logits = network(correlation.to(fabric.device)).float()
        target = tracks[:, :1].to(fabric.device)
        found = (logits > 0).float()
        overlap = (found * target).sum((1, 2, 3))
        marked = found.sum((1, 2, 3)) + target.sum((1, 2, 3))
        dice = torch.where(marked > 0, 2 * overlap / marked, 1.0)  # nothing sought, nothing found: right
        sums += torch.tensor(
            [
                float(LOSSES[settings.loss](logits, target)) * len(target),
                float(dice.sum()),
                float(found.mean((1, 2, 3)).sum()),
            ],
            dtype=torch.float64,
        )
    return Validation(*(sum_over_processes(fabric, sums) / len(blocks)).tolist())


def batches_of(fabric: Fabric, train_set: TrackDataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The share of this process of each batch of an epoch; what is left after the last whole batch is left out."""
    order, batch_size = train_set.order(), min(batch_size, len(train_set))
    if batch_size % fabric.world_size:
        raise InputError(
            f"training.batch_size: {batch_size}; expected a multiple of the {fabric.world_size} processes"
        )
    batches = [
        order[first + fabric.global_rank : first + batch_size : fabric.world_size]
        for first in range(0, len(order) - batch_size + 1, batch_size)
    ]
    for correlation, tracks in _loaded(train_set, batches, ahead=_loaders(fabric)):
        yield correlation.to(fabric.device, non_blocking=True), tracks.to(fabric.device, non_blocking=True)


def _loaders(fabric: Fabric) -> int:
    """Batches made ahead: none where the same cores train."""
    return 0 if fabric.device.type == "cpu" else LOADERS


def _loaded(
    blocks: TrackDataset, batches: Iterable[list[int]], *, ahead: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in their order; the next are made meanwhile, each by a thread of its own, where a GPU can fetch them."""
    pinned = ahead > 0 and torch.cuda.is_available()

    def load(batch: list[int]) -> tuple[Tensor, Tensor]:
        correlation, tracks = default_collate([blocks[index] for index in batch])
        return (correlation.pin_memory(), tracks.pin_memory()) if pinned else (correlation, tracks)

    if ahead == 0:
        yield from map(load, batches)
        return
    with ThreadPoolExecutor(ahead) as pool:
        pending: deque[Any] = deque()
        for batch in batches:
            pending.append(pool.submit(load, batch))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@torch.inference_mode()
def _example(network: nn.Module, blocks: TrackDataset, fabric: Fabric) -> Tensor:
    """Probabilities of the fullest block, (8Z, 8X) uint8."""
    network.eval()
    correlation, _ = blocks[blocks.fullest()]
    with fabric.autocast():
        logits = network(correlation[None].to(fabric.device))
    return (255 * logits[0, 0].float().sigmoid()).round().to("cpu", torch.uint8)


def _say_how_it_went(history: list[Row], found: Validation, *, enough: bool, description: str) -> None:
    """Warn of a network that answers every pixel alike, and refuse it after `enough` steps; warn of a loss that did not
    fall.
    """
    if found.share in (0.0, 1.0):
        answer = "track" if found.share else "background"
        if enough:
            raise InputError(
                f"{description}: after {len(history)} epochs every validation pixel is {answer}; expected tracks: "
                "lower learning_rate, or look for empty targets in the training blocks"
            )
        _log.warning(
            "%s: every validation pixel is %s: the network has collapsed, or has only begun",
            description,
            answer,
        )
    if enough and len(history) > 1 and not _has_fallen(history):
        _log.warning(
            "%s: the training loss was %.3f in the first epoch and is %.3f in the last; expected it to fall: "
            "another learning_rate, or more epochs",
            description,
            history[0]["training_loss"],
            history[-1]["training_loss"],
        )


def _has_fallen(history: list[Row]) -> bool:
    """Whether the training loss is clearly less in the last of some epochs than in the first."""
    return history[-1]["training_loss"] <= LITTLE * history[0]["training_loss"]


def _check_precision(network: nn.Module, precision: str, fabric: Fabric) -> None:
    if precision == "bfloat16" and fabric.device.type == "cpu" and has_3d_convolutions(network):
        raise InputError(
            f"network.precision: bfloat16 for {type(network).__name__} on a processor; expected auto or float32: "
            "oneDNN's bfloat16 gradient of 3-D convolutions writes outside its memory (torch 2.13)"
        )


def check_finite(loss: float, description: str, epoch: int, learning_rate: float) -> None:
    """Refuse a loss that is no number."""
    if not math.isfinite(loss):
        raise InputError(
            f"{description}: the loss is {loss} in epoch {epoch + 1} at learning rate {learning_rate:.3g}; "
            "expected a number: lower learning_rate, or look for NaN in the training blocks"
        )
