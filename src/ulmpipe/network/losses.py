"""Losses of a binary map, from logits.

Every loss is a function ``loss(logits, target) -> scalar``: logits (batch, 1, H, W) float, target of the same
shape with values 0 and 1. `LOSSES` finds them by name.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

_MAP = (1, 2, 3)


def dice(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Soft Dice over the whole batch, as the paper: 1 − (2 Σ p t + s) / (Σ p + Σ t + s), p the sigmoid of the
    logits.
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def dice_per_sample(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Mean of every block's own soft Dice loss: a block with few bubbles counts as much as a crowded one."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=_MAP)
    return (1 - (2 * overlap + smooth) / (probability.sum(dim=_MAP) + target.sum(dim=_MAP) + smooth)).mean()


def generalised_dice(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Dice loss of track and background together, each weighted by the inverse square of how many pixels it has.

    Sudre et al. 2017, doi:10.1007/978-3-319-67558-9_28, over the whole batch.
    """
    probability = logits.sigmoid()
    overlap, total = logits.new_zeros(()), logits.new_zeros(())
    for found, wanted in ((probability, target), (1 - probability, 1 - target)):
        weight = 1 / (wanted.sum() + smooth).square()
        overlap = overlap + weight * (found * wanted).sum()
        total = total + weight * (found.sum() + wanted.sum())
    return 1 - 2 * overlap / total


def nll(logits: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood (binary cross-entropy), mean over the pixels."""
    return functional.binary_cross_entropy_with_logits(logits, target)


def weighted_nll(logits: Tensor, target: Tensor, *, weight: float = 10.0) -> Tensor:
    """Negative log-likelihood in which a track pixel counts `weight` times."""
    return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=logits.new_tensor(weight))


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, balance: float = 0.75) -> Tensor:
    """Focal loss (Lin et al. 2017, doi:10.1109/ICCV.2017.324, eq. 5): −α_t (1 − p_t)^γ log p_t, mean over the
    pixels.

    Parameters
    ----------
    logits, target : Tensor
        (batch, 1, H, W).
    gamma : float
        How much less a well classified pixel counts.
    balance : float
        α of the track pixels; 1 − α is that of the background.

    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    alpha = balance * target + (1 - balance) * (1 - target)
    return (alpha * (1 - (-cross_entropy).exp()).pow(gamma) * cross_entropy).mean()


def bce_dice(logits: Tensor, target: Tensor, *, weight: float = 10.0) -> Tensor:
    """Weighted negative log-likelihood plus `dice_per_sample`: the first keeps the logits from saturating."""
    return weighted_nll(logits, target, weight=weight) + dice_per_sample(logits, target)


def loss_of_windows(loss_of: Loss, logits: Tensor, target: Tensor) -> Tensor:
    """A loss of what was passed in each window (channels from 1; 0 joins them), every window a map of its own."""
    return loss_of(*(maps[:, 1:].reshape(-1, 1, *maps.shape[2:]) for maps in (logits, target)))


LOSSES: dict[str, Loss] = {
    "bce_dice": bce_dice,
    "dice": dice,
    "generalised_dice": generalised_dice,
    "nll": nll,
    "weighted_nll": weighted_nll,
    "focal": focal,
}
