"""The circle's exact density, entropy, angle and geometry against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import i0, i0e, i1
from statistical import follows, standard_errors, within_standard_errors

import ebm_vs_prob as evp


def circle(thickness, dim=2, kappa=1.0, **options):
    return evp.get_task("circle", thickness=thickness, ambient_dim=dim, concentration=kappa, **options)


def log_prob(task, y):
    y = torch.as_tensor(y, dtype=torch.float64)
    return task.reference.log_density(y[..., :0], y)


def formula(y, thickness, kappa):
    """The closed form, written with SciPy."""
    radius = np.hypot(y[:, 0], y[:, 1])
    argument = np.sqrt(kappa**2 + 2 * kappa * y[:, 0] / thickness**2 + radius**2 / thickness**4)
    gauss = -((y**2).sum(1) + 1) / (2 * thickness**2) - y.shape[1] / 2 * np.log(2 * np.pi * thickness**2)
    return np.log(i0e(argument)) + argument + gauss - np.log(i0e(kappa)) - kappa


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 3.9, 4.1, 40.0])
@pytest.mark.parametrize("thickness", [0.5, 0.03])
def test_log_prob_is_the_closed_form(thickness, kappa, dim):
    task = circle(thickness, dim, kappa)
    y = np.random.default_rng(0).uniform(-2, 2, (200, dim))
    np.testing.assert_allclose(log_prob(task, y).numpy(), formula(y, thickness, kappa), rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize(("thickness", "kappa"), [(0.3, 1.0), (0.1, 4.0), (0.5, 0.0)])
def test_log_prob_is_the_convolution(thickness, kappa):
    """Against adaptive quadrature of the definition: the von Mises density times the Gaussian noise."""
    task = circle(thickness, 2, kappa)
    for y in ([1.1, 0.2], [-0.7, 0.5], [0.0, 0.0], [-kappa * thickness**2, 1e-4]):

        def integrand(angle, y=y):
            distance2 = (y[0] - math.cos(angle)) ** 2 + (y[1] - math.sin(angle)) ** 2
            return stats.vonmises.pdf(angle, max(kappa, 1e-12)) * math.exp(-0.5 * distance2 / thickness**2)

        near = math.atan2(y[1], y[0])
        mass, _ = integrate.quad(integrand, -math.pi, math.pi, epsabs=1e-14, epsrel=1e-12, limit=400, points=[near])
        expected = math.log(mass / (2 * math.pi * thickness**2))
        assert float(log_prob(task, y)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("thickness", [0.3, 0.1, 0.01, 0.003, 1e-4])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 4.0])
def test_density_integrates_to_one_in_the_plane(thickness, kappa):
    """Polar quadrature: trapezoids in angle, Gauss-Legendre over ten standard deviations of radius."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    low, high = max(0.0, 1 - 10 * thickness), 1 + 10 * thickness
    radius = low + (high - low) * (nodes + 1) / 2
    angle = np.linspace(-np.pi, np.pi, 256, endpoint=False)
    y = np.stack([np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle))], -1)
    density = log_prob(circle(thickness, 2, kappa), y).exp().numpy()
    mass = (density * (radius * weights * (high - low) / 2)[:, None]).sum() * 2 * np.pi / len(angle)
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_density_integrates_to_one_over_the_box():
    task = circle(0.3)
    side = torch.linspace(*task.y_space.bounds, 601, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
    assert float(log_prob(task, grid).exp().sum()) * 0.01**2 == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("rotation", [None, 3])
@pytest.mark.parametrize("dim", [2, 8])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_mean_log_prob_is_minus_the_entropy(thickness, kappa, dim, rotation):
    task = circle(thickness, dim, kappa, rotation=rotation)
    values = task.reference.log_prob(*task.sample(40_000, seed=11))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("wrong", [{"kappa": 1.3}, {"kappa": 0.8}, {"thickness": 0.0105}, {"thickness": 0.0095}])
def test_a_wrong_concentration_or_thickness_is_told_from_the_data(wrong):
    """A density that is 5 % too thick or thin lies more than twice as far off as a right one may, at a rate of 1e-5."""
    right = circle(0.01, 2, 1.0)
    other = circle(wrong.get("thickness", 0.01), 2, wrong.get("kappa", 1.0))
    x, y = right.sample(160_000, seed=11)
    difference = right.reference.log_prob(x, y) - other.reference.log_prob(x, y)
    assert float(difference.mean()) > 2 * standard_errors() * float(difference.std()) / math.sqrt(len(y))


@pytest.mark.parametrize(("thickness", "kappa"), [(0.5, 1.0), (0.3, 4.0)])
def test_entropy_in_the_plane_against_adaptive_quadrature(thickness, kappa):
    task = circle(thickness, 2, kappa)

    def surprise(angle, radius):
        across, along = radius * math.cos(angle) / thickness**2, radius * math.sin(angle) / thickness**2
        argument = math.hypot(kappa + across, along)
        value = (
            math.log(i0e(argument))
            + argument
            - (radius**2 + 1) / (2 * thickness**2)
            - math.log(2 * math.pi * thickness**2 * i0(kappa))
        )
        return -2 * radius * math.exp(value) * value

    expected, _ = integrate.dblquad(surprise, 0, 1 + 10 * thickness, 0, math.pi, epsabs=1e-10, epsrel=1e-10)
    assert task.reference.entropy() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 4.0, 200.0])
