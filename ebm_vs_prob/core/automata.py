"""Energies of strings that a finite automaton adds up as it reads, and exact inference by dynamic programming.

One backward recursion serves all, as in `core.factor_graphs`: each state tells what the rest of the string costs from
there, at any inverse temperature. T symbols of K values and S states cost T S K, against K^T by enumeration (Mohri,
Pereira and Riley 2002). A state may remember what no neighbour shows: a sum, a parity, a place in a grammar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .discrete_energies import DiscreteEnergy
from .errors import invalid
from .free_energies import free_energy
from .process_state import holds

#: Of the symbol read at a place t: where each state and symbol leads, (..., S, K) int64, and at what cost, (..., S, K).
Transitions = Callable[[int], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Automaton(DiscreteEnergy):
    """E(y) = Σ_t cost_t(s_t, y_t) + final(s_T), s_0 = 0, s_{t+1} = target_t(s_t, y_t): a batch of automata.

    They are deterministic: a string has one path. An energy of +inf forbids. The batch is that of `final`, with which
    what `transitions` gives must broadcast.

    Args:
        length: T, symbols of a string.
        transitions: targets and costs of every place, asked again by each recursion, so that they need not be kept.
        final: cost of ending in each state, (*batch, S).

    Raises:
        ValueError: a length below 1, or transitions whose shape does not fit.
    """

    length: int
    transitions: Transitions
    final: torch.Tensor

    def __post_init__(self) -> None:
        if self.length < 1:
            raise invalid("length", self.length, "an integer >= 1")
        target, cost = self.transitions(0)
        states = self.final.shape[-1:]
        if target.shape[-2:-1] != states or cost.shape[-2:-1] != states or target.shape[-1] != cost.shape[-1]:
            raise invalid("shapes of target, cost", (tuple(target.shape), tuple(cost.shape)), f"(..., {states[0]}, K)")

    @property
    def num_variables(self) -> int:
        """T."""
        return self.length

    @property
    def num_values(self) -> int:
        """K."""
        return self.transitions(0)[0].shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """That of `final`."""
        return self.final.shape[:-1]

    @classmethod
    def stacked(cls, parts: Sequence[Automaton]) -> Automaton:
        batch = parts[0].batch_shape

        def transitions(t: int) -> tuple[torch.Tensor, torch.Tensor]:
            pairs = zip(*(part.transitions(t) for part in parts), strict=True)
            target, cost = (torch.stack([each.expand(*batch, *each.shape[-2:]) for each in kind]) for kind in pairs)
            return target, cost

        return cls(parts[0].length, transitions, torch.stack([part.final for part in parts]))

    def energy(self, y: torch.Tensor) -> torch.Tensor:
        """E of strings y (*sample, *batch, T) int64, whose leading dimensions broadcast: (*sample, *batch).

        Raises:
            ValueError: a y of another length or dtype, or symbols that do not exist.
        """
        if y.ndim < 1 or y.shape[-1] != self.length or y.dtype != torch.int64:
            raise invalid("y", (tuple(y.shape), y.dtype), f"(..., {self.length}) int64")
        if not holds(lambda: ((y >= 0) & (y < self.num_values)).all()):
            raise invalid("y", "symbols outside the automaton's", f"integers in 0 .. {self.num_values - 1}")
        shape = torch.broadcast_shapes(self.batch_shape, y.shape[:-1])
        y = y.expand(*shape, -1)
        state = torch.zeros(shape, dtype=torch.int64, device=y.device)
        total = self.final.new_zeros(shape)
        for t in range(self.length):
            target, cost = (_at(part, state, y[..., t]) for part in self.transitions(t))
            state, total = target, total + cost
        return total + _of(self.final, state.unsqueeze(-1)).squeeze(-1)

    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        left = self._left(math.inf)
        return self._read(left, lambda energies, _: energies.argmin(-1)), left[0][..., 0]

    def free_energy(self, beta: torch.Tensor | float) -> torch.Tensor:
        return self._left(beta)[0][..., 0]

    def conditionals(self, y: torch.Tensor) -> torch.Tensor:
        """P(symbol at t | y_<t) of every symbol under exp(-E) / Z, for y (*batch, T) int64: (*batch, T, K).

        NaN after symbols that cannot be completed.
        """
        left = self._left(1.0)
        found: list[torch.Tensor] = []

        def follow(energies: torch.Tensor, t: int) -> torch.Tensor:
            found.append((-energies).softmax(-1))
            return y[..., t]

        self._read(left, follow, torch.broadcast_shapes(self.batch_shape, y.shape[:-1]))
        return torch.stack(found, -2)

    def sample(self, beta: torch.Tensor | float, uniform: torch.Tensor) -> torch.Tensor:
        if uniform.shape[-2:] != (self.length, self.num_values):
            raise invalid("uniform.shape", tuple(uniform.shape), f"(..., {self.length}, {self.num_values})")
        left = self._left(beta)
        inverse = self._temperature(beta).unsqueeze(-1)
        gumbel = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))

        def drawn(energies: torch.Tensor, t: int) -> torch.Tensor:
            tilted = torch.where(inverse == 0, 0.0, inverse * energies) - gumbel[..., t, :]
            return torch.where(inverse == math.inf, energies, tilted).argmin(-1)

        return self._read(left, drawn, uniform.shape[:-2])

    def _temperature(self, beta: torch.Tensor | float) -> torch.Tensor:
        value = torch.as_tensor(beta, dtype=self.final.dtype, device=self.final.device)
        if not holds(lambda: (value >= 0).all()):
            raise invalid("beta", beta, "numbers in [0, inf]")
        return value

    def _left(self, beta: torch.Tensor | float) -> list[torch.Tensor]:
        """Free energy of what is left to read, from every state before each place and after the last, (*batch, S)."""
        inverse = self._temperature(beta).unsqueeze(-1)
        left = [self.final]
        for t in range(self.length - 1, -1, -1):
            target, cost = self.transitions(t)
            after = _of(left[-1], target.flatten(-2)).unflatten(-1, target.shape[-2:])
            left.append(free_energy(cost + after, inverse, -1))
        return left[::-1]

    def _read(
        self,
        left: list[torch.Tensor],
        choose: Callable[[torch.Tensor, int], torch.Tensor],
        shape: torch.Size | None = None,
    ) -> torch.Tensor:
        """Strings (*shape, T), each symbol as `choose` takes it from energies (..., K) of it and of what is left."""
        state = torch.zeros(self.batch_shape if shape is None else shape, dtype=torch.int64, device=self.final.device)
        symbols = []
        for t in range(self.length):
            target, cost = (_row(part, state) for part in self.transitions(t))
            symbol = choose(cost + _of(left[t + 1], target), t)
            symbols.append(symbol)
            state = target.gather(-1, symbol.unsqueeze(-1)).squeeze(-1)
        return torch.stack(symbols, -1)


def _row(part: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The rows (*shape, K) of (..., S, K) that states (*shape) select."""
    part = part.expand(*state.shape, *part.shape[-2:])
    return part.gather(-2, state[..., None, None].expand(*state.shape, 1, part.shape[-1])).squeeze(-2)


def _at(part: torch.Tensor, state: torch.Tensor, symbol: torch.Tensor) -> torch.Tensor:
    """The entries (*shape) of (..., S, K) at states and symbols (*shape)."""
    return _row(part, state).gather(-1, symbol.unsqueeze(-1)).squeeze(-1)


def _of(values: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Entries of values (*batch, S) at states (*shape, m), whose leading dimensions broadcast: (*shape, m)."""
    shape = torch.broadcast_shapes(values.shape[:-1], states.shape[:-1])
    return values.expand(*shape, -1).gather(-1, states.expand(*shape, -1))
