"""Training of any network of this package: one loop, resumable after every epoch."""

from __future__ import annotations

import copy
import io
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ulmpipe.errors import InputError
from ulmpipe.network.dataset import TrackDataset
from ulmpipe.network.losses import LOSSES
from ulmpipe.progress import progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
COLUMNS = ("epoch", "learning_rate", "training_loss", "validation_loss", "validation_dice", "seconds")
KEPT = ("epoch", "history", "best_loss", "best_weights", "examples")  # of the state, in a checkpoint
ENOUGH_STEPS = 100  # for a judgement
LITTLE = 0.98  # of the first epoch's loss: it has not fallen
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


@dataclass(frozen=True)
class Trained:
    """What a training leaves besides the weights.

    Attributes
    ----------
    history : list of dict
        One row per epoch: `COLUMNS`.
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
        (batch, 2, T, Z, X) to logits (batch, 1, 8Z, 8X); left on the device it was trained on.
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
        If the loss is no longer a number, the network ends with the same answer for every pixel, or it cannot be
        trained in this precision on this device.

    Notes
    -----
    On one device, with one number of threads, a resumed training ends with the same numbers as an uninterrupted one.
    Several processes see the batches that one would, and every loss is that of a whole batch. They add gradients in
    another order: their numbers are those of one to rounding, but for networks with batch normalisation, which works
    on each process's own share of a batch.

    """
    fabric = _fabric(settings)
    if settings.precision == "bfloat16" and fabric.device.type == "cpu" and _has_3d_convolutions(network):
        raise InputError(
            f"training.precision: bfloat16 for {type(network).__name__} on a processor; expected float32: "
            "oneDNN's bfloat16 gradient of 3-D convolutions writes outside its memory (torch 2.13)"
        )
    network.to(fabric.device)
    _lay_out_channels_last(network)
    loss_of = LOSSES[settings.loss]
    steps_per_epoch = len(train_set) // min(settings.batch_size, len(train_set))
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(settings, step, steps_per_epoch=steps_per_epoch)
    )
    state = _State(network, optimizer, scheduler)
    if checkpoint_path is not None:
        state.resume(checkpoint_path, fingerprint)
    model, stepper = fabric.setup(network, optimizer)
    bar = progress(
        (),
        description,
        total=settings.n_epochs * steps_per_epoch,
        unit="step",
        done=state.epoch * steps_per_epoch,
        shown=fabric.is_global_zero,
    )
    while state.epoch < settings.n_epochs:
        start = time.perf_counter()
        model.train()
        train_set.epoch = state.epoch
        learning_rate, total = float(scheduler.get_last_lr()[0]), 0.0
        for correlation, tracks in _batches(fabric, train_set, settings.batch_size):
            loss = loss_of(_of_all(fabric, model(correlation)), _of_all(fabric, tracks))
            stepper.zero_grad()
            fabric.backward(loss)
            if settings.gradient_norm is not None:
                fabric.clip_gradients(model, stepper, max_norm=settings.gradient_norm)
            stepper.step()
            scheduler.step()
            value = _finite(loss, description, state.epoch, learning_rate)
            total += value
            bar.set_postfix_str(f"loss {value:.3f}", refresh=False)
            bar.update()
        found = validate(network, validation_set, settings=settings, fabric=fabric)
        row = (
            state.epoch + 1,
            learning_rate,
            total / steps_per_epoch,
            found.loss,
            found.dice,
            time.perf_counter() - start,
        )
        state.end_epoch(dict(zip(COLUMNS, row, strict=True)))
        if state.epoch & (state.epoch - 1) == 0 or state.epoch == settings.n_epochs:
            state.examples[state.epoch] = _example(network, validation_set, fabric)
        _log.info("%s: epoch %d: %s", description, state.epoch, _in_words(state.history[-1]))
        if on_epoch is not None:
            on_epoch(state.history)
        enough = state.epoch == settings.n_epochs and state.epoch * steps_per_epoch >= ENOUGH_STEPS
        _say_how_it_went(state.history, found, enough=enough, description=description)
        if checkpoint_path is not None and fabric.is_global_zero:
            state.save(checkpoint_path, fingerprint)
    bar.close()
    network.load_state_dict(state.best_weights)
    return Trained(state.history, {epoch: example.numpy() for epoch, example in state.examples.items()})


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
    fabric = fabric or _fabric(settings)
    network.to(fabric.device).eval()
    for buffer in network.buffers():
        if buffer.is_floating_point():  # statistics of batch normalisation: those of all processes
            buffer.copy_(_reduced(fabric, buffer) / fabric.world_size)
    sums = torch.zeros(3, dtype=torch.float64)
    order, size = list(range(len(blocks))), settings.batch_size
    batches = [order[first : first + size] for first in range(0, len(order), size)]
    own = batches[fabric.global_rank :: fabric.world_size]  # whole: some losses are not means over the blocks
    for correlation, tracks in DataLoader(blocks, batch_sampler=own):
        with fabric.autocast():
            logits = network(correlation.to(fabric.device)).float()
        target = tracks.to(fabric.device)
        found = (logits > 0).float()
        marked = found.sum((1, 2, 3)) + target.sum((1, 2, 3))
        sums += torch.tensor(
            [
                float(LOSSES[settings.loss](logits, target)) * len(target),
                float((2 * (found * target).sum((1, 2, 3)) / marked.clamp(min=1)).sum()),
                float(found.mean((1, 2, 3)).sum()),
            ],
            dtype=torch.float64,
        )
    return Validation(*(_reduced(fabric, sums) / len(blocks)).tolist())


def _fabric(settings: TrainingSettings) -> Fabric:
    """The device, or all of those that torchrun has started a process for."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision: Any = {"bfloat16": "bf16-mixed", "float32": "32-true"}[settings.precision]
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        # named, since Fabric would look for its place in a SLURM job of several tasks
        alone = LightningEnvironment()
        return Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=alone)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = Fabric(
        accelerator=accelerator,
        strategy="ddp",
        devices=here,
        num_nodes=everywhere // here,
        precision=precision,
        plugins=TorchElasticEnvironment(),
    )
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Whether this process is the one that writes, of those that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def _batches(fabric: Fabric, train_set: TrackDataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
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
    for correlation, tracks in DataLoader(train_set, batch_sampler=batches):
        yield correlation.to(fabric.device), tracks.to(fabric.device)


def _reduced(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum over all processes."""
    if fabric.world_size == 1:
        return values
    total = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.to(values.device)


def _of_all(fabric: Fabric, share: Tensor) -> Tensor:
    """The whole batch, of which every process has a share; gradients flow back to it."""
    if fabric.world_size == 1:
        return share
    shares = fabric.all_gather(share, sync_grads=True)
    assert isinstance(shares, Tensor)
    return shares.flatten(0, 1)


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
    first, last = history[0]["training_loss"], history[-1]["training_loss"]
    if enough and last > LITTLE * first:
        _log.warning(
            "%s: the training loss was %.3f in the first epoch and is %.3f in the last; expected it to fall: "
            "another learning_rate, or more epochs",
            description,
            first,
            last,
        )


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
        self.examples: dict[int, Tensor] = {}

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
        for name in KEPT:
            setattr(self, name, content[name])
        _log.info("%s: going on after epoch %d", path, self.epoch)
