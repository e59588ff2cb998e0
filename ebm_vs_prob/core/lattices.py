"""Lattices: energies of strings whose symbols are read off segments of a strip, wherever the segments lie.

A segmentation z tiles the strip by T segments; each has a start, a width and a symbol, and the energy of (y, z) is the
sum of theirs (semi-Markov: Sarawagi and Cohen 2004; graph transformer networks: LeCun, Bottou, Bengio and Haffner 1998,
section VII). Recursions over places and starts answer exactly, by min-sum at inverse temperature inf and by the forward
algorithm below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .discrete_energies import DiscreteEnergy
from .energy_tables import EnergyTable, table_of
from .errors import invalid
from .lattice_recursion import LatticeRecursion, row_of
from .lattice_search import LatticeReader
from .prefixes import HELD, KEPT, drawn, proven_least
from .process_state import holds


@dataclass(frozen=True)
class SegmentLattice(LatticeRecursion, DiscreteEnergy):
    """E(y, z) = Σ_i scores[s_i, y_i, w_i, v_i] + places[i, y_i] + coupling between neighbours; E(y) its free energy
    over z.

    z is the starts s_i, the widths w_i and of each segment one of V variants v_i, which y does not show either. The
    measure over z is uniform over tilings and variants, and normalised, as all free energies' in the package: E(y) is
    the mean over z at `beta` = 0, the least at inf, and -ln Σ_z exp(-E(y, z)) at 1 up to the logarithm of their number,
    which is the same for every y. A score of +inf forbids.

    Args:
        scores: energies of segments, (*batch, starts, symbols K, widths M, variants V).
        length: T, segments of a strip.
        shortest: cells from the start of a segment of the first width to the next start; each width adds one.
        beta: inverse temperature(s) of z in [0, inf] that broadcast with the batch.
        places: energies of symbols by their place in the string, (*batch, T, K).
        coupling: energies of neighbours by (symbol, width, variant) of the left and of the right one, (..., A, A) with
            A = K M V; its leading dimensions broadcast with the batch.

    Raises:
        ValueError: shapes that do not fit, a bad beta, or a strip that no T segments tile.
    """

    @property
    def num_variables(self) -> int:
        return self.length

    @property
    def log_segmentations(self) -> float:
        """ln of the number of z of a string."""
        return self.tiling.log_number + self.length * math.log(self.scores.shape[-1])

    @classmethod
    def stacked(cls, parts: Sequence[SegmentLattice]) -> SegmentLattice:
        first, batch = parts[0], parts[0].batch_shape

        def together(name: str, own: int) -> torch.Tensor | None:
            values = [getattr(part, name) for part in parts]
            if values[0] is None:
                return None
            ones = len(batch) - (values[0].ndim - own)
            return torch.stack([value[(None,) * ones] for value in values])

        scores = together("scores", 4)
        assert scores is not None
        betas = [part.temperature(part.beta) for part in parts]
        same = all(torch.equal(betas[0], other) for other in betas)
        beta = first.beta if same else torch.stack([each.expand(batch) for each in betas])
        return replace(first, scores=scores, places=together("places", 2), coupling=together("coupling", 2), beta=beta)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> SegmentLattice:
        """The lattice whose energies are what `change` makes of these: another dtype, sign or part of the batch."""
        parts = {"scores": self.scores, "places": self.places, "coupling": self.coupling}
        changed: dict[str, Any] = {name: part if part is None else change(part) for name, part in parts.items()}
        return replace(self, **changed)

    def expand(self) -> SegmentLattice:
        """The same lattice, whose scores and places have all of the batch's dimensions, and the coupling as many."""
        batch = self.batch_shape
        places, coupling = self.places, self.coupling
        return replace(
            self,
            scores=self.scores.expand(*batch, *self.scores.shape[-4:]),
            places=None if places is None else places.expand(*batch, *places.shape[-2:]),
            coupling=None if coupling is None else coupling.expand(*batch, *coupling.shape[-2:]),
        )

    def at(self, beta: torch.Tensor | float) -> SegmentLattice:
        """The lattice with z at another inverse temperature."""
        return replace(self, beta=beta)

    def energy(self, y: torch.Tensor) -> torch.Tensor:
        y = self.checked(y)
        if self.coupling is None:
            return self.left(y)[0].squeeze(-1)
        lead, flat = y.shape[:-1], y.reshape(-1, self.length)
        across = self._most_starts * self.scores.shape[-2:].numel() ** 2
        parts = [own.left(flat[at])[0].squeeze(-1) for at, own in self.blocks(across, lead)]
        return torch.cat(parts).reshape(lead)

    def free_energy(self, beta: torch.Tensor | float) -> torch.Tensor:
        """As of every discrete energy: at the `beta` of z by the forward algorithm over (y, z), which are then free
        alike; at another one by a sum over all strings.

        Raises:
            ValueError: a bad beta, or another one than that of z and more than 65,536 strings.
        """
        if not self._is_own(beta):
            return self._table(beta).free_energy(beta)
        if self.coupling is None:
            return self.left()[0].squeeze(-1).expand(self.batch_shape)
        across = self._most_starts * self.scores.shape[-3:].numel() ** 2
        parts = [own.left()[0].squeeze(-1) for _, own in self.blocks(across)]
        return torch.cat(parts).reshape(self.batch_shape)

    def sample(self, beta: torch.Tensor | float, uniform: torch.Tensor) -> torch.Tensor:
        """As of every discrete energy, z summed out; at another `beta` than that of z as `free_energy` has it."""
        if uniform.shape[-2:] != (self.length, self.num_values):
            raise invalid("uniform.shape", tuple(uniform.shape), f"(..., {self.length}, {self.num_values})")
        if not self._is_own(beta):
            return self._table(beta).sample(beta, uniform)
        batch = self.batch_shape
        first = uniform.ndim - 2 - len(batch)
        flat = uniform.expand(*uniform.shape[:first], *batch, -1, -1).reshape(
            *uniform.shape[:first], -1, *uniform.shape[-2:]
        )
        parts = [
            drawn(own.reader(bounds=False), own.temperature(own.beta), flat[..., at, :, :])
            for at, own in self.blocks(self.search_cost(uniform.shape[:first].numel()))
        ]
        return torch.cat(parts, -2).reshape(*uniform.shape[:first], *batch, self.length)

    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The string of least energy and that energy, by `most_probable`; of equal strings any."""
        return self.most_probable()[:2]

    def most_probable(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The string y (*batch, T) int64 of least energy, z summed out; its energy; whether that is proven, (*batch).

        A search among prefixes with bounds from the recursion, which are exact at `beta` = inf (Viterbi's algorithm),
        and at others let each place and start choose its symbol. It keeps up to 256 prefixes of each place where
        fewer prove nothing, and all where there are no more than 1024; beyond, the string is the best of those, and
        said to be unproven.
        """
        batch = self.batch_shape
        parts = [proven_least(own) for _, own in self.blocks(self.search_cost(KEPT[0]))]
        y, energy, proven = (torch.cat(each) for each in zip(*parts, strict=True))
        return y.reshape(*batch, self.length), energy.reshape(batch), proven.reshape(batch)

    def segments(self, y: torch.Tensor, uniform: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """The segmentation z of least energy of strings y (*lead, T): starts, indices of widths and variants, each
        (*lead, T) int64. With uniforms (*lead, T, M V) on [0, 1) it is a draw of z given y at `beta`."""
        y = self.checked(y)
        own = self if uniform is not None else self.at(math.inf)
        left, variants = own.left(y), self.scores.shape[-1]
        beta = own.temperature(own.beta).unsqueeze(-1)
        index = torch.zeros(y.shape[:-1], dtype=torch.int64, device=y.device)
        before, found = None, []
        for i in range(self.length):
            total, log_weights = own.step(i, left[i + 1], y)
            energies = row_of(total.flatten(-3), index)
            log_weight = log_weights.expand(-1, -1, -1, variants).flatten(1)[index]
            if before is not None and self.coupling is not None:
                energies = energies + row_of(own.between(i, y).flatten(-3), before)
            energies = torch.where(log_weight > -math.inf, energies, math.inf)
            if uniform is not None:
                gumbel = -torch.log(-torch.log(uniform[..., i, :].clamp_min(torch.finfo(energies.dtype).tiny)))
                tilted = torch.where(beta == 0, 0.0, beta * energies) - log_weight - gumbel
                energies = torch.where(beta == math.inf, energies, tilted)
            before = energies.argmin(-1)
            start = index + self.tiling.starts(i).start
            found.append((start, before // variants, before % variants))
            following = self.tiling.starts(i + 1)  # where all is forbidden any will do
            index = (start + self.shortest + before // variants - following.start).clamp(0, len(following) - 1)
        starts, widths, chosen = (torch.stack(each, -1) for each in zip(*found, strict=True))
        return starts, widths, chosen

    def marginals(self, y: torch.Tensor | None = None) -> torch.Tensor:
        """Probability at `beta` of each segment being part of z, (*batch, starts, K, M, V); of (y, z), or given y
        (*batch, T). It is the derivative of the free energy in the scores."""
        with torch.enable_grad():
            scores = self._expanded(self.batch_shape).scores.detach().clone().requires_grad_()
            own = replace(self, scores=scores)
            total = own.free_energy(self.beta) if y is None else own.energy(y)
            (found,) = torch.autograd.grad(total.sum(), scores)
        return found

    def blocks(self, cost: int, lead: torch.Size | None = None) -> Iterator[tuple[slice, SegmentLattice]]:
        """Lattices of a flat batch that make up this one, and where in it they lie, small enough to be searched.

        Args:
            cost: numbers held for each member of the batch.
            lead: a shape that the batch is expanded to.
        """
        batch = self.batch_shape if lead is None else lead
        beta = self.temperature(self.beta).expand(batch).reshape(-1)

        def flat(part: torch.Tensor, own: int) -> torch.Tensor:
            if part.shape[:-own].numel() == 1:
                return part.reshape(1, *part.shape[-own:])
            return part.expand(*batch, *part.shape[-own:]).reshape(-1, *part.shape[-own:])

        parts: dict[str, Any] = {"scores": flat(self.scores, 4)}
        for name in ("places", "coupling"):
            parts[name] = None if getattr(self, name) is None else flat(getattr(self, name), 2)
        whole = replace(self, **parts, beta=beta)
        size = max(1, HELD // cost)
        for start in range(0, max(len(beta), 1), size):  # nothing is one block of nothing
            at = slice(start, min(start + size, len(beta)))
            yield at, whole.rows(at)

    def rows(self, at: slice | torch.Tensor) -> SegmentLattice:
        """Those of a flat batch, some of whose parts may be one for all."""
        beta = self.temperature(self.beta)
        own = self.map(lambda part: part if len(part) == 1 else part[at])
        return own.at(beta[at] if beta.ndim else beta)

    def reader(self, bounds: bool) -> LatticeReader:
        """What reads strings along the lattice: see `core.prefixes`."""
        return LatticeReader(self, bounds)

    def _expanded(self, lead: torch.Size) -> SegmentLattice:
        return replace(self, scores=self.scores.expand(*lead, *self.scores.shape[-4:]))

    @property
    def _most_starts(self) -> int:
        return max(len(self.tiling.starts(i)) for i in range(self.length))

    def search_cost(self, prefixes: int) -> int:
        """Numbers that reading so many prefixes of one strip takes."""
        states = self.scores.shape[-3:].numel()
        neighbours = 1 if self.coupling is None else self.scores.shape[-2:].numel()
        table = states if self.coupling is None else states**2
        return self._most_starts * max(prefixes * states * neighbours, table)

    def _is_own(self, beta: torch.Tensor | float) -> bool:
        own, asked = self.temperature(self.beta), self.temperature(beta)
        return holds(lambda: (own == asked).all())

    def _table(self, beta: torch.Tensor | float) -> EnergyTable:
        return table_of(self, beta, f"that of z, {self.beta},", self.scores.device)
