"""The Metropolis-adjusted Langevin algorithm, as pure `init` and `step` kernels over many chains at once.

A proposal is y - h dU/dy + sqrt(2 h) n for the potential U = beta E, accepted with the Metropolis-Hastings probability
(Roberts & Tweedie 1996, section 1.4.2); each chain has its own h, adapted in warm-up by dual averaging (Hoffman &
Gelman 2014, eq. 6) towards the acceptance .574 that is optimal for it (Roberts & Rosenthal 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..descent import descend
from ..energies import energy_and_gradient
from ..errors import invalid
from ..spaces import Box

#: y (R, *n, dy) -> U (R, *n) and dU/dy (R, *n, dy).
Potential = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

TARGET_ACCEPTANCE = 0.574
#: Constants of dual averaging: Hoffman & Gelman's gamma, t_0 and kappa.
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75
#: Noise is drawn for this many steps at once.
NOISE_BLOCK = 16


@dataclass(frozen=True)
class MalaState:
    """Where the chains are: y (R, *n, dy), its potential (R, *n) and gradient, and each chain's step, (R, *n) each."""

    y: torch.Tensor
    potential: torch.Tensor
    gradient: torch.Tensor
    log_step: torch.Tensor
    log_step_mean: torch.Tensor
    shortfall: torch.Tensor
    anchor: torch.Tensor
    adaptations: int = 0


@dataclass(frozen=True)
class MalaInfo:
    """What a step did: acceptance probability, whether it was taken, whether the proposal's potential was not finite,
    and the norm of the gradient where the chain now is; (R, *n) each."""

    acceptance: torch.Tensor
    accepted: torch.Tensor
    diverged: torch.Tensor
    gradient_norm: torch.Tensor


def init(potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> MalaState:
    """Chains at y (R, *n, dy) with the step h = `step_size` (units of y squared), a number or one for each chain.

    Raises:
        ValueError: a step that is not a finite number > 0.
    """
    step = torch.as_tensor(step_size, dtype=y.dtype, device=y.device).expand(y.shape[:-1])
    if not bool((step.isfinite() & (step > 0)).all()):
        raise invalid("step_size", step_size, "finite numbers > 0")
    value, gradient = potential(y)
    log_step = step.log()
    return MalaState(y, value, gradient, log_step, log_step, torch.zeros_like(log_step), log_step + math.log(10.0))


def step(
    potential: Potential, state: MalaState, noise: torch.Tensor, uniform: torch.Tensor, bounds: tuple[float, float]
) -> tuple[MalaState, MalaInfo]:
    """One step of every chain with the given standard normal `noise` (R, *n, dy) and `uniform` (R, *n) numbers.

    Proposals outside the box `bounds`, and those whose potential is not finite, are refused.
    """
    h = state.log_step.exp().unsqueeze(-1)
    proposal = state.y - h * state.gradient + (2 * h).sqrt() * noise
    value, gradient = potential(proposal)
    back = state.y - proposal + h * gradient
    log_ratio = state.potential - value - back.square().sum(-1) / (4 * h.squeeze(-1)) + noise.square().sum(-1) / 2
    inside = ((proposal >= bounds[0]) & (proposal <= bounds[1])).all(-1)
    finite = log_ratio.isfinite() & gradient.isfinite().all(-1)
    acceptance = torch.where(inside & finite, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))
    accepted = uniform < acceptance
    moved = replace(
        state,
        y=torch.where(accepted.unsqueeze(-1), proposal, state.y),
        potential=torch.where(accepted, value, state.potential),
        gradient=torch.where(accepted.unsqueeze(-1), gradient, state.gradient),
    )
    return moved, MalaInfo(acceptance, accepted, inside & ~finite, moved.gradient.norm(dim=-1))


def adapt(state: MalaState, info: MalaInfo) -> MalaState:
    """The state with each chain's step moved towards the target acceptance; for warm-up, where detailed balance may
    break."""
    t = state.adaptations + 1
    weight = 1.0 / (t + T0)
    shortfall = (1 - weight) * state.shortfall + weight * (TARGET_ACCEPTANCE - info.acceptance)
    log_step = state.anchor - t**0.5 / GAMMA * shortfall
    forget = t**-KAPPA
    mean = forget * log_step + (1 - forget) * state.log_step_mean
    return replace(state, log_step=log_step, log_step_mean=mean, shortfall=shortfall, adaptations=t)


