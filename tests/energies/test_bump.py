"""One Gaussian well as an energy: its gradient, and where objectives without a normaliser put it."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.energies.evaluation import energy_and_gradient

BUMP = evp.Network(hidden=(16,), form="bump")


def test_its_gradient_is_that_of_autograd_and_its_minimum_one_point():
    task = evp.get_task("three_curves", thickness=0.1)
    model = evp.fit("denoising_score_matching", task, seeds=[0, 1], network=BUMP, budget=evp.Budget(steps=20))
    x, y = (part.float().unsqueeze(0) for part in task.sample(7))
    point = y.clone().requires_grad_()
    value = model.module(x, point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    found, gradient = energy_and_gradient(model.module, x, y)
    torch.testing.assert_close(found, value.detach())
    torch.testing.assert_close(gradient.sum(0, keepdim=True), slope)
    ends = model.infer(x[0], n_starts=8).y
    torch.testing.assert_close(ends, ends[:, :, :1].expand_as(ends), rtol=0, atol=1e-3)


def test_score_matching_of_one_well_is_its_likelihood_normaliser_or_not():
    """Of a Gaussian the two have one minimum, mean and variance of the data (Hyvärinen 2005, section 3.1)."""
    task = evp.get_task("three_modes", thickness=0.1, ambient_dim=3)
    x, y = task.sample(1000, seed=0)
    budget = evp.Budget(steps=800, batch_size=64, examples=1000)
    model = evp.fit(
        "denoising_score_matching", task, seeds=[0], sigma=0.5, network=BUMP, learning_rate=0.03, budget=budget
    )
    place = model.infer(x[:1], n_starts=1).y[0, 0, 0].double()
    torch.testing.assert_close(place, y.mean(0), rtol=0, atol=0.06)
    curvature = 1 / model.module.energy_and_gradient(x[:1, None].float(), place.float() + torch.eye(3)[None, None])[1]
    variance = torch.diagonal(curvature[0, 0]).double()
    torch.testing.assert_close(variance, y.var(0) + 0.25, rtol=0.25, atol=0)


def test_a_level_is_learned_where_the_objective_sees_it():
    task = evp.get_task("three_curves", thickness=0.3)
    model = evp.fit("square_square", task, network=BUMP, budget=evp.Budget(steps=20))
    assert model.module.level is not None
    assert float(model.module.level.abs()) > 0


def test_a_well_has_its_widths_and_no_other_scale():
    task = evp.get_task("three_curves", thickness=0.3)
    with pytest.raises(ValueError, match="learned_scale"):
        evp.fit("score_matching", task, network=evp.Network(form="bump", learned_scale=True))
