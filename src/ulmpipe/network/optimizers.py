"""What turns gradients into steps: Adam, or Muon for the weights of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration that drives singular values to one, after Jordan
ITERATIONS = 5
ADAM_LIKE = 0.2  # root-mean-square size of a step over the rate, as Adam's


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal; Adam for what is no matrix.

    A weight is a matrix of output channels by all the rest. A step along its momentum would follow the few directions
    of large gradients; with all singular values brought to about one, all directions are learnt alike. Biases,
    normalisations and single rows take Adam's steps. (`torch.optim.Muon` refuses whatever has not two axes.)

    Source: K. Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon/; the size of a step, which lets
    rates of Adam serve, after J. Liu et al., 2025, arXiv:2502.16982, §2.2.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Weights.
    learning_rate : float
        Largest rate.
    weight_decay : float
        Share of the weights, times the rate, that is taken off at each step.

    """

    momentum = 0.95
    betas = (0.9, 0.999)
    smallest = 1e-8  # root of Adam's second moment

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, *, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all weights that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in weights:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                if is_matrix(weight):
                    alike[weight.flatten(1).shape].append(weight)
                else:
                    weight.sub_(self._adam_step(weight.grad, self.state[weight]), alpha=group["lr"])
            for matrices in alike.values():
                self._step_of_matrices(matrices, group["lr"])
        return loss

    def _step_of_matrices(self, weights: list[nn.Parameter], learning_rate: float) -> None:
        """Move weights of one shape, all at once: one launch after the other would take a GPU longer."""
        momenta = torch.stack([self._momentum(weight) for weight in weights])
        size = learning_rate * ADAM_LIKE * max(momenta.shape[1:]) ** 0.5
        for weight, step in zip(weights, orthogonal(momenta), strict=True):
            weight.sub_(step.view_as(weight), alpha=size)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        """Nesterov's momentum of a weight, as a matrix."""
        gradient = weight.grad
        assert gradient is not None
        mean = self.state[weight].setdefault("momentum", torch.zeros_like(gradient))
        mean.mul_(self.momentum).add_(gradient)
        return (gradient + self.momentum * mean).flatten(1)

    def _adam_step(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        mean = state.setdefault("mean", torch.zeros_like(gradient))
        square = state.setdefault("square", torch.zeros_like(gradient))
        state["step"] = state.get("step", 0) + 1
        first, second = self.betas
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        mean = mean / (1 - first ** state["step"])
        return mean / ((square / (1 - second ** state["step"])).sqrt() + self.smallest)


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight has more than one row of more than one number."""
    return weight.ndim > 1 and weight.shape[0] > 1 and weight[0].numel() > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """Matrices (…, rows, columns), their singular values brought to between about 0.7 and 1.2 by a quintic iteration.

    Those below two thousandths of a matrix's Frobenius norm stay smaller.
    """
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[-2] <= matrix.shape[-1] else wide.mT


def adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, *, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """PyTorch's AdamW, which is Adam where no weight decays; on a GPU all weights in one launch."""
    weights = list(parameters)
    on_gpu = all(weight.is_cuda for weight in weights)
    return torch.optim.AdamW(weights, learning_rate, weight_decay=weight_decay, fused=on_gpu)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "muon": Muon}
