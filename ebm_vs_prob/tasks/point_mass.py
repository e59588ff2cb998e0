"""The point mass of `particle`: how it moves, where its episodes begin and where the oracle sends it.

After the N-dimensional particle of Florence et al. (CoRL 2021): an action is a set point, which a proportional-
derivative controller steers to; observations are position, velocity and two goals, each N numbers, in this order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

#: Maps observations (n, 4N) to actions (n, N).
Policy = Callable[["torch.Tensor"], "torch.Tensor"]
#: Seconds of a step of the simulation, and steps between two actions: as published, 200 Hz and 20 Hz.
TIME_STEP, REPEATS = 0.005, 10
#: Gain on the position, 1/s², as published; that on the velocity is critical, so that the particle runs past no goal.
STIFFNESS = 10.0
DAMPING = 2.0 * math.sqrt(STIFFNESS)
#: Actions of an episode.
ACTIONS = 100
#: Within this of a goal the oracle turns to the other one.
TURNING = 0.04
#: Slower than this the particle has no heading yet, and an oracle of two modes is free to choose.
SLOW = 0.05
#: Headings are told apart where the speeds at which goals are approached differ by this share of the speed.
SAME_HEADING = 1e-6
#: Within this of a goal the goal is reached, as published.
REACHED = 0.05
#: The start and the goals are at least so far apart.
APART = 0.1


@runtime_checkable
class HasEpisodes(Protocol):
    """A task whose answers are actions, and whose episodes a policy can live through."""

    two_modes: bool

    def successes(self, policy: Policy, episodes: int, seeds: Sequence[int]) -> torch.Tensor:
        """Which episodes succeed of policies that act side by side, one a seed: (replicates, episodes)."""
        ...


def _transition() -> np.ndarray:
    """(2, 2) what an action held for its time does to (position - set point, velocity): Euler's rule, repeated."""
    one = np.array([[1.0, TIME_STEP], [-STIFFNESS * TIME_STEP, 1.0 - DAMPING * TIME_STEP]])
    result: np.ndarray = np.linalg.matrix_power(one, REPEATS)
    return result


_TRANSITION = _transition()


def advance(x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """The observations (..., 4N) after the actions (..., N) have been held for `REPEATS` steps."""
    import torch

    position, velocity, goals = x.tensor_split([action.shape[-1], 2 * action.shape[-1]], dim=-1)
    off = position - action
    (stays, drifts), (pulls, keeps) = _TRANSITION.tolist()
    return torch.cat([action + stays * off + drifts * velocity, pulls * off + keeps * velocity, goals], dim=-1)


def begin(n: int, dim: int, rng: np.random.Generator) -> torch.Tensor:
    """n observations (n, 4 dim) at the start: at rest, place and goals uniform in the unit cube and `APART`."""
    import torch

    places = rng.random((n, 3, dim))
    while True:
        gaps = [np.linalg.norm(places[:, i] - places[:, j], axis=-1) for i, j in ((0, 1), (0, 2), (1, 2))]
        close = np.minimum.reduce(gaps) < APART
        if not close.any():
            break
        places[close] = rng.random((int(close.sum()), 3, dim))
    return torch.from_numpy(np.concatenate([places[:, 0], np.zeros((n, dim)), places[:, 1], places[:, 2]], axis=1))


def distances(x: torch.Tensor) -> torch.Tensor:
    """Distances (..., 2) from the position to the goals."""
    return _to_goals(x)[0].norm(dim=-1)


def choice(x: torch.Tensor, two_modes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether the oracle heads for goal 2, and whether it is free to choose: (...) bool each, of x (..., 4N).

    What it does is a function of x alone, its heading being its memory. It turns to goal 2 within `TURNING` of goal 1,
    and otherwise keeps to the goal that it comes nearer to faster, which is goal 1 at rest. With two modes it is free
    where it is slower than `SLOW`, and within `TURNING` of goal 2 it turns to goal 1: it goes to and fro.
    """
    offset, velocity = _to_goals(x)
    distance = offset.norm(dim=-1)
    closing = (velocity * offset).sum(-1) / distance.clamp_min(1e-12)
    speed = velocity.norm(dim=-1).squeeze(-1)
    near = distance <= TURNING
    # Goals in one direction are approached equally fast, up to rounding.
    second = near[..., 0] | (closing[..., 1] - closing[..., 0] > SAME_HEADING * speed)
    if not two_modes:
        return second, second.new_zeros(second.shape)
    return near[..., 0] | (second & ~near[..., 1]), (speed < SLOW) & ~near.any(-1)


def _to_goals(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From the position to either goal, (..., 2, N), and the velocity, (..., 1, N)."""
    position, velocity, goals = x.tensor_split([x.shape[-1] // 4, x.shape[-1] // 2], dim=-1)
    return goals.unflatten(-1, (2, -1)) - position.unsqueeze(-2), velocity.unsqueeze(-2)


def rollout(x: torch.Tensor, action_at: Policy, in_order: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What is seen while a policy acts from the observations x (n, 4N), until all are done and `ACTIONS` times at most.

    Args:
        x: what `begin` gives.
        action_at: maps observations (n, 4N) to actions (n, N).
        in_order: whether goal 2 counts after goal 1 alone.

    Yields:
        The observations (n, 4N) and which goals have been reached (n, 2), before each action and after the last.
    """
    import torch

    first = second = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    yield x, torch.stack([first, second], dim=-1)
    for _ in range(ACTIONS):
        x = advance(x, action_at(x))
        near = distances(x) <= REACHED
        first = first | near[:, 0]
        second = second | (near[:, 1] & first if in_order else near[:, 1])
        yield x, torch.stack([first, second], dim=-1)
        if bool((first & second).all()):
            return
