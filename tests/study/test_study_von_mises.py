"""The study of collapse on the von Mises circle: what it plans, and where it goes in a sixth of its steps."""

from __future__ import annotations

import math

import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.study import load_study


@pytest.fixture(scope="module")
def study():
    return load_study("von_mises_collapse")


def test_its_arms_are_the_published_ones_read_at_three_temperatures_and_the_truth(study):
    trained = [arm for arm in study.arms if arm.method == "persistent_contrastive_divergence"]
    assert [arm.name for arm in study.arms if arm not in trained] == ["two_step", "likelihood", "exact"]
    options = {arm.name: evp.get_method(arm.method).Options(**arm.options) for arm in trained}
    for name, own in options.items():
        assert own.langevin_noise == (0.005 if name.startswith("noise_005") else 0.5)
        assert own.step_size**2 / 2 == pytest.approx(10.0, rel=1e-8)
        # Chains with noise s and gradient step h are at temperature s² / 2h.
        chains = pytest.approx(2 * 10.0 / own.langevin_noise**2, rel=1e-6)
        assert own.gibbs_beta == (chains if name.endswith("chains") else None if name.endswith("fitted") else 1.0)


def test_its_bounds_hold_off_the_uniform_laws(study):
    """A uniform law on the box must count as collapsed, and one on the circle as a wrong density."""
    bounds = {criterion.id: (criterion.below, criterion.above) for criterion in study.criteria}
    task = evp.get_task("circle", thickness=0.0)
    area = (task.y_space.bounds[1] - task.y_space.bounds[0]) ** 2
    assert 4 * math.pi * 0.05 / area < 0.1 * bounds["C10-collapse"][0]
    angle = (evp.get_task("circle", thickness=0.0).reference.answers(task.sample(1)[0]))[0]
    reference = task.reference
    uniform = (reference.angle(angle) + math.pi) / (2 * math.pi)
    assert (reference.angle_cdf(reference.angle(angle)) - uniform).abs().max() > 1.5 * bounds["C10-density"][1]
    assert bounds["C10-support"][1] == 0.99


@pytest.mark.slow
def test_little_noise_collapses_the_energy_and_more_finds_the_circle(study):
    scale = study.at("quick")
    task = evp.get_task("circle", **study.tasks[0].options, thickness=0.0)
    measured = {}
    for name in ("noise_005", "noise_5"):
        arm = study.arm(name)
        model = evp.fit(
            arm.method,
            task,
            seeds=[0, 1],
            network=evp.Network(**scale.network),
            budget=evp.Budget(**{**scale.budget, "steps": 400}),
            **arm.options,
        )
        assert all(status.ok for status in model.status)
        table = evp.evaluate(model, task, Evaluation(test_examples=64, inputs=1, starts=1, samples=2000))
        measured[name] = table.groupby("metric").value.mean()
    assert measured["noise_005"]["tube_mass"] < 0.1
    assert measured["noise_5"]["tube_mass"] > 0.2
    assert measured["noise_5"]["angle_ks"] > 0.08
