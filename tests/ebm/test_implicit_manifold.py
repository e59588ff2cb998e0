"""Implicit manifolds: the penalty against singular values, and zero sets against manifolds whose distance is known."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from statistical import within_standard_errors
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.ebm.objectives.implicit import norm, saturating_reward, singular_value_penalty
from ebm_vs_prob.energies.implicit import ZeroSetEnergy
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.metrics.likelihood import gibbs_gap
from ebm_vs_prob.metrics.observation import Observation

METHOD = "implicit_manifold"
NETWORK = evp.Network(hidden=(16, 16))
LITTLE = evp.Budget(steps=3, batch_size=8, examples=16)


def distances(model, task, found, r):
    """Distance to the answer set of answers (R, n, starts, dy) of replicate r, where the task has no x."""
    y = found.y[r].reshape(-1, found.y.shape[-1]).double()
    return task.reference.distance(torch.zeros(len(y), 0, dtype=torch.float64), y)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 3), low=st.floats(0.2, 1), high=st.floats(1, 2), seed=st.integers(0, 99))
def test_the_penalty_is_0_where_all_singular_values_lie_between_the_bounds(scale, low, high, seed):
    rng = np.random.default_rng(seed)
    v = torch.from_numpy(rng.standard_normal((1, 64, 2)))
    orthonormal = torch.from_numpy(np.linalg.qr(rng.standard_normal((4, 2)))[0].T)
    found = float(singular_value_penalty(scale * v @ orthonormal, v, *(torch.full((1, 1), e) for e in (low, high))))
    # Orthonormal rows times a scale stretch every direction by it.
    assert found == pytest.approx(max(low - scale, 0) ** 2 + max(scale - high, 0) ** 2, abs=1e-6)
    deficient = orthonormal * torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    assert float(singular_value_penalty(v @ deficient, v, torch.ones(1, 1), torch.ones(1, 1))) > 0.01


def test_what_negatives_gain_ends_at_the_level():
    size = torch.linspace(0, 5, 501, dtype=torch.float64).requires_grad_()
    saturating_reward(size[None], torch.full((1, 1), 2.0, dtype=torch.float64)).sum().backward()
    assert int(size.grad.abs().argmin()) == 200
    at_zero = torch.zeros(1, 1, 3, requires_grad=True)
    norm(at_zero).sum().backward()
    assert at_zero.grad.tolist() == [[[0.0] * 3]]


def test_products_are_those_of_the_jacobian():
    energy = ZeroSetEnergy([0, 1], 1, 3, 2, NETWORK).double()
    generator = torch.Generator().manual_seed(0)
    x, y, v = (torch.randn(2, 5, d, dtype=torch.float64, generator=generator) for d in (1, 3, 2))
    value, products = energy.map_and_products(x, y, v)
    for r in range(2):
        for b in range(5):
            jacobian = torch.autograd.functional.jacobian(
                lambda point, r=r, b=b: energy.map(x[:, b : b + 1], point.expand(2, 1, 3))[r, 0], y[r, b]
            )
            assert torch.allclose(products[r, b], jacobian.T @ v[r, b], atol=1e-12)
    assert torch.allclose(energy(x, y), 0.5 * value.square().sum(-1))


@pytest.mark.parametrize("weight", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_the_zero_set_of_a_circle_and_the_distance_from_it(weight):
    """Answers are within .02 of it, thickness .02, and the map's size is the distance to .1 at half a radius."""
    task = evp.get_task("circle", thickness=0.02)
    budget = evp.Budget(steps=300, batch_size=64, examples=1000)
    model = evp.fit(METHOD, task, seeds=[0, 1], budget=budget, network=NETWORK, negative_weight=weight)
    found = model.infer(torch.zeros(1, 0), n_starts=32)
    angle = torch.linspace(0, 2 * torch.pi, 33)[:-1]
    outside = 1.15 * torch.stack([angle.cos(), angle.sin()], -1)
    sizes = model.map(torch.zeros(32, 0), outside).norm(dim=-1)
    for r in range(2):
        away = distances(model, task, found, r)
        assert float(away.median()) < 0.02
        assert float((away < 0.1).double().mean()) > 0.9
        # All round, and not on an arc alone.
        assert float((found.y[r, 0] / found.y[r, 0].norm(dim=-1, keepdim=True)).mean(0).norm()) < 0.5
        assert float((sizes[r] - 0.15).abs().max()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({"shape": "torus"}, 0.03),
        ({"shape": "linear", "manifold_dim": 2, "ambient_dim": 4, "rotation": 3}, 0.1),
    ],
)
def test_zero_sets_of_surfaces(options, within):
    task = evp.get_task("manifold", thickness=0.02, **options)
    budget = evp.Budget(steps=800, batch_size=128, examples=2000)
    model = evp.fit(METHOD, task, seeds=[0, 1], budget=budget, network=evp.Network(hidden=(32, 32)))
    found = model.infer(torch.zeros(1, 0), n_starts=64)
    x, y = task.sample(200, split="test")
    for r in range(2):
        assert float(distances(model, task, found, r).median()) < within
        # Held-out points lie where the map is 0 but for their noise, of two or more values for a plane in R^4.
        assert float(model.map(x, y)[r].norm(dim=-1).median()) < 0.05
    assert model.map(x, y).shape[-1] == task.y_space.dim - task.manifold_dim


@pytest.mark.slow
def test_the_fitted_beta_is_that_of_the_noise():
    """Energy ½ distance² makes exp(-beta E) Gaussian across the manifold, so that beta is 1 / ε²; to 30 %."""
    task = evp.get_task("circle", thickness=0.1)
    budget = evp.Budget(steps=1000, batch_size=128, examples=4000)
    model = evp.fit(METHOD, task, seeds=[0, 1], budget=budget, network=evp.Network(hidden=(32, 32)))
    assert bool(((model.beta * 0.1**2 - 1).abs() < 0.3).all())


