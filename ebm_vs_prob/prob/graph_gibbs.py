"""The Gibbs-Boltzmann distribution of a factor graph, as a Pyro distribution: exact, by messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from ..errors import invalid
from ..factor_graphs import FactorGraph
from ..seeding import torch_generator
from ..spaces import Discrete


class GraphGibbsBoltzmann(TorchDistribution):
    """P(y | x) = exp(-beta E(x, y)) / Z(x) over discrete answers (LeCun et al. 2006, section 1.3, its integral a sum).

    The batch shape is the graph's, the event shape that of the answers: () for labels, (T,) for sequences.

    Args:
        graph: the energies.
        beta: inverse temperature(s), one over the energy's unit, broadcasting with the batch. Where NaN, as of a
            replicate whose training failed, log-probabilities are NaN and draws mean nothing; the others have theirs.
        space: the answers' space.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, graph: FactorGraph, beta: torch.Tensor | float, space: Discrete) -> None:
        self.graph = graph
        self.beta = torch.as_tensor(beta, dtype=graph.unary.dtype, device=graph.unary.device)
        self._known_beta = torch.where(self.beta.isnan(), 1.0, self.beta)
        self.space = space
        super().__init__(graph.batch_shape, torch.Size(space.event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Every answer of the space."""
        return constraints.independent(
            constraints.integer_interval(0, self.space.num_values - 1), len(self.space.event_shape)
        )

    def log_partition(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Σ_y exp(-beta E) in nats, and its error, 0: both of the batch shape. Differentiable in the energies."""
        value = self.graph.log_answers - self.beta * self.graph.free_energy(self._known_beta)
        return value, torch.zeros_like(value)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """-beta E(x, y) - ln Z(x) in nats for y (*sample, *batch, *event) int64: (*sample, *batch)."""
        return -self.beta * self.graph.energy(self._variables(value)) - self.log_partition()[0]

    def _variables(self, value: torch.Tensor) -> torch.Tensor:
        return self.space.to_variables(value.to(self.graph.unary.device))

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Any = torch.Size(),  # noqa: B008
        seed: int | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Exact draws (*sample_shape, *batch, *event) int64, seeded as those of `GibbsBoltzmann` are.

        Args:
            seed: draws from a generator of its own; without it, and without generators, torch's global one is moved.
            generators: one for each entry of the first batch dimension; its draws then do not depend on the others.

        Raises:
            ValueError: both, a bad seed, or generators that do not fit the batch shape.
        """
        batch, sample_shape = self.batch_shape, torch.Size(sample_shape)
        each = self.graph.num_variables, self.graph.num_values
        if generators is None:
            own = None if seed is None else torch_generator(seed, "gibbs")
            uniform = torch.rand(*sample_shape, *batch, *each, generator=own, dtype=torch.float64)
        elif seed is not None or not batch or len(generators) != batch[0]:
            valid = f"no seed beside them, and as many as batch_shape[0] of {tuple(batch)}"
            raise invalid("generators", len(generators), valid)
        else:
            shape = (*sample_shape, *batch[1:], *each)
            drawn = [torch.rand(shape, generator=generator, dtype=torch.float64) for generator in generators]
            uniform = torch.stack(drawn, len(sample_shape))
        return self.space.from_variables(self.graph.sample(self._known_beta, uniform.to(self.graph.unary.device)))


__all__ = ["GraphGibbsBoltzmann"]
