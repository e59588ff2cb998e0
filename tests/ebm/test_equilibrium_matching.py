"""Equilibrium matching: where its optimum is known in closed form, and that thin data make it no steeper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature
from hypothesis import given
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob.ebm.objectives.equilibrium import decay_moments, equilibrium_matching_loss
from ebm_vs_prob.tasks.base import Task

METHOD = "equilibrium_matching"
EXAMPLES, SEEDS = 20_000, range(4)


def declared(**options):
    chosen = evp.get_method(METHOD)
    return chosen.gaussian_optimum.of(chosen.Options(**options))


def slope(share, plateau):
    return np.minimum(1.0, (1 - share) / (1 - plateau))


@given(plateau=st.floats(0, 0.99))
def test_moments_of_the_decay_are_integrals(plateau):
    node, weight = np.polynomial.legendre.leggauss(16)
    share = np.concatenate([plateau * (node + 1) / 2, plateau + (1 - plateau) * (node + 1) / 2])
    mass = np.concatenate([plateau * weight, (1 - plateau) * weight]) / 2
    c = slope(share, plateau)
    assert decay_moments(plateau) == pytest.approx((mass @ (c * (1 - share)), mass @ (c * share)), abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"decay": "linear"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"noise": 2.0, "plateau": 0.5, "multiplier": 1.0}, marks=pytest.mark.slow),
    ],
)
def test_the_optimum_on_a_gaussian_is_that_of_least_squares(options):
    """Three times the tolerance of a curvature that is 1 over a variance: targets scatter more than the data do."""
    model = evp.fit(
        METHOD,
        gaussian(1),
        seeds=SEEDS,
        energy=Quadratic,
        budget=evp.Budget(steps=1000, batch_size=512, examples=EXAMPLES),
        learning_rate=0.02,
        **options,
    )
    tolerance = 3 * curvature_tolerance(1, EXAMPLES, len(SEEDS), left=0.02)
    assert abs(float(mean_curvature(model, 1).mean()) - declared(**options)) < tolerance


def test_the_declared_curvature_is_the_regression_of_draws():
    """Least squares of the target on y_γ over 2^20 draws; its standard error is below .005."""
    rng = np.random.default_rng(0)
    y, n, share = rng.standard_normal(1 << 20), 1.5 * rng.standard_normal(1 << 20), rng.random(1 << 20)
    between = share * y + (1 - share) * n
    found = (between * (n - y) * 3 * slope(share, 0.6)).sum() / (between**2).sum()
    assert declared(noise=1.5, plateau=0.6, multiplier=3.0) == pytest.approx(found, abs=0.02)
    # Noise that is narrower than the data lies within them, and what leads from it to them leads outwards.
    assert declared(noise=0.5) is None


class Point(Task):
    """y = (.5, -.5) always."""

    name = "point"
    summary = "one point"
    manifold_dim = 0

    def __init__(self, **options):
        super().__init__(**options)
        self.x_space, self.y_space, self.z_space = evp.Box((0.0, 1.0), 0), evp.Box((-3.0, 3.0), 2), None

    def _draw(self, n, rng, split):
        return np.zeros((n, 0)), np.tile([0.5, -0.5], (n, 1)), np.zeros((n, 0))


def test_of_one_point_the_energy_is_quadratic_and_nothing_is_lost():
    """y_γ - y = (1 - γ)(n - y), so that a linear decay makes the target λ (y_γ - y) wherever y_γ came from."""
    budget = evp.Budget(steps=600, batch_size=64, examples=64)
    model = evp.fit(
        METHOD,
        Point(thickness=0.0),
        energy=Quadratic,
        budget=budget,
        decay="linear",
        multiplier=1.5,
        learning_rate=0.03,
    )
    assert float(mean_curvature(model, 2)) == pytest.approx(1.5, abs=1e-3)
    assert torch.allclose(model.infer(torch.zeros(1, 0), n_starts=3).y, torch.tensor([0.5, -0.5]), atol=2e-3)
    assert float(model.training.loss[0, -50:].max()) < 1e-4


def test_the_loss_by_hand():
    gradient, data, noise = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[2.0, 2.0]]])
    assert equilibrium_matching_loss(gradient, data, noise, torch.full((1, 1, 1), 0.5)).tolist() == [0.25]


def test_answers_are_found_and_no_steeper_at_thickness_0():
    """The radius is right to .1; a curvature of 50 is 1 / ε² at ε = .14, and no ε asks for more."""
    tasks = [evp.get_task("circle", thickness=thickness) for thickness in (0.0, 0.01)]
    budget = evp.Budget(steps=800, batch_size=64, examples=500)
    model = evp.fit(METHOD, tasks, seeds=[0, 0], budget=budget, network=evp.Network(hidden=(16, 16)))
    found = model.infer(torch.zeros(1, 0), n_starts=32)
    assert bool(found.converged.all())
    assert float((found.y.norm(dim=-1) - 1).abs().median()) < 0.1
    at = torch.tensor([[0.99, 0.0], [1.0, 0.0], [1.01, 0.0]])
    curvature = (
        model.energy(torch.zeros(3, 0), at).double() @ torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64) / 1e-4
    )
    assert bool((curvature.abs() < 50).all())
