"""Strings along a lattice of segments, z summed out, read a symbol at a time."""

from __future__ import annotations

import numpy as np
import torch

from .lattice_recursion import LatticeRecursion, row_of
from .prefixes import State


class LatticeReader:
    """Reads strings along a lattice of a flat batch: see `core.prefixes`. A state is the energies of the last segment
    with all before it, by its start, width and variant, and the symbol it has."""

    def __init__(self, lattice: LatticeRecursion, bounds: bool) -> None:
        self.lattice, self.length, self.batch_shape = lattice, lattice.length, lattice.batch_shape
        self._left = lattice.left(bounds=bounds)

    def extend(self, state: State | None, t: int, lead: torch.Size) -> tuple[torch.Tensor, State]:
        lattice, tiling = self.lattice, self.lattice.tiling
        segment = lattice.segment(t)
        if state is not None:
            segment = segment + self._arriving(state, t)
        segment = segment.expand(*lead, *segment.shape[-4:])
        index, ways = tiling.following(t)
        log_weights = lattice.constant(ways + tiling.log_ways_to(t)[:, None])[:, None, :, None]
        total = segment + lattice.moved(self._left[t + 1], index, t + 1)
        total, log_weights = total.movedim(-3, -4), log_weights.expand(-1, 1, -1, total.shape[-1]).movedim(-3, -4)
        energies = lattice.free(total.flatten(-3), 2, log_weights.flatten(-3))
        symbols = torch.arange(lattice.num_values, dtype=torch.int64, device=segment.device)
        return energies, (segment.movedim(-3, -4), symbols.expand(*lead, -1))

    def _arriving(self, state: State, t: int) -> torch.Tensor:
        """Free energies of all that leads to each start of place t, and to each state there: (*lead, starts, K, M, V)
        with ones for what makes no difference."""
        lattice, (segment, symbol) = self.lattice, state
        widths, variants = segment.shape[-2:]
        index, ways = lattice.tiling.leading(t)
        at = torch.from_numpy(index * widths + np.arange(widths)).to(segment.device)
        before = segment.flatten(-3, -2).index_select(-2, at.reshape(-1)).unflatten(-2, index.shape).flatten(-2)
        log_weights = lattice.constant(ways)[:, :, None].expand(-1, -1, variants).flatten(-2)
        if lattice.coupling is None:
            return lattice.free(before, 2, log_weights)[..., None, None, None]
        rows = lattice.coupling.unflatten(-2, (lattice.num_values, widths * variants)).flatten(-2)
        between = row_of(rows, symbol).unflatten(-1, (widths * variants, -1))
        return lattice.mixed(before, log_weights, between, 3).unflatten(-1, lattice.scores.shape[-3:])
