"""Pseudo-likelihood against conditionals by enumeration, and its minimum at the truth."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.ebm.objectives.pseudo_likelihood import negative_log_pseudo_likelihood, replaced
from ebm_vs_prob.testing import check_method

TINY = evp.Budget(steps=2, batch_size=8, examples=32)


def drawn_graph(seed=0, batch=(2, 5), length=4, values=3):
    generator = torch.Generator().manual_seed(seed)
    unary = torch.randn(*batch, length, values, generator=generator, dtype=torch.float64)
    pairwise = torch.randn(*batch, length - 1, values, values, generator=generator, dtype=torch.float64)
    return FactorGraph(unary, pairwise)


def test_what_differs_at_one_place_is_listed_place_by_place():
    y = torch.tensor([[0, 1, 2], [2, 2, 0]])
    listed = replaced(y, 3)
    assert listed.shape == (2, 3, 3, 3)
    for t in range(3):
        for k in range(3):
            expected = y.clone()
            expected[:, t] = k
            assert torch.equal(listed[:, t, k], expected)


def test_it_is_the_sum_of_conditionals_found_by_enumeration():
    graph = drawn_graph()
    every = Sequences(3, 4).every_answer()
    weight = (-graph.energy(every[:, None, None])).softmax(0)  # (N, 2, 5)
    y = every[torch.randint(len(every), (2, 5), generator=torch.Generator().manual_seed(1))]
    expected = torch.zeros(2, 5, dtype=torch.float64)
    for t in range(4):
        others = [s for s in range(4) if s != t]
        alike = (every[:, None, None, others] == y[..., others]).all(-1)
        own = alike & (every[:, None, None, t] == y[..., t])
        expected -= ((weight * own).sum(0) / (weight * alike).sum(0)).log()
    assert torch.allclose(negative_log_pseudo_likelihood(graph, y), expected, atol=1e-10)


def test_of_one_symbol_it_is_the_likelihood():
    graph = drawn_graph(length=1)
    y = torch.randint(3, (2, 5, 1), generator=torch.Generator().manual_seed(1))
    log_z = graph.log_answers - graph.free_energy(1.0)
    assert torch.allclose(negative_log_pseudo_likelihood(graph, y), graph.energy(y) + log_z, atol=1e-12)


def test_its_mean_under_a_law_is_least_at_the_energy_of_that_law():
    truth = drawn_graph(batch=(1,))
    every = Sequences(3, 4).every_answer()
    law = (-truth.energy(every.unsqueeze(1))).softmax(0)

    def mean_loss(unary, pairwise):
        graph = FactorGraph(unary, pairwise)
        return (law * negative_log_pseudo_likelihood(graph, every.unsqueeze(1))).sum()

    at_truth = [part.clone().requires_grad_() for part in (truth.unary, truth.pairwise)]
    slopes = torch.autograd.grad(mean_loss(*at_truth), at_truth)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-12
    other = drawn_graph(seed=9, batch=(1,))
    for step in (0.1, 1.0):
        moved = [(1 - step) * a + step * b for a, b in zip(at_truth, (other.unary, other.pairwise), strict=True)]
        assert mean_loss(*moved) > mean_loss(*at_truth)


def test_a_regulariser_along_y_is_refused():
    task = evp.get_task("labelled_chain", length=3)
    with pytest.raises(
        ValueError, match=r"gradient_penalty = 1\.0 is not valid: expected 0 where answers are discrete"
    ):
        evp.fit("pseudo_likelihood", task, budget=TINY, gradient_penalty=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("task", [evp.get_task("labelled_chain", length=3), evp.get_task("gaussian_classes")], ids=str)
def test_it_keeps_the_rules(task):
    check_method("pseudo_likelihood", task)


@pytest.mark.slow
def test_it_learns_a_chain_as_the_likelihood_does():
    task = evp.get_task("labelled_chain", length=4, thickness=0.7)
    budget = evp.Budget(steps=300, batch_size=128, examples=4000)
    gap = {}
    for name in ("pseudo_likelihood", "linear_chain_crf"):
        table = evp.evaluate(evp.fit(name, task, seeds=range(4), budget=budget, learning_rate=0.03), task)
        gap[name] = float(table[table["metric"] == "gibbs_gap"]["value"].mean())
    assert gap["linear_chain_crf"] < 0.1
    assert gap["pseudo_likelihood"] < gap["linear_chain_crf"] + 0.05
