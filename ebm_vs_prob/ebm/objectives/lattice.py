"""The structured hinge on lattices of segments: the right string must beat each other one by its errors."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ...core.lattices import SegmentLattice


def lattice_margin(lattice: SegmentLattice, y: torch.Tensor, margin: torch.Tensor | float) -> torch.Tensor:
    """F_inf(y) - min_{y', z} (E(y', z) - m · Hamming(y, y')), (*batch) and >= 0: its margin grows with the errors.

    Both segmentations are minimised over. The Hamming distance is a sum over places, so that the most offending answer
    is found by the same recursion (margin rescaling: Taskar, Guestrin and Koller 2003; with latent variables LeCun et
    al. 2006, section 6). At m = 0 it is the generalised perceptron, the loss of graph transformer networks (LeCun et
    al. 1998, section VI), which a constant energy satisfies.

    Args:
        lattice: the energies. y: right strings, (*batch, T) int64. margin: m >= 0, broadcasting with the batch.
    """
    symbols = torch.arange(lattice.num_values, dtype=torch.int64, device=y.device)
    wrong = (y.unsqueeze(-1) != symbols).to(lattice.scores)
    owed = torch.as_tensor(margin, dtype=wrong.dtype, device=wrong.device)[..., None, None] * wrong
    offending = replace(lattice, beta=math.inf, places=-owed)
    return lattice.at(math.inf).energy(y) - offending.free_energy(math.inf)
