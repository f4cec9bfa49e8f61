"""How a phase is trained: its settings, and the learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ulmpipe.errors import InputError
from ulmpipe.network.devices import PRECISIONS
from ulmpipe.network.losses import LOSSES
from ulmpipe.network.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class TrainingSettings:
    """How one phase is trained.

    Attributes
    ----------
    n_epochs, batch_size : int
        Passes over the training set; blocks a step.
    learning_rate : float
        Largest rate of the optimizer.
    schedule : str
        "cosine": linear warm-up over `warm_up` (a share of all steps), then half a cosine to zero.
        "multistep": times `decay` after each epoch in `milestones`, as the paper.
    loss : str
        A name of `ulmpipe.network.losses.LOSSES`.
    precision : str
        "bfloat16" (autocast; weights stay float32), "float32", or "auto": see `ulmpipe.network.devices.precision_of`.
    optimizer : str
        A name of `ulmpipe.network.optimizers.OPTIMIZERS`: "adam", as the paper, or "muon".
    weight_decay : float
        Share of the weights, times the rate, that is taken off at each step; 0 with "adam" is Adam, else AdamW.
    window_weight : float
        Of the loss of each window's own tracks beside that of the joined ones, for networks that tell windows apart
        (`ulmpipe.network.light.Light`), trained on a `TrackDataset` with windows.
    gradient_norm : float or None
        Longer gradients are shortened to this norm.
    compile : bool
        On a GPU, compile the network by `torch.compile`: about a minute at the start, and faster steps.

    """

    n_epochs: int = 10
    batch_size: int = 2
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    warm_up: float = 0.05
    loss: str = "bce_dice"
    precision: str = "auto"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    window_weight: float = 0.0
    gradient_norm: float | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse names and numbers that mean nothing."""
        for field, value, names in (
            ("schedule", self.schedule, ("cosine", "multistep")),
            ("loss", self.loss, tuple(LOSSES)),
            ("precision", self.precision, PRECISIONS),
            ("optimizer", self.optimizer, tuple(OPTIMIZERS)),
        ):
            if value not in names:
                raise InputError(f"training.{field}: '{value}'; expected one of {', '.join(names)}")
        for field in ("n_epochs", "batch_size", "learning_rate"):
            if not getattr(self, field) > 0:
                raise InputError(f"training.{field}: {getattr(self, field)}; expected more than 0")
        if not self.window_weight >= 0:
            raise InputError(f"training.window_weight: {self.window_weight}; expected 0 or more")


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
