"""Energies of whole strings: one network reads all symbols at once, so that every string has to be asked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..core.energy_tables import EnergyTable
from ..core.errors import invalid
from ..core.spaces import Sequences
from ..core.tensors import indicators
from .evaluation import block_size, distinct
from .graphs import GraphEnergy
from .mlp import LearnedScale, Network, ReplicatedMLP, check_bends

#: Strings up to which all are asked.
MOST_ANSWERS = 1 << 16


class StringEnergy(GraphEnergy):
    """R energies E(x, y) = e^s MLP([x, indicators of the symbols of y]), which no factors hold to neighbours.

    Nothing is searched for or estimated: a table of all K^T energies gives least ones, sums and draws exactly.

    Raises:
        ValueError: more strings than 65,536.
    """

    answers: torch.Tensor

    def __init__(self, seeds: Sequence[int], x_dim: int, space: Sequences, network: Network) -> None:
        super().__init__()
        if space.num_answers > MOST_ANSWERS:
            valid = f"'chain' where there are {space.num_answers} strings: a table holds {MOST_ANSWERS} at most"
            raise invalid("network.factors", network.factors, valid)
        check_bends(network)
        self.space, self.x_dim = space, x_dim
        width = space.num_variables * space.num_values
        self.trunk = ReplicatedMLP(seeds, (x_dim + width, *network.hidden, 1), network.activation)
        # Losses see differences of energies, and the level's gradient would be rounding errors.
        nn.init.zeros_(self.trunk.biases[-1]).requires_grad_(False)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)
        self.register_buffer("answers", self._indicators(space.every_answer()), persistent=False)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of all strings of one example."""
        return self.space.num_answers * self.trunk.multiply_adds

    def graph(self, x: torch.Tensor) -> EnergyTable:  # type: ignore[override]  # it answers what a factor graph does
        given = self._given(distinct(x)).unsqueeze(-2)
        own = self.trunk.product(self.answers.to(x.dtype).unsqueeze(0), self.trunk.weights[0][:, self.x_dim :])
        own = own.reshape(len(own), *[1] * (given.ndim - 3), *own.shape[1:])
        # Without gradient no layer has to be kept, and all strings of all x at once would be many times the table.
        lead = given[..., 0].numel()
        parts = (own,) if torch.is_grad_enabled() else own.split(block_size(own.device, lead), -2)
        energies = self.scale(torch.cat([self.trunk.tail(given + part).squeeze(-1) for part in parts], -1))
        energies = energies.expand(-1, *x.shape[1:-1], -1)
        return EnergyTable(energies, self.space.num_variables, self.space.num_values)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        symbols = self._indicators(self.space.to_variables(y)).to(x.dtype)
        hidden = self._given(x) + self.trunk.product(symbols, self.trunk.weights[0][:, self.x_dim :])
        return self.scale(self.trunk.tail(hidden).squeeze(-1))

    def _given(self, x: torch.Tensor) -> torch.Tensor:
        """What x adds to the first layer, (R, *n, width)."""
        bias = self.trunk.bias(0, x.ndim)
        if not self.x_dim:
            return bias.expand(-1, *x.shape[1:-1], -1)
        return self.trunk.product(x, self.trunk.weights[0][:, : self.x_dim]) + bias

    def _indicators(self, y: torch.Tensor) -> torch.Tensor:
        """(..., T) symbols as (..., T K) zeros and ones."""
        return indicators(y, self.space.num_values).flatten(-2).float()