def settle(state: MalaState) -> MalaState:
    """The state with each chain's step fixed at its average over the warm-up."""
    return replace(state, log_step=state.log_step_mean)


def run(
    potential: Potential,
    state: MalaState,
    num_steps: int,
    bounds: tuple[float, float],
    generators: Sequence[torch.Generator],
    adapting: bool = False,
) -> Iterator[tuple[MalaState, MalaInfo]]:
    """State and info after each of `num_steps` steps, its numbers from one generator a replicate.

    A replicate's numbers come from its own generator alone, so its chains do not depend on company.

    Raises:
        ValueError: not one generator a replicate.
    """
    if len(generators) != state.y.shape[0]:
        raise invalid("generators", len(generators), f"one for each of {state.y.shape[0]} replicates")
    for begin in range(0, num_steps, NOISE_BLOCK):
        block = min(NOISE_BLOCK, num_steps - begin)
        noise = _draw(torch.randn, (block, *state.y.shape[1:]), generators, state.y)
        uniform = _draw(torch.rand, (block, *state.y.shape[1:-1]), generators, state.y)
        for k in range(block):
            state, info = step(potential, state, noise[k], uniform[k], bounds)
            state = adapt(state, info) if adapting else state
            yield state, info


def _draw(
    draw: Callable[..., torch.Tensor], shape: tuple[int, ...], generators: Sequence[torch.Generator], like: torch.Tensor
) -> torch.Tensor:
    numbers = [draw(*shape, dtype=like.dtype, device=g.device, generator=g) for g in generators]
    return torch.stack(numbers, dim=1).to(like.device)


def sample_from_descent(
    module: nn.Module,
    x: torch.Tensor,
    y_box: Box,
    num_samples: int,
    beta: torch.Tensor,
    generators: Sequence[torch.Generator],
    warmup: int = 150,
    steps: int = 100,
    descent_steps: int = 50,
) -> torch.Tensor:
    """Draws from exp(-beta E(x, .)) on the box: the ends of chains that start where descent from uniform points
    stopped.

    Each sample is its own chain: `descent_steps` of line search, `warmup` steps that adapt the chain's step, `steps`
    more with that step. Chains rarely change basin, so how the samples share themselves out between far modes is that
    of the basins of descent and not that of the density.

    Args:
        module: replicated energy.
        x: (R or 1, n, dx).
        y_box: where starts are drawn and chains stay.
        num_samples: draws for each x.
        beta: inverse temperature, (R,), or a number.
        generators: one a replicate.

    Returns:
        (R, n, num_samples, dy) in the dtype of x. A replicate whose energy is not finite gives NaN.

    Raises:
        ValueError: num_samples < 1, or not one generator a replicate.
    """
    if num_samples < 1:
        raise invalid("num_samples", num_samples, "an integer >= 1")
    starts = torch.stack([y_box.uniform((x.shape[1], num_samples), g) for g in generators]).to(x)
    given = x.unsqueeze(2)
    low, high = y_box.bounds
    # MALA's chains start off the box's faces, where half of all proposals would be refused.
    inner = (low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    start = descend(module, given, starts, bounds=inner, max_steps=descent_steps)
    inverse_temperature = torch.as_tensor(beta).to(x).reshape(-1, 1, 1)

    def potential(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = energy_and_gradient(module, given, y)
        return inverse_temperature * energy, inverse_temperature.unsqueeze(-1) * gradient

    with torch.no_grad():
        state = init(potential, start.y, (1e-2 * (high - low)) ** 2)
        state = _last(run(potential, state, warmup, y_box.bounds, generators, adapting=True), state)
        state = _last(run(potential, settle(state), steps, y_box.bounds, generators), state)
    lost = ~state.potential.isfinite()
    return state.y.masked_fill(lost.unsqueeze(-1), float("nan"))


def _last(chain: Iterator[tuple[MalaState, MalaInfo]], state: MalaState) -> MalaState:
    for after, _ in chain:
        state = after
    return state