class VonMisesOnCircle(ZeroSetEnergy):
    """F = ‖y‖ - 1 and V = -2 y_0, whose law along the circle is von Mises with concentration 2."""

    def __init__(self):
        super().__init__([0], 0, 2, 1, NETWORK, along=nn.Identity())
        self.along = Slope()

    def map(self, x, y):
        return y.norm(dim=-1, keepdim=True) - 1


class Slope(nn.Module):
    num_replicates = 1

    def forward(self, x, y):
        return -2.0 * y[..., 0]


@pytest.mark.parametrize("dim", [2, 3])
def test_constrained_chains_stay_on_the_zero_set_and_follow_the_law_along_it(dim):
    """From points all round, at distance .2: mean of y_0 is I1(2) / I0(2) on a circle, coth 2 - 1/2 on a sphere.

    A step of .2 leaves a bias of its square times a slope; 4096 chains tell the mean to .01.
    """
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(1, 4096, dim, dtype=torch.float64, generator=generator)
    y = 1.2 * y / y.norm(dim=-1, keepdim=True)
    noise = torch.randn(1, 300, 4096, dim, dtype=torch.float64, generator=generator)
    step = torch.full((1, 1, 1), 0.2, dtype=torch.float64)
    start, end = VonMisesOnCircle().constrained_steps(torch.zeros(1, 4096, 0), y, noise, step, (-3.0, 3.0))
    assert float((start - y / 1.2).norm(dim=-1).max()) < 1e-4
    # Newton's steps go along the normal of where the move began: two of them leave .04 of a move of .7, which is rare.
    away = (end.norm(dim=-1) - 1).abs()
    assert float(away.quantile(0.95)) < 3e-3
    assert float(away.max()) < 0.1
    law = special.i1(2.0) / special.i0(2.0) if dim == 2 else 1 / np.tanh(2.0) - 0.5
    found = end[0, :, 0].numpy()
    assert within_standard_errors(found.mean(), law, found.std() / 64, slack=0.02, comparisons=2)


@pytest.mark.slow
def test_the_density_along_the_zero_set_is_learned():
    """Within .06 nat of the truth, where the zero set alone is .2 off; the thickness to a tenth."""
    task = evp.get_task("circle", thickness=0.05)
    budget = evp.Budget(steps=600, batch_size=128, examples=4000)
    given = {"seeds": [0, 1], "budget": budget, "network": evp.Network(hidden=(32, 32))}
    plain, along = (evp.fit(METHOD, task, density=density, **given) for density in (False, True))
    gaps = [gibbs_gap(Observation(model, (task,) * 2, Evaluation()))["gibbs_gap"].value for model in (plain, along)]
    assert (gaps[0] > 0.15).all()
    assert (gaps[1] < 0.06).all()
    assert torch.allclose(along.module.thickness, torch.tensor(0.05), rtol=0.1)


def test_with_a_density_steps_are_recorded_and_a_replicate_is_the_same_alone(caplog):
    task = evp.get_task("circle", thickness=0.1)
    budget = evp.Budget(steps=300, batch_size=8, examples=32)
    given = {"budget": budget, "network": evp.Network(hidden=(8,)), "density": True, "langevin_steps": 2}
    with caplog.at_level(logging.INFO, "ebm_vs_prob.training"):
        alone, company = (evp.fit(METHOD, task, seeds=seeds, **given) for seeds in ([1], [2, 0, 1]))
    assert "as it is written" not in caplog.text
    for name, value in alone.module.state_dict().items():
        assert torch.equal(value[0], company.module.state_dict()[name][-1]), name


def test_the_dimension_may_be_given():
    task = evp.get_task("manifold", shape="linear", manifold_dim=2, ambient_dim=4)
    model = evp.fit(METHOD, task, budget=LITTLE, network=NETWORK, manifold_dim=1)
    assert model.map(torch.zeros(5, 0), torch.zeros(5, 4)).shape == (1, 5, 3)


def test_of_the_users_own_data_the_user_says_the_dimension():
    angle = torch.linspace(0, 6.28, 60, dtype=torch.float64)
    task = evp.task_from_arrays(torch.stack([angle.cos(), 3 * angle.sin()], -1).numpy())
    with pytest.raises(ValueError, match=r"dimension of its answers is not known.*manifold_dim"):
        evp.fit(METHOD, task, budget=LITTLE, network=NETWORK)
    for options in ({}, {"density": True}):
        model = evp.fit(METHOD, task, budget=LITTLE, network=NETWORK, manifold_dim=1, **options)
        assert model.status[0].ok
        assert model.map(torch.zeros(5, 0), torch.zeros(5, 2)).shape == (1, 5, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: evp.fit(METHOD, evp.get_task("circle"), manifold_dim=2, budget=LITTLE), "less than the 2 dimensions"),
        (lambda: evp.fit(METHOD, evp.get_task("newsvendor", demand="skewed")), "dimension of its answers is not known"),
        (
            lambda: evp.fit(METHOD, evp.get_task("circle"), max_singular_value=0.5, budget=LITTLE),
            "min_singular_value = 1",
        ),
        (lambda: evp.fit(METHOD, evp.get_task("circle"), negative_weight=1.0, budget=LITTLE), "negative_weight"),
        (lambda: evp.fit(METHOD, evp.get_task("circle"), energy=torch.nn.Identity, budget=LITTLE), "made of a Network"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
