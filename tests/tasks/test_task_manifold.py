"""The manifolds' densities, area elements, projections and entropies against independent computations."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statistical import follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.geometry import arcs, polynomials, tubes
from ebm_vs_prob.tasks.geometry.bessel import log_scaled_bessel
from ebm_vs_prob.tasks.geometry.spirals import FIRST, LAST
from ebm_vs_prob.tasks.manifold import DIMENSIONS
from ebm_vs_prob.testing import check_task

SHAPES = list(DIMENSIONS)
CURVED = ["torus", "klein_bottle", "swiss_roll", "polynomial"]
TUBES = ["torus", "klein_bottle"]


def made(shape, thickness=0.1, **options):
    return evp.get_task("manifold", shape=shape, thickness=thickness, **options)


def log_prob(task, y):
    y = torch.as_tensor(y, dtype=torch.float64)
    return task.reference.log_density(y[..., :0], y)


def latent_grid(shape, side, corners=False):
    """Midpoints of a grid of latents (side, side, 2), or its corners; of the sphere colatitude and longitude."""
    low, high = {
        "sphere": ((0, math.pi), (-math.pi, math.pi)),
        "swiss_roll": ((FIRST, LAST), (-4.0, 4.0)),
        "polynomial": ((-8.0, 10.0), (-10.0, 8.0)),
    }.get(shape, ((-math.pi, math.pi),) * 2)
    steps = np.arange(side + 1) if corners else np.arange(side) + 0.5
    axes = [start + steps * (end - start) / side for start, end in (low, high)]
    return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1))


def embedded(task, grid):
    """Points of the grid in the shape's own space, and their latents."""
    if task.options.shape != "sphere":
        return task.surface.points(grid), grid
    angle, turn = grid.unbind(-1)
    points = torch.stack([angle.cos(), angle.sin() * turn.cos(), angle.sin() * turn.sin()], -1)
    return points, points


def hard_points(task, seed=0):
    """Noisy points, points all over, and where nearest points meet: centres of the circles, axis, origin."""
    rng = np.random.default_rng(seed)
    on = task.surface.draw(rng, 12)[0]
    core = on.copy()
    core[:, 2:] = 0
    core /= np.linalg.norm(core, axis=1, keepdims=True)
    axis = on.copy()
    axis[:, :2] *= 1e-3
    noise = rng.standard_normal((5, *on.shape))
    everything = [
        on + task.thickness * noise[0],
        noise[1],
        core,
        core + 1e-3 * noise[2],
        axis,
        0.1 * noise[4],
        on[:1] * 0,
    ]
    return torch.from_numpy(np.concatenate(everything))


@pytest.mark.parametrize(
    "shape", ["sphere", "linear", *(pytest.param(shape, marks=pytest.mark.slow) for shape in CURVED)]
)
def test_the_rules_are_kept_by_every_shape(shape):
    check_task(made(shape, 0.06, ambient_dim=5, rotation=3))


# ---- densities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", TUBES)
@pytest.mark.parametrize(("thickness", "concentration"), [(1.0, 2.0), (0.3, 20.0), (0.1, 0.0), (0.1, 2.0)])
def test_the_density_of_a_tube_is_the_convolution(shape, thickness, concentration):
    """Against the midpoint rule over both angles."""
    task = made(shape, thickness, concentration=concentration)
    side = 160
    grid = latent_grid(shape, side)
    law = torch.from_numpy(stats.vonmises.logpdf(grid.numpy(), max(concentration, 1e-12)).sum(-1)).flatten()
    points = task.surface.points(grid).reshape(-1, task.y_space.dim)
    for y in hard_points(task)[::12]:
        exponent = law - (y - points).square().sum(-1) / (2 * thickness**2)
        expected = exponent.logsumexp(0) + 2 * math.log(2 * math.pi / side)
        expected -= task.y_space.dim * math.log(thickness * math.sqrt(2 * math.pi))
        assert float(log_prob(task, y)) == pytest.approx(float(expected), abs=2e-8)


