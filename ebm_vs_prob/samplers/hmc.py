"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.errors import check_count, invalid
from .base import Info, Kernel, MetropolisState, Potential, init_metropolis, metropolis_test


@dataclass(frozen=True)
class HMC(Kernel[MetropolisState]):
    """A fresh standard normal momentum, `leapfrog_steps` leapfrog steps of length sqrt(2 h), and a Metropolis test on
    U + |p|² / 2, so that exp(-U) is invariant (Duane et al. 1987; Neal 2011, section 5.3.2). Only the trajectory's end
    has to be in the box. The acceptance .651 is optimal (Beskos et al. 2013). A trajectory of near half a period of a
    direction comes back to the same |y| there, however large the acceptance: the effective sample size shows it. Jitter
    of the step helps (Neal 2011, section 5.4.2.2): each trajectory's leapfrog step is its length times a number drawn
    uniformly from [1 - step_jitter, 1 + step_jitter], whatever the state, so exp(-U) stays invariant.

    Raises:
        ValueError: leapfrog_steps is not an integer >= 1, or step_jitter is not in [0, 1).
    """

    name: ClassVar[str] = "hmc"
    target_acceptance: ClassVar[float | None] = 0.651

    leapfrog_steps: int = 10
    step_jitter: float = 0.0

    def __post_init__(self) -> None:
        check_count("leapfrog_steps", self.leapfrog_steps)
        if not 0.0 <= self.step_jitter < 1.0:
            raise invalid("step_jitter", self.step_jitter, "a number in [0, 1)")

    @property
    def num_uniforms(self) -> int:
        return 2 if self.step_jitter else 1

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
        length = (2 * state.log_step.exp()).sqrt().unsqueeze(-1)
        if self.step_jitter and uniform is not None:
            uniform, drawn = uniform.unbind(-1)
            length = length * (1 + self.step_jitter * (2 * drawn - 1)).unsqueeze(-1)
        proposal, momentum = leapfrog(potential, state, noise, length, self.leapfrog_steps)
        kinetic = (noise.square().sum(-1) - momentum.square().sum(-1)) / 2
        return metropolis_test(state, proposal, state.potential - proposal.potential + kinetic, uniform, bounds)

    def potential_evaluations(self, steps: int) -> int:
        return steps * self.leapfrog_steps + 1


def leapfrog(
    potential: Potential, state: MetropolisState, momentum: torch.Tensor, length: torch.Tensor, steps: int
) -> tuple[MetropolisState, torch.Tensor]:
    """The Hamiltonian flow of U + |p|² / 2 over `steps` leapfrog steps (Neal 2011, eqs. 5.18 to 5.20).

    The map is reversible (negate the momentum and go back), keeps volume, and its error in energy is O(length²).

    Args:
        momentum: (R, *n, dy). length: step of the integrator in units of y, broadcasts against (R, *n, dy).

    Returns:
        The state at the end, and the momentum there, (R, *n, dy).
    """
    y, value, gradient = state.y, state.potential, state.gradient
    momentum = momentum - length / 2 * gradient
    for index in range(steps):
        y = y + length * momentum
        value, gradient = potential(y)
        momentum = momentum - (length if index < steps - 1 else length / 2) * gradient
    return MetropolisState(y, state.log_step, value, gradient), momentum
