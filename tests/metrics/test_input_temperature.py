"""The least divergence over one temperature an input: closed forms, bounds, and what it says of known models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import ebm_vs_prob as evp
from ebm_vs_prob.metrics.input_temperature import divergence_at_best_beta

METRICS = {"gibbs_gap", "gibbs_gap_unit_beta", "gibbs_gap_input_beta"}


def laws(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 3


def test_a_scaled_and_shifted_truth_loses_nothing():
    log_prob = laws(0, 50, 4).log_softmax(-1)
    scale = torch.logspace(-6, 6, 50, dtype=torch.float64).unsqueeze(-1)
    assert float(divergence_at_best_beta(log_prob, -scale * log_prob + 3.0).max()) < 1e-9


def test_an_energy_that_is_wrong_way_round_is_best_read_as_uniform():
    log_prob = laws(1, 20, 5).log_softmax(-1)
    uniform = (log_prob.exp() * log_prob).sum(-1) + math.log(5)
    torch.testing.assert_close(divergence_at_best_beta(log_prob, log_prob), uniform, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(divergence_at_best_beta(log_prob, torch.zeros(20, 5, dtype=torch.float64)), uniform)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), labels=st.integers(2, 7), scale=st.floats(1e-3, 1e3))
def test_it_is_what_a_search_by_scipy_finds(seed, labels, scale):
    log_prob, energy = laws(seed, labels).log_softmax(-1), scale * laws(seed + 1, labels)

    def divergence(log_beta):
        return float((log_prob.exp() * (log_prob - (-math.exp(log_beta) * energy).log_softmax(-1))).sum())

    at = [i / 4 - 20 for i in range(160)]
    best = min(at, key=divergence)
    found = minimize_scalar(divergence, bounds=(best - 0.3, best + 0.3), method="bounded", options={"xatol": 1e-10})
    uniform = float((log_prob.exp() * log_prob).sum()) + math.log(labels)
    own = float(divergence_at_best_beta(log_prob, energy))
    assert own == pytest.approx(min(found.fun, uniform, divergence(best)), abs=1e-8)


def test_an_energy_that_is_not_finite_is_no_number_and_its_neighbour_is_one():
    log_prob = laws(2, 2, 3).log_softmax(-1)
    energy = -log_prob.clone()
    energy[0, 1] = math.nan
    found = divergence_at_best_beta(log_prob, energy)
    assert bool(found[0].isnan())
    assert float(found[1]) == pytest.approx(0.0, abs=1e-9)


def test_the_truth_loses_nothing_and_one_beta_for_all_is_no_better_than_one_an_input():
    """Means over other pairs and in expectation: gibbs_gap is of the drawn labels, five errors apart (3e-7)."""
    task = evp.get_task("gaussian_classes", thickness=0.7)
    evaluation = evp.Evaluation(test_examples=2000, inputs=2, starts=2, samples=8)

    def row(table, metric):
        return table[table.metric == metric].iloc[0]

    truth = evp.evaluate(evp.fit("exact", task), task, evaluation, only=METRICS)
    assert float(row(truth, "gibbs_gap_input_beta").value) == pytest.approx(0.0, abs=1e-9)
    budget = evp.Budget(steps=300, batch_size=64, examples=2000)
    learned = evp.evaluate(evp.fit("hinge", task, budget=budget), task, evaluation, only=METRICS)
    one, each = row(learned, "gibbs_gap"), row(learned, "gibbs_gap_input_beta")
    assert 0.0 < float(each.value) < float(one.value) + 5 * float(one.error)


def test_real_answers_are_refused_with_the_reason():
    task = evp.get_task("circle", thickness=0.3)
    table = evp.evaluate(evp.fit("exact", task), task, only={"gibbs_gap_input_beta"})
    assert "gibbs_gap_input_beta" not in set(table.metric)
