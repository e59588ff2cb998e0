"""The unadjusted Langevin algorithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from .base import Info, Kernel, Potential, State, log_steps


@dataclass(frozen=True)
class ULA(Kernel[State]):
    """y' = y - h dU/dy + sqrt(2 h) n, every finite move taken (Roberts & Tweedie 1996, section 1.4.1).

    Its stationary law is not exp(-U) but off by O(h): on a Gaussian of variance s² it has variance
    s² / (1 - h / (2 s²)), and none at all from h = 2 s² on. Moves beyond a face of the box are reflected at it (the
    symmetrised Euler scheme of Bossy, Gobet & Talay 2004), those by more than the box's side end on the other face.
    """

    name: ClassVar[str] = "langevin"
    target_acceptance: ClassVar[float | None] = None

    def init(self, potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> State:
        return State(y, log_steps(y, step_size))

    def step(
        self,
        potential: Potential,
        state: State,
        noise: torch.Tensor,
        uniform: torch.Tensor | None,
        bounds: tuple[float, float],
    ) -> tuple[State, Info]:
        h = state.log_step.exp().unsqueeze(-1)
        value, gradient = potential(state.y)
        moved = reflected(state.y - h * gradient + (2 * h).sqrt() * noise, bounds)
        finite = value.isfinite() & gradient.isfinite().all(-1)
        y = torch.where(finite.unsqueeze(-1), moved, state.y)
        return replace(state, y=y), Info(finite.to(y), finite, ~finite, gradient.norm(dim=-1))

    def potential_evaluations(self, steps: int) -> int:
        return steps


def reflected(y: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """y with each entry beyond a bound mirrored at it, or on the other bound where it would overshoot that."""
    low, high = bounds
    y = torch.where(y < low, (2 * low - y).clamp_max(high), y)
    return torch.where(y > high, (2 * high - y).clamp_min(low), y)
