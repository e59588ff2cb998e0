"""Element-wise optimisers over stacked parameters, and the schedule of their rates."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import nn

from ..energies.activations import VECTORS


class Optimizer(Protocol):
    """What the loop asks of an optimiser over stacked parameters: those it moves, and a step of all replicates."""

    parameters: list[nn.Parameter]

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""


class ReplicatedAdam:
    """Adam over stacked parameters with one learning rate a replicate.

    torch's Adam is element-wise, so one instance serves all replicates; a rate of shape (R, 1, ..., 1) it refuses, so
    rates that differ scale each replicate's update instead, which for Adam is the same thing.
    """

    def __init__(self, module: nn.Module, rates: torch.Tensor) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.peak = float(rates.max())
        self.ratios = None if bool((rates == rates[0]).all()) else rates / self.peak
        # The fused kernel contracts products and sums elsewhere in the rest after whole vectors than within them.
        whole = [p for p in self.parameters if p[0].numel() % VECTORS == 0]
        rest = [p for p in self.parameters if p[0].numel() % VECTORS]
        groups = [{"params": whole, "fused": True}, {"params": rest, "fused": False, "foreach": False}]
        self.adam = torch.optim.Adam([group for group in groups if group["params"]], lr=self.peak)

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""
        self.adam.zero_grad(set_to_none=True)
        losses.sum().backward()
        for group in self.adam.param_groups:
            group["lr"] = self.peak * schedule
        before = None if self.ratios is None else [p.detach().clone() for p in self.parameters]
        self.adam.step()
        if before is not None and self.ratios is not None:
            with torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    ratio = self.ratios.to(old).reshape(-1, *[1] * (old.ndim - 1))
                    parameter.copy_(torch.lerp(old, parameter, ratio))


def learning_rate_schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to 0: the share of the peak learning rate at `step`."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


WARM_UP = 0.05  # share of the steps over which the learning rate rises
