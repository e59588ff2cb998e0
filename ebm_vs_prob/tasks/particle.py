"""The N-dimensional particle of implicit behavioural cloning: go to one goal and then to the other.

Florence et al. (CoRL 2021) clone an oracle whose action, a set point, jumps from the first goal to the second. Here the
oracle is a function of what is observed, so that its action, or its two, are known exactly wherever a policy may lead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference, check_count, invalid
from ..core.registry import TASKS
from ..core.seeding import numpy_generator
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .point_mass import Policy, begin, choice, rollout

if TYPE_CHECKING:
    import torch

#: Share of the pairs that are at the start, where the oracle is free if it has two modes: of an episode it is 1 in 60.
START_SHARE = 0.25
#: Episodes that are simulated together.
_BLOCK = 1024


class ParticleOptions(TaskOptions):
    """Options of `particle`."""

    dim: Annotated[int, Field(ge=1, le=16, description="dimension N of the space that the particle moves in")] = 2
    first_goal: Annotated[
        float,
        Field(ge=0.01, le=1.0, description="probability that the oracle goes to goal 1 first; below 1: two modes"),
    ] = 1.0


class ParticleReference(DensityReference):
    """Exact truth of the particle: the oracle's action, or its two and their probabilities."""

    task: Particle

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 4N) and y (..., N), unchecked; it jumps in x with the action."""
        import torch

        goals = self.task.goals(x.double())
        square = ((y.double().unsqueeze(-2) - goals) / self.noise).square().sum(-1)
        normalizer = self.task.options.dim * (math.log(self._thickness) + 0.5 * math.log(2.0 * math.pi))
        return torch.logsumexp(self._weights(x.double()).log() - 0.5 * square, dim=-1) - normalizer

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, N) to the nearest action of the oracle at x (n, 4N), (n,) float64."""
        x, y = check_pairs(self.task, x, y)
        distance = (y.unsqueeze(-2) - self.task.goals(x)).norm(dim=-1)
        return distance.masked_fill(self._weights(x) == 0.0, math.inf).amin(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The oracle's actions, goal 1 and goal 2, (n, 2, N) float64; NaN for one that it does not take at x."""
        check_inputs(self.task, x)
        x = x.double()
        return self.task.goals(x).masked_fill((self._weights(x) == 0.0).unsqueeze(-1), math.nan)

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The goal that is nearest to y (n, N), (n,) int64: 0 or 1."""
        x, y = check_pairs(self.task, x, y)
        return (y.unsqueeze(-2) - self.task.goals(x)).norm(dim=-1).argmin(-1)

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch = k | x), (n, 2) float64, with what noise carries past the middle between the goals."""
        import torch

        check_inputs(self.task, x)
        x = x.double()
        own, goals = self._weights(x), self.task.goals(x)
        if self._thickness == 0.0:
            return own
        stays = torch.special.ndtr((goals[:, 0] - goals[:, 1]).norm(dim=-1, keepdim=True) / 2 / self._thickness)
        return own * stays + own.flip(-1) * (1.0 - stays)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, that of the noise, in closed form.

        Raises:
            NoExactReference: at thickness 0, and for an oracle of two modes.
        """
        noise = math.log(self.noise) + 0.5 * math.log(2.0 * math.pi * math.e)
        if self.task.two_modes:
            raise NoExactReference(
                "particle: with two modes the entropy is a mean over the distance of goals that are at least .1 apart, "
                "whose law has no closed form: use first_goal = 1, or reference.sampled_entropy()"
            )
        return Approximate(self.task.options.dim * noise)

    def _weights(self, x: torch.Tensor) -> torch.Tensor:
        return self.task.goal_probabilities(x)


@TASKS.register
class Particle(Task):
    """x is position, velocity and two goals, N numbers each; y the oracle's set point, one of the goals, with noise.

    x is the state at a random time of an episode of the oracle without noise, which ends as the last goal is reached.
    Each pair has an episode of its own, so that pairs are independent. A quarter of them are at the start, where all is
    decided.
    """

    name = "particle"
    summary = "what an oracle does that steers a particle in R^N to one goal and then to the other"
    truth = "log-density in closed form, entropy too with one mode, weights of the goals; success by rollout"
    references = ("florence2021implicit",)
    Options = ParticleOptions
    options: ParticleOptions
    x_space: Box
    y_space: Box
    reference: ParticleReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        margin = max(0.5, 6.0 * self.thickness)
        self.x_space = Box((-2.0, 2.0), 4 * self.options.dim)
        self.y_space = Box((-margin, 1.0 + margin), self.options.dim)
        self.z_space = Labels(2)
        self.manifold_dim = 0
        self.two_modes = self.options.first_goal < 1.0
        self.reference = ParticleReference(self)

    def goals(self, x: torch.Tensor) -> torch.Tensor:
        """The goals (..., 2, N) in x (..., 4N)."""
        return x[..., 2 * self.options.dim :].unflatten(-1, (2, self.options.dim))

    def goal_probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """With what probability the oracle's action at x (..., 4N) is goal 1 or goal 2: (..., 2) float64."""
        import torch

        second, free = choice(x.detach(), self.two_modes)
        decided = torch.where(second, 1.0, 0.0).double()
        chance = torch.where(free, 1.0 - self.options.first_goal, decided)
        return torch.stack([1.0 - chance, chance], dim=-1)

    def success_rate(self, policy: Policy, episodes: int = 100, seed: int = 0) -> tuple[float, float]:
        """Share of episodes of 100 actions that come within .05 of goal 1 and then of goal 2, and its standard error.

        With two modes either goal may be the first.

        Args:
            policy: maps observations (n, 4N) float64 to actions (n, N); `infer_policy` makes one of a model's answers.
            episodes: that begin at places and goals drawn from `seed`, the same for every policy.

        Raises:
            ValueError: a bad count or seed, and actions that are not (n, N) and finite.
        """
        import torch

        def alone(x: torch.Tensor) -> torch.Tensor:
            action = torch.as_tensor(policy(x[0]), dtype=torch.float64, device=x.device)
            if action.shape != (episodes, self.options.dim):
                raise invalid("policy(x).shape", tuple(action.shape), f"({episodes}, {self.options.dim})")
            return action.unsqueeze(0)

        reached = self.successes(alone, episodes, (seed,))
        share = float(reached.double().mean())
        return share, math.sqrt(share * (1.0 - share) / episodes)

    def successes(self, policy: Policy, episodes: int = 100, seeds: Sequence[int] = (0,)) -> torch.Tensor:
        """Which episodes of `success_rate` succeed of several policies that act side by side, (replicates, episodes).

        Args:
            policy: maps observations (replicates, n, 4N) float64 to actions (replicates, n, N).
            seeds: of each replicate's episodes, which are those of `success_rate` at that seed.

        Raises:
            ValueError: a bad count or seed, and actions of another shape or that are not finite.
        """
        import torch

        check_count("episodes", episodes)
        replicates = len(seeds)

        def action_at(x: torch.Tensor) -> torch.Tensor:
            given = policy(x.unflatten(0, (replicates, episodes)))
            action = torch.as_tensor(given, dtype=torch.float64, device=x.device).detach()
            if action.shape != (replicates, episodes, self.options.dim):
                valid = f"({replicates}, {episodes}, {self.options.dim})"
                raise invalid("policy(x).shape", tuple(action.shape), valid)
            self.y_space.check("policy(x)", action)
            return action.flatten(0, 1)

        dim, name = self.options.dim, self.name
        start = torch.cat([begin(episodes, dim, numpy_generator(seed, "episodes", name)) for seed in seeds])
        reached = start.new_zeros(replicates * episodes, 2, dtype=torch.bool)
        for _, reached in rollout(start, action_at, in_order=not self.two_modes):  # noqa: B007
            pass
        return reached.all(-1).unflatten(0, (replicates, episodes))

    def oracle(self, seed: int = 0) -> Policy:
        """The oracle without noise as a policy; where it is free, it chooses by the seed."""
        rng = numpy_generator(seed, "oracle", self.name)
        return lambda x: self._act(x, rng.random(len(x)))

    def _act(self, x: torch.Tensor, uniform: np.ndarray) -> torch.Tensor:
        """Its actions (n, N) at x (n, 4N); goal 2 where `uniform` (n,) is below the probability of that."""
        import torch

        label = (torch.from_numpy(uniform) < self.goal_probabilities(x)[:, 1]).long()
        return self.goals(x)[torch.arange(len(x), dtype=torch.int64, device="cpu"), label]

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        starts = begin(n, self.options.dim, rng)
        preference, at_start = rng.random((2, n))
        visited = []
        for first in range(0, n, _BLOCK):
            start = starts[first : first + _BLOCK]
            seen = self._visited(start, preference[first : first + _BLOCK], rng)
            seen = np.where(at_start[first : first + _BLOCK, None] < START_SHARE, start.numpy(), seen)
            visited.append(seen)
        x = np.concatenate(visited)
        y, label = self.draw(x, rng)
        return x, y, label

    def _visited(self, start: torch.Tensor, preference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A state (n, 4N) at a uniform time of each episode, which ends when the last goal is reached.

        The t-th state of an episode takes the place of the one that was kept with probability 1/t (Vitter 1985), so
        that no other is stored.
        """
        import torch

        kept = start
        steps = rollout(start, lambda x: self._act(x, preference), in_order=not self.two_modes)
        for step, (x, reached) in enumerate(steps, 1):
            replace = torch.from_numpy(rng.random(len(x)) < 1.0 / step) & ~reached.all(-1)
            kept = torch.where(replace.unsqueeze(-1), x, kept)
        return kept.numpy()

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 4N) from `rng` alone: y (n, N) float64 and the label (n,) int64 of its goal."""
        import torch

        given = torch.tensor(x, dtype=torch.float64, device="cpu")
        label = (rng.random(len(x)) < self.goal_probabilities(given)[:, 1].numpy()).astype(np.int64)
        noise = rng.standard_normal((len(x), self.options.dim))
        return self.goals(given).numpy()[np.arange(len(x)), label] + self.thickness * noise, label


def infer_policy(model: Any, replicate: int = 0, n_starts: int = 16, seed: int = 0) -> Policy:
    """A policy that acts by the answer of least energy that a model's `infer` finds, of one of its replicates."""
    import torch

    def policy(x: torch.Tensor) -> torch.Tensor:
        found = model.infer(x, n_starts, seed)
        best = found.energy[replicate].argmin(-1)
        y: torch.Tensor = found.y[replicate, torch.arange(len(x), device=best.device, dtype=torch.int64), best]
        return y.detach().to(x)

    return policy
