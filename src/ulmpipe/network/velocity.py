"""Velocities of the bubbles on each fine pixel, from the features that a tracking network has learnt.

*Ours*: Milecki et al. 2021 (DOI 10.1109/TMI.2021.3056951) lose the velocity, since their network projects the tracks of
a block onto one image. The features of `Light` still know it, window by window; a head reads it from there, and the
windows are averaged with the weights of the tracks' own logits: who passed the pixel says how fast.

The head tells speed and direction apart. Where a bubble went is sure, which way it went is often not: a network that
learns the two components says nearly 0 there, one that learns speed and direction is still right about the speed.
Speeds span three decades: what is learnt is asinh(|v|/`SCALE`), nearly logarithmic above `SCALE` and linear below.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ulmpipe.errors import InputError
from ulmpipe.network.architectures import build_network
from ulmpipe.network.checkpoint import Row, TrainingState
from ulmpipe.network.dataset import VelocityDataset
from ulmpipe.network.devices import devices_of, lay_out_channels_last
from ulmpipe.network.inference import output_over_field
from ulmpipe.network.light import Light, enlarge, over_image, over_time
from ulmpipe.network.optimizers import OPTIMIZERS
from ulmpipe.network.schedule import TrainingSettings, learning_rate_factor
from ulmpipe.network.training import batches_of, check_finite
from ulmpipe.progress import progress

_log = logging.getLogger(__name__)

SCALE = 0.1e-3  # m/s
TYPICAL = 0.5e-3  # m/s, what a head that has learnt nothing says
SLOWEST = 1e-6  # m/s that still have a direction
LARGEST = 8.0  # shortened speed: 149 mm/s, so that an untrained network does not overflow
ROUNDING = 0.05  # error of the shortened speed below which the loss is a parabola
COLUMNS = ("epoch", "learning_rate", "training_loss", "validation_loss", "validation_reversed", "seconds")


def shorten(speed: Tensor) -> Tensor:
    """Speeds in m/s as the head learns them."""
    return torch.asinh(speed / SCALE)


def velocity_of(output: Tensor) -> Tensor:
    """Velocities (batch, 2, Z, X) in m/s, along z and x, of the output of a `VelocityNetwork`."""
    speed = SCALE * torch.sinh(output[:, 2:].clamp(0, LARGEST))
    return speed * functional.normalize(output[:, :2], dim=1)


def velocity_loss(output: Tensor, target: Tensor) -> Tensor:
    """Error of the shortened speed and half the squared error of the direction, mean over true track pixels.

    Of a speed that cannot be told the best answer is then the median, of a direction the mean of the unit vectors: it
    points where the likeliest do and is short where they disagree. (A cosine, which has no length, is not learnt: its
    gradient is steepest where nothing is known.)

    Parameters
    ----------
    output : Tensor
        (batch, 3, Z, X) of the network.
    target : Tensor
        (batch, 3, Z, X): components along z and x in m/s, and 1 on tracks, see `VelocityDataset`.

    """
    tracks = target[:, 2]
    speed = torch.linalg.vector_norm(target[:, :2], dim=1)
    speed_error = functional.smooth_l1_loss(output[:, 2], shorten(speed), beta=ROUNDING, reduction="none")
    direction = target[:, :2] / speed.clamp(min=SLOWEST).unsqueeze(1)
    direction_error = 0.5 * (output[:, :2] - direction).square().sum(dim=1)
    return ((speed_error + direction_error) * tracks).sum() / tracks.sum().clamp(min=1)


class VelocityNetwork(nn.Module):
    """(batch, 2, T, Z, X) maps to (batch, 3, 8Z, 8X): direction along z and x, shortened speed.

    The length of the direction, about 0 to 1, tells how sure it is; `velocity_of` makes velocities of the three.

    Parameters
    ----------
    trunk : Light
        Trained to find tracks.
    frozen : bool
        Whether the trunk stays as it is; otherwise it is trained on with the head.

    """

    def __init__(self, trunk: Light, *, frozen: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.frozen = frozen
        self.halo = trunk.halo  # the head's two convolutions reach as far as those that it replaces
        width = trunk.fine.in_channels
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.image = nn.Conv2d(width, width, 3, padding=1)
        self.velocity = nn.Conv2d(width, 3 * 16, 3, padding=1)
        with torch.no_grad():
            assert self.velocity.bias is not None
            self.velocity.bias[2::3] = math.asinh(TYPICAL / SCALE)  # sub-pixels, each of three
        if frozen:
            trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> VelocityNetwork:
        """As any module, but that a frozen trunk keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, correlation: Tensor) -> Tensor:
        """Direction and shortened speed of a batch."""
        maps, n_windows = self.trunk.features(correlation)
        weights = _windows(self.trunk.window_logits(maps), n_windows).softmax(dim=1)
        maps = functional.relu(over_image(self.time(over_time(maps, n_windows)), maps.shape[2]))
        maps = functional.relu(self.image(maps))
        each = _windows(self.velocity(maps), n_windows).unflatten(-1, (16, 3))
        mean = (each * weights.unsqueeze(-1)).sum(dim=1).flatten(3)
        return enlarge(mean.permute(0, 3, 1, 2), 4)


