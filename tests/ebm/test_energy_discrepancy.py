"""Energy discrepancy against the integral it estimates, against its limits, and on N(0, I)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature
from scipy.optimize import minimize_scalar

import ebm_vs_prob as evp
from ebm_vs_prob.ebm.methods import energy_discrepancy
from ebm_vs_prob.ebm.objectives.contrastive import energy_discrepancy_loss

METHOD = "energy_discrepancy"
SEEDS, EXAMPLES = range(8), 4000


def hermite(count: int) -> tuple[np.ndarray, np.ndarray]:
    node, weight = np.polynomial.hermite_e.hermegauss(count)
    return node, weight / weight.sum()


def expected(a: float, t: float, draws: int, w: float) -> float:
    """The expected loss of E = a y² / 2 on N(0, 1), up to ln M, by quadratures alone.

    ln S = ∫ (e^-u - e^(-u S)) du / u (Frullani), and given y and the perturbed y the M draws back are independent.
    """
    (node, mass), (back, back_mass), step = hermite(32), hermite(64), 0.5
    u = np.exp(np.arange(-28.0, 32.0, step))
    y = node[:, None]
    rivals = (y + math.sqrt(t) * node)[..., None] + math.sqrt(t) * back
    # Terms are measured in e^scale, so that one range of u serves all.
    scale = 0.5 * a * y**2
    terms = np.exp(-0.5 * a * rivals**2)
    transforms = np.stack([np.exp(-each * terms) @ back_mass for each in u], -1)
    log_product = draws * np.log(np.maximum(transforms, 1e-300)) - u * w * np.exp(-scale)[..., None]
    integral = (np.exp(-u) - np.exp(log_product)).sum(-1) * step
    return float(mass @ (integral + scale) @ mass)


def optimum(t: float, draws: int, w: float) -> float:
    found = minimize_scalar(lambda a: expected(a, t, draws, w), bounds=(0.1, 5), method="bounded")
    return float(found.x)


@pytest.mark.parametrize(("t", "draws"), [(0.04, 1), (0.25, 4), (2.0, 1)])
def test_with_a_stabiliser_of_1_the_data_are_the_optimum_whatever_is_drawn(t, draws):
    assert optimum(t, draws, 1.0) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_with_another_stabiliser_the_optimum_leans_the_less_the_more_is_drawn():
    for w, sign in ((0.5, 1), (2.0, -1)):
        lean = [sign * (optimum(0.25, draws, w) - 1) for draws in (1, 4, 16)]
        assert lean[0] > 1.5 * lean[1] > 2 * lean[2] > 0


def test_the_loss_is_the_expectation_that_the_quadratures_take():
    """Over 2^18 answers; the standard error is that of the mean of their terms."""
    a, t, draws, w, count = 1.7, 0.3, 3, 0.4, 1 << 18
    generator = torch.Generator().manual_seed(0)
    y, n, back = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((count, 1), (count, 1), (count, draws))
    )
    rivals = y + math.sqrt(t) * (n + back)
    terms = energy_discrepancy_loss(0.5 * a * y**2, 0.5 * a * rivals.unsqueeze(1) ** 2, torch.tensor([[w]]).double())
    assert terms.shape == (count,)
    by_hand = (w + (0.5 * a * (y**2 - rivals**2)).exp().sum(-1)).log().mean() - math.log(draws)
    assert float(terms.mean()) == pytest.approx(float(by_hand), abs=1e-8)
    error = float(terms.std()) / count**0.5
    assert float(terms.mean()) == pytest.approx(expected(a, t, draws, w) - math.log(draws), abs=4.5 * error)
    assert error < 0.01


def test_a_small_perturbation_turns_it_into_score_matching():
    """With M = 1 and w = 1 the loss is ln 2 + t/2 · E[½ ‖∇E‖² - tr ∇²E] + O(t²) (Ceylan and Gutmann 2018).

    Of E = a y² / 2 on N(0, 1) that expectation is a²/2 - a.
    """
    a = 1.6
    off = [(expected(a, t, 1, 1.0) - math.log(2)) / t - (0.5 * a**2 - a) / 2 for t in (0.02, 0.01, 0.005)]
    assert abs(off[2]) < abs(off[1]) < abs(off[0])
    assert off[1] / off[2] == pytest.approx(2.0, rel=0.1)


def fitted(dim: int, **options) -> evp.Model:
    budget = evp.Budget(steps=300, batch_size=128, examples=EXAMPLES)
    given = {"perturbation": 1.0, "learning_rate": 0.06, **options}
    return evp.fit(METHOD, gaussian(dim), seeds=SEEDS, energy=Quadratic, budget=budget, **given)


def gap(model: evp.Model, dim: int) -> float:
    declared = model.method.gaussian_optimum.of(model.setting.options.replicates[0])
    return abs(float(mean_curvature(model, dim).mean()) - declared)


def tolerance(dim: int, curvature: float = 1.0) -> float:
    """.02 is for what 300 steps leave."""
    return curvature_tolerance(dim, EXAMPLES, len(SEEDS), left=0.02, curvature=curvature)


@pytest.mark.parametrize(
    ("dim", "options"),
    [
        (1, {}),
        (2, {"sigma": 0.5, "draws": 2}),
        (8, {}),
        pytest.param(1, {"draws": 1, "perturbation": 0.6}, marks=pytest.mark.slow),
        pytest.param(2, {}, marks=pytest.mark.slow),
    ],
)
def test_the_optimum_on_a_gaussian_is_the_declared_one(dim, options):
    model = fitted(dim, **options)
    assert all(status.ok for status in model.status)
    assert gap(model, dim) < tolerance(dim)


@pytest.mark.slow
@pytest.mark.parametrize("w", [0.5, 2.0])
def test_with_another_stabiliser_a_fit_ends_at_the_computed_optimum(w):
    target = optimum(1.0, 2, w)
    assert abs(target - 1) > 3 * tolerance(1, target)
    model = fitted(1, draws=2, stabiliser=w)
    assert abs(float(mean_curvature(model, 1).mean()) - target) < tolerance(1, target)
    assert model.method.gaussian_optimum.of(model.setting.options.replicates[0]) is None


def test_a_flipped_sign_fails_the_gaussian_test(monkeypatch):
    monkeypatch.setattr(
        energy_discrepancy, "energy_discrepancy_loss", lambda own, other, w: energy_discrepancy_loss(-own, -other, w)
    )
    assert gap(fitted(2), 2) > tolerance(2)


def test_a_step_costs_what_its_shapes_say():
    method = evp.get_method(METHOD)
    assert method.step_evaluations(method.Options(draws=5), evp.get_task("circle")) == 3 * 6


@pytest.mark.parametrize(
    ("field", "value"), [("perturbation", 0.0), ("draws", 0), ("draws", 1 << 17), ("stabiliser", 0.0), ("sigma", -0.1)]
)
def test_bad_options_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        evp.fit(METHOD, evp.get_task("circle"), budget=evp.Budget(steps=1), **{field: value})
