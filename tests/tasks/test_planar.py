"""Blurred pieces of the plane against SciPy, sums over many points, and arithmetic of many digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from ebm_vs_prob.tasks.geometry.planar import Point, Ring, Segment, log_interval, panels, radius_cdf

PIECES = {
    "point": Point((0.3, -0.4)),
    "ring": Ring(1.25),
    "segment": Segment((-0.5, 0.2), (1.0, 0.9)),
}


def exact_log_interval(place, length, eps):
    """With 60 digits more than the tails take."""
    with mpmath.workdps(60 + int((abs(place) + length) ** 2 / eps**2)):
        low, high = ((mpmath.mpf(place) + sign * mpmath.mpf(length) / 2) / eps for sign in (-1, 1))
        return float(mpmath.log((mpmath.ncdf(high) - mpmath.ncdf(low)) / length))


@pytest.mark.parametrize("eps", [0.1, 3.0])
@pytest.mark.parametrize("place", [0.0, 0.3, -0.75, 0.9, 2.0])
def test_a_blurred_interval_in_the_middle_and_far_out(eps, place):
    found = float(log_interval(torch.tensor(place, dtype=torch.float64), 1.5, eps))
    assert found == pytest.approx(exact_log_interval(place, 1.5, eps), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("eps", [1e-4, 0.01, 3.0])
def test_derivatives_of_a_blurred_interval_are_finite_everywhere(eps):
    place = torch.tensor([0.0, 1e-9, 0.5, 0.75, 0.76, 3.0, 1e3], dtype=torch.float64)
    for derivative in (torch.func.grad, lambda f, **k: torch.func.grad(torch.func.grad(f))):
        values = torch.func.vmap(derivative(lambda s: log_interval(s, 1.5, eps)))(place)
        assert bool(values.isfinite().all())


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("eps", [0.05, 0.4])
def test_densities_are_those_of_many_blurred_points(name, eps):
    piece = PIECES[name]
    rng = np.random.default_rng(0)
    y = rng.uniform(-2.0, 2.0, (30, 2))
    # Points at equal distances: midpoints, whose error falls as the square of their number.
    points = piece.at((np.arange(20_000) + 0.5) / 20_000)
    square = ((y[:, None] - points) ** 2).sum(-1) / eps**2
    density = np.log(np.exp(-0.5 * (square - square.min(1, keepdims=True))).mean(1)) - 0.5 * square.min(1)
    found = piece.log_density(torch.from_numpy(y), eps).numpy()
    np.testing.assert_allclose(found, density - math.log(2 * math.pi * eps**2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("eps", [1e-3, 0.1, 2.0])
def test_nodes_integrate_the_blurred_law(name, eps):
    """Mass 1, and the second moment that a uniform law and independent noise have."""
    points, weight = PIECES[name].nodes(eps, 16)
    mass = weight * PIECES[name].log_density(torch.from_numpy(points), eps).exp().numpy()
    assert mass.sum() == pytest.approx(1.0, abs=1e-10)
    clean = PIECES[name].at((np.arange(4000) + 0.5) / 4000)
    assert mass @ (points**2).sum(1) == pytest.approx((clean**2).sum(1).mean() + 2 * eps**2, rel=1e-6)


@pytest.mark.parametrize("name", PIECES)
def test_distances_are_to_the_nearest_of_many_points(name):
    y = np.random.default_rng(1).uniform(-2.0, 2.0, (200, 2))
    points = PIECES[name].at((np.arange(5000) + 0.5) / 5000)
    nearest = np.sqrt(((y[:, None] - points) ** 2).sum(-1)).min(1)
    found = PIECES[name].distance(torch.from_numpy(y)).numpy()
    assert (found <= nearest + 1e-12).all()
    # A nearest point lies half a spacing of 7.9 / 5000 away at most.
    np.testing.assert_allclose(found, nearest, atol=PIECES[name].length / 5000)


@pytest.mark.parametrize("eps", [0.1, 0.5, 2.0])
def test_the_radius_has_rices_law(eps):
    center = np.array([0.0, 0.5, 1.3])
    for radius in (0.4, 1.25, 2.0):
        law = stats.ncx2.cdf((radius / eps) ** 2, 2, (center[1:] / eps) ** 2)
        np.testing.assert_allclose(radius_cdf(radius, center, eps)[1:], law, atol=1e-12)
        assert radius_cdf(radius, center, eps)[0] == pytest.approx(-math.expm1(-0.5 * (radius / eps) ** 2), abs=1e-13)
    thin = radius_cdf(1.25, np.array([1.2, 1.25, 1.3]), 1e-5)
    np.testing.assert_allclose(thin, [1.0, 0.5, 0.0], atol=1e-5)


def test_panels_see_a_narrow_change_at_a_mark():
    node, weight = panels(-1.0, 2.0, (0.5,), 1e-4, 8)
    assert weight.sum() == pytest.approx(3.0, abs=1e-12)
    assert (np.diff(node) > 0).all()
    height = np.exp(-0.5 * ((node - 0.5) / 1e-4) ** 2)
    assert weight @ height == pytest.approx(1e-4 * math.sqrt(2 * math.pi), rel=1e-8)
    smooth = integrate.quad(math.exp, -1, 2)[0]
    assert weight @ np.exp(node) == pytest.approx(smooth, rel=1e-12)
