"""Element-wise optimisers over stacked parameters, and the schedule of their rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

#: Share of the steps over which the learning rate rises.
WARM_UP = 0.05
#: Adam's decay rates of the two moments, and what keeps its quotient finite (Kingma and Ba 2015, algorithm 1).
BETAS, EPSILON = (0.9, 0.999), 1e-8
#: Steps whose rates are made at once.
BLOCK = 256


class Optimizer(Protocol):
    """What a training step asks of an optimiser over stacked parameters (R, ...)."""

    parameters: list[nn.Parameter]
    #: What it remembers from step to step, changed in place.
    state: list[torch.Tensor]

    def inputs(self, step: int, steps: int) -> list[torch.Tensor]:
        """What `move` takes at a step of a training of so many beside gradients: rates, noise."""

    def move(self, gradients: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> None:
        """Change the parameters and the state in place; tensor operations alone, the same at every step."""


class ReplicatedAdam:
    """Adam (Kingma and Ba 2015, algorithm 1) over stacked parameters (R, ...), with one learning rate a replicate.

    It is written in products, sums, quotients and square roots that round once each. torch's fused kernel contracts a
    product and a sum where they fill a vector and not in what is left over, so that a number's bits would depend on
    where in the stack it stands.

    Args:
        module: its trainable parameters are moved. rates: peak learning rates, (R,).
    """

    def __init__(self, module: nn.Module, rates: torch.Tensor) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.rates = rates.detach().double().cpu().reshape(-1, 1)
        first = self.parameters[0]
        self._like = first.new_zeros(len(first), sum(p[0].numel() for p in self.parameters), requires_grad=False)
        self.state = [torch.zeros_like(self._like), torch.zeros_like(self._like)]
        self._block = (-1, 0)
        self._prepared: list[tuple[torch.Tensor, ...]] = []

    def inputs(self, step: int, steps: int) -> list[torch.Tensor]:
        """The rates (R, 1), and the root of what is left of the second moment, a number."""
        block = step // BLOCK
        if self._block != (block, steps):
            self._block = (block, steps)
            numbers = range(block * BLOCK, min((block + 1) * BLOCK, steps))
            left = [[1 - beta ** (number + 1) for beta in BETAS] for number in numbers]
            rises = [learning_rate_schedule(n, steps) / first for n, (first, _) in zip(numbers, left, strict=True)]
            roots = torch.tensor([math.sqrt(second) for _, second in left], dtype=torch.float64, device="cpu")
            shares = torch.tensor(rises, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
            self._prepared = [part.to(self._like).unbind() for part in (self.rates * shares, roots)]
        return [part[step % BLOCK] for part in self._prepared]

    def move(self, gradients: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> None:
        """One step of all parameters."""
        (first, second), (rate, root) = self.state, inputs
        gradient = torch.cat([row.reshape(len(row), -1) for row in gradients], 1)
        first.mul_(BETAS[0]).add_(gradient * (1 - BETAS[0]))
        second.mul_(BETAS[1]).add_(gradient * gradient * (1 - BETAS[1]))
        update = first / (second.sqrt() / root + EPSILON) * rate
        parts = update.split([p[0].numel() for p in self.parameters], 1)
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.sub_(part.reshape(parameter.shape))


def learning_rate_schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to 0: the share of the peak learning rate at `step`."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
