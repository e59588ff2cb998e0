"""What a sampler is: a Markov kernel as pure `init` and `step` over many chains at once, given its random numbers.

Every kernel's step size h is that of the Langevin diffusion, dY = -dU/dy dt + sqrt(2) dW over a time h, in units of y
squared: one step of ULA or MALA moves by -h dU/dy plus noise of standard deviation sqrt(2 h), and a leapfrog step of
HMC has length sqrt(2 h), so that HMC with one leapfrog step is MALA with the same h.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Generic, TypeVar

import torch
from torch import nn

from ..core.errors import invalid
from ..core.process_state import holds
from ..core.tensors import tensor_of
from ..energies.evaluation import energy_and_gradient

#: y (R, *n, dy) -> U (R, *n) and dU/dy (R, *n, dy).
Potential = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class State:
    """Where the chains are, y (R, *n, dy), and the logarithm of each one's step h, (R, *n)."""

    y: torch.Tensor
    log_step: torch.Tensor


@dataclass(frozen=True)
class MetropolisState(State):
    """A state with the potential (R, *n) and its gradient (R, *n, dy) at y, which the next step starts from."""

    potential: torch.Tensor
    gradient: torch.Tensor


@dataclass(frozen=True)
class Info:
    """What a step did: acceptance probability, whether the move was made, whether it was refused because potential or
    gradient were not finite, and the norm of the last gradient on the chain; (R, *n) each.

    A kernel without a Metropolis test accepts every finite move with probability 1.
    """

    acceptance: torch.Tensor
    accepted: torch.Tensor
    diverged: torch.Tensor
    gradient_norm: torch.Tensor


StateT = TypeVar("StateT", bound=State)


class Kernel(ABC, Generic[StateT]):
    """A Markov kernel for the density exp(-U) on the box `bounds`, the interval of every entry of y.

    Attributes:
        name: what `get_kernel` knows it by.
        target_acceptance: where adaptation takes the acceptance probability; None for a kernel without Metropolis test,
            whose step is not adapted.
    """

    name: ClassVar[str]
    target_acceptance: ClassVar[float | None]

    @property
    def num_normals(self) -> int:
        """Standard normal vectors of y's size that a step of a chain takes."""
        return 1

    def normal_shape(self, places: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of `noise` in `step` for chains at y of shape (R, *n, dy) or any part of it."""
        return (*places[:-1], self.num_normals, places[-1]) if self.num_normals > 1 else places

    @property
    def num_uniforms(self) -> int:
        """Uniform numbers that a step of a chain takes: 1 for the Metropolis test, and what the kernel itself needs."""
        return int(self.target_acceptance is not None)

    def uniform_shape(self, chains: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of `uniform` in `step` for chains of shape (R, *n) or any part of it; None if it takes none."""
        return (*chains, self.num_uniforms) if self.num_uniforms > 1 else chains if self.num_uniforms else None

    @abstractmethod
    def init(self, potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> StateT:
        """Chains at y (R, *n, dy) with the step h = `step_size` (units of y squared), a number or any tensor that
        broadcasts to (R, *n).

        Raises:
            ValueError: a step that is not a finite number > 0, or a shape that does not fit.
        """

    @abstractmethod
    def step(
        self,
        potential: Potential,
        state: StateT,
        noise: torch.Tensor,
        uniform: torch.Tensor | None,
        bounds: tuple[float, float],
    ) -> tuple[StateT, Info]:
        """One step of every chain with the given standard normal `noise` (R, *n, dy) and `uniform` numbers on [0, 1).

        These are (R, *n), or (R, *n, k) for a kernel whose `num_uniforms` is a k above 1, the Metropolis test's first;
        a kernel without Metropolis test takes none. The noise of a kernel whose `num_normals` is a k above 1 is
        (R, *n, k, dy).
        """

    @abstractmethod
    def potential_evaluations(self, steps: int) -> int:
        """How often `init` and `steps` steps evaluate the potential with its gradient."""


def log_steps(y: torch.Tensor, step_size: float | torch.Tensor) -> torch.Tensor:
    """ln h of every chain, (R, *n), for chains at y (R, *n, dy); errors as in `Kernel.init`."""
    step = torch.as_tensor(step_size, dtype=y.dtype, device=y.device)
    try:
        step = step.expand(y.shape[:-1])
    except RuntimeError:
        raise invalid("step_size.shape", tuple(step.shape), f"one that broadcasts to {tuple(y.shape[:-1])}") from None
    if not holds(lambda: (step.isfinite() & (step > 0)).all()):
        raise invalid("step_size", step_size, "finite numbers > 0")
    return step.log()


def init_metropolis(potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> MetropolisState:
    """The state of chains at y (R, *n, dy); errors as in `Kernel.init`."""
    log_step = log_steps(y, step_size)
    value, gradient = potential(y)
    return MetropolisState(y, log_step, value, gradient)


def metropolis_test(
    state: MetropolisState,
    proposal: MetropolisState,
    log_ratio: torch.Tensor,
    uniform: torch.Tensor | None,
    bounds: tuple[float, float],
) -> tuple[MetropolisState, Info]:
    """Each chain's proposal with probability min(1, exp(log_ratio)), else its state (Hastings 1970).

    Proposals outside the box, and those whose ratio or gradient is not finite, are refused.

    Args:
        log_ratio: (R, *n). uniform: on [0, 1), (R, *n).

    Raises:
        ValueError: no uniform numbers.
    """
    if uniform is None:
        raise invalid("uniform", uniform, "uniform numbers (R, *n): the kernel has a Metropolis test")
    # A proposal that is NaN is not outside: it counts as diverged.
    inside = ~((proposal.y < bounds[0]) | (proposal.y > bounds[1])).any(-1)
    finite = log_ratio.isfinite() & proposal.gradient.isfinite().all(-1)
    acceptance = torch.where(inside & finite, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))
    accepted = uniform < acceptance
    moved = replace(
        state,
        y=torch.where(accepted.unsqueeze(-1), proposal.y, state.y),
        potential=torch.where(accepted, proposal.potential, state.potential),
        gradient=torch.where(accepted.unsqueeze(-1), proposal.gradient, state.gradient),
    )
    return moved, Info(acceptance, accepted, inside & ~finite, torch.linalg.vector_norm(moved.gradient, dim=-1))


def gibbs_potential(module: nn.Module, x: torch.Tensor, beta: torch.Tensor | float = 1.0) -> Potential:
    """U(y) = beta E(x, y) of a replicated energy, its parameters as they are now.

    An energy may bring its own `given(x)`, which maps y to E and dE/dy and may compute once what y does not change.

    Args:
        x: (R or 1, *n, dx), any n 1 to broadcast. beta: inverse temperature, (R,), or a number.
    """
    given = getattr(module, "given", None)
    at_x: Potential = partial(energy_and_gradient, module, x) if given is None else given(x)
    if isinstance(beta, float) and beta == 1.0:
        return at_x
    inverse_temperature = tensor_of(beta).to(x).reshape(-1, *[1] * (x.ndim - 2))

    def potential(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = at_x(y)
        return inverse_temperature * energy, inverse_temperature.unsqueeze(-1) * gradient

    return potential


def checked_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """`bounds` if low < high; either may be infinite.

    Raises:
        ValueError: otherwise.
    """
    low, high = bounds
    if math.isnan(low) or math.isnan(high) or not low < high:
        raise invalid("bounds", bounds, "two numbers, low < high")
    return low, high