@pytest.mark.parametrize("thickness", [1.0, 0.2, 0.03])
def test_the_density_of_the_swiss_roll_is_the_convolution(thickness):
    """Against adaptive quadrature over the angle, the height apart."""
    task = made("swiss_roll", thickness)
    for y in hard_points(task)[::4].numpy():
        t = np.linspace(FIRST, LAST, 2001)
        square = ((t / LAST * np.cos(t) - y[0]) ** 2 + (t / LAST * np.sin(t) - y[1]) ** 2) / (2 * thickness**2)
        least, nearest = square.min(), t[square.argmin()]

        def integrand(angle, y=y, least=least):
            radius = angle / LAST
            off = (radius * math.cos(angle) - y[0]) ** 2 + (radius * math.sin(angle) - y[1]) ** 2
            law = 6 * (angle - FIRST) * (LAST - angle) / (LAST - FIRST) ** 3
            return law * math.exp(least - off / (2 * thickness**2))

        cuts = sorted({FIRST, nearest, LAST, *np.clip([nearest - 6 * thickness, nearest + 6 * thickness], FIRST, LAST)})
        total = sum(
            integrate.quad(integrand, *pair, epsabs=1e-13, epsrel=1e-10, limit=400)[0]
            for pair in itertools.pairwise(cuts)
        )
        height = stats.norm.logpdf(y[2], 0, math.hypot(0.5, thickness))
        expected = math.log(total) - least - math.log(2 * math.pi * thickness**2) + height
        assert float(log_prob(task, y)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shape", TUBES)
@pytest.mark.parametrize(("thickness", "nodes", "count"), [(0.05, 1500, 100), (1e-3, 60_000, 4)])
def test_no_near_point_is_missed(shape, thickness, nodes, count, monkeypatch):
    """Against trapezoids all round the tube, which know of no extrema; half the points lie where caustics are."""

    def trapezoids(log_integrand, energy, breaks, eps, depth):
        phi = torch.arange(nodes, dtype=torch.float64) * (2 * math.pi / nodes)
        return log_integrand(phi.expand(len(breaks), nodes)).logsumexp(-1) + math.log(2 * math.pi / nodes)

    task = made(shape, thickness, concentration=5.0)
    rng = np.random.default_rng(1)
    y = torch.from_numpy(rng.standard_normal((count, task.y_space.dim)) * rng.random((count, 1)))
    y[::2, 2:] *= 0.2
    values = log_prob(task, y)
    monkeypatch.setattr(tubes, "log_integral", trapezoids)
    torch.testing.assert_close(log_prob(task, y), values, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", CURVED)
@pytest.mark.parametrize("thickness", [3.0, 0.03, 1e-3, 1e-4])
def test_more_nodes_do_not_move_the_density(shape, thickness, monkeypatch):
    """To 1e-6 wherever y lies, rounding of exponents as large as |y|²/eps² included; on the data far less."""
    task = made(shape, thickness, concentration=10.0)
    y = hard_points(task)
    values = log_prob(task, y)
    monkeypatch.setattr(arcs, "NODES", 48)
    monkeypatch.setattr(arcs, "PANELS", (0.0, 1 / 64, 1 / 16, 0.25, 0.5, 1.0))
    for name, value in {"NODES": 8, "ROOT": 12, "REACH": 14.0, "WIDE": (0.15, 0.2), "DEPTH": 60.0}.items():
        monkeypatch.setattr(polynomials, name, value)
    off = (log_prob(task, y) - values).abs()
    assert float(off.max()) < 1e-6
    assert float(off[:12].max()) < 1e-9


@pytest.mark.parametrize("thickness", [1.0, 0.51, 0.49, 0.2])
def test_the_density_of_the_polynomial_surface_is_the_convolution(thickness):
    """Against a finer sum over the whole plane, the surface and its law written out again."""
    task = made("polynomial", thickness)
    coefficients = task.surface.coefficients
    first = torch.arange(-10, 12, 0.04, dtype=torch.float64)
    grid = torch.cartesian_prod(first, first - 1)
    one, other = grid.T.numpy()
    height = sum(coefficients[i, j] * one**i * other**j for i in range(6) for j in range(6 - i))
    height = height * np.exp(-0.1 * (one**2 + other**2))
    law = 0.6 * stats.multivariate_normal([1, -1], 4.0).pdf(grid) + 0.4 * stats.multivariate_normal([-1, 1], 0.36).pdf(
        grid
    )
    for y in hard_points(task)[::12].numpy():
        square = (one - y[0]) ** 2 + (other - y[1]) ** 2 + (height - y[2]) ** 2
        expected = math.log(np.sum(law * np.exp(-square / (2 * thickness**2))) * 0.04**2)
        expected -= 3 * math.log(thickness * math.sqrt(2 * math.pi))
        assert float(log_prob(task, torch.from_numpy(y))) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("concentration", [0.0, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("thickness", [1.0, 0.1, 1e-3])
def test_the_sphere_in_the_plane_is_the_circle(thickness, concentration):
    circle = evp.get_task("circle", thickness=thickness, concentration=concentration, ambient_dim=5)
    task = made("sphere", thickness, concentration=concentration, manifold_dim=1, ambient_dim=5)
    y = torch.cat([task.sample(50)[1], torch.randn(50, 5, generator=torch.Generator().manual_seed(0)).double()])
    torch.testing.assert_close(log_prob(task, y), log_prob(circle, y), rtol=1e-10, atol=1e-7)
    assert task.reference.entropy() == pytest.approx(circle.reference.entropy(), abs=1e-7)


@pytest.mark.parametrize("dim", [2, 7, 63])
@pytest.mark.parametrize("thickness", [0.3, 1e-4])
def test_the_even_sphere_is_the_thin_sphere(thickness, dim):
    other = evp.get_task("thin_sphere", thickness=thickness, ambient_dim=dim + 1)
    task = made("sphere", thickness, concentration=0.0, manifold_dim=dim)
    y = torch.cat([task.sample(50)[1], torch.zeros(1, dim + 1).double()])
    torch.testing.assert_close(log_prob(task, y), log_prob(other, y), rtol=1e-10, atol=1e-6)
    assert task.reference.entropy() == pytest.approx(other.reference.entropy(), abs=1e-7)


def test_bessel_functions_of_large_order_go_over_into_the_expansion():
    """Either side of order 33, where values from SciPy end: g is smooth in the order; and at orders that SciPy has."""
    k = torch.tensor([1.0, 10.0, 300.0, 1e5, 1e9], dtype=torch.float64)
    step = 1e-6
    near = log_scaled_bessel(33.0, k) - log_scaled_bessel(33.0 - step, k)
    torch.testing.assert_close(log_scaled_bessel(33.0 + step, k), log_scaled_bessel(33.0, k) + near, rtol=0, atol=1e-9)
    from scipy.special import gammaln, ive

    expected = np.log(ive(80.0, 300.0)) + gammaln(81.0) + 80 * np.log(2 / 300.0)
    assert float(log_scaled_bessel(80.0, k[2])) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("shape", ["sphere", "torus"])
def test_the_density_sums_to_one_over_a_grid_of_space(shape):
    """Spacing 1.2 eps: of the sum over a grid of a function blurred by eps, the error is exp(-2 pi² / 1.2²) ~ 1e-6."""
    task = made(shape, 0.4)
    spacing = 0.48
    sides = [np.arange(-9, 10)] * 3
    y = spacing * torch.from_numpy(np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)).double()
    assert float(log_prob(task, y).exp().sum()) * spacing**3 == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("thickness", "dim"), [(0.5, 4), (3.0, 6)])
def test_the_density_integrates_to_one_by_importance(shape, thickness, dim):
    """Under a normal law of the moments of the data, half again as wide."""
    task = made(shape, thickness, ambient_dim=dim, rotation=5)
    y = task.sample(4000, seed=1)[1].numpy()
    proposal = stats.multivariate_normal(y.mean(0), 1.5 * np.cov(y.T))
    drawn = proposal.rvs(3000, random_state=np.random.default_rng(0))
    ratio = np.exp(log_prob(task, drawn).numpy() - proposal.logpdf(drawn))
    assert within_standard_errors(ratio.mean(), 1.0, ratio.std() / len(ratio) ** 0.5)
    assert ratio.std() / len(ratio) ** 0.5 < 0.05


@pytest.mark.parametrize("dim", [20, 300])
def test_the_density_of_a_sphere_in_many_dimensions_integrates_to_one(dim):
    """Under the same sphere with an even law, of the task `thin_sphere` where that goes so far."""
    task = made("sphere", 0.2, concentration=3.0, manifold_dim=dim)
    even = made("sphere", 0.2, concentration=0.0, manifold_dim=dim)
    if dim < 64:
        even = evp.get_task("thin_sphere", thickness=0.2, ambient_dim=dim + 1)
    x, y = even.sample(4000, seed=2)
    ratio = (log_prob(task, y) - even.reference.log_prob(x, y)).exp()
    assert within_standard_errors(ratio.mean(), 1.0, ratio.std() / len(ratio) ** 0.5)


# ---- area ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["sphere", *CURVED])
def test_the_law_integrates_to_one_over_the_area(shape):
    """The area of small parallelograms, which knows no Jacobian; on a sphere it shrinks towards the poles."""
    task = made(shape, 0.0)
    points = embedded(task, latent_grid(shape, 200, corners=True))[0]
    one, other = points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:]
    area = (one.square().sum(-1) * other.square().sum(-1) - (one * other).sum(-1).square()).clamp_min(0).sqrt() / 2
    latent = embedded(task, latent_grid(shape, 200))[1]
    law = task.reference.log_surface_density(latent.flatten(0, 1)).exp()
    assert float(law @ area.flatten()) == pytest.approx(1.0, abs=5e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_on_thin_data_the_density_is_that_of_area_and_of_the_noise(shape):
    """ln p on the manifold goes to the noise-free density by area, less (D - d) ln(eps sqrt(2 pi)), as fast as eps²."""
    off = []
    for thickness in (1e-2, 1e-3):
        task = made(shape, thickness, ambient_dim=6)
        _, y, z = task.with_thickness(0.0).sample_with_latent(100)
        inside = torch.ones(100, dtype=torch.bool)
        if shape == "swiss_roll":
            inside = (z[:, 0] > FIRST + 0.5) & (z[:, 0] < LAST - 0.5)
        normal = (6 - task.manifold_dim) * math.log(thickness * math.sqrt(2 * math.pi))
        gap = log_prob(task, y) + normal - task.reference.log_surface_density(z)
        off.append(float(gap[inside].abs().max()))
    assert off[0] < 0.05
    assert off[1] == pytest.approx(off[0] / 100, rel=0.1)


# ---- entropy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "thickness"),
    [
        *((shape, 3.0) for shape in ("sphere", "linear", "torus", "swiss_roll")),
        *((shape, 1e-3) for shape in ("sphere", "linear", "torus")),
        *(pytest.param(shape, 1e-3, marks=pytest.mark.slow) for shape in ("swiss_roll", "klein_bottle")),
        pytest.param("polynomial", 0.02, marks=pytest.mark.long),
        pytest.param("klein_bottle", 0.05, marks=pytest.mark.slow),
    ],
)
def test_mean_log_prob_is_minus_the_entropy(shape, thickness):
    task = made(shape, thickness, ambient_dim=4)
    values = task.reference.log_prob(*task.sample(4000, seed=11))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


@pytest.mark.parametrize(("shape", "border"), [("torus", 0.06), ("swiss_roll", 0.03)])
@pytest.mark.slow
def test_the_two_quadratures_of_the_entropy_meet(shape, border):
    below, at, above = (made(shape, border * factor).reference.entropy() for factor in (0.999, 1.0, 1.001))
    assert above - at == pytest.approx(at - below, abs=5e-6)


@pytest.mark.parametrize(("shape", "called"), [("klein_bottle", "Klein bottle"), ("polynomial", "polynomial surface")])
def test_the_entropy_of_a_thick_surface_is_not_approximated(shape, called):
    with pytest.raises(NoExactReference, match=rf"{called} thicker than .* is an integral over R"):
        made(shape, 0.051).reference.entropy()


@pytest.mark.parametrize("dim", [1, 50, 1023])
@pytest.mark.parametrize("concentration", [0.0, 20.0])
def test_entropies_of_spheres_of_every_dimension(dim, concentration):
    task = made("sphere", 0.05, manifold_dim=dim, concentration=concentration)
    values = task.reference.log_prob(*task.sample(1000, seed=1))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", TUBES)
def test_the_angles_of_a_tube_are_von_mises(shape):
    _, y, z = made(shape, 0.0, concentration=3.0).sample_with_latent(4000)
    for angle in z.T:
        assert follows(angle, stats.vonmises(3.0).cdf, comparisons=2)
    radius = y[:, :2].norm(dim=1)
    torch.testing.assert_close(radius, 1 + 0.4 * z[:, 1].cos())
    torch.testing.assert_close(y[:, 2:].norm(dim=1), (0.4 * z[:, 1].sin()).abs(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dim", [1, 2, 5, 400])
@pytest.mark.parametrize("concentration", [0.0, 0.5, 20.0])
def test_the_cosine_of_a_sphere_has_its_law(dim, concentration):
    y = made("sphere", 0.0, manifold_dim=dim, concentration=concentration).sample(3000)[1]
    angle = np.linspace(0, math.pi, 20_001)
    log_density = concentration * np.cos(angle) + (dim - 1) * np.log(np.maximum(np.sin(angle), 1e-300))
    cumulative = integrate.cumulative_simpson(np.exp(log_density - log_density.max()), x=angle, initial=0)
    found = np.arccos(y[:, 0].clamp(-1, 1).numpy())
    assert follows(found, lambda a: np.interp(a, angle, cumulative / cumulative[-1]), comparisons=2)
    across = y[:, 1:] / y[:, 1:].norm(dim=1, keepdim=True)
    assert within_standard_errors(across.mean(0), 0.0, (3000 * dim) ** -0.5, comparisons=2)


def test_the_swiss_roll_has_its_law():
    z = made("swiss_roll", 0.0).sample_with_latent(4000)[2]
    assert follows((z[:, 0] - FIRST) / (LAST - FIRST), stats.beta(2, 2).cdf, comparisons=2)
    assert follows(z[:, 1], stats.norm(0, 0.5).cdf, comparisons=2)


def test_the_polynomial_surface_has_its_law():
    _, y, z = made("polynomial", 0.0).sample_with_latent(4000)
    for coordinate, sign in zip(z.T, (1, -1), strict=True):

        def cumulative(value, sign=sign):
            return 0.6 * stats.norm(sign, 2.0).cdf(value) + 0.4 * stats.norm(-sign, 0.6).cdf(value)

        assert follows(coordinate, cumulative, comparisons=2)
    torch.testing.assert_close(y[:, :2], z)


# ---- projection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_lie_on_the_manifold_and_are_their_own_projections(shape):
    task = made(shape, 0.0, ambient_dim=9, rotation=2)
    answers = task.reference.answers(torch.empty(1, 0))[0]
    x = torch.empty(len(answers), 0)
    assert float(task.reference.distance(x, answers).max()) < 1e-12
    torch.testing.assert_close(task.reference.project(answers), answers, rtol=0, atol=1e-12)
    y = answers + 0.1 * torch.randn(answers.shape, generator=torch.Generator().manual_seed(0)).double()
    once = task.reference.project(y)
    torch.testing.assert_close(task.reference.project(once), once, rtol=0, atol=1e-12)
    torch.testing.assert_close(task.reference.distance(x, y), (y - once).norm(dim=1))
    low, high = task.y_space.bounds
    assert bool(((answers > low) & (answers < high)).all())


@pytest.mark.parametrize("shape", CURVED)
def test_no_point_is_nearer_than_the_projection(shape):
    task = made(shape, 0.1)
    y = hard_points(task)
    distance = task.reference.distance(torch.empty(len(y), 0), y)
    grid = latent_grid(shape, 1000 if shape == "polynomial" else 300)
    points = task.surface.points(grid).reshape(-1, task.y_space.dim)
    for point, found in zip(y, distance, strict=True):
        off = point - points
        if shape == "swiss_roll":
            off = off[:, :2]  # the height reaches any y
        nearest = off.norm(dim=1).min()
        assert float(found) <= float(nearest) + 1e-12
        assert float(found) == pytest.approx(float(nearest), abs=0.02)


@pytest.mark.parametrize("shape", TUBES)
def test_what_is_left_of_the_projection_is_normal(shape):
    task = made(shape, 0.1)
    y = task.sample(50)[1]
    foot = task.reference.project(y)
    phi = torch.atan2(foot[:, 1], foot[:, 0])
    sine = foot[:, 2] if shape == "torus" else foot[:, 2] * (phi / 2).cos() + foot[:, 3] * (phi / 2).sin()
    latent = torch.stack([phi, torch.atan2(sine, foot[:, :2].norm(dim=1) - 1)], -1)
    torch.testing.assert_close(task.surface.points(latent), foot, rtol=0, atol=1e-12)
    tangents = torch.func.vmap(torch.func.jacrev(task.surface.points))(latent)
    assert float(torch.einsum("nd,ndk->nk", y - foot, tangents).abs().max()) < 1e-8


def test_what_is_left_of_the_projection_to_a_polynomial_surface_is_normal():
    task = made("polynomial", 0.3)
    y = task.sample(50)[1]
    foot = task.reference.project(y)
    torch.testing.assert_close(task.surface.points(foot[:, :2]), foot, rtol=0, atol=1e-12)
    tangents = torch.func.vmap(torch.func.jacrev(task.surface.points))(foot[:, :2])
    assert float(torch.einsum("nd,ndk->nk", y - foot, tangents).abs().max()) < 1e-8


# ---- derivatives and extremes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "thickness"),
    [*((shape, 0.03) for shape in SHAPES), *(pytest.param(shape, 1.0, marks=pytest.mark.slow) for shape in SHAPES)],
)
def test_derivatives_against_finite_differences(shape, thickness):
    task = made(shape, thickness, rotation=1, ambient_dim=5)
    y = task.sample(2, seed=0)[1]
    step = 1e-4 * thickness
    shifts = torch.eye(5, dtype=torch.float64) * step

    def gradient(points):
        return torch.func.vmap(torch.func.grad(lambda point: log_prob(task, point)))(points)

    slope = torch.stack([log_prob(task, y + s) - log_prob(task, y - s) for s in shifts], -1) / (2 * step)
    torch.testing.assert_close(gradient(y), slope, rtol=1e-5, atol=1e-5 / thickness)
    hessian = torch.func.vmap(torch.func.hessian(lambda point: log_prob(task, point)))(y)
    bend = torch.stack([gradient(y + s) - gradient(y - s) for s in shifts], 1) / (2 * step)
    torch.testing.assert_close(hessian, bend, rtol=1e-4, atol=1e-4 / thickness**2)
    again = y.clone().requires_grad_()
    (plain,) = torch.autograd.grad(task.reference.log_prob(torch.empty(2, 0), again).sum(), again)
    torch.testing.assert_close(plain, gradient(y))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("thickness", "dim"), [(1e-4, 5), (1e-4, 1024), (3.0, 1024)])
def test_finite_in_many_dimensions_and_far_away(shape, thickness, dim):
    task = made(shape, thickness, ambient_dim=dim, rotation=0)
    y = task.sample(20)[1]
    tails = torch.zeros(6, dim, dtype=torch.float64)
    tails[:, 0] = torch.tensor([0.0, 1e-300, 1.0, -1.0, 3.0, 1e3])
    y = torch.cat([y, tails, tails @ torch.from_numpy(np.ones((dim, dim)) / dim)]).requires_grad_()
    values = log_prob(task, y)
    (gradient,) = torch.autograd.grad(values.sum(), y)
    assert bool(values.isfinite().all())
    assert bool(gradient.isfinite().all())
    assert bool(task.reference.distance(torch.empty(len(y), 0), y.detach()).isfinite().all())
    # On the data ln p + D ln(eps sqrt(2 pi e)) is what the manifold adds, whatever D.
    excess = values[:20].detach().mean() + dim * (math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e))
    least = -task.manifold_dim * 3.0 if thickness > 1 else task.manifold_dim * math.log(thickness) - 3.0
    assert least - 5 * (dim / 40) ** 0.5 < float(excess) < 5 * (dim / 40) ** 0.5 + 8.0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rotation_moves_the_data_and_nothing_else(shape):
    plain, turned = made(shape, ambient_dim=7), made(shape, ambient_dim=7, rotation=4)
    axes = turned.axes
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-12)
    on, moved = (task.with_thickness(0.0).sample(10)[1] for task in (plain, turned))
    torch.testing.assert_close(moved @ torch.from_numpy(axes), on @ torch.from_numpy(plain.axes))
    torch.testing.assert_close(log_prob(turned, moved), log_prob(plain, on))
    assert not np.array_equal(axes, made(shape, ambient_dim=7, rotation=5).axes)


