"""What turns gradients into steps: Adam, or Muon for the weights of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

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
            alike: dict[torch.Size | None, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.flatten(1).shape if is_matrix(weight) else None].append(weight)
            vectors = alike.pop(None, [])
            if vectors:
                self._step_of_vectors(vectors, group["lr"], group["weight_decay"])
            for matrices in alike.values():
                self._step_of_matrices(matrices, group["lr"], group["weight_decay"])
        return loss

    # All weights of a kind at once: they are small, and calling one operation after the other takes longer than its
    # numbers do.

    def _step_of_vectors(self, weights: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        """Adam's step of whatever is no matrix."""
        states = [self.state[weight] for weight in weights]
        for weight, state in zip(weights, states, strict=True):
            if not state:
                # a state named "step" torch would leave where a checkpoint was read to, off the weights' device
                state["n_steps"] = torch.zeros((), device=weight.device)
                state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        adamw(
            weights,
            _gradients_of(weights),
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["n_steps"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=weight_decay,
            eps=self.smallest,
            maximize=False,
        )

    def _step_of_matrices(self, weights: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        """Muon's step of matrices of one shape."""
        gradients = _gradients_of(weights)
        momenta = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
        torch._foreach_mul_(momenta, self.momentum)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=self.momentum)  # Nesterov's
        steps = orthogonal(torch.stack([matrix.flatten(1) for matrix in ahead]))
        size = learning_rate * ADAM_LIKE * max(steps.shape[1:]) ** 0.5
        if weight_decay > 0:
            torch._foreach_mul_(weights, 1 - learning_rate * weight_decay)
        torch._foreach_sub_(
            weights, [step.view_as(weight) for step, weight in zip(steps, weights, strict=True)], alpha=size
        )


def _gradients_of(weights: list[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight has more than one row of more than one number."""
    return weight.ndim > 1 and weight.shape[0] > 1 and weight[0].numel() > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """Matrices (…, rows, columns), their singular values brought to between about 0.7 and 1.2 by a quintic iteration.

    Those below two thousandths of a matrix's Frobenius norm stay smaller.
    """
    wide = matrix.reshape(-1, *matrix.shape[-2:])
    tall = wide.shape[1] > wide.shape[2]
    if tall:
        wide = wide.mT
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        twice = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        wide = torch.baddbmm(wide, twice, wide, beta=a)
    return (wide.mT if tall else wide).reshape(matrix.shape)


def adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, *, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """PyTorch's AdamW, which is Adam where no weight decays; on a GPU all weights in one launch."""
    weights = list(parameters)
    on_gpu = all(weight.is_cuda for weight in weights)
    return torch.optim.AdamW(weights, learning_rate, weight_decay=weight_decay, fused=on_gpu)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "muon": Muon}
