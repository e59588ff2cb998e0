"""Toy 1 of Gustafsson et al. 2020: the published protocol, and density and entropy against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from statistical import counts_agree, follows

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.gustafsson_1d import WEIGHTS
from ebm_vs_prob.testing import check_task


def task_at(thickness):
    return evp.get_task("gustafsson_1d", thickness=thickness)


def scipy_density(x, y, thickness):
    """The protocol as the paper writes it, its widths .075 and .25 scaled together."""
    if np.all(x < 0):
        parts = [w * stats.norm.pdf(y, s * np.sin(x), thickness) for w, s in zip(WEIGHTS, (1, -1), strict=True)]
        return sum(parts)
    return stats.lognorm.pdf(y + 1.0, 0.25 * thickness / 0.075)


@pytest.mark.parametrize("thickness", [0.15, 0.03, 0.001])
def test_keeps_the_rules(thickness):
    check_task(task_at(thickness))


@pytest.mark.parametrize("thickness", [0.15, 0.075, 0.01])
def test_log_prob_is_the_published_law(thickness):
    task = task_at(thickness)
    x, y = task.sample(200, seed=1)
    expected = [scipy_density(a, b, thickness) for a, b in zip(x[:, 0].tolist(), y[:, 0].tolist(), strict=True)]
    np.testing.assert_allclose(task.reference.log_prob(x, y).exp().numpy(), expected, rtol=1e-9)
    grid = torch.linspace(*task.y_space.bounds, 400_001, dtype=torch.float64).unsqueeze(-1)
    for point in (-2.9, -1.5, -0.02, 0.0, 2.0):
        density = task.reference.log_density(torch.tensor([[point]]), grid).exp()
        assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-7)


def test_the_default_is_the_published_toy():
    """Draws of either side pass tests against the law in the paper's own numbers."""
    x, y, label = evp.get_task("gustafsson_1d").sample_with_latent(20_000, seed=0)
    x, y = x[:, 0].numpy(), y[:, 0].numpy()
    assert follows(x, stats.uniform(-3, 6).cdf, comparisons=4)
    left = x < 0
    assert follows(y[~left], stats.lognorm(0.25, loc=-1).cdf, comparisons=4)
    sign = np.where(label[left] == 0, 1.0, -1.0)
    assert follows(y[left] - sign * np.sin(x[left]), stats.norm(0, 0.075).cdf, comparisons=4)
    counts = np.bincount(label[left], minlength=2)
    assert counts_agree(counts, WEIGHTS, comparisons=4)
    assert not label[~left].any()


@pytest.mark.parametrize("thickness", [0.15, 0.075, 0.01])
def test_exact_samples_follow_the_law(thickness):
    task = task_at(thickness)
    for point in (-1.5, 1.0):
        drawn = task.reference.sample(torch.tensor([[point]], dtype=torch.float64), 4000, seed=2)[0, :, 0].numpy()
        if point < 0:
            grid = np.linspace(-3, 3, 60_001)
            cdf = integrate.cumulative_trapezoid(scipy_density(point, grid, thickness), grid, initial=0)
            assert follows(drawn, lambda v, grid=grid, cdf=cdf: np.interp(v, grid, cdf), comparisons=2)
        else:
            assert follows(drawn, stats.lognorm(thickness / 0.3, loc=-1).cdf, comparisons=2)


@pytest.mark.parametrize("thickness", [0.15, 0.075])
def test_entropy_against_adaptive_quadrature(thickness):
    nodes, weights = np.polynomial.legendre.leggauss(48)
    x = 1.5 * nodes - 1.5
    branches = np.concatenate([np.sin(x), -np.sin(x)])
    inner, _ = integrate.quad_vec(
        lambda y: special.entr(scipy_density(x, y, thickness)), -1 - 9 * thickness, 1 + 9 * thickness,
        epsabs=1e-10, norm="max", points=branches,
    )  # fmt: skip
    expected = 0.5 * (weights @ inner) / 2 + 0.5 * stats.lognorm(thickness / 0.3).entropy()
    assert task_at(thickness).reference.entropy() == pytest.approx(expected, abs=1e-7)


def test_entropy_of_the_thin_toy_is_label_plus_noise():
    """As eps falls the branches overlap only within some eps of x = 0."""
    labels = -sum(weight * math.log(weight) for weight in WEIGHTS)
    for eps, slack in ((0.01, 0.01), (0.001, 0.001)):
        noise = [math.log(scale) + 0.5 * math.log(2 * math.pi * math.e) for scale in (eps, eps / 0.3)]
        assert task_at(eps).reference.entropy() == pytest.approx(0.5 * (labels + sum(noise)), abs=slack)


@pytest.mark.parametrize("thickness", [0.15, 0.01])
def test_derivatives_are_finite_and_right(thickness):
    task = task_at(thickness)
    x, y = task.sample(20, seed=0)
    step = 1e-5 * thickness

    def log_prob(x, y):
        return task.reference.log_density(x, y)

    slope = (log_prob(x, y + step) - log_prob(x, y - step)) / (2 * step)
    gradient = torch.func.vmap(torch.func.grad(log_prob, argnums=1))(x, y).squeeze(-1)
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-4 / thickness)
    outside = torch.tensor([[-2.0]], dtype=torch.float64)
    at = torch.tensor([[1.0]], dtype=torch.float64)
    assert float(log_prob(at, outside)) == -math.inf
    assert bool(torch.func.vmap(torch.func.grad(log_prob, argnums=1))(at, outside).isfinite().all())


def test_answers_and_distance():
    thin = task_at(0.0)
    x, y, label = thin.sample_with_latent(100)
    answers = thin.reference.answers(x)
    torch.testing.assert_close(answers[torch.arange(100), label], y)
    assert float(thin.reference.distance(x, y).max()) < 1e-12
    for quantity in (thin.reference.entropy, lambda: thin.reference.log_prob(x, y)):
        with pytest.raises(NoExactReference):
            quantity()


@pytest.mark.parametrize("thickness", [-0.1, 0.2, float("nan")])
def test_bad_thickness_is_named(thickness):
    with pytest.raises(ValueError, match="thickness"):
        task_at(thickness)


def test_the_exact_model_is_evaluated_and_has_no_gap():
    task = evp.get_task("gustafsson_1d")
    small = {"test_examples": 64, "inputs": 4, "starts": 4, "samples": 64}
    from ebm_vs_prob.metrics import Evaluation

    table = evp.evaluate(evp.fit("exact", task), task, Evaluation(**small))
    gap = table[table.metric == "likelihood_gap"].value
    assert float(gap.abs().max()) < 1e-6
    assert "no manifold" in table.attrs["notes"]["tube_mass"]
