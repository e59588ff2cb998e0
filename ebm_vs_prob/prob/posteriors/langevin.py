"""Stochastic gradient Langevin dynamics over stacked parameters, R replicates at once."""

from __future__ import annotations

from collections.abc import Sequence

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
        num_examples: N; the loss is U / N.
        decay, offset: γ in (0.5, 1] for a sum of squared steps that converges, and b in steps.
        preconditioned: whether G adapts.
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
    ) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self._rates, self._num_examples = rates, num_examples
        self._decay, self._offset, self._preconditioned = decay, offset, preconditioned
        self._generators = replicate_generators(seeds, "langevin")
        self.state = [torch.zeros_like(p, requires_grad=False) for p in self.parameters] if preconditioned else []

    def inputs(self, step: int, steps: int) -> list[torch.Tensor]:
        """η_t (R,), what of a squared gradient enters the running mean, a number, and normals for each parameter."""
        like = self.parameters[0]
        rate = (self._rates * (1 + step / self._offset) ** -self._decay).to(like)
        entering = torch.tensor(1 - AVERAGING if step else 1.0, dtype=like.dtype, device=like.device)
        shapes = [(parameter.shape[1:], parameter.dtype, parameter.device) for parameter in self.parameters]
        noise = [replicate_noise(self._generators, shape, dtype=kind, device=where) for shape, kind, where in shapes]
        return [rate, entering, *noise]

    def move(self, gradients: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> None:
        """One step down the gradients of U / N."""
        rate, entering, *noise = inputs
        for number, (parameter, slope) in enumerate(zip(self.parameters, gradients, strict=True)):
            size = rate.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1))
            if self._preconditioned:
                squares = self.state[number]
                size = size * (1 / (FLOOR + squares.lerp_(slope.square(), entering).sqrt()))
            kick = (2 * size / self._num_examples).sqrt() * noise[number]
            parameter.add_(kick - size * slope)
