"""Ellipse and horn: nearest points, density, entropy and direction against independent numerics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from statistical import follows

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.geometry import ellipses
from ebm_vs_prob.tasks.geometry.ellipses import direction_series, log_density

#: Thin and thick, long and round, wide and tall.
AXES = [(2.0, 1.5), (1.5, 2.0), (1.0, 1.0), (14.8, 11.1), (3.0, 0.5)]
THICKNESS = [1.0, 0.3, 0.05, 3e-3]


def points(axes: tuple[float, float], eps: float) -> torch.Tensor:
    """Noisy points of the ellipse, points all over, and where nearest points meet: axes, centre, cusps."""
    a, b = axes
    generator = torch.Generator().manual_seed(0)
    t = 2 * math.pi * torch.rand(20, dtype=torch.float64, generator=generator)
    on = torch.stack([a * t.cos(), b * t.sin()], -1)
    noisy = on + eps * torch.randn(20, 2, dtype=torch.float64, generator=generator)
    spread = 4 * a * (torch.rand(20, 2, dtype=torch.float64, generator=generator) - 0.5)
    cusp = (a**2 - b**2) / a
    special = [[0, 0], [a, 0], [0, -b], [cusp, 0], [-cusp / 2, 0], [cusp / 2, eps**2], [0, (a**2 - b**2) / b]]
    return torch.cat([noisy, spread, torch.tensor(special, dtype=torch.float64)])


def by_trapezoids(axes: tuple[float, float], y: torch.Tensor, eps: float) -> torch.Tensor:
    """ln p by the periodic trapezoidal rule over the whole turn, its spacing below half the noise."""
    count = int(max(1000, 8 * math.pi * max(axes) / eps))
    t = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    on = torch.stack([axes[0] * t.cos(), axes[1] * t.sin()], -1)
    rows = [torch.logsumexp(-((row - on) ** 2).sum(-1) / (2 * eps**2), 0) for row in y]
    return torch.stack(rows) - math.log(count) - math.log(2 * math.pi * eps**2)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("eps", THICKNESS)
def test_density_against_the_trapezoidal_rule(axes, eps):
    y = points(axes, eps)
    expected = by_trapezoids(axes, y, eps)
    torch.testing.assert_close(
        log_density(torch.tensor(axes, dtype=torch.float64), y, eps), expected, rtol=1e-11, atol=1e-9
    )


def test_density_of_the_thinnest_ellipse_is_laplaces():
    """At eps = 1e-4 ln p on the normal is that of a line's density 1 / (2π speed), bent by the curvature."""
    eps, axes = 1e-4, torch.tensor([2.0, 1.5], dtype=torch.float64)
    t = torch.linspace(0.1, 6.2, 50, dtype=torch.float64)
    tangent = torch.stack([-axes[0] * t.sin(), axes[1] * t.cos()], -1)
    speed = tangent.norm(dim=-1)
    normal = torch.stack([tangent[:, 1], -tangent[:, 0]], -1) / speed[:, None]
    curvature = axes.prod() / speed**3
    for offset in (-3.0, 0.0, 2.0):
        y = axes * torch.stack([t.cos(), t.sin()], -1) + offset * eps * normal
        line = -0.5 * offset**2 - (2 * math.pi * speed).log() - math.log(eps * math.sqrt(2 * math.pi))
        # The inner side sees more of the curve than the outer: 1 / sqrt(1 + curvature * offset * eps).
        torch.testing.assert_close(
            log_density(axes, y, eps), line - 0.5 * (curvature * offset * eps).log1p(), rtol=0, atol=1e-7
        )


