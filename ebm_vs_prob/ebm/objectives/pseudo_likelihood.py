"""Pseudo-likelihood: each symbol against what else could stand in its place, all others as they are."""

from __future__ import annotations

import torch

from ...core.factor_graphs import FactorGraph


def replaced(y: torch.Tensor, num_values: int) -> torch.Tensor:
    """Every answer that differs from y (..., T) at one place at most, place by place: (..., T, K, T) int64."""
    length = y.shape[-1]
    places = torch.arange(length, device=y.device, dtype=torch.int64)
    values = torch.arange(num_values, device=y.device, dtype=torch.int64)
    here = (places.unsqueeze(-1) == places).unsqueeze(-2)
    return torch.where(here, values.unsqueeze(-1), y[..., None, None, :])


def conditional_energies(graph: FactorGraph, y: torch.Tensor) -> torch.Tensor:
    """E as a function of each symbol, all others as in y (*batch, T): (*batch, T, K), up to what it does not touch."""
    if isinstance(graph, FactorGraph):
        return graph.conditional_energies(y)
    # The changes of an example stand behind it, so that a replicate's sums do not depend on the others.
    ahead = len(graph.batch_shape)
    beside = graph.expand().map(lambda factors: factors.unflatten(ahead, (1, 1, -1)))
    return beside.energy(replaced(y, graph.num_values))


def negative_log_pseudo_likelihood(graph: FactorGraph, y: torch.Tensor) -> torch.Tensor:
    """-Σ_t ln P(y_t | y_-t) under exp(-E), in nats, (*batch), for y (*batch, T) int64: Besag 1975, section 2.

    T K energies and no partition function; where factors add up to the energy, those that touch a symbol are all that
    is looked up. Where the energy can be that of the data's law, its minimum is that law, as the likelihood's is; of
    one symbol it is the likelihood.
    """
    energies = conditional_energies(graph, y)
    right = y.expand(energies.shape[:-1]).unsqueeze(-1)
    return (energies.gather(-1, right).squeeze(-1) + (-energies).logsumexp(-1)).sum(-1)
