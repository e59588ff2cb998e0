"""Autoregressive densities over sequences: their sums, draws and answers, and what they can and cannot learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from statistical import counts_agree

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NotNormalised
from ebm_vs_prob.testing import check_method

TINY = evp.Budget(steps=2, batch_size=8, examples=32)


def untrained(length: int = 3, **options):
    """Two replicates that have hardly moved, on chains of three symbols."""
    task = evp.get_task("labelled_chain", length=length)
    return evp.fit("autoregressive", task, seeds=[0, 1], budget=TINY, dtype=torch.float64, **options), task


def test_it_is_normalised_and_reads_nothing_of_what_is_to_come():
    model, task = untrained()
    every = task.y_space.every_answer()
    x, _ = task.sample(4)
    given, asked = x.repeat_interleave(len(every), 0), every.repeat(4, 1)
    total = model.log_prob(given, asked).exp().reshape(2, 4, -1).sum(-1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-12)
    assert torch.equal(model.energy(given, asked), -model.log_prob(given, asked))
    changed = asked.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 3
    first, second = (model.module.logits(model._placed("x", given), y.unsqueeze(0)) for y in (asked, changed))
    assert torch.equal(first, second)  # of the last place too: it reads what came before


def test_draws_have_the_probabilities_of_the_density():
    model, task = untrained(length=2)
    every = task.y_space.every_answer()
    x, _ = task.sample(1)
    drawn = model.sample(x, 20_000, seed=1)
    shares = model.log_prob(x.expand(len(every), -1), every).exp().detach().numpy()
    for r in range(2):
        index = (drawn[r, 0] * torch.tensor([3, 1])).sum(-1)
        assert counts_agree(np.bincount(index.numpy(), minlength=9), shares[r], comparisons=2)


def test_its_answer_is_the_most_probable_one():
    model, task = untrained(length=5)
    every = task.y_space.every_answer()
    x, _ = task.sample(6)
    found = model.infer(x, n_starts=2)
    log_prob = model.log_prob(x.repeat_interleave(len(every), 0), every.repeat(6, 1)).reshape(2, 6, -1)
    assert torch.equal(found.y[:, :, 0], every[log_prob.argmax(-1)])
    assert torch.allclose(found.energy[:, :, 0], -log_prob.amax(-1), atol=1e-12)
    assert torch.equal(found.y[:, :, 0], found.y[:, :, 1])


def test_it_says_that_it_is_normalised_already():
    model, task = untrained()
    with pytest.raises(NotNormalised, match=r"use model\.log_prob"):
        model.gibbs(task.sample(2)[0])


@pytest.mark.slow
def test_it_keeps_the_rules():
    check_method("autoregressive", evp.get_task("labelled_chain", length=3))


@pytest.mark.slow
def test_it_learns_a_chain_and_loses_on_parity_what_the_last_bit_tells():
    """On parity each prefix but the whole looks like fair coins; the network would have to add eleven bits modulo 2."""
    chain = evp.get_task("labelled_chain", length=3, thickness=0.3)
    model = evp.fit("autoregressive", chain, seeds=[0, 1], budget=evp.Budget(steps=400, examples=4000))
    table = evp.evaluate(model, chain)
    gap = table[table["metric"] == "likelihood_gap"]["value"]
    assert (gap < 0.3).all()  # an even guess among 27 strings loses more than 2 nats

    parity = evp.get_task("hard_strings", kind="parity", length=12)
    model = evp.fit("autoregressive", parity, seeds=[0, 1], budget=evp.Budget(steps=200, examples=2000))
    y = parity.sample(500, split="test")[1]
    last = model.log_prob(torch.zeros(500, 0), y).mean(1) + 11 * math.log(2)
    assert (last < -0.5 * math.log(2)).all()  # of ln 2 that the last bit holds it has less than half


def test_it_is_measured_at_its_own_temperature():
    task = evp.get_task("hard_strings", length=4)
    budget = evp.Budget(steps=20, batch_size=16, examples=64)
    model = evp.fit("autoregressive", task, seeds=[200, 201], budget=budget)
    asked = ("gibbs_gap", "gibbs_gap_unit_beta", "likelihood_gap")
    table = evp.evaluate(model, task, evp.Evaluation(test_examples=16), only=asked)
    found = table.groupby("metric")["value"].mean()
    assert found["gibbs_gap_unit_beta"] == found["likelihood_gap"] > 0
    assert math.isnan(found["gibbs_gap"])
    assert "read it at beta = 1" in table.attrs["notes"]["gibbs_gap"]
