"""Losses of whole answers that decode against the cost of being wrong: the structured hinge and the perceptron."""

from __future__ import annotations

import math

import torch

from ...core.energy_tables import EnergyTable
from ...core.factor_graphs import FactorGraph
from .margin import Parameter


def structured_hinge(graph: FactorGraph | EnergyTable, y: torch.Tensor, margin: Parameter) -> torch.Tensor:
    """max_y' (m Δ(y, y') + E(y) - E(y')), (*batch) and >= 0, Δ the number of symbols that differ.

    The margin is rescaled by what an answer costs (Taskar, Guestrin and Koller 2003; Tsochantaridis et al. 2005, their
    margin rescaling): an answer with two wrong symbols is owed twice the gap of one with one.
    Hamming distance is a sum over symbols, so that the most offending answer is found by min-sum on energies each of
    whose wrong symbols is m lower. At m = 0 it is the perceptron's loss.

    Args:
        graph: the energies of all answers. y: the right ones, (*batch, T) int64.
        margin: m, a number or of shape (*batch) broadcast.
    """
    energy = graph.energy(y)
    owed = torch.as_tensor(margin, dtype=energy.dtype, device=energy.device)[..., None, None]
    wrong = y.unsqueeze(-1) != torch.arange(graph.num_values, dtype=torch.int64, device=y.device)
    return energy - graph.plus(-owed * wrong).free_energy(math.inf)
