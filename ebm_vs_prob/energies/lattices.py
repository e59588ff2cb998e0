"""Replicated energies of strings read off a strip: one network looks at every window of columns, or round every column.

Neither has a parameter that knows how long the strip is, so that what was trained on short strips reads longer ones.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import pad

from ..core.connectionist import ConnectionistEnergy
from ..core.discrete_energies import DiscreteEnergy
from ..core.lattices import SegmentLattice
from ..core.spaces import Sequences
from ..core.strips import StripShape
from .graphs import GraphEnergy
from .mlp import LearnedScale, Network, ReplicatedMLP

#: Strips of a replicate whose windows are held at once where no gradient is wanted: each has as many pixels as all its
#: windows of every width have together.
STRIPS = 64


class StripEnergy(GraphEnergy):
    """R energies E(x, y) of strings y of T symbols, x the columns of a strip one after the other."""

    space: Sequences

    def __init__(self, space: Sequences, strip: StripShape) -> None:
        super().__init__()
        self.space, self.strip = space, strip

    @abstractmethod
    def graph(self, x: torch.Tensor) -> DiscreteEnergy:  # type: ignore[override]  # it answers what a factor graph does
        """The energies of all strings at x (R or 1, *n, columns · rows): of batch (R, *n)."""

    def columns(self, x: torch.Tensor, before: int, after: int) -> torch.Tensor:
        """The strip's columns with empty ones before and after, (R or 1, *n, columns + both, rows)."""
        return pad(x.unflatten(-1, (self.strip.columns, self.strip.rows)), (0, 0, before, after))


class LatticeEnergy(StripEnergy):
    """A network gives each symbol an energy in each window of columns, and windows tile the strip: a `SegmentLattice`.

    A window is stretched to the widest, by linear interpolation between its columns, and told with its width. z is free
    at inverse temperature `beta`: at inf E(x, y) is the least over segmentations, at 1 -ln of a sum over them.

    Args:
        seeds: one a replicate. space: of y. strip: of x. network: its shape.
        beta: inverse temperature of the segmentation.
    """

    def __init__(
        self, seeds: Sequence[int], space: Sequences, strip: StripShape, network: Network, beta: float = math.inf
    ) -> None:
        super().__init__(space, strip)
        self.beta = beta
        inputs = strip.widest * strip.rows + strip.num_widths
        self.trunk = ReplicatedMLP(seeds, (inputs, *network.hidden, space.num_values), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of all segments of a strip."""
        return self.strip.cells * self.strip.num_widths * self.trunk.multiply_adds

    def graph(self, x: torch.Tensor) -> SegmentLattice:  # type: ignore[override]
        parts = [x] if torch.is_grad_enabled() or x.ndim < 3 else x.split(STRIPS, dim=1)
        scores = torch.cat([self.scale(self.trunk(self.windows(part))) for part in parts], 1)
        return SegmentLattice(scores.movedim(-1, -2).unsqueeze(-1), self.strip.length, self.strip.shortest, self.beta)

    def windows(self, x: torch.Tensor) -> torch.Tensor:
        """What the network is given of each start and width, (R or 1, *n, cells, widths, inputs)."""
        strip = self.strip
        widths = np.arange(strip.narrowest, strip.widest + 1)[:, None]
        at = np.arange(strip.widest) * (widths - 1) / max(strip.widest - 1, 1)
        first = np.floor(at).astype(np.int64)
        starts = np.arange(strip.cells)[:, None, None]
        columns = self.columns(x, 0, strip.widest)
        left, right = (
            columns[..., torch.from_numpy(starts + np.minimum(index, widths - 1)).to(x.device), :]
            for index in (first, first + 1)
        )
        share = torch.from_numpy(at - first).to(x).unsqueeze(-1)
        pixels = (left + share * (right - left)).flatten(-2)
        told = torch.eye(strip.num_widths, dtype=x.dtype, device=x.device)
        return torch.cat([pixels, told.expand(*pixels.shape[:-1], -1)], -1)


class FrameEnergy(StripEnergy):
    """A network gives each column a probability of each symbol and of a blank, looking at the columns round it.

    E(x, y) is -ln of the sum over all alignments (connectionist temporal classification, Graves et al. 2006). A column
    is in the middle of its window, which is as wide as the widest symbol, or one more so that it is odd.
    """

    def __init__(self, seeds: Sequence[int], space: Sequences, strip: StripShape, network: Network) -> None:
        super().__init__(space, strip)
        self.reach = strip.widest // 2
        inputs = (2 * self.reach + 1) * strip.rows
        self.trunk = ReplicatedMLP(seeds, (inputs, *network.hidden, space.num_values + 1), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the probabilities of all columns."""
        return self.strip.columns * self.trunk.multiply_adds

    def graph(self, x: torch.Tensor) -> ConnectionistEnergy:  # type: ignore[override]
        windows = (
            self.columns(x, self.reach, self.reach).unfold(-2, 2 * self.reach + 1, 1).transpose(-1, -2).flatten(-2)
        )
        logits = self.scale(self.trunk(windows))
        return ConnectionistEnergy(logits.log_softmax(-1), self.space.num_variables)
