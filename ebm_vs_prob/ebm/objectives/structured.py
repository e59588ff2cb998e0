"""Losses of whole answers that decode against the cost of being wrong: the structured hinge and the perceptron."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import one_hot

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
    wrong = 1.0 - one_hot(y, graph.num_values).to(graph.energy(y))
    costs = -torch.as_tensor(margin, dtype=wrong.dtype, device=wrong.device)[..., None, None] * wrong
    return graph.energy(y) - graph.plus(costs).free_energy(math.inf)
