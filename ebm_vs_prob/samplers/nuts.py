"""The no-U-turn sampler for many chains at once: trees are doubled side by side, and those that have turned wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.errors import check_count, invalid
from .base import Info, Kernel, MetropolisState, Potential, init_metropolis
from .hmc import leapfrog

#: An energy so many nats above the start's ends a trajectory (Stan's).
DIVERGENCE = 1000.0
#: The deepest trees that can be asked for: each more doubles what a step may cost.
MOST_DOUBLINGS = 10


@dataclass(frozen=True)
class NUTS(Kernel[MetropolisState]):
    """A trajectory that doubles, forwards or backwards by chance, until it turns; its points drawn by their weights.

    Hoffman and Gelman 2014 (algorithm 6) in the form of Betancourt 2017, appendix A: within a new half by multinomial
    weights, between the halves with a bias to the new one, and the turn by the momenta's sum. Halves are built leaf by
    leaf and not by recursion, their turns found from one checkpoint a level (Phan, Pradhan and Jankowiak 2019), so that
    all chains are at the same leaf and one evaluation serves them all; a step costs what its longest chain asks for.
    Points outside the box have no weight. The acceptance is the mean over the points of min(1, e^(H_0 - H)).

    Raises:
        ValueError: doublings is not an integer from 1 to 10.
    """

    name: ClassVar[str] = "nuts"
    target_acceptance: ClassVar[float | None] = 0.8

    doublings: int = 7

    def __post_init__(self) -> None:
        check_count("doublings", self.doublings)
        if self.doublings > MOST_DOUBLINGS:
            raise invalid("doublings", self.doublings, f"an integer from 1 to {MOST_DOUBLINGS}")

    @property
    def num_uniforms(self) -> int:
        return 2 * self.doublings + 2**self.doublings - 1

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
        if uniform is None:
            raise invalid("uniform", uniform, f"uniform numbers (R, *n, {self.num_uniforms}): the path is random")
        sizes = [self.doublings, self.doublings, 2**self.doublings - 1]
        direction, halves, leaves = (part.unbind(-1) for part in uniform.split(sizes, -1))
        walk = _Walk(potential, state, noise, bounds)
        for depth in range(self.doublings):
            if not bool(walk.active.any()):
                break
            walk.double(direction[depth] < 0.5, halves[depth], leaves[2**depth - 1 : 2 ** (depth + 1) - 1])
        return walk.ended()

    def potential_evaluations(self, steps: int) -> int:
        """The most; trees that turn earlier take fewer."""
        return steps * (2**self.doublings - 1) + 1


@dataclass(frozen=True)
class _Point:
    """A place on the trajectories, with its momentum (R, *n, dy)."""

    state: MetropolisState
    momentum: torch.Tensor

    def where(self, mask: torch.Tensor, other: _Point) -> _Point:
        """This point where the mask (R, *n) is, else the other."""
        return _Point(_where(mask, self.state, other.state), _select(mask, self.momentum, other.momentum))


class _Walk:
    """The trajectories of one step of all chains; those that are no longer `active` stay as they are."""

    def __init__(
        self, potential: Potential, state: MetropolisState, momentum: torch.Tensor, bounds: tuple[float, float]
    ) -> None:
        self.potential, self.start, self.bounds = potential, state, bounds
        self.length = (2 * state.log_step.exp()).sqrt().unsqueeze(-1)
        self.energy = _energy(_Point(state, momentum))
        self.left = self.right = _Point(state, momentum)
        self.proposal, self.log_weight, self.momenta = state, torch.zeros_like(state.potential), momentum
        self.active = torch.ones_like(state.potential, dtype=torch.bool)
        self.diverged = torch.zeros_like(self.active)
        self.acceptance, self.count = torch.zeros_like(state.potential), torch.zeros_like(state.potential)

    def double(self, forwards: torch.Tensor, half: torch.Tensor, picks: tuple[torch.Tensor, ...]) -> None:
        """Build as many points again at one end; keep them unless they turn among themselves or diverge."""
        end = self.right.where(forwards, self.left)
        length = torch.where(forwards.unsqueeze(-1), self.length, -self.length)
        building, proposal = self.active, self.proposal
        log_weight, momenta = torch.full_like(self.log_weight, -torch.inf), torch.zeros_like(self.momenta)
        checkpoints: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for leaf, pick in enumerate(picks):
            if not bool(building.any()):
                break
            moved = _Point(*leapfrog(self.potential, end.state, end.momentum, length, 1))
            gain = self.energy - _energy(moved)
            gone = building & ~(gain.isfinite() & moved.state.gradient.isfinite().all(-1) & (gain > -DIVERGENCE))
            inside = ((moved.state.y >= self.bounds[0]) & (moved.state.y <= self.bounds[1])).all(-1)
            allowed = building & ~gone & inside
            self.acceptance = self.acceptance + torch.where(allowed, gain.clamp_max(0.0).exp(), 0.0)
            self.count = self.count + building
            self.diverged = self.diverged | gone
            building = building & ~gone
            end = moved.where(building, end)
            weight = torch.where(allowed, gain, -torch.inf)
            total = torch.logaddexp(log_weight, weight)
            proposal = _where(allowed & (pick < (weight - total).exp()), moved.state, proposal)
            log_weight = total
            momenta = momenta + torch.where(building.unsqueeze(-1), moved.momentum, 0.0)
            level = (leaf >> 1).bit_count()
            if leaf % 2 == 0:
                checkpoints[level] = moved.momentum, momenta
                continue
            ones = (~leaf & (leaf + 1)).bit_length() - 1
            for first in range(level, level - ones, -1):
                momentum, before = checkpoints[first]
                building = building & ~_turned(momentum, moved.momentum, momenta - before + momentum)
        taken = building & (half < (log_weight - self.log_weight).clamp_max(0.0).exp())
        self.proposal = _where(taken, proposal, self.proposal)
        self.log_weight = torch.where(building, torch.logaddexp(self.log_weight, log_weight), self.log_weight)
        self.momenta = torch.where(building.unsqueeze(-1), self.momenta + momenta, self.momenta)
        self.right = end.where(building & forwards, self.right)
        self.left = end.where(building & ~forwards, self.left)
        self.active = building & ~_turned(self.left.momentum, self.right.momentum, self.momenta)

    def ended(self) -> tuple[MetropolisState, Info]:
        """The point drawn of each trajectory, and what happened."""
        accepted = (self.proposal.y != self.start.y).any(-1)
        norm = torch.linalg.vector_norm(self.proposal.gradient, dim=-1)
        return self.proposal, Info(self.acceptance / self.count.clamp_min(1.0), accepted, self.diverged, norm)


def _energy(point: _Point) -> torch.Tensor:
    return point.state.potential + point.momentum.square().sum(-1) / 2


def _turned(first: torch.Tensor, last: torch.Tensor, momenta: torch.Tensor) -> torch.Tensor:
    """Whether a piece of a trajectory has turned round: Betancourt 2017, section A.4.2, its ends counted half."""
    way = momenta - (first + last) / 2
    return ((first * way).sum(-1) <= 0) | ((last * way).sum(-1) <= 0)


def _select(mask: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    return torch.where(mask.unsqueeze(-1), new, old)


def _where(mask: torch.Tensor, new: MetropolisState, old: MetropolisState) -> MetropolisState:
    return MetropolisState(
        _select(mask, new.y, old.y),
        old.log_step,
        torch.where(mask, new.potential, old.potential),
        _select(mask, new.gradient, old.gradient),
    )
