"""The blurred sphere's exact density and entropy, and the radial energy's exact partition function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import ive
from statistical import follows, standard_errors, variance_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.geometry.bessel import log_scaled_bessel
from ebm_vs_prob.tasks.geometry.spheres import RadialEnergy, log_area
from ebm_vs_prob.testing import check_task


def sphere(thickness, dim=3):
    return evp.get_task("thin_sphere", thickness=thickness, ambient_dim=dim)


def log_prob(task, y):
    y = torch.as_tensor(y, dtype=torch.float64)
    return task.reference.log_density(y[..., :0], y)


@pytest.mark.parametrize("dim", [2, 8])
def test_the_rules_are_kept_in_other_dimensions(dim):
    check_task(sphere(0.05, dim))


@pytest.mark.parametrize("thickness", [0.3, 0.03, 1e-3, 1e-4])
def test_in_the_plane_it_is_the_uniform_circle(thickness):
    circle = evp.get_task("circle", thickness=thickness, concentration=0.0)
    task = sphere(thickness, 2)
    y = torch.cat([task.sample(200)[1], torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double()])
    torch.testing.assert_close(log_prob(task, y), log_prob(circle, y), rtol=1e-10, atol=1e-6)
    assert task.reference.entropy() == pytest.approx(circle.reference.entropy(), abs=1e-8)


@pytest.mark.parametrize("dim", [3, 8])
@pytest.mark.parametrize("thickness", [0.5, 0.1])
def test_log_prob_is_the_convolution(thickness, dim):
    """Against adaptive quadrature over the angle t between y and the point of the sphere, of law sin(t)^(D-2)."""
    for radius in (0.0, 0.3, 1.0, 1.2):

        def integrand(t, r=radius):
            squared = r**2 + 1 - 2 * r * math.cos(t)
            return math.sin(t) ** (dim - 2) * math.exp(-squared / (2 * thickness**2))

        total, _ = integrate.quad(integrand, 0, math.pi, epsabs=0, epsrel=1e-12, limit=400, points=[0.1])
        weight, _ = integrate.quad(lambda t: math.sin(t) ** (dim - 2), 0, math.pi, epsabs=0, epsrel=1e-12)
        expected = math.log(total / weight) - dim / 2 * math.log(2 * math.pi * thickness**2)
        y = np.zeros(dim)
        y[1] = radius
        assert float(log_prob(sphere(thickness, dim), y)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dim", [3, 8, 64])
@pytest.mark.parametrize("thickness", [0.3, 0.01, 1e-4])
def test_the_density_integrates_to_one_over_the_radius(thickness, dim):
    centre = math.sqrt(1 + (dim - 1) * thickness**2)
    radius = np.linspace(max(0.0, centre - 12 * thickness), centre + 12 * thickness, 4001)
    y = np.zeros((len(radius), dim))
    y[:, 0] = radius
    shell = log_area(dim) + (dim - 1) * np.log(np.maximum(radius, 1e-300))
    mass = integrate.simpson(np.exp(shell + log_prob(sphere(thickness, dim), y).numpy()), x=radius)
    assert mass == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_mean_log_prob_is_minus_the_entropy(thickness, dim):
    task = sphere(thickness, dim)
    values = task.reference.log_prob(*task.sample(20_000, seed=11))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("wrong", [0.0105, 0.0095])
def test_a_wrong_thickness_is_told_from_the_data(wrong):
    right, other = sphere(0.01), sphere(wrong)
    x, y = right.sample(160_000, seed=11)
    difference = right.reference.log_prob(x, y) - other.reference.log_prob(x, y)
    assert float(difference.mean()) > 2 * standard_errors() * float(difference.std()) / math.sqrt(len(y))


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_the_law_of_thin_data(dim):
    """h = ln area + ln eps + ½ ln(2 pi e) + O(eps²), and its error falling a hundredfold with a tenth of the eps."""
    errors = []
    for thickness in (0.01, 0.001):
        law = log_area(dim) + math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e)
        errors.append(abs(sphere(thickness, dim).reference.entropy() - law))
    assert errors[0] < 0.01
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("thickness", [0.3, 0.003])
def test_derivatives_against_finite_differences(thickness, dim):
    task = sphere(thickness, dim)
    y = task.sample(4, seed=0)[1]
    step = 1e-4 * thickness
    shifts = torch.eye(dim, dtype=torch.float64) * step

    def gradient(points):
        return torch.func.vmap(torch.func.grad(lambda point: log_prob(task, point)))(points)

    slope = torch.stack([log_prob(task, y + s) - log_prob(task, y - s) for s in shifts], -1) / (2 * step)
    torch.testing.assert_close(gradient(y), slope, rtol=1e-5, atol=1e-5 / thickness)
    hessian = torch.func.vmap(torch.func.hessian(lambda point: log_prob(task, point)))(y)
    bend = torch.stack([gradient(y + s) - gradient(y - s) for s in shifts], 1) / (2 * step)
    torch.testing.assert_close(hessian, bend, rtol=1e-4, atol=1e-4 / thickness**2)
    again = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(lambda point: log_prob(task, point))))(y)
    torch.testing.assert_close(hessian, again, rtol=1e-6, atol=1e-6 / thickness**2)


@pytest.mark.parametrize("dim", [2, 3, 64])
@pytest.mark.parametrize("thickness", [0.01, 0.003, 1e-4])
def test_the_curvature_on_the_shell_is_that_of_the_noise(thickness, dim):
    """On thin data: -1/eps² along the normal, 0 along the sphere at the radius of highest density."""
    task = sphere(thickness, dim)
    y = torch.zeros(dim, dtype=torch.float64)
    y[0] = 1.0
    hessian = torch.func.hessian(lambda point: log_prob(task, point))(y) * thickness**2
    assert float(hessian[0, 0]) == pytest.approx(-1.0, abs=dim * thickness**2 + 1e-6)
    assert float(hessian[1:].abs().max()) < dim * thickness**2 + 1e-6


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
@pytest.mark.parametrize("thickness", [0.5, 0.01])
def test_smooth_at_the_origin_and_across_the_series(thickness, dim):
    """At y = 0 the radius is not smooth, the density is: its Hessian is (1/(D eps²) - 1) / eps² times the identity."""
    task = sphere(thickness, dim)
    centre = torch.zeros(dim, dtype=torch.float64)
    assert float(torch.func.grad(lambda point: log_prob(task, point))(centre).abs().max()) == 0
    hessian = torch.func.hessian(lambda point: log_prob(task, point))(centre)
    expected = torch.eye(dim, dtype=torch.float64) * (1 / (dim * thickness**2) - 1) / thickness**2
    torch.testing.assert_close(hessian, expected, rtol=1e-9, atol=1e-9 / thickness**4)
    edge = centre.clone()
    edge[0] = thickness**2  # where series and Bessel function meet
    jump = log_prob(task, edge * (1 + 1e-12)) - log_prob(task, edge * (1 - 1e-12))
    assert abs(float(jump)) < 1e-8


@pytest.mark.parametrize("dim", [2, 3, 64])
@pytest.mark.parametrize("thickness", [0.3, 1e-3, 1e-4])
def test_finite_far_away_with_finite_gradients(thickness, dim):
    task = sphere(thickness, dim)
    y = torch.zeros(5, dim, dtype=torch.float64)
    y[:, 0] = torch.tensor([3.0, 1e3, 0.0, 1e-300, 1.0])
    y[0] = 3.0
    y.requires_grad_()
    values = log_prob(task, y)
    (gradient,) = torch.autograd.grad(values.sum(), y)
    assert bool(values.isfinite().all())
    assert bool(gradient.isfinite().all())


@given(st.integers(0, 66), st.floats(1.0, 1e4))
def test_the_bessel_function_is_scipys(twice, argument):
    order = twice / 2
    expected = math.log(ive(order, argument)) + math.lgamma(order + 1) + order * math.log(2 / argument)
    found = log_scaled_bessel(order, torch.tensor(argument, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-12, abs=1e-11)


@pytest.mark.parametrize("order", [0.0, 0.5, 3.0, 31.0, 33.0])
def test_the_bessel_function_goes_over_into_its_expansion(order):
    """Halves of one million: SciPy below 1e5, Hankel above; at order ½ the closed form ln(sinh k / k) - k."""
    k = torch.tensor([0.99e5, 1.01e5], dtype=torch.float64)
    value = log_scaled_bessel(order, k)
    expected = np.log(ive(order, k.numpy())) + math.lgamma(order + 1) + order * np.log(2 / k.numpy())
    np.testing.assert_allclose(value, expected, atol=1e-11)
    if order == 0.5:
        far = torch.tensor([1e5 + 1, 1e8, 1e12], dtype=torch.float64)
        closed = -torch.log(2 * far)
        torch.testing.assert_close(log_scaled_bessel(order, far), closed, rtol=0, atol=1e-12)


@pytest.mark.uses_global_generator  # gradcheck draws its directions from it
def test_bessel_derivatives_of_every_order():
    k = torch.tensor([1.0, 3.0, 50.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: log_scaled_bessel(1.5, a), k)
    assert torch.autograd.gradgradcheck(lambda a: log_scaled_bessel(1.5, a), k)


def test_answers_lie_on_the_sphere_and_all_round_it():
    """First and second moments within what 1024 uniform directions have: E u_i² = 1 / D, E u_i² u_j² = 1 / D (D + 2)
    and E u_i⁴ three times that. In three dimensions a shift of .09 or a second moment off by .15 / D is beyond it."""
    for dim in (2, 3, 8):
        answers = sphere(0.0, dim).reference.answers(torch.empty(2, 0))
        assert answers.shape == (2, 1024, dim)
        torch.testing.assert_close(answers.norm(dim=-1), torch.ones(2, 1024, dtype=torch.float64))
        assert within_standard_errors(answers[0].mean(0), 0.0, (1024 * dim) ** -0.5, comparisons=6)
        second, same = answers[0].T @ answers[0] / 1024, torch.eye(dim, dtype=torch.float64)
        variance = (1 + 2 * same) / (dim * (dim + 2)) - same / dim**2
        assert within_standard_errors(second, same / dim, (variance / 1024).sqrt(), comparisons=6)


def test_the_latent_is_the_point_that_was_blurred():
    _, y, z = sphere(0.1, 4).sample_with_latent(5000)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5000, dtype=torch.float64))
    assert variance_agrees((y - z).flatten(), 0.1**2, mean=0.0, comparisons=2)
    cosine = z[:, 0].numpy()  # of a uniform point on the sphere in R^4: Beta(3/2, 3/2) on [-1, 1]
    assert follows((cosine + 1) / 2, stats.beta(1.5, 1.5).cdf, comparisons=2)


def test_what_it_refuses():
    for dim in (1, 65):
        with pytest.raises(ValueError, match="ambient_dim"):
            sphere(0.1, dim)
    with pytest.raises(NoExactReference, match="thickness = 0"):
        sphere(0.0).reference.entropy()


# ---- the radial energy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_the_partition_function_is_its_radial_integral(thickness, dim):
    energy = RadialEnergy(thickness)
    top = (1 + math.sqrt(1 + 4 * (dim - 1) * thickness**2)) / 2
    scale = (dim - 1) * math.log(top) - (top - 1) ** 2 / (2 * thickness**2)

    def shell(r):
        return math.exp((dim - 1) * math.log(r) - (r - 1) ** 2 / (2 * thickness**2) - scale) if r else float(dim == 1)

    low, high = max(0.0, top - 14 * thickness), top + 14 * thickness
    integral, _ = integrate.quad(shell, low, high, epsabs=0, epsrel=1e-12, points=[top])
    assert energy.log_partition(dim) == pytest.approx(log_area(dim) + scale + math.log(integral), abs=1e-9)


@pytest.mark.parametrize("dim", [3, 8])
def test_the_law_of_the_partition_function(dim):
    """Of second order in eps: (D-1)(D-2)/2 eps², from the second moment of the radius."""
    for thickness in (0.01, 0.001):
        energy = RadialEnergy(thickness)
        off = energy.log_partition(dim) - energy.log_partition_law(dim)
        assert off == pytest.approx((dim - 1) * (dim - 2) / 2 * thickness**2, rel=0.01)


def test_areas_of_small_spheres():
    assert log_area(1) == pytest.approx(math.log(2))
    assert log_area(2) == pytest.approx(math.log(2 * math.pi))
    assert log_area(3) == pytest.approx(math.log(4 * math.pi))
    assert log_area(4) == pytest.approx(math.log(2 * math.pi**2))


@pytest.mark.parametrize("dim", [1, 2, 8])
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_samples_of_the_radial_energy_follow_it(thickness, dim):
    energy = RadialEnergy(thickness)
    y = energy.sample(5000, dim, seed=1)
    assert y.shape == (5000, dim)
    radius = np.linspace(1e-9, 1 + 12 * thickness + dim * thickness**2 * 2, 40_001)
    density = np.exp((dim - 1) * np.log(radius) - (radius - 1) ** 2 / (2 * thickness**2))
    cumulative = integrate.cumulative_simpson(density, x=radius, initial=0)
    found = y.norm(dim=1).numpy()
    assert follows(found, lambda r: np.interp(r, radius, cumulative / cumulative[-1]), comparisons=1 + dim)
    # Of mean 0 by symmetry, a coordinate's spread E|y|² / d.
    spread = (y.square().mean(0) / len(y)).sqrt()
    assert within_standard_errors(y.mean(0), 0.0, spread, comparisons=2)
    assert torch.equal(y, energy.sample(5000, dim, seed=1))
    assert not torch.equal(y, energy.sample(5000, dim, seed=2))


def test_the_radial_energy_refuses_bad_values():
    for thickness in (0.0, -1.0, math.nan, math.inf, "1"):
        with pytest.raises(ValueError, match="thickness = "):
            RadialEnergy(thickness)
    with pytest.raises(ValueError, match="dim = 0"):
        RadialEnergy(0.1).log_partition(0)
    with pytest.raises(ValueError, match="num_samples = 0"):
        RadialEnergy(0.1).sample(0, 2)
