"""Exact normalisers of discrete answers: a sum over all of them, and messages along a factor graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.discrete_energies import DiscreteEnergy
from ...core.errors import check_count, invalid
from ...core.spaces import Discrete
from .partition import ExactPartition, Target, Uniforms


@dataclass(frozen=True)
class Enumeration:
    """ln Z = ln Σ_y exp(-beta E(x, y)), the energy asked for every answer; any energy over labels or sequences.

    Args:
        max_answers: how many answers there may be.

    Raises:
        ValueError: max_answers < 1; real vectors, or more answers (when it is run).
    """

    max_answers: int = 1 << 16

    def __post_init__(self) -> None:
        check_count("max_answers", self.max_answers)

    def partition(self, target: Target) -> EnumerationPartition:
        space = target.discrete("enumeration")
        if space.num_answers > self.max_answers:
            valid = (
                f"at most {self.max_answers} to enumerate: give an energy with graph(x) and normalizer='messages', "
                "or estimate by ImportanceSampling"
            )
            raise invalid("number of answers", space.num_answers, valid)
        return EnumerationPartition(target, space)


class EnumerationPartition(ExactPartition):
    """The sum over all answers. Without gradient their energies are found once and kept."""

    def __init__(self, target: Target, space: Discrete) -> None:
        super().__init__(target)
        self.answers = space.to_variables(space.every_answer()).to(target.device)
        self._powers = space.num_values ** torch.arange(target.dim - 1, -1, -1, device=target.device, dtype=torch.int64)
        self._known: torch.Tensor | None = None

    def _log_density(self) -> torch.Tensor:
        """-beta E of every answer, (*batch, M) float64."""
        if self._known is not None and not torch.is_grad_enabled():
            return self._known
        rows = self.answers.expand(self.target.batch_shape.numel(), -1, -1)
        values = self.target.at(rows).reshape(*self.target.batch_shape, -1)
        if not torch.is_grad_enabled():
            self._known = values
        return values

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        value = self._log_density().logsumexp(-1)
        return value, torch.zeros_like(value)

    def log_prob(self, y: torch.Tensor) -> torch.Tensor:
        log_density = self._log_density()
        index = (y * self._powers).sum(-1)
        return log_density.gather(-1, index) - log_density.logsumexp(-1, keepdim=True)

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        log_density = self._log_density().reshape(-1, len(self.answers))
        cumulative = (log_density - log_density.amax(-1, keepdim=True)).exp().cumsum(-1)
        index = torch.searchsorted(cumulative, uniforms() * cumulative[:, -1:], right=True)
        return self.answers[index.clamp_max(len(self.answers) - 1)]


@dataclass(frozen=True)
class Messages:
    """ln Z by messages along the energy's factor graph, a chain or a tree: T K² instead of K^T (Pearl 1988, chapter 4).

    Raises:
        ValueError: real vectors, an energy without `graph(x)`, or a graph of another shape (when it is run).
    """

    def partition(self, target: Target) -> MessagesPartition:
        target.discrete("messages")
        if target.graph is None:
            valid = "'enumeration', or an energy with graph(x) -> FactorGraph"
            raise invalid("normalizer", "messages", valid)
        return MessagesPartition(target)


class MessagesPartition(ExactPartition):
    """The sum by messages. Without gradient the factor graph is built once and kept."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        # Where beta is NaN, as of a replicate whose training failed, results are NaN and draws mean nothing.
        self._known_beta = torch.where(target.beta.isnan(), 1.0, target.beta)
        self._known: DiscreteEnergy | None = None

    def _graph(self) -> DiscreteEnergy:
        if self._known is not None and not torch.is_grad_enabled():
            return self._known
        assert self.target.graph is not None
        graph = self.target.graph()
        self._check(graph)
        graph = graph.at(self._known_beta)
        if not torch.is_grad_enabled():
            self._known = graph
        return graph

    def _check(self, graph: DiscreteEnergy) -> None:
        batch, length, count = self.target.batch_shape, self.target.dim, self.target.discrete("messages").num_values
        valid = f"a FactorGraph of batch {tuple(batch)}, {length} variables of {count} values"
        if not isinstance(graph, DiscreteEnergy):
            raise invalid("energy.graph(x)", type(graph).__name__, valid)
        try:
            fits = torch.broadcast_shapes(graph.batch_shape, batch) == batch
        except RuntimeError:
            fits = False
        if not fits or (graph.num_variables, graph.num_values) != (length, count):
            found = tuple(graph.batch_shape), graph.num_variables, graph.num_values
            raise invalid("batch, variables, values of energy.graph(x)", found, valid)

    def _log_z(self, graph: DiscreteEnergy) -> torch.Tensor:
        return graph.log_answers - self.target.beta * graph.free_energy(self._known_beta)

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        value = self._log_z(self._graph())
        return value, torch.zeros_like(value)

    def log_prob(self, y: torch.Tensor) -> torch.Tensor:
        graph = self._graph()
        log_prob = -self.target.beta * graph.energy(y.movedim(-2, 0)) - self._log_z(graph)
        return log_prob.movedim(0, -1)

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        graph = self._graph()
        u = uniforms(graph.num_variables, graph.num_values)
        u = u.movedim(1, 0).reshape(u.shape[1], *self.target.batch_shape, *u.shape[2:])
        return graph.sample(self._known_beta, u).reshape(u.shape[0], -1, graph.num_variables).movedim(0, 1)


__all__ = ["Enumeration", "EnumerationPartition", "Messages", "MessagesPartition"]
