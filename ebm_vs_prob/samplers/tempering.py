"""Parallel tempering: a ladder of ever hotter chains that exchange their places, so that far modes are reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.errors import check_count, invalid
from .base import Info, Kernel, MetropolisState, Potential, init_metropolis
from .mala import MALA


@dataclass(frozen=True)
class TemperedState(MetropolisState):
    """The coldest chain with the K - 1 hotter ones of its ladder, from cold to hot.

    `hot_y` (R, *n, K - 1, dy), with U (R, *n, K - 1) and dU/dy (R, *n, K - 1, dy) there, at no temperature.
    """

    hot_y: torch.Tensor
    hot_potential: torch.Tensor
    hot_gradient: torch.Tensor


@dataclass(frozen=True)
class Tempering(Kernel[TemperedState]):
    """K chains for exp(-beta_k U), beta geometric from 1 down to `hottest`: one step of MALA each, then exchanges.

    Neighbours k and k + 1 exchange places with probability min(1, exp((beta_k - beta_{k+1}) (U_k - U_{k+1}))), the even
    pairs and then the odd ones, so that the product of the K laws is invariant and the coldest chain's is exp(-U)
    (Geyer 1991; Swendsen and Wang 1986 for spins). The step of rung k is h / beta_k, as long in its own widths as the
    coldest one's, whose acceptance h is adapted to. On a box that is not bounded the hottest law must still be one.

    Exchanges are taken with a chance of some e^(-d Δ²/4) for d dimensions and a ratio e^Δ of neighbouring
    temperatures, so that d dimensions ask for a number of rungs of the order of sqrt(d).

    Raises:
        ValueError: rungs is not an integer >= 2, or hottest not in (0, 1).
    """

    name: ClassVar[str] = "tempering"
    target_acceptance: ClassVar[float | None] = MALA.target_acceptance

    rungs: int = 8
    hottest: float = 0.01

    def __post_init__(self) -> None:
        check_count("rungs", self.rungs)
        if self.rungs < 2:
            raise invalid("rungs", self.rungs, "an integer >= 2")
        if not 0.0 < self.hottest < 1.0:
            raise invalid("hottest", self.hottest, "a number in (0, 1)")

    @property
    def betas(self) -> tuple[float, ...]:
        """The inverse temperature of every rung, from 1 down."""
        return tuple(self.hottest ** (k / (self.rungs - 1)) for k in range(self.rungs))

    @property
    def num_normals(self) -> int:
        return self.rungs

    @property
    def num_uniforms(self) -> int:
        return 2 * self.rungs - 1

    def init(self, potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> TemperedState:
        cold = init_metropolis(potential, y, step_size)
        times = self.rungs - 1
        hot = (each.unsqueeze(-2).repeat_interleave(times, -2) for each in (cold.y, cold.gradient))
        hot_y, hot_gradient = hot
        hot_potential = cold.potential.unsqueeze(-1).repeat_interleave(times, -1)
        return TemperedState(y, cold.log_step, cold.potential, cold.gradient, hot_y, hot_potential, hot_gradient)

    def step(
        self,
        potential: Potential,
        state: TemperedState,
        noise: torch.Tensor,
        uniform: torch.Tensor | None,
        bounds: tuple[float, float],
    ) -> tuple[TemperedState, Info]:
        if uniform is None:
            raise invalid("uniform", uniform, f"uniform numbers (R, *n, {self.num_uniforms}): there are exchanges")
        cold = (state.y, state.potential, state.gradient)
        hot = (state.hot_y.unbind(-2), state.hot_potential.unbind(-1), state.hot_gradient.unbind(-2))
        rungs = [cold, *zip(*hot, strict=True)]
        infos = []
        for k, beta in enumerate(self.betas):
            rungs[k], info = _moved(
                potential, rungs[k], beta, state.log_step, noise[..., k, :], uniform[..., k], bounds
            )
            infos.append(info)
        for first in (0, 1):
            for k in range(first, self.rungs - 1, 2):
                pair = rungs[k], rungs[k + 1], self.betas[k] - self.betas[k + 1]
                rungs[k], rungs[k + 1] = _exchanged(*pair, uniform[..., self.rungs + k])
        y, value, gradient = zip(*rungs, strict=True)
        after = TemperedState(
            y[0],
            state.log_step,
            value[0],
            gradient[0],
            torch.stack(y[1:], -2),
            torch.stack(value[1:], -1),
            torch.stack(gradient[1:], -2),
        )
        moved = infos[0]
        return after, Info(
            moved.acceptance, moved.accepted, moved.diverged, torch.linalg.vector_norm(gradient[0], dim=-1)
        )

    def potential_evaluations(self, steps: int) -> int:
        return steps * self.rungs + 1


#: A chain's y (R, *n, dy), U (R, *n) and dU/dy (R, *n, dy).
Rung = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _moved(
    potential: Potential,
    rung: Rung,
    beta: float,
    log_step: torch.Tensor,
    noise: torch.Tensor,
    uniform: torch.Tensor,
    bounds: tuple[float, float],
) -> tuple[Rung, Info]:
    """One step of MALA for exp(-beta U) with the step h / beta."""

    def tempered(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = potential(y)
        return beta * value, beta * gradient

    h = (log_step.exp() / beta).log() if beta < 1 else log_step
    start = MetropolisState(rung[0], h, beta * rung[1], beta * rung[2])
    after, info = MALA().step(tempered, start, noise, uniform, bounds)
    return (after.y, after.potential / beta, after.gradient / beta), info


def _exchanged(cold: Rung, hot: Rung, difference: float, uniform: torch.Tensor) -> tuple[Rung, Rung]:
    """Two neighbours, each in the other's place where the exchange is taken."""
    taken = uniform < (difference * (cold[1] - hot[1])).clamp_max(0.0).exp()
    wide = taken.unsqueeze(-1)
    masks = (wide, taken, wide)
    colder, hotter = (
        tuple(torch.where(mask, new, old) for mask, new, old in zip(masks, other, own, strict=True))
        for own, other in ((cold, hot), (hot, cold))
    )
    return (colder[0], colder[1], colder[2]), (hotter[0], hotter[1], hotter[2])
