"""The list of all strings against a factor graph of the same energies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from statistical import counts_agree

from ebm_vs_prob.core.energy_tables import EnergyTable
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.core.spaces import Sequences


def twins(length=3, values=2, batch=(2, 4)):
    """A chain and the list of its strings' energies."""
    generator = torch.Generator().manual_seed(length)
    unary = torch.randn(*batch, length, values, generator=generator, dtype=torch.float64)
    pairwise = torch.randn(*batch, length - 1, values, values, generator=generator, dtype=torch.float64)
    graph = FactorGraph(unary, pairwise)
    every = Sequences(values, length).every_answer()
    listed = graph.energy(every.reshape(-1, *[1] * len(batch), length)).movedim(0, -1)
    return EnergyTable(listed, length, values), graph, every


@pytest.mark.parametrize(("length", "values"), [(1, 3), (3, 2), (4, 3)])
def test_it_answers_as_the_graph_of_the_same_energies(length, values):
    listed, graph, every = twins(length, values)
    y = every[torch.randint(len(every), (2, 4), generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(listed.energy(y), graph.energy(y))
    torch.testing.assert_close(listed.energy(every[:, None, None]), graph.energy(every[:, None, None]))
    assert torch.equal(listed.min_sum()[0], graph.min_sum()[0])
    torch.testing.assert_close(listed.min_sum()[1], graph.min_sum()[1])
    for beta in (0.0, 0.7, 30.0, math.inf):
        torch.testing.assert_close(listed.free_energy(beta), graph.free_energy(beta))
        torch.testing.assert_close(listed.free_energy_of_incorrect(y, beta), graph.free_energy_of_incorrect(y, beta))
    assert (listed.num_variables, listed.num_values) == (length, values)
    assert listed.log_answers == pytest.approx(graph.log_answers)
    assert listed.log_incorrect == pytest.approx(graph.log_incorrect)
    costs = torch.randn(2, 4, length, values, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = every[:, None, None, :, None].expand(-1, 2, 4, -1, 1)
    added = costs.expand(len(every), -1, -1, -1, -1).gather(-1, chosen).sum((-1, -2))
    for energies in (listed, graph):
        found = energies.plus(costs).energy(every[:, None, None])
        torch.testing.assert_close(found, graph.energy(every[:, None, None]) + added)
    half = listed.map(lambda energies: energies[0])
    assert torch.equal(EnergyTable.stacked([half, half]).energies[1], half.energies)


def test_draws_have_the_probabilities_of_their_energies():
    listed, _, every = twins(batch=(1,))
    uniform = torch.rand(20_000, 1, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = listed.sample(0.8, uniform)[:, 0]
    index = (drawn * torch.tensor([4, 2, 1])).sum(-1)
    shares = (-0.8 * listed.energies[0]).softmax(0).numpy()
    assert counts_agree(np.bincount(index.numpy(), minlength=8), shares, comparisons=1)
    assert torch.equal(listed.sample(math.inf, uniform[:2])[:, 0], listed.min_sum()[0].expand(2, -1))
    assert len(every) == 8


def test_mistakes_name_the_field():
    listed, *_ = twins()
    with pytest.raises(ValueError, match=r"energies\.shape = \(2, 4, 7\) is not valid: expected \(\.\.\., 8\)"):
        EnergyTable(listed.energies[..., :7], 3, 2)
    with pytest.raises(ValueError, match=r"y = .* is not valid: expected \(\.\.\., 3\) int64"):
        listed.energy(torch.zeros(2, 4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="symbols outside the table's"):
        listed.energy(torch.full((3,), 2))
    with pytest.raises(ValueError, match=r"uniform\.shape"):
        listed.sample(1.0, torch.zeros(2, 4, 2, 2))
    with pytest.raises(ValueError, match=r"K\^T = 1 is not valid"):
        EnergyTable(torch.zeros(1), 1, 1).free_energy_of_incorrect(torch.zeros(1, dtype=torch.int64), 1.0)
