"""Systems that see one view each, put together: rules on what they were trained to say, against Bayes' rule."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.comparison.fusion import FUSIONS
from ebm_vs_prob.control.fused_views import FusedEnergy, Rule
from ebm_vs_prob.testing import check_method

BUDGET = evp.Budget(steps=600, batch_size=256, examples=10_000)


def test_its_rules_are_those_of_fusion():
    assert set(get_args(Rule)) == set(FUSIONS)


@pytest.mark.slow
def test_conforms():
    check_method("fused_views")


def test_no_system_sees_the_others_view():
    energy = FusedEnergy((0, 1), 2, evp.get_task("fusion").y_space, evp.Network(hidden=(8,)))
    x = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 1] += 1.0
    first, second = energy.energies(x)
    assert torch.equal(energy.energies(changed)[0], first)
    assert not torch.equal(energy.energies(changed)[1], second)


@pytest.fixture(scope="module")
def fused():
    """Of each rule what it loses against Bayes' rule of independent views, in nats; scores in units 3 and .4."""
    task = evp.get_task("fusion")
    x, _ = task.sample(4000, seed=0, split="test")
    posterior = task.reference.log_posterior(x)

    def lost(rule):
        model = evp.fit(
            "fused_views",
            task,
            seeds=[0],
            budget=BUDGET,
            network=evp.Network(hidden=(16,)),
            rule=rule,
            first_unit=3.0,
            second_unit=0.4,
            learning_rate=0.03,
        )
        log_fused = -model.graph(x).unary[0, :, 0].double()
        torch.testing.assert_close(log_fused.exp().sum(-1), torch.ones(4000, dtype=torch.float64), rtol=0, atol=1e-5)
        return float((posterior.exp() * (posterior - log_fused)).sum(-1).mean())

    return {rule: lost(rule) for rule in ("raw", "temperature", "temperature_over_prior", "stacked")}


def test_calibrated_scores_over_the_prior_come_near_to_bayes_rule(fused):
    """By quadrature the exact views lose 0 over the prior and .150 without it; training adds some thousandths."""
    assert fused["temperature_over_prior"] < 0.01
    assert fused["stacked"] < 0.02
    assert fused["temperature"] == pytest.approx(0.15, abs=0.02)
    assert fused["raw"] > 0.3


def test_a_failed_replicate_says_nothing_and_leaves_the_others():
    task = evp.get_task("fusion")
    short = evp.Budget(steps=20, batch_size=32, examples=200)
    model = evp.fit("fused_views", task, seeds=[0, 1], budget=short, learning_rate=[0.01, 1e30])
    assert [status.ok for status in model.status] == [True, False]
    table = evp.evaluate(model, task)
    gap = table[table.metric == "likelihood_gap"].value.to_numpy()
    assert np.isfinite(gap[0])
    assert np.isnan(gap[1])


def test_one_view_is_refused():
    with pytest.raises(ValueError, match="two systems see one each"):
        evp.fit("fused_views", evp.get_task("fusion", seen="first"), budget=BUDGET)