def test_oracle_law_of_thin_data(dim, kappa):
    """-h_d - (D-d)[ln eps + 1/2 ln(2 pi e)] + O(eps^2): the law, and its error falling with thickness."""
    intrinsic = math.log(2 * math.pi * i0(kappa)) - kappa * i1(kappa) / i0(kappa)
    errors = []
    for thickness in (0.01, 0.003, 1e-4):
        law = intrinsic + (dim - 1) * (math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e))
        errors.append(abs(circle(thickness, dim, kappa).reference.entropy() - law))
    assert errors[0] < 1e-4 * (1 + kappa)
    assert errors[1] < 1e-5 * (1 + kappa)
    assert errors[2] < 1e-8 * (1 + kappa)


def test_the_anchor_in_two_dimensions():
    assert circle(0.003).reference.entropy() == pytest.approx(3.046 + math.log(0.003), abs=1e-3)


@pytest.mark.parametrize("thickness", [0.3, 0.003])
@pytest.mark.parametrize("kappa", [0.0, 4.0])
def test_derivatives_against_finite_differences(thickness, kappa):
    task = circle(thickness, 3, kappa, rotation=5)
    y = task.sample(6, seed=0)[1]
    step = 1e-4 * thickness
    gradient = torch.func.vmap(torch.func.grad(lambda point: log_prob(task, point)))(y)
    hessian = torch.func.vmap(torch.func.hessian(lambda point: log_prob(task, point)))(y)
    for axis, shift in enumerate(torch.eye(3, dtype=torch.float64) * step):
        slope = (log_prob(task, y + shift) - log_prob(task, y - shift)) / (2 * step)
        torch.testing.assert_close(gradient[:, axis], slope, rtol=1e-5, atol=1e-5 / thickness)
    again = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(lambda point: log_prob(task, point))))(y)
    torch.testing.assert_close(hessian, again, rtol=1e-6, atol=1e-6 / thickness**2)
    slopes = torch.stack(
        [
            torch.func.vmap(torch.func.grad(lambda point: log_prob(task, point)))(y + shift)
            - torch.func.vmap(torch.func.grad(lambda point: log_prob(task, point)))(y - shift)
            for shift in torch.eye(3, dtype=torch.float64) * step
        ],
        dim=1,
    ) / (2 * step)
    torch.testing.assert_close(hessian, slopes, rtol=1e-4, atol=1e-4 / thickness**2)


