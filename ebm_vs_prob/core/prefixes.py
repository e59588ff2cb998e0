"""Strings that are read a symbol at a time: exact draws, and the string of least energy by search among prefixes.

What an energy sums over besides y, a segmentation or an alignment, couples all symbols, so that no recursion finds the
least energy. A prefix can be told the free energy of all strings that begin with it, and a bound on the least.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

#: Partial sums of the prefixes that are read so far, each (*lead, ...).
State = tuple[torch.Tensor, ...]

#: Prefixes kept of each place, more where fewer do not prove which string is best; and up to how many all are.
KEPT, ALL = (4, 32, 256), 1024
#: Numbers that are held at once, about.
HELD = 1 << 22


class PrefixReader(Protocol):
    """Reads strings from the left, many at once.

    Attributes:
        length: symbols of a string. batch_shape: of the energies.
    """

    length: int
    batch_shape: torch.Size

    def extend(self, state: State | None, t: int, lead: torch.Size) -> tuple[torch.Tensor, State]:
        """A symbol more, each that there is: what is known of prefixes that end with it, (*lead, K), and their states,
        (*lead, K, ...).

        The former is a free energy of all strings with that prefix, or a number that none of them is below. Of whole
        strings both are the energy. `state` is None at the first symbol; lead ends with the batch's shape.
        """
        ...


class SearchedEnergy(Protocol):
    """Energies of a flat batch, (n,), of which some can be taken apart."""

    @property
    def num_values(self) -> int:
        """K."""
        ...

    @property
    def num_variables(self) -> int:
        """T."""
        ...

    def reader(self, bounds: bool) -> PrefixReader:
        """What reads strings along them and tells free energies, or bounds."""
        ...

    def rows(self, at: slice | torch.Tensor) -> SearchedEnergy:
        """Those of a part of the batch."""
        ...

    def search_cost(self, prefixes: int) -> int:
        """Numbers that reading so many prefixes of one member holds at once."""
        ...


def drawn(reader: PrefixReader, beta: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Exact draws (*sample, *batch, T) int64, each symbol given those before it, by Gumbel-perturbed free energies.

    Args:
        reader: whose numbers are free energies at `beta`.
        beta: in [0, inf], broadcasting with the batch.
        uniform: on [0, 1), (*sample, *batch, T, K).
    """
    inverse = beta.unsqueeze(-1)
    gumbel = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))
    state, symbols = None, []
    for t in range(reader.length):
        energies, states = reader.extend(state, t, uniform.shape[:-2])
        tilted = torch.where(inverse == 0, 0.0, inverse * energies) - gumbel[..., t, :]
        symbol = torch.where(inverse == math.inf, energies, tilted).argmin(-1)
        state = tuple(_of_symbol(part, symbol) for part in states)
        symbols.append(symbol)
    return torch.stack(symbols, -1)


def least(reader: PrefixReader, kept: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The string of least energy among those whose prefixes are among the `kept` of least bound: y (*batch, T) int64,
    its energy (*batch), and whether no other string can have less, (*batch) bool.

    That is proven where no prefix that was left aside has a bound below the energy found, up to rounding (the prefix
    search of Graves, Fernández, Gomez and Schmidhuber 2006, section 3.2, breadth first and with bounds).

    Args:
        reader: whose numbers are bounds.
    """
    batch = reader.batch_shape
    state, y, aside, energy = None, None, None, None
    for t in range(reader.length):
        lead = torch.Size((1 if y is None else len(y), *batch))
        bounds, states = reader.extend(state, t, lead)
        count = bounds.shape[-1]
        flat = bounds.movedim(-1, 1).flatten(0, 1)
        ordered, index = flat.sort(dim=0, stable=True)
        number = 1 if t == reader.length - 1 else min(kept, len(flat))
        if number < len(flat):
            first = ordered[number]
            aside = first if aside is None else torch.minimum(aside, first)
        index = index[:number]
        state = tuple(_of_prefix(part.movedim(len(lead), 1).flatten(0, 1), index) for part in states)
        symbol = (index % count).unsqueeze(-1)
        y = symbol if y is None else torch.cat([_of_prefix(y, index // count), symbol], -1)
        energy = ordered[0]
    assert y is not None
    assert energy is not None
    slack = 64 * torch.finfo(energy.dtype).eps * (1 + energy.abs())
    proven = torch.ones_like(energy, dtype=torch.bool) if aside is None else ~(aside < energy - slack)
    return y[0], energy, proven


def proven_least(energies: SearchedEnergy) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`least`, with more prefixes kept for members of the batch where fewer prove nothing."""
    y, energy, proven = least(energies.reader(bounds=True), KEPT[0])
    whole = energies.num_values ** (energies.num_variables - 1)
    for kept in (*KEPT[1:], *([whole] if whole <= ALL else [])):
        for rows in (~proven).nonzero().squeeze(-1).split(max(1, HELD // energies.search_cost(kept))):
            if len(rows):
                found = least(energies.rows(rows).reader(bounds=True), kept)
                y[rows], energy[rows], proven[rows] = found
    return y, energy, proven


def _of_symbol(part: torch.Tensor, symbol: torch.Tensor) -> torch.Tensor:
    """Of (*lead, K, ...) what belongs to symbols (*lead): (*lead, ...)."""
    return _picked(part, symbol, symbol.ndim)


def _of_prefix(part: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Of (prefixes, *batch, ...) those at index (number, *batch): (number, *batch, ...)."""
    tail = part.shape[index.ndim :]
    return part.gather(0, index.reshape(*index.shape, *[1] * len(tail)).expand(*index.shape, *tail))


def _picked(part: torch.Tensor, index: torch.Tensor, dim: int) -> torch.Tensor:
    tail = part.shape[dim + 1 :]
    index = index.reshape(*index.shape, 1, *[1] * len(tail)).expand(*index.shape, 1, *tail)
    return part.gather(dim, index).squeeze(dim)
