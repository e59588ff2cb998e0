"""Element-wise optimisers over stacked parameters, and the schedule of their rates."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import nn

#: Share of the steps over which the learning rate rises.
WARM_UP = 0.05
#: Adam's decay rates of the two moments, and what keeps its quotient finite (Kingma and Ba 2015, algorithm 1).
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Optimizer(Protocol):
    """What the loop asks of an optimiser over stacked parameters: those it moves, and a step of all replicates."""

    parameters: list[nn.Parameter]

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""


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
        self._steps = 0
        self._first: torch.Tensor | None = None
        self._second: torch.Tensor | None = None

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""
        for parameter in self.parameters:
            parameter.grad = None
        losses.sum().backward()
        with torch.no_grad():
            self._move(schedule)

    def _move(self, schedule: float) -> None:
        rows = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        gradient = torch.cat([row.reshape(len(row), -1) for row in rows], 1)
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._steps += 1
        left = [1 - beta**self._steps for beta in BETAS]
        self._first.mul_(BETAS[0]).add_(gradient * (1 - BETAS[0]))
        self._second.mul_(BETAS[1]).add_(gradient.mul_(gradient).mul_(1 - BETAS[1]))
        scale = self._second.sqrt().div_(math.sqrt(left[1])).add_(EPSILON)
        update = (self._first / scale).mul_((self.rates * (schedule / left[0])).to(gradient))
        parts = update.split([row[0].numel() for row in rows], 1)
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.sub_(part.reshape(parameter.shape))


def learning_rate_schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to 0: the share of the peak learning rate at `step`."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
