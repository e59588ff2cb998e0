"""Three curves: gap, shares, density and entropy against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.three_curves import EXTENT, MIN_GAP, WEIGHTS, curves


def task_at(thickness):
    return evp.get_task("three_curves", thickness=thickness)


def test_the_stated_gap_and_extent_hold_and_are_tight():
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64).unsqueeze(-1)
    values = curves(x)
    gaps = (values[:, :-1] - values[:, 1:]).amin(0)
    slope = float(values.diff(dim=0).abs().max()) / 1e-4
    assert float(gaps.min()) > MIN_GAP + 1e-4 * slope  # the gap between neighbouring nodes is covered too
    assert float(gaps.min()) < MIN_GAP + 0.02
    assert float(values.abs().max()) <= EXTENT + 1e-12


@pytest.mark.parametrize(("thickness", "extent"), [(0.0, 3.0), (0.3, 3.0), (0.5, 4.1)])
def test_the_box_leaves_room_for_the_noise(thickness, extent):
    low, high = task_at(thickness).y_space.bounds
    assert (low, high) == (pytest.approx(-extent), pytest.approx(extent))


def test_inputs_are_uniform_and_labels_have_their_shares():
    x, y, label = task_at(0.01).sample_with_latent(20_000, seed=0)
    assert follows(x, stats.uniform(-1, 2).cdf, comparisons=4)
    counts = np.bincount(label.numpy(), minlength=3)
    assert counts_agree(counts, WEIGHTS, comparisons=4)
    assert label.dtype == torch.int64
    noise = (y - curves(x).gather(1, label.unsqueeze(1))) / 0.01
    assert follows(noise, "norm", comparisons=4)
    # The correlation of n independent pairs has standard error 1 / sqrt(n).
    assert within_standard_errors(np.corrcoef(x.squeeze(-1), label)[0, 1], 0.0, 20_000**-0.5, comparisons=4)


def test_the_mean_answer_is_no_answer():
    """What makes regression fail here: for most x the mean of y lies far from every curve."""
    task = task_at(0.0)
    x, _ = task.sample(1000)
    mean = curves(x) @ torch.tensor(WEIGHTS, dtype=torch.float64).unsqueeze(-1)
    assert float(task.reference.distance(x, mean).median()) > 0.2


@pytest.mark.parametrize("thickness", [0.5, 0.1, 0.003])
def test_log_prob_is_the_mixture(thickness):
    task = task_at(thickness)
    x, y = task.sample(100, seed=1)
    components = stats.norm(curves(x).numpy(), thickness).pdf(y.numpy())
    np.testing.assert_allclose(task.reference.log_prob(x, y).exp().numpy(), components @ np.array(WEIGHTS), rtol=1e-9)
    side = torch.linspace(*task.y_space.bounds, 200_001, dtype=torch.float64).unsqueeze(-1)
    mass = torch.trapezoid(task.reference.log_density(x[:1], side).exp(), side.squeeze(-1))
    assert float(mass) == pytest.approx(1.0, abs=1e-8)
    assert bool(task.reference.log_density(x[:1], side * 1e3).isfinite().all())


@pytest.mark.parametrize("thickness", [0.5, 0.3, 0.1, 0.03, 0.003])
def test_mean_log_prob_is_minus_the_entropy(thickness):
    task = task_at(thickness)
    values = task.reference.log_prob(*task.sample(40_000, seed=3))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("thickness", [0.5, 0.2])
def test_entropy_against_adaptive_quadrature(thickness):
    def surprise(y, x):
        means = curves(torch.tensor([x], dtype=torch.float64)).numpy()
        density = float(np.array(WEIGHTS) @ np.exp(-0.5 * ((y - means) / thickness) ** 2))
        density /= thickness * math.sqrt(2 * math.pi)
        return -density * math.log(density) if density > 0 else 0.0

    # The curves repeat themselves outside [-1, 1], so midpoints in x converge as fast as Gauss-Legendre nodes.
    x = -1 + 2 * (np.arange(40) + 0.5) / 40
    reach = EXTENT + 9 * thickness
    inner = [integrate.quad(surprise, -reach, reach, args=(u,), epsabs=1e-11, limit=200)[0] for u in x]
    assert task_at(thickness).reference.entropy() == pytest.approx(np.mean(inner), abs=1e-8)


def test_entropy_of_thin_curves_is_label_plus_noise():
    labels = -sum(weight * math.log(weight) for weight in WEIGHTS)
    for thickness in (0.01, 0.003, 1e-4):
        noise = math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e)
        assert task_at(thickness).reference.entropy() == pytest.approx(labels + noise, abs=1e-9)


@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_derivatives_against_finite_differences(thickness):
    task = task_at(thickness)
    x, y = task.sample(20, seed=0)
    step = 1e-4 * thickness

    def log_prob(x, y):
        return task.reference.log_density(x, y)

    slope = (log_prob(x, y + step) - log_prob(x, y - step)) / (2 * step)
    bend = (log_prob(x, y + step) - 2 * log_prob(x, y) + log_prob(x, y - step)) / step**2
    gradient = torch.func.vmap(torch.func.grad(log_prob, argnums=1))(x, y)
    hessian = torch.func.vmap(torch.func.hessian(log_prob, argnums=1))(x, y)
    torch.testing.assert_close(gradient.squeeze(-1), slope, rtol=1e-6, atol=1e-6 / thickness)
    torch.testing.assert_close(hessian.reshape(-1), bend, rtol=1e-3, atol=1e-3 / thickness**2)
    along_x = (log_prob(x + step, y) - log_prob(x - step, y)) / (2 * step)
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(log_prob))(x, y).squeeze(-1), along_x, rtol=1e-5, atol=1e-5 / thickness
    )


def test_answers_are_the_curves_in_the_order_of_the_labels():
    task = task_at(0.0)
    x, y, label = task.sample_with_latent(50)
    answers = task.reference.answers(x)
    assert answers.shape == (50, 3, 1)
    torch.testing.assert_close(answers[torch.arange(50), label], y)
    samples = task.reference.sample(x, 400, seed=1)
    # Of 20,000 draws Pearson's statistic sees a share that is off by .025 with a power of .999.
    chosen = (samples - answers.movedim(1, 2)).abs().argmin(-1)
    assert counts_agree(torch.bincount(chosen.flatten(), minlength=3), WEIGHTS)


@pytest.mark.parametrize("thickness", [0.0, 0.05, 0.5])
def test_weights_of_branches_against_sums_over_y(thickness):
    task = task_at(thickness)
    x = torch.linspace(-1, 1, 7, dtype=torch.float64).unsqueeze(-1)
    weights = task.reference.branch_weights(x)
    if thickness == 0.0:
        torch.testing.assert_close(weights, torch.tensor(WEIGHTS, dtype=torch.float64).expand(7, 3))
        return
    y = torch.arange(-6.0, 6.0, 2e-4, dtype=torch.float64).unsqueeze(-1)
    for given, expected in zip(x, weights, strict=True):
        repeated = given.expand(len(y), 1)
        mass = task.reference.log_density(repeated, y).exp() * 2e-4
        nearest = task.reference.branch(repeated, y)
        assert bool((task.reference.distance(repeated, y) == (y - curves(repeated)).abs().amin(-1)).all())
        found = torch.zeros(3, dtype=torch.float64).index_add(0, nearest, mass)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)  # one node, at a density below 1, on either side