@pytest.mark.parametrize(("name", "eps"), [("ellipse", 0.3), ("ellipse", 0.01), ("horn", 0.05)])
def test_derivatives_are_those_of_differences(name, eps):
    task = evp.get_task(name, thickness=eps)
    x, y = task.sample(8, seed=0)
    if name == "ellipse":
        y = torch.cat([y[:6], torch.tensor([[0.0, 0.3], [0.0, 0.0]], dtype=torch.float64)])

    def log_prob(x, y):
        return task.reference.log_density(x, y)

    gradient = torch.func.vmap(torch.func.grad(log_prob, argnums=1))
    slope, hessian = gradient(x, y), torch.func.vmap(torch.func.hessian(log_prob, argnums=1))(x, y)
    step = 1e-4 * eps * torch.eye(2, dtype=torch.float64)
    for k in range(2):
        first = (log_prob(x, y + step[k]) - log_prob(x, y - step[k])) / (2e-4 * eps)
        second = (gradient(x, y + step[k]) - gradient(x, y - step[k])) / (2e-4 * eps)
        torch.testing.assert_close(slope[:, k], first, rtol=1e-4, atol=1e-4 / eps)
        torch.testing.assert_close(hessian[:, k], second, rtol=1e-4, atol=1e-4 / eps**2)


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(0.2, 20), b=st.floats(0.2, 20), p=st.floats(-30, 30), q=st.floats(-30, 30),
    scale=st.sampled_from([1, 0.01]),
)  # fmt: skip
def test_distance_is_that_to_the_nearest_of_many_points(a, b, p, q, scale):
    y = scale * torch.tensor([[p, q]], dtype=torch.float64)
    found = float(ellipses.distance(torch.tensor([a, b], dtype=torch.float64), y))
    t = np.linspace(-np.pi, np.pi, 20_001)
    nearest = np.hypot(float(y[0, 0]) - a * np.cos(t), float(y[0, 1]) - b * np.sin(t)).min()
    spacing = max(a, b) * (t[1] - t[0])
    assert found <= nearest + 1e-12
    # A point on the grid is at most half a spacing off the foot, and the distance grows from there with the angle.
    assert nearest <= math.hypot(found, spacing) + spacing**2


def test_distance_along_normals_is_the_offset():
    t = torch.linspace(-3, 3, 41, dtype=torch.float64)
    for name, x in (("ellipse", torch.empty(41, 0)), ("horn", torch.linspace(0, 1, 41).unsqueeze(1))):
        task = evp.get_task(name)
        axes = task.axes(x.double())
        normal = torch.nn.functional.normalize(torch.stack([t.cos() / axes[:, 0], t.sin() / axes[:, 1]], -1), dim=-1)
        for offset in (0.7, 1e-9, -0.1):
            y = axes * torch.stack([t.cos(), t.sin()], -1) + offset * normal
            torch.testing.assert_close(
                task.reference.distance(x, y), torch.full_like(t, abs(offset)), rtol=0, atol=1e-13
            )


def test_the_horn_is_the_published_one():
    """ρ(x) = (αx + β(1 - x), βx + α(1 - x)) exp(2x), α = 1.5, β = 2."""
    x = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(1)
    alpha, beta = 1.5, 2.0
    rho = torch.cat([alpha * x + beta * (1 - x), beta * x + alpha * (1 - x)], -1) * (2 * x).exp()
    task = evp.get_task("horn", thickness=0.0)
    torch.testing.assert_close(task.axes(x), rho)
    inputs, y, angle = task.sample_with_latent(50, seed=4)
    expected = task.axes(inputs) * torch.cat([angle.cos(), angle.sin()], -1)
    torch.testing.assert_close(y, expected)
    assert torch.equal(evp.get_task("ellipse").axes(torch.empty(1, 0)), task.axes(torch.zeros(1, 1)))


@pytest.mark.parametrize("eps", [0.5, 0.1])
def test_entropy_against_quadrature_over_the_plane(eps):
    a, b = 2.0, 1.5
    node, weight = np.polynomial.legendre.leggauss(80)
    sides = [(0.5 * (axis + 9 * eps) * (1 + node), 0.5 * (axis + 9 * eps) * weight) for axis in (a, b)]
    y = torch.cartesian_prod(*(torch.from_numpy(side) for side, _ in sides))
    log_p = by_trapezoids((a, b), y, eps).numpy()
    expected = -4 * float((np.outer(sides[0][1], sides[1][1]).ravel() * np.exp(log_p) * log_p).sum())
    assert evp.get_task("ellipse", thickness=eps).reference.entropy() == pytest.approx(expected, abs=1e-8)


def test_entropy_of_thin_curves_is_that_of_curve_and_noise():
    """h = E ln(2π speed) + ½ ln(2πe ε²), the oracle law; growth by e^{2x} adds its mean logarithm, 1, to the horn's."""
    eps = 1e-4
    line = 0.5 * math.log(2 * math.pi * math.e) + math.log(eps)
    for name, axes in (("ellipse", lambda x: (2.0, 1.5)), ("horn", lambda x: (2 - x / 2, 1.5 + x / 2))):

        def log_speed(t, x=0.0, axes=axes):
            a, b = axes(x)
            return math.log(2 * math.pi * math.hypot(a * math.sin(t), b * math.cos(t))) / (2 * math.pi)

        if name == "ellipse":
            mean = integrate.quad(log_speed, 0, 2 * math.pi)[0]
        else:
            mean = 1 + integrate.dblquad(log_speed, 0, 1, 0, 2 * math.pi)[0]
        assert evp.get_task(name, thickness=eps).reference.entropy() == pytest.approx(mean + line, abs=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.5])
