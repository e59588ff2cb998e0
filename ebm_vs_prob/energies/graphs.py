"""Replicated energies of discrete answers: at each x a factor graph over the symbols of y.

What the package asks of one: `num_replicates`, `graph(x)` that takes (R or 1, *n, dx) and gives a `FactorGraph` of
batch (R, *n), and `forward(x, y)`, the energy of given answers, for y (R or 1, *n, *event) int64.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ..core.errors import invalid
from ..core.factor_graphs import FactorGraph
from ..core.spaces import Discrete, Labels
from .mlp import LearnedScale, Network, ReplicatedMLP


class GraphEnergy(nn.Module):
    """R energies E(x, y) over the answers of a discrete space."""

    num_replicates: int
    space: Discrete

    @abstractmethod
    def graph(self, x: torch.Tensor) -> FactorGraph:
        """The energies of all answers at x (R or 1, *n, dx): a graph of batch (R, *n)."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.graph(x).energy(self.space.to_variables(y))


class ChainEnergy(GraphEnergy):
    """A network reads each place of x alone and learned transitions couple neighbours; one place is a classifier.

    E(x, y) = Σ_t f(x_t)[y_t] + Σ_{t>0} W[y_{t-1}, y_t], f one multilayer perceptron for all places, x of T equal parts
    (a linear-chain conditional random field, Lafferty, McCallum and Pereira 2001, with a learned f). W starts at 0. All
    of it times e^s where the network has a learned scale.
    """

    def __init__(self, seeds: Sequence[int], x_dim: int, space: Discrete, network: Network) -> None:
        super().__init__()
        length, count = space.num_variables, space.num_values
        if x_dim % length:
            raise invalid("task.x_space.dim", x_dim, f"a multiple of the {length} places of y")
        self.space = space
        self.trunk = ReplicatedMLP(seeds, (x_dim // length, *network.hidden, count), network.activation)
        self.num_replicates = self.trunk.num_replicates
        coupled = torch.zeros(self.num_replicates, count, count, dtype=torch.float32, device="cpu")
        self.transitions = nn.Parameter(coupled) if length > 1 else None
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one graph, and of one pass of messages along it."""
        length, count = self.space.num_variables, self.space.num_values
        return length * self.trunk.multiply_adds + float((length - 1) * count**2)

    def graph(self, x: torch.Tensor) -> FactorGraph:
        length, count = self.space.num_variables, self.space.num_values
        unary = self.scale(self.trunk(x.reshape(*x.shape[:-1], length, -1)))
        if self.transitions is None:
            return FactorGraph(unary, unary.new_zeros(*unary.shape[:-2], 0, count, count))
        between = self.scale(self.transitions).reshape(self.num_replicates, *[1] * (x.ndim - 1), count, count)
        return FactorGraph(unary, between.expand(*between.shape[:-3], length - 1, -1, -1))


class EnumeratedEnergy(GraphEnergy):
    """A replicated energy of single labels, asked for each of them.

    Args:
        energy: forward(x (R or 1, *n, dx), y (R or 1, *n, 1)) -> (R, *n).
    """

    def __init__(self, energy: nn.Module, space: Labels) -> None:
        super().__init__()
        self.space = space
        self.energy = energy
        self.num_replicates = cast("int", energy.num_replicates)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of all labels of one example."""
        return self.space.num_values * float(self.energy.multiply_adds)  # type: ignore[arg-type]

    def graph(self, x: torch.Tensor) -> FactorGraph:
        count = self.space.num_values
        labels = torch.arange(count, device=x.device, dtype=torch.int64).reshape(*[1] * (x.ndim - 1), count, 1)
        energies = self.energy(x.unsqueeze(-2), labels)
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, count, count))
