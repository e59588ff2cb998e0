"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import Info, Kernel, MetropolisState, Potential, init_metropolis, metropolis_test


@dataclass(frozen=True)
class MALA(Kernel[MetropolisState]):
    """The proposal y - h dU/dy + sqrt(2 h) n, accepted with the Metropolis-Hastings probability, so that exp(-U) is
    invariant (Roberts & Tweedie 1996, section 1.4.2). The acceptance .574 is optimal (Roberts & Rosenthal 1998).
    """

    name: ClassVar[str] = "mala"
    target_acceptance: ClassVar[float | None] = 0.574

    def init(self, potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> MetropolisState:
        return init_metropolis(potential, y, step_size)

    def step(
        self,
        potential: Potential,
        state: MetropolisState,
        noise: torch.Tensor,
        uniform: torch.Tensor | None,
        bounds: tuple[float, float],
    ) -> tuple[MetropolisState, Info]:
        h = state.log_step.exp().unsqueeze(-1)
        y = state.y - h * state.gradient + (2 * h).sqrt() * noise
        value, gradient = potential(y)
        back = state.y - y + h * gradient
        log_ratio = state.potential - value - back.square().sum(-1) / (4 * h.squeeze(-1)) + noise.square().sum(-1) / 2
        proposal = MetropolisState(y, state.log_step, value, gradient)
        return metropolis_test(state, proposal, log_ratio, uniform, bounds)

    def potential_evaluations(self, steps: int) -> int:
        return steps + 1
