"""Connectionist temporal classification: strings of a length under labels of frames, whatever the alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .discrete_energies import DiscreteEnergy
from .energy_tables import EnergyTable, table_of
from .errors import invalid
from .prefixes import PrefixReader, State, drawn, proven_least
from .process_state import holds

#: Logarithm of what is impossible: finite, so that differences and gradients are.
NEVER = -1e30


@dataclass(frozen=True)
class ConnectionistEnergy(DiscreteEnergy):
    """E(y) = -ln Σ_π Π_t p_t(π_t) over all paths π of frame labels that read y: repetitions merged, then blanks taken
    out (Graves, Fernández, Gomez and Schmidhuber 2006, eq. 3).

    y has T symbols, so that exp(-E) sums over all y to the probability that T symbols are read.

    Args:
        log_probs: ln of the probabilities of each frame's labels, (*batch, frames, K + 1), the last of them the blank.
        length: T.

    Raises:
        ValueError: shapes that do not fit, or fewer frames than symbols.
    """

    log_probs: torch.Tensor
    length: int

    def __post_init__(self) -> None:
        if self.log_probs.ndim < 2 or self.log_probs.shape[-1] < 2:
            raise invalid("log_probs.shape", tuple(self.log_probs.shape), "(*batch, frames, K + 1) with K >= 1")
        if not 1 <= self.length <= self.log_probs.shape[-2]:
            raise invalid("length", self.length, f"1 .. {self.log_probs.shape[-2]}, the number of frames")

    @property
    def num_variables(self) -> int:
        return self.length

    @property
    def num_values(self) -> int:
        return self.log_probs.shape[-1] - 1

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.log_probs.shape[-2]

    @property
    def batch_shape(self) -> torch.Size:
        return self.log_probs.shape[:-2]

    @classmethod
    def stacked(cls, parts: Sequence[ConnectionistEnergy]) -> ConnectionistEnergy:
        return cls(torch.stack([part.log_probs for part in parts]), parts[0].length)

    def energy(self, y: torch.Tensor) -> torch.Tensor:
        """As of every discrete energy, by the forward algorithm over 2 T + 1 places (section 4.1); +inf where the
        frames are too few for the string and the blanks between its repetitions."""
        y = self.checked(y)
        log_probs = self.log_probs.expand(*y.shape[:-1], *self.log_probs.shape[-2:])
        blank = torch.full_like(y, self.num_values)
        labels = torch.cat([torch.stack([blank, y], -1).flatten(-2), blank[..., :1]], -1)
        emitted = log_probs.gather(-1, labels.unsqueeze(-2).expand(*log_probs.shape[:-1], -1))
        # A blank may be left out between two symbols that differ.
        apart = torch.ones_like(y, dtype=torch.bool)
        apart[..., 1:] = y[..., 1:] != y[..., :-1]
        skips = torch.stack([torch.zeros_like(apart), apart], -1).flatten(-2)
        skips = torch.cat([skips, torch.zeros_like(skips[..., :1])], -1)
        never = emitted.new_full((*y.shape[:-1], 2), NEVER)
        beyond = emitted.new_full((*y.shape[:-1], 2 * self.length - 1), NEVER)
        forward = torch.cat([emitted[..., 0, :2], beyond], -1)
        for t in range(1, self.frames):
            padded = torch.cat([never, forward], -1)
            jumped = torch.where(skips, padded[..., :-2], NEVER)
            forward = torch.stack([forward, padded[..., 1:-1], jumped], -1).logsumexp(-1) + emitted[..., t, :]
        total = -forward[..., -2:].logsumexp(-1)
        return torch.where(total > -NEVER / 2, math.inf, total)

    def free_energy(self, beta: torch.Tensor | float) -> torch.Tensor:
        """As of every discrete energy: at 1 by the recursion, at inf by the search of `most_probable`, at others by a
        sum over all strings.

        Raises:
            ValueError: a bad beta, or another than 1 and inf and more than 65,536 strings.
        """
        if self._is(beta, math.inf):
            return self.min_sum()[1]
        if not self._is(beta, 1.0):
            return self._table(beta).free_energy(beta)
        return self.log_answers - self.left()[..., 0, 0, -1]

    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The string of least energy and that energy, by `most_probable`; of equal strings any."""
        return self.most_probable()[:2]

    def most_probable(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The most probable string y (*batch, T) int64; its energy; whether that is proven, (*batch).

        By prefix search (section 3.2), with bounds for which each frame that begins a symbol chooses it. It keeps up to
        256 prefixes of each place where fewer prove nothing, and all where there are no more than 1024; beyond, the
        string is the best of those, and unproven.
        """
        batch = self.batch_shape
        y, energy, proven = proven_least(
            replace(self, log_probs=self.log_probs.reshape(-1, *self.log_probs.shape[-2:]))
        )
        return y.reshape(*batch, self.length), energy.reshape(batch), proven.reshape(batch)

    def sample(self, beta: torch.Tensor | float, uniform: torch.Tensor) -> torch.Tensor:
        """As of every discrete energy: at 1 a symbol after the other, at inf the most probable string, at others among
        all strings."""
        if uniform.shape[-2:] != (self.length, self.num_values):
            raise invalid("uniform.shape", tuple(uniform.shape), f"(..., {self.length}, {self.num_values})")
        if self._is(beta, math.inf):
            return self.min_sum()[0].expand(*uniform.shape[:-1])
        if not self._is(beta, 1.0):
            return self._table(beta).sample(beta, uniform)
        return drawn(self.reader(bounds=False), self.log_probs.new_ones(()), uniform)

    def reader(self, bounds: bool) -> PrefixReader:
        """What reads strings along the frames: see `core.prefixes`."""
        return _Reader(self, bounds)

    def rows(self, at: slice | torch.Tensor) -> ConnectionistEnergy:
        """Those of a part of the batch."""
        return replace(self, log_probs=self.log_probs[at])

    def search_cost(self, prefixes: int) -> int:
        """Numbers that reading so many prefixes of one member holds at once."""
        return prefixes * self.frames * self.num_values

    def left(self, bounds: bool = False) -> torch.Tensor:
        """ln of the probability to read what lacks to T symbols in the frames left, (*batch, frames + 1, T + 1, K + 1):
        after t frames, with i symbols read, in the label that the last frame had, K a blank.

        With `bounds` each frame that begins a symbol takes the best, and no string is more probable.
        """
        count, length, batch = self.num_values, self.length, self.batch_shape
        after = self.log_probs.new_full((*batch, length + 1, count + 1), NEVER)
        after[..., length, :] = 0.0
        own = torch.eye(count + 1, count, dtype=torch.bool, device=after.device)
        nothing = self.log_probs.new_full((*batch, 1, count + 1), NEVER)
        left = [after]
        for t in range(self.frames - 1, -1, -1):
            on = self.log_probs[..., t, :].unsqueeze(-2) + left[-1]
            begun = torch.cat([on[..., 1:, :-1], nothing[..., :-1]], -2).unsqueeze(-2)
            begun = torch.where(own, NEVER, begun)
            other = begun.amax(-1) if bounds else begun.logsumexp(-1)
            blank = on[..., -1:].expand_as(on)
            stays = torch.cat([on[..., :-1], nothing[..., -1:].expand_as(on[..., -1:])], -1)
            left.append(torch.stack([stays, blank, other], -1).logsumexp(-1))
        return torch.stack(left[::-1], -3)

    def _is(self, beta: torch.Tensor | float, value: float) -> bool:
        asked = torch.as_tensor(beta, dtype=torch.float64, device=self.log_probs.device)
        if not holds(lambda: (asked >= 0).all()):
            raise invalid("beta", beta, "numbers in [0, inf]")
        return holds(lambda: (asked == value).all())

    def _table(self, beta: torch.Tensor | float) -> EnergyTable:
        return table_of(self, beta, "1 or inf", self.log_probs.device)


class _Reader:
    """A state is ln of the probability that the last symbol begins at each frame, (*lead, frames), and that symbol."""

    def __init__(self, energy: ConnectionistEnergy, bounds: bool) -> None:
        self.length, self.batch_shape = energy.length, energy.batch_shape
        self._log_probs, self._left = energy.log_probs, energy.left(bounds)

    def extend(self, state: State | None, t: int, lead: torch.Size) -> tuple[torch.Tensor, State]:
        log_probs = self._log_probs
        frames, count = log_probs.shape[-2], log_probs.shape[-1] - 1
        symbols = torch.arange(count, dtype=torch.int64, device=log_probs.device)
        if state is None:
            silent = log_probs[..., :-1, -1].cumsum(-1)
            before = torch.cat([torch.zeros_like(log_probs[..., :1, -1]), silent], -1).unsqueeze(-1)
        else:
            in_blank, in_symbol = self._read(*state)
            same = (state[1].unsqueeze(-1) == symbols).unsqueeze(-2)
            before = torch.logaddexp(in_blank.unsqueeze(-1), torch.where(same, NEVER, in_symbol.unsqueeze(-1)))
        begun = (log_probs[..., :-1] + before).expand(*lead, frames, count)
        energies = -(begun + self._left[..., 1:, t + 1, :-1]).logsumexp(-2)
        return energies, (begun.transpose(-1, -2), symbols.expand(*lead, -1))

    def _read(self, begun: torch.Tensor, symbol: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln of the probability to have read the prefix before each frame and to be in a blank, or in its last symbol,
        (*lead, frames) each."""
        log_probs = self._log_probs.expand(*begun.shape, self._log_probs.shape[-1])
        again = log_probs.gather(-1, symbol[..., None, None].expand(*begun.shape, 1)).squeeze(-1)
        in_blank = in_symbol = torch.full_like(begun[..., 0], NEVER)
        blanks, symbols = [in_blank], [in_symbol]
        for t in range(begun.shape[-1] - 1):
            in_blank = log_probs[..., t, -1] + torch.logaddexp(in_blank, in_symbol)
            in_symbol = torch.logaddexp(begun[..., t], in_symbol + again[..., t])
            blanks.append(in_blank)
            symbols.append(in_symbol)
        return torch.stack(blanks, -1), torch.stack(symbols, -1)