def _windows(maps: Tensor, n_windows: int) -> Tensor:
    """(batch·T, C, Z, X) as (batch, T, Z, X, C) float32."""
    return maps.float().permute(0, 2, 3, 1).unflatten(0, (-1, n_windows))


def build_velocity_network(name: str, *, seed: int, frozen: bool = False) -> VelocityNetwork:
    """Network of velocities on an untrained trunk of that name; the first weights depend on the seed alone.

    Raises
    ------
    InputError
        If there is no network of that name, or it has no windows of time to read velocities from.

    """
    trunk = build_network(name, seed=seed)
    if not isinstance(trunk, Light):
        raise InputError(f"network.name: '{name}' has no velocities; expected light, wide or complex")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VelocityNetwork(trunk, frozen=frozen)


def infer_velocity(
    network: VelocityNetwork,
    correlation: NDArray[np.floating],
    *,
    precision: str = "auto",
    tile: int | None = None,
    mirrored: bool = False,
    trained_frames: int = 0,
) -> NDArray[np.float32]:
    """Velocity on every fine pixel; it means something where there are tracks.

    Parameters
    ----------
    network, correlation, precision, tile, trained_frames
        See `ulmpipe.network.infer_field`.
    mirrored : bool
        Whether the field's lateral mirror image is looked at too. Speeds and directions of the two answers are averaged
        apart: where they disagree about the way, the mean of the velocities would be slow.

    Returns
    -------
    (2, 8Z, 8X) float32
        Components along z and x, m/s.

    """

    def answer(field: NDArray[np.floating]) -> Tensor:
        return output_over_field(
            network, field, precision=precision, tile=tile, trained_frames=trained_frames, turning=False
        )

    output = answer(correlation)
    if mirrored:
        other = answer(correlation[..., ::-1]).flip(2)
        output = (output + other * torch.tensor([1.0, -1.0, 1.0])[:, None, None]) / 2
    velocity: NDArray[np.float32] = velocity_of(output[None])[0].numpy()
    return velocity