@pytest.mark.parametrize("thickness", [0.5, 0.003])
@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_smooth_where_the_bessel_argument_vanishes(thickness, kappa):
    """At y = -kappa eps^2 e1 the square root of the closed form is singular, the density is not."""
    task = circle(thickness, 2, kappa)
    centre = torch.tensor([-kappa * thickness**2, 0.0], dtype=torch.float64)
    gradient = torch.func.grad(lambda point: log_prob(task, point))(centre)
    hessian = torch.func.hessian(lambda point: log_prob(task, point))(centre)
    expected = torch.tensor([kappa, 0.0], dtype=torch.float64)  # -y / eps^2: ln I0 is flat there
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)
    curvature = 0.5 / thickness**4 - 1 / thickness**2  # ln I0(w) = w^2 / 4 + ...
    torch.testing.assert_close(hessian, curvature * torch.eye(2, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    edge = centre + torch.tensor([0.1 * thickness**2, 0.0], dtype=torch.float64)  # where series and closed form meet
    jump = log_prob(task, edge * (1 + 1e-13)) - log_prob(task, edge * (1 - 1e-13))
    assert abs(float(jump)) < 1e-8 / thickness**2


@pytest.mark.parametrize("thickness", [0.003, 1e-4])
def test_finite_far_from_the_ring_and_on_it(thickness):
    task = circle(thickness, 2, 1.0)
    y = torch.tensor(
        [[3.0, -3.0], [1e3, 0.0], [0.0, 0.0], [1.0, 0.0], [-1.0, 1e-300]], dtype=torch.float64, requires_grad=True
    )
    values = log_prob(task, y)
    (gradient,) = torch.autograd.grad(values.sum(), y)
    assert bool(values.isfinite().all())
    assert bool(gradient.isfinite().all())
    on_the_ring = -math.log(2 * math.pi * i0(1.0)) + 1.0 - math.log(thickness * math.sqrt(2 * math.pi))
    assert values[3].item() == pytest.approx(on_the_ring, abs=2e-5)


def test_rotation_turns_the_data_and_the_truth_together():
    plain, turned = circle(0.1, 4, 2.0), circle(0.1, 4, 2.0, rotation=9)
    matrix = torch.from_numpy(turned.rotation)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(4, dtype=torch.float64))
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0)
    x, y = plain.sample(50)
    moved = y @ matrix.T
    torch.testing.assert_close(turned.reference.log_prob(x, moved), plain.reference.log_prob(x, y))
    torch.testing.assert_close(turned.reference.distance(x, moved), plain.reference.distance(x, y))
    torch.testing.assert_close(turned.reference.angle(moved), plain.reference.angle(y))
    assert float(turned.reference.distance(x[:1], turned.reference.answers(x[:1])[0, :1])) < 1e-14
    assert not np.array_equal(turned.rotation, circle(0.1, 4, 2.0, rotation=10).rotation)
    # The plane of the circle moves, not the noise alone.
    assert float(plain.reference.distance(x[:1].expand(512, 0), turned.reference.answers(x[:1])[0]).max()) > 0.1


def test_answers_go_once_round_at_equal_steps():
    task = circle(0.0, 3)
    answers = task.reference.answers(torch.empty(2, 0))
    assert answers.shape == (2, 512, 3)
    angles = task.reference.angle(answers[1])
    torch.testing.assert_close(angles.diff(), torch.full((511,), 2 * math.pi / 512, dtype=torch.float64))
    step = (answers[0] - answers[0].roll(1, 0)).norm(dim=-1)
    torch.testing.assert_close(step, torch.full((512,), 2 * math.sin(math.pi / 512), dtype=torch.float64))


def test_angle_is_the_latent_and_stays_in_its_interval():
    task = circle(0.0, 5, 0.0, rotation=2)
    _, y, z = task.sample_with_latent(300)
    torch.testing.assert_close(task.reference.angle(y), z.squeeze(-1))
    assert task.intrinsic_coordinate == "angle"
    edge = circle(0.0).reference.angle(torch.tensor([[-1.0, -0.0], [-1.0, 0.0]], dtype=torch.float64))
    assert torch.equal(edge, torch.full((2,), math.pi, dtype=torch.float64))


@pytest.mark.parametrize("kappa", [0.0, 1.0, 50.0, 1e4])
def test_angle_cdf_without_noise_is_von_mises(kappa):
    angle = torch.linspace(-math.pi, math.pi, 201, dtype=torch.float64)
    uniform = (angle.numpy() + np.pi) / (2 * np.pi)
    expected = stats.vonmises.cdf(angle.numpy(), kappa) if kappa else uniform
    got = circle(0.0, 2, kappa).reference.angle_cdf(angle).numpy()
    # SciPy itself is a normal approximation, good to 1e-7, at concentrations of 50 and more.
    np.testing.assert_allclose(got, expected, atol=1e-12 if kappa < 50 else 2e-5)
    assert got[0] == pytest.approx(0.0, abs=1e-12)
    assert got[-1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("thickness", [0.5, 0.1, 1e-4, 1e-5])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 4.0])
