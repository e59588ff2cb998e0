"""Energies of few enough strings to list them all: whatever an energy looks like, its sums are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .discrete_energies import DiscreteEnergy
from .errors import invalid
from .free_energies import free_energy
from .process_state import holds

Beta = torch.Tensor | float

#: Strings up to which all are asked, where no recursion answers.
MOST_ANSWERS = 1 << 16


@dataclass(frozen=True)
class EnergyTable(DiscreteEnergy):
    """The energies of all K^T strings in their order, the last symbol running fastest, of a batch.

    It answers what `FactorGraph` does. An energy of +inf forbids.

    Args:
        energies: (*batch, K^T). length: T. values: K.

    Raises:
        ValueError: another number of energies.
    """

    energies: torch.Tensor
    length: int
    values: int

    def __post_init__(self) -> None:
        if self.energies.ndim < 1 or self.energies.shape[-1] != self.values**self.length:
            raise invalid("energies.shape", tuple(self.energies.shape), f"(..., {self.values**self.length})")

    @property
    def num_variables(self) -> int:
        return self.length

    @property
    def num_values(self) -> int:
        return self.values

    @property
    def batch_shape(self) -> torch.Size:
        return self.energies.shape[:-1]

    @property
    def log_incorrect(self) -> float:
        """ln (K^T - 1): of the number of answers but one; -inf where there is no other."""
        others = self.energies.shape[-1] - 1
        return math.log(others) if others else -math.inf

    @classmethod
    def stacked(cls, parts: Sequence[EnergyTable]) -> EnergyTable:
        return cls(torch.stack([part.energies for part in parts]), parts[0].length, parts[0].values)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> EnergyTable:
        """That of what `change` makes of the energies: another dtype, sign or part of the batch."""
        return EnergyTable(change(self.energies), self.length, self.values)

    def plus(self, costs: torch.Tensor) -> EnergyTable:
        """The table that a cost of each variable's value, (*batch, T, K), is added to."""
        total = self.energies
        for t, cost in enumerate(costs.unbind(-2)):
            parts = total.unflatten(-1, (self.values**t, self.values, -1))
            total = (parts + cost.unsqueeze(-1).unsqueeze(-3)).flatten(-3)
        return EnergyTable(total, self.length, self.values)

    def expand(self) -> EnergyTable:
        """The same, which has all of the batch's dimensions as it is."""
        return self

    def energy(self, y: torch.Tensor) -> torch.Tensor:
        index = self._index(y)
        shape = torch.broadcast_shapes(self.batch_shape, index.shape)
        return self.energies.expand(*shape, -1).gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)

    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        least, index = self.energies.min(-1)
        return self._symbols(index), least

    def free_energy(self, beta: Beta) -> torch.Tensor:
        return free_energy(self.energies, beta, -1)

    def free_energy_of_incorrect(self, y: torch.Tensor, beta: Beta) -> torch.Tensor:
        """The free energy of all answers but y (*batch, T) int64, normalised by their number: (*batch).

        Raises:
            ValueError: a y that does not fit, or a single answer, beside which there is none.
        """
        if self.energies.shape[-1] < 2:
            raise invalid("K^T", 1, "2 answers at least, so that one can be incorrect")
        index = self._index(y).expand(self.batch_shape).unsqueeze(-1)
        log_weights = torch.zeros_like(self.energies).scatter(-1, index, -math.inf)
        return free_energy(self.energies, beta, -1, log_weights)

    def sample(self, beta: Beta, uniform: torch.Tensor) -> torch.Tensor:
        """Exact draws, each symbol given those before it: the maximum of free energies perturbed with Gumbel noise."""
        if uniform.shape[-2:] != (self.length, self.values):
            raise invalid("uniform.shape", tuple(uniform.shape), f"(..., {self.length}, {self.values})")
        inverse = torch.as_tensor(beta, dtype=self.energies.dtype, device=self.energies.device).unsqueeze(-1)
        gumbel = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))
        left = self.energies.expand(*uniform.shape[:-2], -1)
        symbols = []
        for t in range(self.length):
            parts = left.unflatten(-1, (self.values, -1))
            energies = free_energy(parts, inverse, -1)
            tilted = torch.where(inverse == 0, 0.0, inverse * energies) - gumbel[..., t, :]
            symbol = torch.where(inverse == math.inf, energies, tilted).argmin(-1)
            symbols.append(symbol)
            chosen = symbol[..., None, None].expand(*symbol.shape, 1, parts.shape[-1])
            left = parts.gather(-2, chosen).squeeze(-2)
        return torch.stack(symbols, -1)

    def _index(self, y: torch.Tensor) -> torch.Tensor:
        """Places (...) of strings (..., T) in the list."""
        if y.ndim < 1 or y.shape[-1] != self.length or y.dtype != torch.int64:
            raise invalid("y", (tuple(y.shape), y.dtype), f"(..., {self.length}) int64")
        if not torch.compiler.is_compiling() and not holds(lambda: ((y >= 0) & (y < self.values)).all()):
            raise invalid("y", "symbols outside the table's", f"integers in 0 .. {self.values - 1}")
        return (y * self._powers(y.device)).sum(-1)

    def _symbols(self, index: torch.Tensor) -> torch.Tensor:
        """Strings (..., T) at places (...) of the list."""
        return index.unsqueeze(-1) // self._powers(index.device) % self.values

    def _powers(self, device: torch.device) -> torch.Tensor:
        return self.values ** torch.arange(self.length - 1, -1, -1, device=device, dtype=torch.int64)


def table_of(energy: DiscreteEnergy, beta: Beta, own: str, device: torch.device) -> EnergyTable:
    """An energy asked for all its strings, for an inverse temperature at which it has no recursion.

    Args:
        own: at which it has one, in words.
        device: where it lies.

    Raises:
        ValueError: more than `MOST_ANSWERS` strings.
    """
    length, values = energy.num_variables, energy.num_values
    number = values**length
    if number > MOST_ANSWERS:
        raise invalid("beta", beta, f"{own} where there are {number} strings: others are a sum over all of them")
    symbols = torch.arange(values, dtype=torch.int64, device=device)
    every = torch.cartesian_prod(*[symbols] * length).reshape(number, *[1] * len(energy.batch_shape), length)
    return EnergyTable(energy.energy(every).movedim(0, -1), length, values)
