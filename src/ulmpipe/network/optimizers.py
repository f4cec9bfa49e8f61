"""What turns gradients into steps: Adam, or Muon for the weights of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration that drives singular values to one, after Jordan
# iterations before and after the products XXᵀ are made anew: in each their rounding errors grow tenfold
RUNS = (3, 2)
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
            matrices = [weight for weight in weights if is_matrix(weight)]
            vectors = [weight for weight in weights if not is_matrix(weight)]
            if vectors:
                self._step_of_vectors(vectors, group["lr"], group["weight_decay"])
            if matrices:
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
        """Muon's step of all matrices."""
        gradients = _gradients_of(weights)
        momenta = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
        torch._foreach_mul_(momenta, self.momentum)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=self.momentum)  # Nesterov's
        steps = orthogonal([matrix.flatten(1) for matrix in ahead])
        torch._foreach_mul_(steps, [learning_rate * ADAM_LIKE * max(step.shape) ** 0.5 for step in steps])
        if weight_decay > 0:
            torch._foreach_mul_(weights, 1 - learning_rate * weight_decay)
        torch._foreach_sub_(
            weights, [step.view_as(weight) for step, weight in zip(steps, weights, strict=True)]
        )


def _gradients_of(weights: list[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight has more than one row of more than one number."""
    return weight.ndim > 1 and weight.shape[0] > 1 and weight[0].numel() > 1


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Matrices (rows, columns), their singular values brought to between about 0.7 and 1.2 by a quintic iteration.

    Those below two thousandths of a matrix's Frobenius norm stay smaller. The iteration X ← (a + b·XXᵀ + c·(XXᵀ)²)·X
    never looks at the longer side: it is done on XXᵀ, of all matrices of as many rows at once, and X is multiplied
    by the product of its factors.
    """
    norms = [norm.clamp(min=1e-7) for norm in torch._foreach_norm(matrices)]
    wide = [
        (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT) / norm
        for matrix, norm in zip(matrices, norms, strict=True)
    ]
    alike: dict[int, list[int]] = defaultdict(list)
    for place, matrix in enumerate(wide):
        alike[len(matrix)].append(place)
    for n_iterations, places in product(RUNS, alike.values()):
        factors = _factors(torch.stack([wide[place] @ wide[place].mT for place in places]), n_iterations)
        for place, factor in zip(places, factors, strict=True):
            wide[place] = factor @ wide[place]
    return [
        found if found.shape == matrix.shape else found.mT
        for found, matrix in zip(wide, matrices, strict=True)
    ]


def _factors(gram: Tensor, n_iterations: int) -> Tensor:
    """What so many iterations multiply matrices X with, all together, from XXᵀ (n, rows, rows)."""
    together = factor = _factor(gram)
    for _ in range(n_iterations - 1):
        gram = factor @ gram @ factor  # they commute
        factor = _factor(gram)
        together = factor @ together
    return together


def _factor(gram: Tensor) -> Tensor:
    a, b, c = QUINTIC
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor


def adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, *, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """PyTorch's AdamW, which is Adam where no weight decays; on a GPU all weights in one launch."""
    weights = list(parameters)
    on_gpu = all(weight.is_cuda for weight in weights)
    return torch.optim.AdamW(weights, learning_rate, weight_decay=weight_decay, fused=on_gpu)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "muon": Muon}
