"""The squared error is what a regression minimises, on held-out pairs, and no other method has it."""

from __future__ import annotations

import math

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation, evaluate

SMALL = Evaluation(test_examples=64, inputs=4, starts=2, samples=16, partitions=4)
NARROW = evp.Network(hidden=(8,))


def squared_error(model, task, evaluation=SMALL):
    table = evaluate(model, task, evaluation, only={"squared_error"})
    rows = table[table.metric == "squared_error"]
    return rows.value.tolist(), rows.n.tolist(), table.attrs["notes"].get("squared_error", "")


@pytest.mark.parametrize("name", ["three_curves", "circle", "linear_gaussian"])
def test_it_is_the_mean_square_of_what_is_left_of_held_out_answers(name):
    task = evp.get_task(name)
    model = evp.fit("mean_squared_error", task, seeds=[3, 4], budget=evp.Budget(steps=20), network=NARROW)
    found, n, _ = squared_error(model, task)
    for replicate, seed in enumerate((3, 4)):
        x, y = task.sample(SMALL.test_examples, seed=seed, split="test")
        answer = model.infer(x.expand(2, *x.shape), 1).y[replicate, :, 0].double()
        assert found[replicate] == pytest.approx(float((y - answer).square().sum(-1).mean()), rel=1e-3)
    assert n == [64, 64]


def test_it_is_least_for_the_mean_and_a_trained_regression_comes_near():
    """Without x the regression is a constant, of which none is nearer to held-out answers than their mean."""
    task = evp.get_task("circle")
    _, y = task.sample(SMALL.test_examples, seed=0, split="test")
    least = float(y.var(0, correction=0).sum())
    for steps, most in ((1, math.inf), (500, 1.1)):
        model = evp.fit("mean_squared_error", task, seeds=[0], budget=evp.Budget(steps=steps), network=NARROW)
        found, _, _ = squared_error(model, task)
        assert least * (1 - 1e-6) <= found[0] <= most * least


@pytest.mark.parametrize("method", ["exact", "mixture_density", "denoising_score_matching"])
def test_what_is_no_regression_has_none(method):
    task = evp.get_task("circle")
    model = evp.fit(method, task, seeds=[0], budget=evp.Budget(steps=2), network=NARROW)
    found, n, note = squared_error(model, task)
    assert math.isnan(found[0])
    assert n == [0]
    assert note == f"{method} is no regression, whose one answer this is of"
    assert torch.isfinite(model.energy(*(part.unsqueeze(0) for part in task.sample(4, seed=0)))).all()
