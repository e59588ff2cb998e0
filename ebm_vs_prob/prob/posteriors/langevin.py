"""Stochastic gradient Langevin dynamics over stacked parameters, R replicates at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ...core.replicate_noise import replicate_generators, replicate_noise

#: Share of the old in the running mean of squared gradients, and the floor of its root (Li et al. 2016, section 4).
AVERAGING, FLOOR = 0.99, 1e-5


class StochasticGradientLangevin:
    """theta ← theta - η_t G ∇(U / N) + N(0, 2 η_t G / N), U minus the log-posterior (Welling and Teh 2011, eq. 4).

    Their ε_t is 2 η_t / N, and η_t = rate (1 + t / offset)^-decay their a (b + t)^-γ. G is 1, or with preconditioning
    1 / (FLOOR + sqrt(v)), v the running mean of squared gradients (Li et al. 2016, algorithm 1, without the term of G's
    own derivative, as there in practice).

    Args:
        module: its parameters (R, ...) that require gradient are moved.
        rates: η_0 of each replicate, (R,).
        seeds: one a replicate, of the noise.
        num_examples: N; the loss of `step` is U / N.
        decay, offset: γ in (0.5, 1] for a sum of squared steps that converges, and b in steps.
        preconditioned: whether G adapts.
        after_step: called with the number of steps taken.
    """

    def __init__(
        self,
        module: nn.Module,
        rates: torch.Tensor,
        *,
        seeds: Sequence[int],
        num_examples: int,
        decay: float,
        offset: float,
        preconditioned: bool,
        after_step: Callable[[int], None],
    ) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self._rates, self._num_examples = rates, num_examples
        self._decay, self._offset, self._preconditioned = decay, offset, preconditioned
        self._generators = replicate_generators(seeds, "langevin")
        self._squares: list[torch.Tensor] = []
        self._after_step = after_step
        self.steps = 0

    @torch.no_grad()
    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step of U / N given as `losses` (R,); its own schedule, so the loop's is not used."""
        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            losses.sum().backward()
        rate = self._rates * (1 + self.steps / self._offset) ** -self._decay
        for number, parameter in enumerate(self.parameters):
            slope = parameter.grad
            if slope is None:
                continue
            size = rate.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1)) * self._preconditioner(number, slope)
            noise = replicate_noise(self._generators, slope.shape[1:], dtype=slope.dtype, device=slope.device)
            kick = (2 * size / self._num_examples).sqrt() * noise
            parameter.add_(kick - size * slope)
        self.steps += 1
        self._after_step(self.steps)

    def _preconditioner(self, number: int, slope: torch.Tensor) -> torch.Tensor | float:
        if not self._preconditioned:
            return 1.0
        if number == len(self._squares):
            self._squares.append(slope.square())
        else:
            self._squares[number].lerp_(slope.square(), 1 - AVERAGING)
        return 1 / (FLOOR + self._squares[number].sqrt())
