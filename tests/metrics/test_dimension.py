"""The learned dimension: closed forms on subspaces, its fall with the thickness on curved manifolds, wrong energies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_made import HandMade
from test_gibbs_gap import HandMadeEnergy

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NotMeasured
from ebm_vs_prob.metrics.dimension import dimension_by_curvature, dimension_by_score
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.metrics.options import Evaluation

LOOK = Evaluation(test_examples=64, inputs=4, starts=2, samples=16, max_steps=3)


def by_score(model, tasks):
    return dimension_by_score(Observation(model, tasks, LOOK))["dimension_error_score"]


def by_curvature(model, tasks):
    return dimension_by_curvature(Observation(model, tasks, LOOK))["dimension_error_curvature"]


def plane(thickness=0.1, **options):
    return evp.get_task("manifold", shape="linear", thickness=thickness, **options)


@pytest.mark.parametrize("options", [{"manifold_dim": 1, "ambient_dim": 2}, {"manifold_dim": 3, "ambient_dim": 7}])
def test_of_a_subspace_the_exact_error_is_the_closed_form(options):
    """ln q is Gaussian: variance s² + ε² along the axes, s from 1 to ½ and coordinates the latents, and ε² across."""
    eps, task = 0.1, plane(0.1, rotation=5, **options)
    model = evp.fit("exact", task)
    z = task.with_thickness(0.0).sample_with_latent(64, seed=0, split="test")[2]
    variance = torch.logspace(0, -1, task.manifold_dim, base=4, dtype=torch.float64) + eps**2
    off = eps**2 * (z.square() / variance**2 - 1 / variance).sum(-1).abs()
    assert by_score(model, (task,)).value[0] == pytest.approx(float(off.quantile(0.5)), abs=1e-9)
    assert by_curvature(model, (task,)).value[0] == 0.0


CURVED = [
    ("circle", {}),
    ("horn", {}),
    ("manifold", {"shape": "sphere", "manifold_dim": 3, "ambient_dim": 6}),
    ("manifold", {"shape": "torus", "rotation": 1}),
    ("manifold", {"shape": "swiss_roll", "ambient_dim": 5}),
    ("manifold", {"shape": "klein_bottle"}),
    ("manifold", {"shape": "polynomial", "rotation": 2}),
]


@pytest.mark.parametrize(("name", "options"), CURVED)
def test_on_curved_manifolds_the_exact_error_falls_as_the_square_of_the_thickness(name, options):
    tasks = [evp.get_task(name, thickness=eps, **options) for eps in (0.04, 0.01)]
    thick, thin = (by_score(evp.fit("exact", task), (task,)).value[0] for task in tasks)
    assert thick < 0.05
    assert thin == pytest.approx(thick / 16, rel=0.1)
    assert by_curvature(evp.fit("exact", tasks[1]), (tasks[1],)).value[0] == 0.0


@pytest.mark.parametrize("name", ["three_curves", "discontinuous"])
def test_points_have_dimension_0(name):
    task = evp.get_task(name, thickness=0.01)
    model = evp.fit("exact", task)
    assert by_score(model, (task,)).value[0] < 1e-3
    assert by_curvature(model, (task,)).value[0] == 0.0


@pytest.mark.parametrize(("ambient", "dim"), [(2, 1), (5, 2)])
def test_of_an_energy_that_knows_no_manifold(ambient, dim):
    """½ ‖y‖² / s²: all directions are normal, and the fall with noise is what the closed form says."""
    eps, square = 0.1, 2.25
    task = plane(eps, manifold_dim=dim, ambient_dim=ambient)

    def energy(x, y, r):
        return 0.5 * y.square().sum(-1) / square

    model = HandMade([task], energy, log_prob=lambda x, y, r: -energy(x, y, r))
    y = task.with_thickness(0.0).sample(64, seed=0, split="test")[1]
    off = (ambient - dim + eps**2 * (y.square().sum(-1) / square**2 - ambient / square)).abs()
    assert by_score(model, (task,)).value[0] == pytest.approx(float(off.quantile(0.5)), abs=1e-5)
    assert by_curvature(model, (task,)).value[0] == dim
    exact = evp.fit("exact", task)
    assert by_score(exact, (task,)).value[0] < 0.1 * by_score(model, (task,)).value[0]


def test_a_flat_energy_has_the_dimension_of_the_space():
    task = plane(manifold_dim=1, ambient_dim=3)
    model = HandMade([task], lambda x, y, r: 0.0 * y.sum(-1), log_prob=lambda x, y, r: 0.0 * y.sum(-1))
    assert by_curvature(model, (task,)).value[0] == 2.0
    assert by_score(model, (task,)).value[0] == pytest.approx(2.0)


def test_beta_gives_an_energy_its_scale_and_the_count_needs_none():
    task = evp.get_task("circle", thickness=0.05)

    def energy(x, y, r):
        return -2.0 * task.reference.log_density(x, y)

    model = HandMadeEnergy([task], energy, [0.5])
    exact = by_score(evp.fit("exact", task), (task,)).value[0]
    # Second derivatives are of single precision.
    assert by_score(model, (task,)).value[0] == pytest.approx(exact, abs=1e-3)
    assert by_score(HandMadeEnergy([task], energy, [1.0]), (task,)).value[0] > 0.5
    assert by_curvature(model, (task,)).value[0] == 0.0


def test_replicates_have_tasks_of_their_own_and_a_failed_one_no_value():
    tasks = tuple(evp.get_task("circle", thickness=eps) for eps in (0.05, 0.2))
    both = by_score(evp.fit("exact", tasks, seeds=[0, 0]), tasks)
    alone = by_score(evp.fit("exact", tasks[1]), tasks[1:])
    assert both.value[1] == alone.value[0]

    def energy(x, y, r):
        return y.square().sum(-1) * (float("nan") if r == 0 else 1.0)

    model = HandMade(tasks, energy, log_prob=lambda x, y, r: -energy(x, y, r))
    for measure in (by_score, by_curvature):
        value = measure(model, tasks).value
        assert np.isnan(value[0])
        assert np.isfinite(value[1])


def test_where_nothing_can_be_said_the_reason_is():
    for task, words in (
        (evp.get_task("newsvendor", demand="skewed"), "no manifold of known dimension"),
        (plane(manifold_dim=2, ambient_dim=65), "65 dimensions are too dear"),
    ):
        model = HandMade([task], lambda x, y, r: y.square().sum(-1), log_prob=lambda x, y, r: -y.square().sum(-1))
        for measure in (by_score, by_curvature):
            with pytest.raises(NotMeasured, match=words):
                measure(model, (task,))
    thin = evp.get_task("circle", thickness=0.0)
    model = HandMade([thin], lambda x, y, r: y.square().sum(-1), log_prob=lambda x, y, r: -y.square().sum(-1))
    with pytest.raises(NotMeasured, match="without noise"):
        by_score(model, (thin,))
    assert np.isfinite(by_curvature(model, (thin,)).value[0])
    budget = evp.Budget(steps=2, batch_size=8, examples=16)
    regression = evp.fit("mean_squared_error", evp.get_task("circle"), budget=budget)
    with pytest.raises(NotMeasured, match="stands for no density"):
        by_score(regression, regression.tasks)


@pytest.mark.slow
def test_the_noise_that_a_method_adds_is_counted():
    """Denoising at σ = .2 on a thin circle has learned a density that thick, and tells its dimension at that scale."""
    task = evp.get_task("circle", thickness=0.01)
    budget = evp.Budget(steps=1500, batch_size=128, examples=4000)
    model = evp.fit("denoising_score_matching", task, seeds=[0, 1], budget=budget, sigma=0.2, gibbs_beta=1.0)
    assert (by_score(model, (task,) * 2).value < 0.3).all()
    assert (by_curvature(model, (task,) * 2).value < 0.1).all()
