"""The linear-Gaussian subspace: every closed form against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import LowRankMultivariateNormal
from scipy import integrate, stats
from statistical import within_standard_errors

import ebm_vs_prob as evp

SHAPES = [(1, 2, 0), (2, 3, 1), (3, 7, 2)]


def made(latent_dim, ambient_dim, input_dim, thickness=0.1, **options):
    return evp.get_task(
        "linear_gaussian",
        latent_dim=latent_dim,
        ambient_dim=ambient_dim,
        input_dim=input_dim,
        thickness=thickness,
        **options,
    )


def covariance(task):
    return task.weight @ task.weight.T + task.thickness**2 * np.eye(len(task.weight))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("thickness", [0.5, 0.03])
def test_density_and_entropy_are_those_of_the_gaussian(shape, thickness):
    task = made(*shape, thickness)
    x, y = task.sample(50)
    given_x = stats.multivariate_normal(np.zeros(shape[1]), covariance(task))
    expected = given_x.logpdf(y.numpy() - x.numpy() @ task.input_map.T)
    np.testing.assert_allclose(task.reference.log_prob(x, y), expected, rtol=1e-9)
    assert task.reference.entropy() == pytest.approx(given_x.entropy(), rel=1e-12)


def test_density_is_right_where_the_covariance_cannot_be_inverted():
    task = made(2, 6, 0, thickness=1e-5)
    x, y = task.sample(200)
    near = task.reference.log_prob(x, y).mean()
    # Half a chi-square of 6 degrees has variance 3.
    assert within_standard_errors(near, -task.reference.entropy(), math.sqrt(3 / 200))


@pytest.mark.parametrize("thickness", [0.3, 1e-2, 1e-4])
def test_the_largest_curvature_is_one_over_thickness_squared(thickness):
    task = made(2, 4, 1, thickness)
    x, y = task.sample(1)
    point = y[0]
    hessian = -torch.func.hessian(lambda p: task.reference.log_density(x[0], p))(point)
    torch.testing.assert_close(hessian, task.reference.hessian(), rtol=1e-8, atol=1e-6)
    values = torch.linalg.eigvalsh(task.reference.hessian())
    torch.testing.assert_close(values[2:], torch.full((2,), thickness**-2, dtype=torch.float64), rtol=1e-9, atol=0.0)
    along = 1 / (torch.from_numpy(task.singular_values) ** 2 + thickness**2)
    torch.testing.assert_close(values[:2], along, rtol=1e-6, atol=1e-6)


def test_the_posterior_is_bayes_rule_by_quadrature():
    task = made(1, 2, 1, 0.4)
    x, y = task.sample(3)
    mean, spread = task.reference.posterior(x, y)
    for row in range(3):
        off = y[row].numpy() - task.input_map @ x[row].numpy()

        def joint(z, off=off):
            return math.exp(-0.5 * z**2 - 0.5 * float(((off - task.weight[:, 0] * z) ** 2).sum()) / 0.16)

        mass, first, second = (integrate.quad(lambda z, k=k: z**k * joint(z), -9, 9)[0] for k in range(3))
        assert float(mean[row, 0]) == pytest.approx(first / mass, abs=1e-8)
        assert float(spread[0, 0]) == pytest.approx(second / mass - (first / mass) ** 2, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_the_gap_of_a_guide_is_its_elbo_taken_from_the_density(shape):
    """By Gauss-Hermite: the ELBO of a Gaussian guide integrates a quadratic, for which few nodes are exact."""
    task = made(*shape, 0.3)
    x, y = task.sample(4)
    latent = shape[0]
    mean = torch.linspace(-1, 1, 4 * latent, dtype=torch.float64).reshape(4, latent)
    factor = torch.eye(latent, dtype=torch.float64) * 0.3 + 0.1 * torch.ones(latent, latent, dtype=torch.float64).tril()
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    unit = torch.cartesian_prod(*[torch.from_numpy(nodes)] * latent).reshape(-1, latent)
    weight = torch.from_numpy(weights / weights.sum())
    share = torch.cartesian_prod(*[weight] * latent).reshape(-1, latent).prod(1)
    z = mean.unsqueeze(1) + unit @ factor.T
    guide = torch.distributions.MultivariateNormal(mean.unsqueeze(1), scale_tril=factor)
    decoded = z @ torch.from_numpy(task.weight).T + (x @ torch.from_numpy(task.input_map).T).unsqueeze(1)
    joint = torch.distributions.Normal(decoded, 0.3).log_prob(y.unsqueeze(1)).sum(-1)
    joint = joint + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    elbo = ((joint - guide.log_prob(z)) * share).sum(1)
    expected = task.reference.log_prob(x, y) - elbo
    torch.testing.assert_close(task.reference.elbo_gap(x, y, mean, factor @ factor.T), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("thickness", [1.0, 0.1, 1e-3])
def test_the_mean_field_gap_is_the_least_of_its_kind(thickness):
    task = made(3, 5, 0, thickness)
    x, y = task.sample(2)
    mean, spread = task.reference.posterior(x, y)
    best = 1 / torch.linalg.inv(spread).diagonal()
    gap = task.reference.elbo_gap(x, y, mean, best.diag())
    torch.testing.assert_close(gap, torch.full_like(gap, task.reference.mean_field_gap()), rtol=1e-6, atol=1e-9)
    assert task.reference.mean_field_gap() > 0
    for factor in (0.9, 1.1):
        assert (task.reference.elbo_gap(x, y, mean, factor * best.diag()) > gap).all()
    assert (task.reference.elbo_gap(x, y, mean + 0.1 * best.sqrt(), best.diag()) > gap).all()
    torch.testing.assert_close(
        task.reference.elbo_gap(x, y, mean, spread), torch.zeros(2, dtype=torch.float64), atol=1e-8, rtol=0.0
    )


def test_the_density_is_that_of_pyro():
    task = made(3, 7, 0, 0.2)
    x, y = task.sample(9)
    twin = LowRankMultivariateNormal(
        torch.zeros(7, dtype=torch.float64), torch.from_numpy(task.weight), torch.full((7,), 0.04, dtype=torch.float64)
    )
    torch.testing.assert_close(task.reference.log_prob(x, y), twin.log_prob(y), rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 5),
    st.sampled_from([0.0, 1e-4, 0.1, 2.0]),
    st.integers(0, 2**20),
)
def test_data_lie_at_their_noise_from_the_subspace(latent, inputs, extra, thickness, rotation):
    ambient = max(latent + extra, inputs, 2)
    task = made(latent, ambient, inputs, thickness, rotation=rotation)
    x, y, z = task.sample_with_latent(20, seed=rotation)
    clean = z @ torch.from_numpy(task.weight).T + x @ torch.from_numpy(task.input_map).T
    normal = (y - clean) @ (torch.eye(ambient, dtype=torch.float64) - torch.from_numpy(task.axes @ task.axes.T))
    torch.testing.assert_close(task.reference.distance(x, y), normal.norm(dim=-1), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(np.linalg.svd(task.weight)[1], task.singular_values, rtol=1e-9)
    low, high = task.y_space.bounds
    assert bool(((task.reference.answers(x[:1]) >= low) & (task.reference.answers(x[:1]) <= high)).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 2}, "latent_dim < ambient_dim = 2, not 2"),
        ({"smallest": 2.0}, r"smallest <= largest = 1.0, not 2.0"),
        ({"input_dim": 3}, "input_dim <= ambient_dim = 2, not 3"),
        ({"largest": 0.0}, "largest = 0.0 is not valid"),
    ],
)
def test_shapes_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.get_task("linear_gaussian", **options)


def test_guides_of_other_shapes_are_refused():
    task = made(2, 3, 0)
    x, y = task.sample(4)
    with pytest.raises(ValueError, match="shapes of mean, covariance"):
        task.reference.elbo_gap(x, y, torch.zeros(4, 1), torch.eye(2))


def test_without_noise_there_is_no_density_and_the_latent_is_known():
    task = made(2, 3, 0, 0.0)
    x, y, z = task.sample_with_latent(4)
    mean, spread = task.reference.posterior(x, y)
    torch.testing.assert_close(mean, z)
    assert float(spread.abs().max()) == 0.0
    for asked in (task.reference.hessian, lambda: task.reference.elbo_gap(x, y, mean, torch.eye(2))):
        with pytest.raises(ValueError, match="thickness = 0"):
            asked()
    thin = made(2, 3, 0, 1e-6)
    assert task.reference.mean_field_gap() == pytest.approx(thin.reference.mean_field_gap(), rel=1e-6)
