"""Chains along a geometric path from a known density to an unnormalised one, and the weights they gather."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ...samplers import Kernel, MetropolisState
from .partition import Target, value_and_slope

#: Steps whose noise is drawn at once.
_BLOCK = 16


@dataclass(frozen=True)
class Ends:
    """Log-densities (B, C) of the two ends of the path at points (B, C, dim), and their gradients (B, C, dim)."""

    initial: torch.Tensor
    target: torch.Tensor
    initial_slope: torch.Tensor
    target_slope: torch.Tensor

    def where(self, condition: torch.Tensor, other: Ends) -> Ends:
        """These where the condition (B, C) holds, the other's elsewhere."""
        whole = condition.unsqueeze(-1)
        return Ends(
            torch.where(condition, self.initial, other.initial),
            torch.where(condition, self.target, other.target),
            torch.where(whole, self.initial_slope, other.initial_slope),
            torch.where(whole, self.target_slope, other.target_slope),
        )

    def potential(self, share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """U = -(1 - share) ln p0 - share ln f and its gradient."""
        value = (share - 1) * self.initial - share * self.target
        return value, (share - 1) * self.initial_slope - share * self.target_slope


@dataclass(frozen=True)
class Annealed:
    """Where chains ended: points (B, C, dim), ends there, log weights (B, C), mean acceptance (B,)."""

    y: torch.Tensor
    ends: Ends
    log_weights: torch.Tensor
    acceptance: torch.Tensor


class AnnealedPath:
    """pi_k ∝ p0^(1-b_k) f^(b_k) on the box, b_k = (k/K)^power, with one Metropolis step at each of k = 1 .. K.

    Everything is float64; every element of the batch sees the same random numbers on its way, so that none depends on
    the others where their starts do not.

    Args:
        target: f, over a box.
        initial: p0, a distribution with `log_prob` on all of R^dim; None for uniform on the box.
    """

    def __init__(self, target: Target, initial: Any, kernel: Kernel[Any], num_temperatures: int, power: float) -> None:
        self.target = target
        self.initial = initial
        self.kernel = kernel
        self.shares = [(k / num_temperatures) ** power for k in range(num_temperatures + 1)]
        self.box = target.box("annealed")

    @property
    def width(self) -> float:
        """Of the box, along one axis."""
        return self.box.bounds[1] - self.box.bounds[0]

    def forward(self, y: torch.Tensor, log_steps: torch.Tensor, generator: torch.Generator) -> Annealed:
        """Chains from draws y (B, C, dim) of p0 to f, with steps (K, B); log w of Neal 2001, eq. 9."""
        ends = self.ends(y)
        log_weights, acceptance = torch.zeros_like(ends.target), torch.zeros_like(ends.target[:, 0])
        for k, numbers in enumerate(self._numbers(y, generator), 1):
            log_weights += self._increment(k, ends)
            y, ends, accepted = self._step(k, y, ends, log_steps[k - 1], numbers)
            acceptance += accepted.mean(1)
        return Annealed(y, ends, log_weights, acceptance / (len(self.shares) - 1))

    def backward(self, y: torch.Tensor, log_steps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Log weights (B, C) of the path that ended in exact draws y (B, C, dim) of f, walked back to p0.

        A Metropolis step is its own reversal, so the reversed path takes the same kernels in the opposite order.
        """
        ends = self.ends(y)
        log_weights = torch.zeros_like(ends.target)
        for j, numbers in enumerate(self._numbers(y, generator)):
            k = len(self.shares) - 1 - j
            y, ends, _ = self._step(k, y, ends, log_steps[k - 1], numbers)
            log_weights += self._increment(k, ends)
        return log_weights

    def tuned_steps(self, y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """ln h of every temperature, (K, B), from chains that begin at draws y of p0 and are of no other use.

        Robbins and Monro's recursion on ln h takes the mean acceptance of the chains to the kernel's target.
        """
        ends = self.ends(y)
        log_step = y.new_full(y.shape[:1], self.width**2 / 8).log()
        found = []
        for k, numbers in enumerate(self._numbers(y, generator), 1):
            found.append(log_step)
            alive = ends.target.isfinite() & ends.target_slope.isfinite().all(-1)
            y, ends, accepted = self._step(k, y, ends, log_step, numbers)
            mean = (accepted * alive).sum(1) / alive.sum(1).clamp_min(1)
            assert self.kernel.target_acceptance is not None
            log_step = log_step + torch.where(alive.any(1), mean - self.kernel.target_acceptance, 0.0)
        return torch.stack(found)

    def scaled_steps(self, length: float) -> torch.Tensor:
        """ln h of every temperature, (K, B): steps of `length` at the end and of length / sqrt(b_k) before.

        That is how the width of a quadratic well grows as b falls; at most half of the box.
        """
        shares = torch.tensor(self.shares[1:], dtype=torch.float64, device=self.target.device)
        lengths = (length * shares.rsqrt()).clamp_max(self.width / 2)
        return (lengths.square() / 2).log().unsqueeze(1).expand(-1, self.target.batch_shape.numel())

    def ends(self, y: torch.Tensor) -> Ends:
        """Both ends of the path at y (B, C, dim); outside the box, where p0 may begin, f is 0."""
        target, target_slope = value_and_slope(self.target.at, y)
        target = target.masked_fill(~self.target.inside(y) & ~y.isnan().any(-1), -math.inf)
        if self.initial is None:
            return Ends(torch.full_like(target, -self.box.log_volume), target, torch.zeros_like(y), target_slope)
        shape = (*self.target.batch_shape, *y.shape[1:])

        def log_initial(point: torch.Tensor) -> torch.Tensor:
            by_chain = point.reshape(shape).movedim(-2, 0).to(self.target.dtype)
            value: torch.Tensor = self.initial.log_prob(by_chain)
            return value.expand(by_chain.shape[:-1]).movedim(0, -1).reshape(point.shape[:-1]).double()

        initial, initial_slope = value_and_slope(log_initial, y)
        return Ends(initial, target, initial_slope, target_slope)

    def _increment(self, k: int, ends: Ends) -> torch.Tensor:
        return (self.shares[k] - self.shares[k - 1]) * (ends.target - ends.initial)

    def _step(
        self,
        k: int,
        y: torch.Tensor,
        ends: Ends,
        log_step: torch.Tensor,
        numbers: tuple[torch.Tensor, torch.Tensor | None],
    ) -> tuple[torch.Tensor, Ends, torch.Tensor]:
        """One step that leaves pi_k invariant: the new points, ends there, and acceptance probabilities (B, C)."""
        proposed = ends

        def potential(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal proposed
            proposed = self.ends(point)
            return proposed.potential(self.shares[k])

        log_steps = log_step.unsqueeze(1).expand(y.shape[:-1])
        state = MetropolisState(y, log_steps, *ends.potential(self.shares[k]))
        # A kernel evaluates its proposal last.
        state, info = self.kernel.step(potential, state, *numbers, self.box.bounds)
        return state.y, proposed.where(info.accepted, ends), info.acceptance

    def _numbers(
        self, y: torch.Tensor, generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """Noise and uniforms of every step, the same for each element of the batch."""
        batch, chains = y.shape[0], y.shape[1]
        tail = self.kernel.uniform_shape((chains,))
        for begin in range(0, len(self.shares) - 1, _BLOCK):
            count = min(_BLOCK, len(self.shares) - 1 - begin)
            noise = torch.randn(count, *y.shape[1:], dtype=torch.float64, generator=generator, device="cpu").to(
                y.device
            )
            uniform = torch.rand(count, *(tail or ()), dtype=torch.float64, generator=generator, device="cpu").to(
                y.device
            )
            for one, u in zip(noise, uniform, strict=True):
                yield one.expand(batch, -1, -1), None if tail is None else u.expand(batch, *tail)
