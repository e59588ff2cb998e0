"""The density that an unnormalised energy stands for: its temperature, and its distance to the truth."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gaussian import gaussian
from hand_made import HandMade
from statistical import within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.metrics.likelihood import gibbs_gap, gibbs_log_score, likelihood_gap
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.metrics.options import Evaluation
from ebm_vs_prob.metrics.smoothing import excess, smoothing_price
from ebm_vs_prob.models.model import EnergyModel

LOOK = Evaluation(test_examples=2048, inputs=2, starts=2, samples=8, max_steps=3)


class HandMadeEnergy(HandMade, EnergyModel):
    """A hand-made energy with a temperature of its own."""

    def __init__(self, tasks, energy, beta):
        super().__init__(tasks, energy)
        self._beta = torch.tensor(beta, dtype=torch.float64)


class InOtherUnits(Observation):
    """Of tasks whose units are 1, e and e² of the data's."""

    log_unit = np.array([0.0, 1.0, 2.0])


def of(table, metric):
    return table[table.metric == metric].set_index("replicate")


@pytest.mark.parametrize("dim", [1, 2])
def test_gap_is_the_divergence_of_the_tempered_density(dim):
    """E = 3/2 |y|² + 5 at beta = g / 3 is N(0, I / g): its divergence from N(0, I) is d/2 (g - 1 - ln g)."""
    task = gaussian(dim)
    log_norm = 0.5 * dim * math.log(2 * math.pi)
    task.reference = SimpleNamespace(log_prob=lambda x, y: -0.5 * y.square().sum(-1) - log_norm)
    tasks = (task,) * 3
    tempered = (1.0, 0.5, 4.0)
    model = HandMadeEnergy(tasks, lambda x, y, r: 1.5 * y.square().sum(-1) + 5.0, [g / 3 for g in tempered])
    gap = gibbs_gap(Observation(model, tasks, LOOK))["gibbs_gap"]
    for r, g in enumerate(tempered):
        expected = 0.5 * dim * (g - 1 - math.log(g))
        assert within_standard_errors(gap.value[r], expected, gap.error[r], comparisons=3, slack=1e-5)
        assert gap.n[r] == 2048
    assert gap.value[0] == pytest.approx(0.0, abs=1e-5)  # the truth, pair by pair


@pytest.mark.parametrize("dim", [1, 2])
def test_log_score_is_that_of_the_tempered_density_in_the_units_of_the_data(dim):
    """The same energy at beta = g / 3: ln N(y; 0, I / g), pair by pair, less ln of the unit."""
    task = gaussian(dim)
    tempered = (1.0, 0.5, 4.0)
    model = HandMadeEnergy((task,) * 3, lambda x, y, r: 1.5 * y.square().sum(-1) + 5.0, [g / 3 for g in tempered])
    observed = Observation(model, (task,) * 3, LOOK)
    score = gibbs_log_score(observed)["gibbs_log_score"]
    for r, g in enumerate(tempered):
        squared = observed.test[1][r].square().sum(-1)
        expected = float((-0.5 * g * squared).mean()) + 0.5 * dim * math.log(g / (2 * math.pi))
        assert score.value[r] == pytest.approx(expected, abs=1e-5)
        assert score.n[r] == 2048
    shifted = gibbs_log_score(InOtherUnits(model, (task,) * 3, LOOK))["gibbs_log_score"]
    assert (score.value - shifted.value).tolist() == pytest.approx([0.0, 1.0, 2.0])


def test_a_normalised_model_has_the_gap_of_its_own_density():
    task = evp.get_task("three_curves", thickness=0.1)
    model = evp.fit("mixture_density", task, seeds=[0, 1], budget=Budget(steps=20, batch_size=16, examples=64))
    observed = Observation(model, (task, task), LOOK)
    gap, own = gibbs_gap(observed)["gibbs_gap"], likelihood_gap(observed)["likelihood_gap"]
    assert gap.value.tolist() == own.value.tolist()


