"""Metrics of strings and of what answers cost: counts by hand, the truth, and models whose value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.metrics.answer_cost import counted

SMALL = Evaluation(test_examples=64, inputs=16, starts=1, partitions=16, samples=512, max_steps=5)
TINY = evp.Budget(steps=3, batch_size=8, examples=64)


def value(name, model, task, evaluation=SMALL):
    table = evp.evaluate(model, task, evaluation, only={name})
    return table[table.metric == name].value.to_numpy(dtype=float)


def test_numbers_are_counted_once_and_views_not():
    x, w = torch.ones(4, 5), torch.ones(5, 6)
    assert counted(lambda: x + 1) == 20
    assert counted(lambda: x.reshape(20)[:3].unsqueeze(0)) == 0
    assert counted(lambda: x @ w) == 4 * 5 * 6
    assert counted(lambda: x.min(-1)) == 8  # values and places


def test_the_numbers_of_a_chain_grow_as_its_length_and_of_all_strings_as_their_number():
    def numbers(length, **network):
        task = evp.get_task("labelled_chain", length=length)
        model = evp.fit("linear_chain_crf", task, budget=TINY, network=evp.Network(hidden=(4,), **network))
        return value("answer_numbers", model, task)[0]

    assert math.log(numbers(64) / numbers(32)) / math.log(2) == pytest.approx(1.0, abs=0.05)
    assert math.log(numbers(8, factors="whole") / numbers(5, factors="whole")) / 3 == pytest.approx(
        math.log(3), abs=0.05
    )


@pytest.mark.parametrize("kind", ["parity", "knapsack"])
def test_what_the_truth_answers_and_draws_is_right(kind):
    task = evp.get_task("hard_strings", kind=kind, length=6)
    model = evp.fit("exact", task, seeds=[0, 1])
    assert value("wrong_answers", model, task).tolist() == [0.0, 0.0]
    # A miss of 1 weighs exp(-8): of 512 draws one is wrong once in three runs, five never.
    assert (value("wrong_draws", model, task) < 0.01).all()
    np.testing.assert_allclose(value("gap_per_symbol", model, task), 0.0, atol=1e-6)


def test_half_of_all_strings_are_odd():
    """An untrained energy of neighbours draws about at random: some half is wrong, 16384 draws to within .02."""
    task = evp.get_task("hard_strings", kind="parity", length=6)
    model = evp.fit("linear_chain_crf", task, budget=TINY, network=evp.Network(hidden=(4,)))
    evaluation = SMALL.model_copy(update={"samples": 16384})
    assert value("wrong_draws", model, task, evaluation)[0] == pytest.approx(0.5, abs=0.02)
    gap = value("gap_per_symbol", model, task)[0]
    assert gap == pytest.approx(value("gibbs_gap_unit_beta", model, task)[0] / 6, abs=1e-12)


def test_strips_thrice_as_long_are_read_by_the_same_weights():
    task = evp.get_task("segmentation", length=1, narrowest=4, widest=4, overlap=0, thickness=0.05)
    budget = evp.Budget(steps=150, batch_size=64, examples=1000)
    model = evp.fit("lattice_crf", task, seeds=[0], budget=budget, network=evp.Network(hidden=(32,)))
    assert value("hamming_distance_long", model, task)[0] < 0.1
    chain = evp.get_task("labelled_chain", length=3)
    table = evp.evaluate(evp.fit("exact", chain), chain, SMALL)
    assert "no strip" in table.attrs["notes"]["hamming_distance_long"]


def test_costs_that_are_switched():
    """The exact law decides anew and loses nothing; an order trained for the old costs loses what it is off by."""
    task = evp.get_task("newsvendor", underage=9.0, overage=1.0)
    assert value("regret_switched", evp.fit("exact", task), task)[0] == pytest.approx(0.0, abs=1e-6)
    budget = evp.Budget(steps=400, batch_size=128, examples=4000)
    model = evp.fit("end_to_end_decision", task, budget=budget, network=evp.Network(hidden=[]), learning_rate=0.1)
    switched = task.with_costs_switched()
    assert (switched.options.underage, switched.options.overage) == (1.0, 9.0)
    x, _ = task.sample(64, seed=0, split="test")
    lost = float(switched.reference.regret(x, task.reference.decision(x)).mean())
    assert value("regret_switched", model, task)[0] == pytest.approx(lost, rel=0.2)
    assert value("regret", model, task)[0] < 0.02 * lost
    with pytest.raises(ValueError, match=r"network\.hidden"):
        evp.fit("hinge", evp.get_task("circle"), budget=TINY, network=evp.Network(hidden=[]))