def train_velocity(
    network: VelocityNetwork,
    train_set: VelocityDataset,
    validation_set: VelocityDataset,
    *,
    settings: TrainingSettings,
    checkpoint_path: Path | None = None,
    fingerprint: str = "",
    description: str = "velocity",
    on_epoch: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Train in place, on one device, and leave the weights of the best validation loss in the network.

    Parameters
    ----------
    network : VelocityNetwork
        Its trunk trained already.
    train_set, validation_set : VelocityDataset
        Blocks; `train_set.epoch` is set at every epoch.
    settings : TrainingSettings
        The schedule; `loss` is not looked at.
    checkpoint_path, fingerprint, description, on_epoch
        See `ulmpipe.network.train`: a killed training goes on from its last epoch.

    Returns
    -------
    list of dict
        One row per epoch: `COLUMNS`; ``validation_reversed`` is the share of track pixels whose direction is more than
        a right angle off.

    Raises
    ------
    InputError
        If the loss is no longer a number, or no validation block has a bubble that moves in the image plane.

    """
    _check_that_something_moves(validation_set)
    fabric = devices_of(network, settings.precision)
    network.to(fabric.device)
    lay_out_channels_last(network)
    steps_per_epoch = len(train_set) // min(settings.batch_size, len(train_set))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = OPTIMIZERS[settings.optimizer](
        trained, settings.learning_rate, weight_decay=settings.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(learning_rate_factor, settings, steps_per_epoch=steps_per_epoch)
    )
    state = TrainingState(network, optimizer, scheduler)
    if checkpoint_path is not None:
        state.resume(checkpoint_path, fingerprint)
    n_steps, done = settings.n_epochs * steps_per_epoch, state.epoch * steps_per_epoch
    bar = progress((), description, total=n_steps, unit="step", done=done)
    while state.epoch < settings.n_epochs:
        start, learning_rate = time.perf_counter(), float(scheduler.get_last_lr()[0])
        network.train()
        train_set.epoch, losses = state.epoch, []
        for correlation, target in batches_of(fabric, train_set, settings.batch_size):
            with fabric.autocast():
                loss = velocity_loss(network(correlation), target)
            optimizer.zero_grad()
            loss.backward()
            if settings.gradient_norm is not None:
                torch.nn.utils.clip_grad_norm_(trained, settings.gradient_norm)
            optimizer.step()
            scheduler.step()
            losses.append(float(loss.detach()))
            check_finite(losses[-1], description, state.epoch, learning_rate)
            bar.update()
        found, reversed_share = validate_velocity(network, validation_set, settings=settings, fabric=fabric)
        check_finite(found, description, state.epoch, learning_rate)
        means = (sum(losses) / steps_per_epoch, found, reversed_share)
        row = (state.epoch + 1, learning_rate, *means, time.perf_counter() - start)
        state.end_epoch(dict(zip(COLUMNS, row, strict=True)))
        _log.info("%s: epoch %d: %s", description, state.epoch, _in_words(state.history[-1]))
        if on_epoch is not None:
            on_epoch(state.history)
        if checkpoint_path is not None:
            state.save(checkpoint_path, fingerprint)
    bar.close()
    network.load_state_dict(state.best_weights)
    return state.history


@torch.inference_mode()
def validate_velocity(
    network: VelocityNetwork, blocks: VelocityDataset, *, settings: TrainingSettings, fabric: Any = None
) -> tuple[float, float]:
    """Loss, a mean over the blocks, and the share of all track pixels with a direction more than a right angle off."""
    fabric = fabric or devices_of(network, settings.precision)
    network.to(fabric.device).eval()
    losses: list[float] = []
    n_reversed, n_moving = 0, 0
    for correlation, target in (blocks[index] for index in range(len(blocks))):
        with fabric.autocast():
            output = network(correlation[None].to(fabric.device)).float().cpu()
        losses.append(float(velocity_loss(output, target[None])))
        n_moving += int(target[:2].any(dim=0).sum())
        n_reversed += int(((output[0, :2] * target[:2]).sum(dim=0) < 0).sum())
    return sum(losses) / len(losses), n_reversed / max(n_moving, 1)


def _check_that_something_moves(blocks: VelocityDataset) -> None:
    if not any(bool(blocks[index][1][:2].any()) for index in range(len(blocks))):
        raise InputError(
            "velocity: no bubble of the validation blocks moves in the image plane; expected some: more validation "
            "blocks, or higher training_set.validation_concentrations_per_mm3"
        )


def _in_words(row: Row) -> str:
    return (
        f"loss {row['training_loss']:.4f}, on validation blocks {row['validation_loss']:.4f}, "
        f"{100 * row['validation_reversed']:.1f} % of directions reversed, {row['seconds']:.0f} s"
    )
