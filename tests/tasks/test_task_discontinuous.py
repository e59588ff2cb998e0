"""Steps, two-valued circle and hyperbola: values, density and entropy against independent computations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.discontinuous import GAP, JUMPS, LEVELS
from ebm_vs_prob.tasks.reference import HasBranches
from ebm_vs_prob.testing import check_task

SHAPES = ("step", "circle", "hyperbola")
shapes = pytest.mark.parametrize("shape", SHAPES)


def task_at(shape, thickness, upper=0.5):
    return evp.get_task("discontinuous", shape=shape, thickness=thickness, upper=upper)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["circle", "hyperbola"])  # the step is the default
def test_it_keeps_the_rules(shape):
    check_task(task_at(shape, 0.05, upper=0.7))


def test_the_values_are_the_curves():
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64).unsqueeze(-1)
    circle, hyperbola, step = (task_at(shape, 0.0).values(x) for shape in ("circle", "hyperbola", "step"))
    torch.testing.assert_close(x**2 + circle**2, torch.ones_like(circle))
    torch.testing.assert_close(hyperbola**2 - x**2, torch.full_like(circle, GAP**2))
    for two in (circle, hyperbola):
        torch.testing.assert_close(two[:, 0], -two[:, 1])
        assert bool((two[:, 0] >= 0).all())
    assert step.unique().tolist() == sorted(LEVELS)
    for jump, before, after in zip(JUMPS, LEVELS[:-1], LEVELS[1:], strict=True):
        at = torch.tensor([[jump - 1e-9], [jump], [jump + 1e-9]], dtype=torch.float64)
        assert task_at("step", 0.0).values(at).flatten().tolist() == [before, after, after]


@shapes
def test_inputs_are_uniform_and_labels_have_their_shares(shape):
    task = task_at(shape, 0.01, upper=0.7)
    x, y, label = task.sample_with_latent(20_000, seed=0)
    checks = 3 * len(SHAPES)
    assert follows(x, stats.uniform(-1, 2).cdf, comparisons=checks)
    counts = torch.bincount(label, minlength=len(task.weights))
    assert len(counts) == 1 or counts_agree(counts, task.weights, comparisons=checks)
    noise = (y - task.values(x).gather(1, label.unsqueeze(1))) / 0.01
    assert follows(noise, "norm", comparisons=checks)


@shapes
@pytest.mark.parametrize("thickness", [0.5, 0.1, 0.003])
def test_log_prob_is_the_mixture(shape, thickness):
    task = task_at(shape, thickness, upper=0.7)
    x, y = task.sample(100, seed=1)
    components = stats.norm(task.values(x).numpy(), thickness).pdf(y.numpy())
    np.testing.assert_allclose(task.reference.log_prob(x, y).exp().numpy(), components @ task.weights, rtol=1e-9)
    side = torch.linspace(*task.y_space.bounds, 200_001, dtype=torch.float64).unsqueeze(-1)
    mass = torch.trapezoid(task.reference.log_density(x[:1], side).exp(), side.squeeze(-1))
    assert float(mass) == pytest.approx(1.0, abs=1e-8)
    assert bool(task.reference.log_density(x[:1], side * 1e3).isfinite().all())


@shapes
@pytest.mark.parametrize("thickness", [3.0, 0.3, 0.01, 1e-4])
def test_mean_log_prob_is_minus_the_entropy(shape, thickness):
    task = task_at(shape, thickness, upper=0.8)
    values = task.reference.log_prob(*task.sample(20_000, seed=3))
    error = values.std() / len(values) ** 0.5
    assert within_standard_errors(values.mean(), -task.reference.entropy(), error, comparisons=12)


@pytest.mark.parametrize("shape", ["circle", "hyperbola"])
@pytest.mark.parametrize("thickness", [0.5, 0.1])
def test_entropy_against_adaptive_quadrature(shape, thickness):
    weights = (0.8, 0.2)

    def surprise(y, height):
        density = sum(
            weight * math.exp(-0.5 * ((y - place) / thickness) ** 2)
            for weight, place in zip(weights, (height, -height), strict=True)
        ) / (thickness * math.sqrt(2 * math.pi))
        return -density * math.log(density) if density > 0 else 0.0

    def given_x(x):
        height = math.sqrt(1 - x**2 if shape == "circle" else x**2 + GAP**2)
        reach = height + 10 * thickness
        return integrate.quad(surprise, -reach, reach, args=(height,), points=(-height, height), epsabs=1e-11)[0]

    # Both are even in x.
    expected = integrate.quad(given_x, 0.0, 1.0, epsabs=1e-8, limit=100)[0]
    assert task_at(shape, thickness, upper=0.8).reference.entropy() == pytest.approx(expected, abs=3e-8)


def test_entropy_of_thin_values_is_label_plus_noise():
    labels = -sum(weight * math.log(weight) for weight in (0.8, 0.2))
    for thickness in (0.01, 1e-4):
        noise = math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e)
        assert task_at("step", thickness).reference.entropy() == pytest.approx(noise, abs=1e-12)
        hyperbola = task_at("hyperbola", thickness, upper=0.8).reference.entropy()
        assert hyperbola == pytest.approx(labels + noise, abs=1e-9)
        # On the circle the values meet where x is within some ε² of 1.
        circle = task_at("circle", thickness, upper=0.8).reference.entropy()
        assert labels + noise - 2 * thickness**2 < circle < labels + noise


@shapes
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_derivatives_against_finite_differences(shape, thickness):
    task = task_at(shape, thickness, upper=0.7)
    x, y = task.sample(20, seed=0)
    step = 1e-4 * thickness
    log_prob = task.reference.log_density
    gradient = torch.func.vmap(torch.func.grad(log_prob, argnums=1))(x, y)
    hessian = torch.func.vmap(torch.func.hessian(log_prob, argnums=1))(x, y)
    slope = (log_prob(x, y + step) - log_prob(x, y - step)) / (2 * step)
    bend = (log_prob(x, y + step) - 2 * log_prob(x, y) + log_prob(x, y - step)) / step**2
    torch.testing.assert_close(gradient.squeeze(-1), slope, rtol=1e-6, atol=1e-6 / thickness)
    torch.testing.assert_close(hessian.reshape(-1), bend, rtol=1e-3, atol=1e-3 / thickness**2)


@shapes
def test_answers_are_the_values_in_the_order_of_the_labels(shape):
    task = task_at(shape, 0.0, upper=0.7)
    x, y, label = task.sample_with_latent(50)
    answers = task.reference.answers(x)
    torch.testing.assert_close(answers[torch.arange(50), label], y)
    assert float(task.reference.distance(x, y).max()) < 1e-12
    assert float(task.reference.distance(x, y + 0.01).max()) == pytest.approx(0.01)


@pytest.mark.parametrize("shape", ["circle", "hyperbola"])
@pytest.mark.parametrize("thickness", [0.0, 0.1, 0.6])
def test_weights_of_branches_against_sums_over_y(shape, thickness):
    task = task_at(shape, thickness, upper=0.7)
    x = torch.tensor([[-0.9], [0.0], [0.5]], dtype=torch.float64)
    weights = task.reference.branch_weights(x)
    if thickness == 0.0:
        assert weights.tolist() == [pytest.approx([0.7, 0.3])] * 3
        return
    y = torch.arange(-8.0, 8.0, 2e-4, dtype=torch.float64).unsqueeze(-1) + 1e-4
    for given_x, expected in zip(x, weights, strict=True):
        repeated = given_x.expand(len(y), 1)
        mass = task.reference.log_density(repeated, y).exp() * 2e-4
        found = torch.zeros(2, dtype=torch.float64).index_add(0, task.reference.branch(repeated, y), mass)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_a_function_has_no_branches():
    assert not isinstance(task_at("step", 0.1).reference, HasBranches)
    assert isinstance(task_at("circle", 0.1).reference, HasBranches)


@given(shape=st.sampled_from(SHAPES), thickness=st.just(0.0) | st.floats(1e-12, 100.0), upper=st.floats(0.01, 0.99))
@settings(max_examples=30)
def test_every_valid_task_works(shape, thickness, upper):
    task = task_at(shape, thickness, upper)
    assert json.loads(json.dumps(task.specification())) == task.specification()
    x, y = task.sample(5)
    assert bool(y.isfinite().all())
    if thickness > 1e-100:
        assert bool(task.reference.log_prob(x, y).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "steps"}, "discontinuous: shape = 'steps' is not valid"),
        ({"upper": 0.0}, "discontinuous: upper = 0.0 is not valid"),
        ({"upper": math.nan}, "discontinuous: upper = nan is not valid"),
        ({"thickness": -1.0}, "discontinuous: thickness = -1.0 is not valid"),
        ({"shap": "step"}, "did you mean 'shape'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.get_task("discontinuous", **options)
