"""Energies of decisions: what is decided at x, and what that costs when y comes out, as an energy of y."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..core.factor_graphs import FactorGraph
from ..core.process_state import default_state
from ..core.spaces import Box, Labels
from ..energies.graphs import GraphEnergy
from ..energies.mlp import ReplicatedMLP
from ..models.energy_model import EnergyModel
from ..models.graph_model import GraphModel

if TYPE_CHECKING:
    from ..tasks.base import Task


class DecisionEnergy(nn.Module):
    """R energies of answers, E(x, y) = what the decision at x costs on average if y comes out.

    An answer of low energy is one that the decision is good for, and the mean energy of the data is the mean cost of
    the decisions. Nothing has to be pushed up elsewhere: a decision that is cheap for all answers is no flaw.

    Args:
        tasks: one a replicate, each with costs of its own, on spaces that are the same.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.num_replicates = len(tasks)
        self.space = tasks[0].y_space
        self.decisions = [task.decisions for task in tasks if task.decisions is not None]

    @abstractmethod
    def decision(self, x: torch.Tensor) -> torch.Tensor:
        """What is decided at x (R or 1, *n, dx): (R, *n, *event)."""

    @abstractmethod
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E(x, y) of x (R or 1, *n, dx) and y (R or 1, *n, *event): (R, *n)."""

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """The energies of all labels y at x (R or 1, *n, dx): a graph of batch (R, *n)."""
        count = cast("Labels", self.space).n
        labels = torch.arange(count, device=x.device, dtype=torch.int64).reshape(*[1] * (x.ndim - 1), count)
        energies = self(x.unsqueeze(-2), labels)
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, count, count))

    def cost(self, x: torch.Tensor, decision: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Each replicate's cost of its decisions where y comes out, (R, *n) float64; all lead with R or 1."""

        def own(value: torch.Tensor, r: int) -> torch.Tensor:
            return value[r if value.shape[0] > 1 else 0]

        each = [decisions.cost(own(x, r), own(decision, r), own(y, r)) for r, decisions in enumerate(self.decisions)]
        return torch.stack(each)

    def lead(self, x: torch.Tensor, y: torch.Tensor) -> tuple[int, ...]:
        """The leading dimensions that x and y have together, without those of replicates."""
        event = len(self.space.event_shape)
        return torch.broadcast_shapes(x.shape[1:-1], y.shape[1 : y.ndim - event])


class SoftmaxDecision(DecisionEnergy):
    """Finitely many decisions d, each taken with a chance ∝ exp(-E(x, d) / T) in training, and that of least E after.

    Args:
        tasks: one a replicate.
        energy: of the decisions.
        temperature: (R,) T.
    """

    temperature: torch.Tensor

    def __init__(self, tasks: Sequence[Task], energy: nn.Module, temperature: torch.Tensor) -> None:
        super().__init__(tasks)
        self.energy = energy
        self.register_buffer("temperature", temperature)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of all decisions of one example."""
        return float(self.energy.multiply_adds)  # type: ignore[arg-type]

    def energies(self, x: torch.Tensor) -> torch.Tensor:
        """E(x, d) of every decision, (R, *n, decisions)."""
        return cast("GraphEnergy", self.energy).graph(x).unary[..., 0, :]

    def decision(self, x: torch.Tensor) -> torch.Tensor:
        return self.energies(x).argmin(-1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        energies = self.energies(x)
        temperature = self.temperature.reshape(-1, *[1] * (energies.ndim - 1))
        chances = (-energies / temperature).softmax(-1)
        return (chances * self.costs(x, y).to(chances)).sum(-1)

    def costs(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Each replicate's cost of every decision where y comes out, (R, *n, decisions) float64."""
        shape, count = (1, *self.lead(x, y)), cast("Labels", self.decisions[0].space).n
        each = [torch.full(shape, d, dtype=torch.int64, device=x.device) for d in range(count)]
        return torch.stack([self.cost(x, decision, y) for decision in each], -1)


class AmountDecision(DecisionEnergy):
    """A decision that is a vector, d(x), from a network: E(x, y) is its cost where y comes out."""

    def __init__(self, tasks: Sequence[Task], head: ReplicatedMLP) -> None:
        super().__init__(tasks)
        self.head = head

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one decision."""
        return self.head.multiply_adds + self.head.sizes[-1]

    def decision(self, x: torch.Tensor) -> torch.Tensor:
        low, high = cast("Box", self.decisions[0].space).bounds
        return self.head(x).clamp(low, high)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # Not clamped, because a decision beyond the bounds would have no slope to come back by.
        decided = self.head(x)
        return self.cost(x, decided, y).to(decided)


class _Decides:
    """What models of either kind of answer share."""

    @default_state()
    def decide(self: Any, x: torch.Tensor) -> torch.Tensor:
        """The decision at x (n, dx) or (R, n, dx) under the costs of training: (R, n, *event).

        Raises:
            ValueError: an x that does not fit the task's space, or non-finite values.
        """
        with torch.no_grad():
            return cast("DecisionEnergy", self.module).decision(self._placed("x", x))


class DecisionModel(_Decides, EnergyModel):
    """Decisions where answers are real vectors."""


class LabelDecisionModel(_Decides, GraphModel):
    """Decisions where answers are labels."""