def test_angles_of_data_have_the_law_of_the_reference(eps):
    task = evp.get_task("ellipse", thickness=eps)
    angle = task.reference.angle(task.sample(20_000, seed=1)[1])
    assert follows(task.reference.angle_cdf(angle), "uniform")
    wrong = task.reference.angle_cdf(angle * 0.96)
    assert not follows(wrong, "uniform")


def test_direction_series_against_a_double_integral():
    a, b, eps = 2.0, 1.5, 0.7
    node = np.linspace(-np.pi, np.pi, 2001)[:-1]
    radius, weight = np.polynomial.legendre.leggauss(100)
    radius, weight = 3 * (1 + radius), 3 * weight
    series = direction_series(a, b, eps)
    order = np.arange(1, len(series) + 1)
    for phi in (0.0, 0.4, 1.5):
        y = np.stack([a * np.cos(phi) * radius, b * np.sin(phi) * radius], -1)[:, None]
        on = np.stack([a * np.cos(node), b * np.sin(node)], -1)
        density = np.exp(-((y - on) ** 2).sum(-1) / (2 * eps**2)).mean(1) / (2 * np.pi * eps**2)
        expected = float((weight * radius * a * b * density).sum())
        assert (1 + series @ np.cos(2 * order * phi)) / (2 * np.pi) == pytest.approx(expected, abs=1e-10)
    assert abs(series[0]) > 0.01  # noise that is round in the plane is not so in the angle
    assert abs(series[-1]) < 1e-12


@pytest.mark.parametrize("name", ["ellipse", "horn"])
def test_answers_lie_at_equal_angles_on_the_curve(name):
    task = evp.get_task(name)
    x, _ = task.sample(3)
    answers = task.reference.answers(x)
    assert answers.shape == (3, 512, 2)
    unit = answers / task.axes(x).unsqueeze(1)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(3, 512, dtype=torch.float64))
    torch.testing.assert_close(
        torch.atan2(unit[..., 1], unit[..., 0]).diff(), torch.full((3, 511), math.pi / 256).double()
    )
    assert bool((answers.abs() < task.y_space.bounds[1]).all())


@pytest.mark.parametrize("eps", [0.02, 0.2])
def test_an_ellipse_of_other_axes_has_its_own_law(eps):
    task = evp.get_task("ellipse", thickness=eps, semi_major=4.0, semi_minor=0.5)
    x, y = task.sample(20_000, seed=1)
    assert follows(task.reference.angle_cdf(task.reference.angle(y)), "uniform")
    surprise = -task.reference.log_prob(x, y)
    error = float(surprise.std()) / len(y) ** 0.5
    assert abs(float(surprise.mean()) - task.reference.entropy()) < 4 * error  # 1 run in 16,000 is beyond
    clean, angle = task.with_thickness(0.0).sample_with_latent(9, seed=1)[1:]
    torch.testing.assert_close(clean, torch.cat([4 * angle.cos(), 0.5 * angle.sin()], -1))
    assert task.y_space.bounds == (-8.0, 8.0)


def test_axes_out_of_order_are_refused():
    with pytest.raises(ValueError, match="semi_minor <= semi_major"):
        evp.get_task("ellipse", semi_major=1.0, semi_minor=2.0)


@settings(max_examples=15)
@given(st.floats(0.5, 3.0), st.floats(-3.0, 0.0), st.floats(-2.5, 0.5))
def test_directions_follow_their_series_or_there_is_none(largest, ratio, noise):
    """A series that is cut too early is some percent off where the directions crowd."""
    task = evp.get_task(
        "ellipse", semi_major=10**largest, semi_minor=10 ** (largest + ratio), thickness=10 ** (largest + noise)
    )
    _, y = task.sample(4000, seed=5)
    angle = task.reference.angle(y)
    try:
        uniform = task.reference.angle_cdf(angle)
    except NoExactReference:
        return
    assert follows(uniform.numpy(), "uniform", comparisons=15)
