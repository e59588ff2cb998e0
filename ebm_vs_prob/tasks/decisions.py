"""Decisions: what may be done once x is seen, what it costs once y comes out, and what a task knows of that exactly.

A predictive law of y leads to a decision through the cost alone: the one of least expected cost. So
one trained model serves any costs, and a wrong law is judged by what its decisions lose.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import invalid
from ..core.memory import once
from ..core.spaces import Box, Labels

if TYPE_CHECKING:
    import torch


class Decisions(ABC):
    """What may be decided, and the cost of each decision given the answer. A task with one has it as `decisions`.

    Attributes:
        space: of the decisions, which need not be that of the answers.
    """

    space: Box | Labels

    @abstractmethod
    def cost(self, x: torch.Tensor, decision: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cost of a decision (..., *event) where y (..., *event) is what comes out at x (..., dx): (...) float64."""

    @abstractmethod
    def best(self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The decision of least mean cost at x (n, dx) under a law on finitely many answers: (n, *event).

        Args:
            x: (n, dx). y: (n, M, *event) the answers of each x: all labels, draws, or nodes of a quadrature in order.
            weights: (n, M) their probabilities, which sum to 1.
        """


class CostMatrix(Decisions):
    """Finitely many decisions and outcomes: each pair has a cost.

    Args:
        costs: (decisions, outcomes) finite; a decision more than there are outcomes may be to abstain (Chow 1970).
        outcome: of answers y (..., *event) at x (..., dx), (...) int64; by default y is a label and its own outcome.

    Raises:
        ValueError: costs that are no matrix of finite numbers.
    """

    space: Labels

    def __init__(
        self,
        costs: Sequence[Sequence[float]],
        outcome: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.costs = tuple(tuple(float(cost) for cost in row) for row in costs)
        widths = {len(row) for row in self.costs}
        if len(widths) != 1 or 0 in widths or not all(math.isfinite(cost) for row in self.costs for cost in row):
            raise invalid("costs", costs, "a matrix of finite numbers, a row for each decision")
        self.space = Labels(len(self.costs))
        self._outcome = outcome

    def cost(self, x: torch.Tensor, decision: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.space.check("decision", decision)
        return self._matrix(y)[decision, self.outcome(x, y)]

    def outcome(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Which column of the costs y (..., *event) at x (..., dx) stands for, (...) int64."""
        return y if self._outcome is None else self._outcome(x, y)

    def expected(self, chances: torch.Tensor) -> torch.Tensor:
        """Mean cost of each decision under chances of the outcomes (..., outcomes): (..., decisions) float64."""
        # Summed outcome by outcome, so that a row has the same bits whatever rows stand beside it.
        parts = chances.double().unsqueeze(-2) * self._matrix(chances)
        return parts.sum(-1)

    def best(self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        import torch

        outcome = self.outcome(x.unsqueeze(-2), y).expand(weights.shape)
        chances = torch.stack([(weights * (outcome == k)).sum(-1) for k in range(len(self.costs[0]))], -1)
        return self.expected(chances).argmin(-1)

    def _matrix(self, like: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.tensor(self.costs, dtype=torch.float64, device=like.device)


class PinballCost(Decisions):
    """An amount d provided where y is wanted costs underage (y - d)+ + overage (d - y)+; both are numbers.

    The least mean cost is that of the quantile of y at the critical fractile, underage / (underage + overage).

    Args:
        underage, overage: cost of a unit too few and of a unit too many, finite and above 0.
        bounds: of what may be decided, in the unit of y.

    Raises:
        ValueError: a cost that is not above 0.
    """

    space: Box

    def __init__(self, underage: float, overage: float, bounds: tuple[float, float]) -> None:
        for name, value in (("underage", underage), ("overage", overage)):
            if not (math.isfinite(value) and value > 0):
                raise invalid(name, value, "a finite number > 0")
        self.underage, self.overage = float(underage), float(overage)
        self.space = Box(bounds, 1)

    @property
    def fractile(self) -> float:
        """underage / (underage + overage)."""
        return self.underage / (self.underage + self.overage)

    def cost(self, x: torch.Tensor, decision: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        short = (y - decision)[..., 0].double()
        return self.underage * short.clamp_min(0.0) + self.overage * (-short).clamp_min(0.0)

    def best(self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The quantile of the weighted answers at the critical fractile, linear between their mid-distribution values.

        Where they are nodes of a quadrature, each node's own mass lies about it, half of it on either side.
        """
        import torch

        values, order = y[..., 0].double().sort(-1)
        ordered = weights.double().gather(-1, order)
        level = ordered.cumsum(-1) - 0.5 * ordered
        above = (level < self.fractile).sum(-1, keepdim=True)
        before, after = (above - 1).clamp_min(0), above.clamp_max(level.shape[-1] - 1)
        low, high = level.gather(-1, before), level.gather(-1, after)
        share = ((self.fractile - low) / (high - low).clamp_min(1e-300)).clamp(0.0, 1.0)
        return torch.lerp(values.gather(-1, before), values.gather(-1, after), share)


class DecisionReference(ABC):
    """What a reference knows of decisions beside the law of y: expected costs, Bayes decision and regret, exact."""

    task: Any

    @abstractmethod
    def cost(self, x: torch.Tensor, decision: torch.Tensor) -> torch.Tensor:
        """Expected cost under the truth of a decision (n, *event) at x (n, dx): (n,) float64.

        Raises:
            ValueError: shapes that do not fit the task's spaces, non-finite values or decisions that do not exist.
        """

    @abstractmethod
    def decision(self, x: torch.Tensor) -> torch.Tensor:
        """The Bayes decision at each x (n, dx), that of least expected cost: (n, *event)."""

    def regret(self, x: torch.Tensor, decision: torch.Tensor) -> torch.Tensor:
        """Expected cost of a decision (n, *event) at x (n, dx) less that of the Bayes decision: (n,) float64, >= 0."""
        least = once(self.task, "least costs", x, compute=lambda: self.cost(x, self.decision(x)))
        return (self.cost(x, decision) - least).clamp_min(0.0)


def check_decisions(decisions: Decisions, x: torch.Tensor, decision: torch.Tensor) -> None:
    """Raise a `ValueError` unless `decision` is one of the space for each x (n, dx)."""
    decisions.space.check("decision", decision)
    if decision.shape != (len(x), *decisions.space.event_shape):
        raise invalid("shapes of x, decision", (tuple(x.shape), tuple(decision.shape)), "one decision for each of n")