def test_both_families_are_scored_on_the_same_rows():
    """Where each x has a partition function of its own, those for which energies have theirs computed."""
    task = evp.get_task("three_curves", thickness=0.1)
    look = LOOK.model_copy(update={"test_examples": 64, "partitions": 8})
    budget = Budget(steps=20, batch_size=16, examples=64)
    for method in ("mixture_density", "denoising_score_matching"):
        model = evp.fit(method, task, seeds=[0, 1], budget=budget)
        score = gibbs_log_score(Observation(model, (task, task), look))["gibbs_log_score"]
        assert score.n.tolist() == [8, 8], method


def test_what_stands_for_no_density_has_no_gap():
    budget = Budget(steps=20, batch_size=16, examples=64)
    for method, thickness, why in (
        ("mean_squared_error", 0.1, "stands for no density"),
        ("denoising_score_matching", 0.0, "no density"),
    ):
        task = evp.get_task("three_curves", thickness=thickness)
        table = evp.evaluate(evp.fit(method, task, budget=budget), task, LOOK)
        assert math.isnan(of(table, "gibbs_gap").value[0])
        assert why in table.attrs["notes"]["gibbs_gap"]


def test_a_temperature_that_is_given_is_the_models():
    task = evp.get_task("circle", thickness=0.1)
    budget = Budget(steps=20, batch_size=16, examples=64)
    model = evp.fit("denoising_score_matching", task, seeds=[0, 1], budget=budget, gibbs_beta=2.5)
    x, y = task.sample(16, seed=0)
    assert model.beta.tolist() == [2.5, 2.5]
    torch.testing.assert_close(model.gibbs(x).log_prob(y), model.gibbs(x, beta=2.5).log_prob(y))
    fitted = evp.fit("denoising_score_matching", task, seeds=[0, 1], budget=budget)
    assert not torch.equal(fitted.beta, model.beta)
    torch.testing.assert_close(fitted.energy(x, y), model.energy(x, y))  # training does not see it


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, "1"])
def test_a_bad_temperature_is_named(value):
    with pytest.raises(ValueError, match="gibbs_beta = "):
        evp.fit("hinge", evp.get_task("circle"), gibbs_beta=value)


@pytest.mark.parametrize(("sigma", "thickness", "codimension"), [(0.1, 0.03, 1), (0.3, 0.3, 3), (0.03, 0.3, 7)])
def test_price_of_smoothing_is_a_divergence_of_normals(sigma, thickness, codimension):
    true = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), thickness)
    blurred = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), math.hypot(sigma, thickness))
    expected = codimension * float(torch.distributions.kl_divergence(true, blurred))
    assert float(smoothing_price(sigma, thickness, codimension)) == pytest.approx(expected, rel=1e-9)
    assert float(smoothing_price(0.0, thickness, codimension)) == 0.0
    assert float(smoothing_price(0.0, 0.0, codimension)) == 0.0
    assert math.isinf(float(smoothing_price(sigma, 0.0, codimension)))


@pytest.mark.parametrize("name", ["circle", "three_curves", "linear_gaussian"])
def test_a_perfect_model_of_blurred_data_has_no_excess(name, monkeypatch):
    """Its density is the task's at thickness sqrt(ε² + σ²); the law is of straight manifolds, and these bend."""
    tasks = tuple(evp.get_task(name, thickness=thickness) for thickness in (0.1, 0.03, 0.01))
    sigma = 0.1
    blurred = [task.with_thickness(math.hypot(task.thickness, sigma)).reference for task in tasks]
    model = HandMadeEnergy(tasks, lambda x, y, r: -blurred[r].log_density(x, y), [1.0, 1.0, 1.0])
    monkeypatch.setattr(model.method, "smoothing", lambda options: sigma)
    look = LOOK.model_copy(update={"partitions": 512})
    found = excess(Observation(model, tasks, look))["excess"]
    assert within_standard_errors(found.value, 0.0, found.error, slack=0.02)
    gap = gibbs_gap(Observation(model, tasks, look))["gibbs_gap"]
    assert (gap.value - found.value > [0.05, 0.5, 1.5]).all()


def test_where_no_dimension_is_known_there_is_no_excess():
    task = evp.get_task("gustafsson_1d")
    table = evp.evaluate(evp.fit("exact", task, budget=Budget(examples=64)), task, LOOK, only=["excess"])
    assert "no manifold" in table.attrs["notes"]["excess"]