def test_angle_cdf_is_that_of_the_noisy_data(thickness, kappa):
    task = circle(thickness, 3, kappa)
    _, y = task.sample(20_000, seed=4)
    angle = task.reference.angle(y).numpy()
    assert follows(angle, lambda value: task.reference.angle_cdf(torch.from_numpy(value)).numpy())


@pytest.mark.parametrize("thickness", [4.9e-5, 5.1e-5])
def test_angle_cdf_of_a_narrow_arc_is_normal(thickness):
    """At concentration 1e8 angle and noise are both Gaussian, of variances 1e-8 and eps^2: below 5e-5 and above."""
    deviation = math.sqrt(1e-8 + thickness**2)
    angle = np.linspace(-3, 3, 25) * deviation
    got = circle(thickness, 2, 1e8).reference.angle_cdf(torch.from_numpy(angle))
    np.testing.assert_allclose(got, stats.norm.cdf(angle / deviation), atol=1e-6)


@pytest.mark.parametrize(
    ("thickness", "kappa"),
    [(0.0, 1e7), (0.0, 0.99e8), (0.0, 1.01e8), (0.0, 1e12), (1e-3, 1e9), (1e-3, 1e15), (0.01, 1e300), (0.3, 1e12)],
)
def test_angle_cdf_of_any_concentration_is_that_of_the_noise_and_the_arc(thickness, kappa):
    """Against the direction of (1, 0) and noise alone, where the arc is a point, and against a normal law elsewhere."""
    deviation = math.hypot(kappa**-0.5, thickness)
    angle = np.linspace(-3, 3, 25) * deviation
    got = circle(thickness, 2, kappa).reference.angle_cdf(torch.from_numpy(angle)).numpy()
    expected = stats.norm.cdf(angle / deviation)
    if kappa**-0.5 < 1e-4 * thickness:
        mass = [integrate.quad(direction_density, 0.0, value, (thickness,), epsabs=1e-12)[0] for value in angle]
        expected = 0.5 + np.array(mass)
    np.testing.assert_allclose(got, expected, atol=1e-8 if thickness == 0.0 else 1e-6)


def direction_density(angle, thickness):
    """Of (1, 0) and Gaussian noise: an integral over the radius in closed form (Mardia and Jupp 2000, section 3.5)."""
    along = math.cos(angle) / thickness
    beside = stats.norm.pdf(math.sin(angle) / thickness)
    return stats.norm.pdf(1.0 / thickness) / math.sqrt(2.0 * math.pi) + along * stats.norm.cdf(along) * beside


@pytest.mark.parametrize("thickness", [0.003, 0.3, 2.0])
def test_a_concentrated_angle_leaves_a_gaussian(thickness):
    """At concentration 1e10 the data are one point, (1, 0), blurred."""
    task = circle(thickness, 2, 1e10)
    _, y = task.sample(200)
    expected = stats.norm([1.0, 0.0], thickness).logpdf(y.numpy()).sum(1)
    np.testing.assert_allclose(log_prob(task, y), expected, atol=5e-4)
    entropy = 2 * (math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e))
    assert task.reference.entropy() == pytest.approx(entropy, abs=1e-5)


def test_angle_cdf_against_quadrature_of_the_density():
    task = circle(0.4, 2, 2.0)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    radius = 3.0 * (nodes + 1)
    for angle in (-1.0, 0.3, 2.0):
        arc = -math.pi + (angle + math.pi) * (nodes + 1) / 2
        y = np.stack([np.outer(radius, np.cos(arc)), np.outer(radius, np.sin(arc))], -1)
        density = log_prob(task, y).exp().numpy() * np.outer(radius * 3.0 * weights, weights * (angle + math.pi) / 2)
        got = float(task.reference.angle_cdf(torch.tensor([angle], dtype=torch.float64)))
        assert got == pytest.approx(density.sum(), abs=1e-9)


@pytest.mark.parametrize(("thickness", "extent"), [(0.0, 3.0), (0.3, 3.0), (0.5, 4.0)])
def test_the_box_leaves_room_for_the_noise(thickness, extent):
    assert circle(thickness).y_space.bounds == (-extent, extent)
