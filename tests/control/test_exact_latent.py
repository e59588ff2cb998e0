"""The exact latent energy: the minimum it stands for, the density that it leaves, and which tasks have one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation


def exact_latent(name="ellipse", **options):
    task = evp.get_task(name, **options)
    return task, evp.fit("exact_latent", task, seeds=[0, 1])


@pytest.mark.parametrize("name", ["ellipse", "horn"])
def test_its_energy_is_half_the_squared_distance_and_its_gradient_the_way_from_the_nearest_answer(name):
    task, model = exact_latent(name, thickness=0.2)
    x, y = task.sample(40, seed=1)
    expected = 0.5 * task.reference.distance(x, y).square()
    torch.testing.assert_close(model.energy(x, y), expected.expand(2, -1), rtol=1e-9, atol=1e-12)
    value, gradient = model.module.energy_and_gradient(x.unsqueeze(0), y.unsqueeze(0))
    torch.testing.assert_close(gradient.square().sum(-1) / 2, value, rtol=0, atol=0)
    torch.testing.assert_close(task.reference.distance(x, y - gradient[0]), torch.zeros(40).double(), rtol=0, atol=1e-9)


def test_it_is_read_at_the_noise_of_each_replicates_task():
    tasks = [evp.get_task("ellipse", thickness=eps) for eps in (0.1, 0.02, 0.0)]
    beta = evp.fit("exact_latent", tasks, seeds=[0, 1, 2]).beta
    torch.testing.assert_close(beta[:2], torch.tensor([100.0, 2500.0], dtype=torch.float64))
    assert math.isnan(beta[2])


@pytest.mark.parametrize(("axes", "law"), [((4.0, 0.5), 0.1468), ((2.0, 1.5), 0.0051)])
def test_minimising_costs_the_divergence_from_uniform_angle_to_uniform_arc_length(axes, law):
    """ln(L / 2π) - mean ln |m'| as the noise falls to 0; at .01 the price of 4000 pairs lies within 3 of its errors."""
    t = (np.arange(4096) + 0.5) * (2 * np.pi / 4096)
    speed = np.hypot(axes[0] * np.sin(t), axes[1] * np.cos(t))
    assert np.log(speed.mean()) - np.log(speed).mean() == pytest.approx(law, abs=5e-5)
    task, model = exact_latent(thickness=0.01, semi_major=axes[0], semi_minor=axes[1])
    table = evp.evaluate(model, task, Evaluation(test_examples=4000, inputs=1, samples=8), only={"gibbs_gap"})
    # Two replicates are two test sets: both beyond 3.5 errors in less than one run in 1000.
    assert ((table["value"] - law).abs() < 3.5 * table["error"]).all()
    assert (table["error"] < 0.011).all()


def test_it_decodes_to_the_answers():
    task, model = exact_latent("horn")
    x, _ = task.sample(3)
    points = model.decoded(x)
    assert points.shape == (2, 3, 512, 2)
    torch.testing.assert_close(points[0], task.reference.answers(x), rtol=0, atol=1e-12)


def test_tasks_without_ellipses_have_none():
    with pytest.raises(ValueError, match="ellipses"):
        evp.fit("exact_latent", evp.get_task("three_curves"))