# ---- options ---------------------------------------------------------------------------------------------------------


@given(
    shape=st.sampled_from(SHAPES),
    dim=st.integers(1, 6),
    codimension=st.integers(2, 4),
    thickness=st.floats(1e-4, 3.0),
    concentration=st.floats(0, 20),
    rotation=st.none() | st.integers(0, 2**63 - 1),
)
@settings(max_examples=30, deadline=None)
def test_every_valid_manifold_works(shape, dim, codimension, thickness, concentration, rotation):
    dim = DIMENSIONS[shape][0] or dim
    options = {"manifold_dim": dim, "ambient_dim": dim + codimension, "rotation": rotation}
    task = made(shape, thickness, concentration=concentration, **options)
    assert json.loads(json.dumps(task.specification())) == task.specification()
    x, y, z = task.sample_with_latent(3)
    assert y.shape == (3, dim + codimension)
    task.z_space.check("z", z)
    assert task.manifold_dim == dim
    assert bool(task.reference.log_prob(x, y).isfinite().all())
    assert bool(task.reference.log_surface_density(z).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "cube"}, "manifold: shape = 'cube' is not valid"),
        ({"shape": "torus", "manifold_dim": 3}, "manifold_dim = 2 or None for torus"),
        ({"shape": "klein_bottle", "ambient_dim": 3}, "ambient_dim >= 4 for klein_bottle"),
        ({"shape": "sphere", "manifold_dim": 5, "ambient_dim": 5}, "ambient_dim >= 6 for sphere of dimension 5"),
        ({"shape": "linear", "manifold_dim": 4, "ambient_dim": 2}, "ambient_dim >= 5 for linear of dimension 4"),
        ({"ambient_dim": 1025}, "manifold: ambient_dim = 1025 is not valid"),
        ({"manifold_dim": 0}, "manifold: manifold_dim = 0 is not valid"),
        ({"concentration": 21.0}, "manifold: concentration = 21.0 is not valid"),
        ({"thickness": -0.1}, "manifold: thickness = -0.1 is not valid"),
        ({"rotation": -1}, "manifold: rotation = -1 is not valid"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message) as raised:
        evp.get_task("manifold", **options)
    assert "\n" not in str(raised.value)


def test_bad_arguments_are_named():
    task = made("torus")
    with pytest.raises(ValueError, match=r"y\.shape"):
        task.reference.project(torch.zeros(2, 4).double())
    with pytest.raises(ValueError, match=r"y\.shape"):
        task.reference.project(torch.zeros(3).double())
    with pytest.raises(ValueError, match=r"z\.shape"):
        task.reference.log_surface_density(torch.zeros(2, 3).double())
    for ask in (
        task.with_thickness(0.0).reference.entropy,
        lambda: log_prob(task.with_thickness(0.0), torch.zeros(1, 3)),
    ):
        with pytest.raises(NoExactReference, match="thickness = 0"):
            ask()
