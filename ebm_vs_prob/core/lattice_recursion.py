"""The recursion over places and starts of a lattice of segments: what is left of a strip costs what, from where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .errors import invalid
from .free_energies import are_moderate, free_energy
from .process_state import holds
from .tilings import Tiling

#: The power of the least positive number that a sum of exponentials must exceed.
_VANISHING = 2 / 3


@dataclass(frozen=True)
class LatticeRecursion:
    """Energies of segments of a strip, and of neighbours, with z at an inverse temperature: see
    `core.lattices.SegmentLattice`, whose recursion this is.

    A step's layout is (*lead, starts, [A: state of the segment before], K, M, V), with K = 1 along a string.
    """

    scores: torch.Tensor
    length: int
    shortest: int = 1
    beta: torch.Tensor | float = math.inf
    places: torch.Tensor | None = None
    coupling: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim < 4 or not self.scores.shape[-4:].numel():
            raise invalid("scores.shape", tuple(self.scores.shape), "(*batch, starts, K, M, V), none of them 0")
        _, count, widths, variants = self.scores.shape[-4:]
        states = count * widths * variants
        if self.coupling is not None and self.coupling.shape[-2:] != (states, states):
            raise invalid("coupling.shape", tuple(self.coupling.shape), f"(..., {states}, {states})")
        if self.places is not None and self.places.shape[-2:] != (self.length, count):
            raise invalid("places.shape", tuple(self.places.shape), f"(..., {self.length}, {count})")
        self.tiling.starts(0)
        self.temperature(self.beta)

    @property
    def tiling(self) -> Tiling:
        """What segmentations there are."""
        return Tiling(self.scores.shape[-4], self.length, self.shortest, self.scores.shape[-2])

    @property
    def batch_shape(self) -> torch.Size:
        """What the leading dimensions broadcast to."""
        shapes = [self.scores.shape[:-4]]
        shapes += [part.shape[:-2] for part in (self.places, self.coupling) if part is not None]
        return torch.broadcast_shapes(*shapes)

    @property
    def num_values(self) -> int:
        """K."""
        return self.scores.shape[-3]

    def left(self, y: torch.Tensor | None = None, bounds: bool = False) -> list[torch.Tensor]:
        """Free energy of what is left from each start of each place, and of the strip's end: T + 1 of (*lead, starts),
        or, where neighbours are coupled, by the state of the segment before, (*lead, starts, K, M, V), from place 1 on.

        Over the symbols left, or along y (*lead, T). With `bounds` each place and start takes the symbol that makes the
        free energy over z least, and no string has less.
        """
        left = [self.scores.new_zeros(1)]
        if self.coupling is None and not bounds:
            for i, energies in enumerate(self._windows(y)[::-1]):
                index, ways = self.tiling.following(self.length - 1 - i)
                after = left[-1][..., torch.from_numpy(index).to(energies.device)]
                left.append(self.free(energies + after, 2, self.constant(ways)))
            return left[::-1]
        for i in range(self.length - 1, -1, -1):
            total, log_weights = self.step(i, left[-1], y)
            coupled = self.coupling is not None and i > 0
            if coupled:
                between = self.between(i, y).flatten(-2).movedim(-3, -1)
                each = log_weights[:, 0].expand(-1, -1, total.shape[-1]).flatten(-2)
                along = self.mixed(total.flatten(-2).transpose(-3, -2), each, between, 4).movedim(-3, -1)
            else:
                along = self.free(total.flatten(-2), 3, _over(log_weights, total))
            before = along.amin(-1) if bounds else self.free(along, 3 if coupled else 2)
            if coupled:
                before = before.unflatten(-1, (-1, *self.scores.shape[-2:]))
            left.append(before)
        return left[::-1]

    def _windows(self, y: torch.Tensor | None) -> list[torch.Tensor]:
        """Free energy of a segment of each place by its start and width, over symbols, or y's, and variants:
        T of (*lead, starts, M)."""
        places = [self.tiling.starts(i) for i in range(self.length)]
        if y is None and self.places is None:  # the same at each place
            every = self.free(self.scores.movedim(-3, -2).flatten(-2), 3)
            return [every[..., starts.start : starts.stop, :] for starts in places]
        each = [self.segment(i, y).movedim(-3, -2).flatten(-2) for i in range(self.length)]
        return [self.free(energies, 3) for energies in each]

    def free(self, energies: torch.Tensor, own: int, log_weights: torch.Tensor | None = None) -> torch.Tensor:
        """The free energy at `beta` along the last dimension; `own` counts those after the batch's, this one among
        them."""
        beta = self.temperature(self.beta)
        return free_energy(energies.contiguous(), beta.reshape(*beta.shape, *[1] * (own - 1)), -1, log_weights)

    def mixed(self, energies: torch.Tensor, log_weights: torch.Tensor, between: torch.Tensor, own: int) -> torch.Tensor:
        """Free energy over m of energies (*lead, ..., n, m) and between (*lead, ..., m, A): (*lead, ..., n, A).

        Where exponentials neither vanish nor cancel they are a product of matrices, many times faster.

        Args:
            log_weights: of the nodes, (n, m).
            own: dimensions of (..., n, A, m), those after the batch's.
        """
        beta = self.temperature(self.beta)
        if are_moderate(beta):
            inverse = beta.reshape(*beta.shape, *[1] * (own - 1))
            low = torch.where(log_weights > -math.inf, energies, math.inf).amin(-1, keepdim=True)
            low = low.detach().nan_to_num(0.0, 0.0, 0.0)
            tilted = (log_weights.log_softmax(-1) - inverse * (energies - low)).exp()
            # Of what follows the best is 1, so that no product of a small number and a large one is lost.
            base = between.detach().amin(-2, keepdim=True).nan_to_num(0.0, 0.0, 0.0)
            found = tilted @ (-inverse * (between - base)).exp()
            least = torch.finfo(found.dtype).tiny ** _VANISHING
            if holds(lambda: ((found > least) & found.isfinite()).all()):
                return low + base - found.log() / inverse
        total = energies.unsqueeze(-2) + between.transpose(-1, -2).unsqueeze(-3)
        return self.free(total, own, log_weights.unsqueeze(-2))

    def step(self, i: int, after: torch.Tensor, y: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies of the segments of place i with what is left after them, (*lead, starts, K, M, V), and ln of the
        number of ways to go on, (starts, 1, M, 1)."""
        index, ways = self.tiling.following(i)
        return self.segment(i, y) + self.moved(after, index, i + 1), self.constant(ways)[:, None, :, None]

    def segment(self, i: int, y: torch.Tensor | None = None) -> torch.Tensor:
        """Energies of the segments of place i alone, (*lead, starts, K, M, V)."""
        starts = self.tiling.starts(i)
        scores = self.scores[..., starts.start : starts.stop, :, :, :]
        if self.places is not None:
            scores = scores + self.places[..., i, :][..., None, :, None, None]
        if y is None:
            return scores
        scores = scores.expand(*y.shape[:-1], *scores.shape[-4:])
        chosen = y[..., i].reshape(*y.shape[:-1], 1, 1, 1, 1).expand(*scores.shape[:-3], 1, *scores.shape[-2:])
        return scores.gather(-3, chosen)

    def between(self, i: int, y: torch.Tensor | None = None) -> torch.Tensor:
        """Energies between the states of the segments of places i - 1 and i, (*lead, A, K, M, V)."""
        assert self.coupling is not None
        count, states = self.num_values, self.scores.shape[-2:].numel()
        if y is None:
            return self.coupling.unflatten(-1, self.scores.shape[-3:])
        pairs = self.coupling.unflatten(-1, (count, states)).unflatten(-3, (count, states)).transpose(-3, -2)
        pairs = pairs.flatten(-4, -3).flatten(-2)
        chosen = row_of(pairs, y[..., i - 1] * count + y[..., i])
        return chosen.reshape(*y.shape[:-1], states, 1, *self.scores.shape[-2:])

    def moved(self, values: torch.Tensor, index: np.ndarray, place: int) -> torch.Tensor:
        """What values of the starts of a place, or of a state and a start, are where `index` (starts, M) says:
        (*lead, starts, K, M, V)."""
        at = torch.from_numpy(index).to(self.scores.device)
        if self.coupling is None or place == self.length:
            return values[..., at].unsqueeze(-2).unsqueeze(-1)
        widths = at.shape[-1]
        at = at * widths + torch.arange(widths, dtype=torch.int64, device=at.device)
        flat = values.movedim(-2, -3).flatten(-4, -3)
        found = flat.index_select(-3, at.reshape(-1)).unflatten(-3, index.shape)
        return found.movedim(-3, -2)

    def constant(self, values: np.ndarray) -> torch.Tensor:
        """An array in the scores' dtype, on their device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.scores)

    def temperature(self, beta: torch.Tensor | float) -> torch.Tensor:
        """An inverse temperature as a tensor that is checked."""
        value = torch.as_tensor(beta, dtype=self.scores.dtype, device=self.scores.device)
        if not torch.compiler.is_compiling() and not holds(lambda: (value >= 0).all()):
            raise invalid("beta", beta, "numbers in [0, inf]")
        return value


def _over(log_weights: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """ln of ways (..., M, 1) for each width and variant of a step, (..., M V)."""
    return log_weights.expand(*log_weights.shape[:-1], total.shape[-1]).flatten(-2)


def row_of(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The rows (*lead, m) of values (..., n, m) that index (*lead) selects."""
    values = values.expand(*index.shape, *values.shape[-2:])
    return values.gather(-2, index[..., None, None].expand(*index.shape, 1, values.shape[-1])).squeeze(-2)
