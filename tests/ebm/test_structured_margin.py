"""Structured hinge and perceptron against the list of all answers, and what their margin and average are for."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob.core.energy_tables import EnergyTable
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.ebm.objectives.margin import TUTORIAL_LOSSES
from ebm_vs_prob.ebm.objectives.structured import structured_hinge
from ebm_vs_prob.testing import check_method
from ebm_vs_prob.training import loop

METHODS = ("structured_hinge", "structured_perceptron")


def drawn(seed, length, values, batch=(2, 3)):
    """A chain, all strings, and a right one of each chain."""
    generator = torch.Generator().manual_seed(seed)
    unary = torch.randn(*batch, length, values, generator=generator, dtype=torch.float64)
    pairwise = torch.randn(*batch, length - 1, values, values, generator=generator, dtype=torch.float64)
    every = Sequences(values, length).every_answer()
    y = every[torch.randint(len(every), batch, generator=generator)]
    return FactorGraph(unary, pairwise), every, y


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 3), st.sampled_from([0.0, 0.5, 4.0]))
def test_it_is_the_largest_violation_among_all_answers(seed, length, values, margin):
    graph, every, y = drawn(seed, length, values)
    energies = graph.energy(every[:, None, None])
    wrong = (every[:, None, None] != y).sum(-1)
    expected = (margin * wrong + graph.energy(y) - energies).amax(0)
    found = structured_hinge(graph, y, margin)
    assert torch.allclose(found, expected, atol=1e-12)
    listed = EnergyTable(energies.movedim(0, -1), length, values)
    assert torch.allclose(structured_hinge(listed, y, margin), expected, atol=1e-12)
    assert (found >= 0).all()
    if margin == 0:
        assert torch.allclose(found, TUTORIAL_LOSSES["perceptron"].on_graph(graph, y), atol=1e-12)


def test_each_replicate_has_its_margin():
    graph, _, y = drawn(1, 3, 3)
    margins = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    both = structured_hinge(graph, y, margins)
    for r in (0, 1):
        assert torch.allclose(both[r], structured_hinge(graph, y, float(margins[r]))[r], rtol=0, atol=1e-12)


def test_it_vanishes_where_each_wrong_symbol_costs_the_margin_and_moves_only_what_offends():
    y = torch.tensor([0, 1, 2])
    unary = 1.5 * (1.0 - torch.nn.functional.one_hot(y, 3).double())
    unary.requires_grad_()
    pairwise = torch.zeros(2, 3, 3, dtype=torch.float64)
    assert structured_hinge(FactorGraph(unary, pairwise), y, 1.0).tolist() == 0.0
    loss = structured_hinge(FactorGraph(unary, pairwise), y, 2.0)
    assert loss.tolist() == pytest.approx(3 * 0.5)  # three symbols, each short of its margin
    nearer = unary.detach().clone()
    nearer[0, 2] = 1.0  # the worst rival at the first place
    nearer[1:, :] *= 10.0
    nearer.requires_grad_()
    structured_hinge(FactorGraph(nearer, pairwise), y, 2.0).backward()
    moved = torch.zeros(3, 3, dtype=torch.float64)
    moved[0, 0], moved[0, 2] = 1.0, -1.0
    assert torch.equal(nearer.grad, moved)


@pytest.mark.parametrize(("recency", "shares"), [(0.0, (1 / 4, 1 / 4, 1 / 4, 1 / 4)), (1.0, (0.1, 0.2, 0.3, 0.4))])
def test_the_perceptron_ends_at_the_average_of_its_weights(recency, shares):
    """At η = 1 step t counts t times, of 1 + 2 + 3 + 4."""
    seen = []

    class Watched(evp.get_method("structured_perceptron")):
        @classmethod
        def trained(cls, model, after_step=None):
            def both(taken):
                seen.append({name: p.detach().clone() for name, p in model.module.named_parameters()})
                after_step(taken)

            return super().trained(model, both)

    task, budget = evp.get_task("labelled_chain", length=3), evp.Budget(steps=4, batch_size=8, examples=32)
    model = evp.fit(Watched, task, seeds=[0, 1], budget=budget, dtype=torch.float64, recency=recency)
    assert len(seen) == 4
    for name, parameter in model.module.named_parameters():
        expected = sum(share * weights[name] for share, weights in zip(shares, seen, strict=True))
        assert torch.allclose(parameter.detach(), expected, atol=1e-12), name
    assert not torch.equal(seen[0]["transitions"], seen[3]["transitions"])


@pytest.mark.parametrize("factors", ["chain", "whole"])
@pytest.mark.parametrize("name", [*METHODS, "hinge"])
def test_their_steps_on_sequences_are_recorded_and_the_same_to_the_bit(name, factors, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "ebm_vs_prob.training")
    task, budget = evp.get_task("labelled_chain", length=3), evp.Budget(steps=5, batch_size=8, examples=32)
    fits = []
    for recorded in (300, 1):
        monkeypatch.setattr(loop, "RECORDED", recorded)
        network = evp.Network(hidden=(6,), factors=factors)
        fits.append(evp.fit(name, task, seeds=[0, 1], budget=budget, network=network).module.state_dict())
    assert not caplog.records
    assert all(torch.equal(value, fits[1][key]) for key, value in fits[0].items())


@pytest.mark.parametrize("name", METHODS)
def test_a_regulariser_along_y_is_refused(name):
    task = evp.get_task("labelled_chain", length=3)
    with pytest.raises(ValueError, match=r"gradient_penalty = 1\.0 is not valid: expected 0 where answers are"):
        evp.fit(name, task, budget=evp.Budget(steps=2, batch_size=8, examples=32), gradient_penalty=1.0)


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("structured_hinge", {"margin": 0.0}, "margin = 0.0 is not valid"),
        ("structured_perceptron", {"recency": -1.0}, "recency = -1.0 is not valid"),
        ("structured_perceptron", {"margin": 1.0}, "unknown option"),
    ],
)
def test_bad_options_are_named(name, options, error):
    with pytest.raises((ValueError, LookupError), match=error):
        evp.fit(name, evp.get_task("labelled_chain", length=3), **options)


def test_they_are_for_discrete_answers():
    assert all("real vectors" in evp.get_method(name).why_not(evp.get_task("circle")) for name in METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_they_keep_the_rules_on_sequences(name):
    check_method(name, evp.get_task("labelled_chain", length=3))


@pytest.mark.slow
@pytest.mark.parametrize("factors", ["chain", "whole"])
@pytest.mark.parametrize("name", METHODS)
def test_they_find_nearly_the_bayes_answer_of_a_chain(name, factors):
    task = evp.get_task("labelled_chain", length=4, thickness=0.7)
    budget, network = evp.Budget(steps=400, batch_size=64, examples=3000), evp.Network(hidden=(16, 16), factors=factors)
    model = evp.fit(name, task, seeds=[0, 1], budget=budget, network=network, learning_rate=0.02)
    x, y = task.sample(2000, split="test")
    bayes = float((task.reference.answers(x)[:, 0] != y).double().mean())
    found = model.infer(x, n_starts=1).y[:, :, 0]
    lost = (found != y).double().mean((1, 2)) - bayes
    assert (lost < 0.05).all()  # a guess loses more than .3


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_many_right_answers_of_one_x_are_asked_to_be_worse_than_each_other(name):
    """Of strings with an even number of ones the law holds all to be as good, and no energy has a hinge of 0: the
    margin loses some of them, and the perceptron has nothing better than a constant."""
    task = evp.get_task("hard_strings", kind="parity", length=5, thickness=0.1)
    budget, network = evp.Budget(steps=400, batch_size=64, examples=1000), evp.Network(hidden=(32,), factors="whole")
    model = evp.fit(name, task, seeds=[0, 1], budget=budget, network=network)
    every = task.y_space.every_answer()
    energies = model.energy(torch.zeros(len(every), 0), every)
    odd = every.sum(-1) % 2 == 1
    assert (energies[:, odd].amin(1) < energies[:, ~odd].amax(1)).all()
    if name == "structured_perceptron":
        assert (energies.amax(1) - energies.amin(1) < 0.05).all()
