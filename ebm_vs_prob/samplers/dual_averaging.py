"""Dual averaging: each chain's step size, adapted until its acceptance probability is the one wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

#: Hoffman & Gelman's gamma, t_0 and kappa.
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75


@dataclass(frozen=True)
class DualAveraging:
    """The adaptation of every chain's log step (Hoffman & Gelman 2014, eq. 6); tensors (R, *n).

    Attributes:
        log_step: the step to take next.
        log_step_mean: its weighted average so far, the step to keep once adaptation ends.
        shortfall: by how much acceptance has missed its target, averaged.
        anchor: where the log step is drawn to, ln 10 above the first one.
        updates: how many there were.
    """

    log_step: torch.Tensor
    log_step_mean: torch.Tensor
    shortfall: torch.Tensor
    anchor: torch.Tensor
    updates: int = 0

    @classmethod
    def start(cls, log_step: torch.Tensor) -> DualAveraging:
        """Before the first step."""
        return cls(log_step, log_step, torch.zeros_like(log_step), log_step + math.log(10.0))

    def update(self, acceptance: torch.Tensor, target: float) -> DualAveraging:
        """After a step whose acceptance probabilities were `acceptance` (R, *n)."""
        t = self.updates + 1
        weight = 1.0 / (t + T0)
        shortfall = (1 - weight) * self.shortfall + weight * (target - acceptance)
        log_step = self.anchor - t**0.5 / GAMMA * shortfall
        forget = t**-KAPPA
        mean = forget * log_step + (1 - forget) * self.log_step_mean
        return DualAveraging(log_step, mean, shortfall, self.anchor, t)
