"""Bars and ellipses: rendering, evidence, density, distance and draws against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from scipy.special import erf, logsumexp
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.images.bars_and_ellipses import BAR, BRIGHTNESS, ELLIPSE, RING, SOFTNESS
from ebm_vs_prob.tasks.images.shape_integrals import _by_halving, _by_modes, log_integral
from ebm_vs_prob.tasks.images.shape_likelihood import Likelihood, log_brightness_integral
from ebm_vs_prob.tasks.images.shape_modes import Modes


def task_at(thickness=0.01, **options):
    return evp.get_task("super_resolution", thickness=thickness, **options)


def render(kind, axis, place):
    """Pictures of brightness 1 (..., 256), written anew."""
    axis, place = (np.asarray(value, dtype=float)[..., None, None] for value in (axis, place))
    row, column = np.mgrid[:16, :16] - 7.5
    right, down = column - RING * np.cos(place), row - RING * np.sin(place)
    u, v = right * np.cos(axis) + down * np.sin(axis), -right * np.sin(axis) + down * np.cos(axis)
    if kind == 0:
        cdf = stats.norm(0, SOFTNESS).cdf
        picture = (cdf(u + BAR[0]) - cdf(u - BAR[0])) * (cdf(v + BAR[1]) - cdf(v - BAR[1]))
    else:
        edge = (1 - (u / ELLIPSE[0]) ** 2 - (v / ELLIPSE[1]) ** 2) * ELLIPSE[1] / (2 * SOFTNESS)
        picture = 0.5 + 0.5 * erf(edge / math.sqrt(2))
    return picture.reshape(*picture.shape[:-2], 256)


def reduce(picture):
    return picture.reshape(*picture.shape[:-1], 4, 4, 4, 4).mean((-3, -1)).reshape(*picture.shape[:-1], 16)


def log_likelihood(given, image, brightness, noise):
    """-½ |given - c image|² / noise² for c (k,) and images (n, d): (n, k)."""
    square = (given**2).sum() - 2 * brightness * (image @ given)[:, None] + brightness**2 * (image**2).sum(1)[:, None]
    return -0.5 * square / noise**2


def test_a_bar_is_a_rectangle_that_a_gaussian_blurs():
    """The blur is taken by quadrature over the rectangle, at angles of no symmetry."""
    axis, place = 0.7, 2.1
    picture = render(0, axis, place).reshape(16, 16)
    for row, column in ((9, 6), (11, 4), (8, 8)):
        right, down = column - 7.5 - RING * math.cos(place), row - 7.5 - RING * math.sin(place)

        def seen(v, u, right=right, down=down):
            x = u * math.cos(axis) - v * math.sin(axis) - right
            y = u * math.sin(axis) + v * math.cos(axis) - down
            return math.exp(-(x * x + y * y) / (2 * SOFTNESS**2)) / (2 * math.pi * SOFTNESS**2)

        value = integrate.dblquad(seen, -BAR[0], BAR[0], -BAR[1], BAR[1], epsabs=1e-9)[0]
        assert picture[row, column] == pytest.approx(value, abs=1e-7)


def test_data_are_pictures_and_the_noisy_means_of_their_blocks():
    task = task_at(0.02)
    x, y, z = task.sample_with_latent(3000, seed=2)
    assert counts_agree(np.bincount(z[:, 0].long()), [0.5, 0.5], comparisons=6)
    for column, low, high in ((1, 0, math.pi), (2, 0, 2 * math.pi), (3, *BRIGHTNESS)):
        assert follows(z[:, column], stats.uniform(low, high - low).cdf, comparisons=6)
    few = 40
    clean = np.stack([c * render(int(k), a, p) for k, a, p, c in z[:few].tolist()])
    np.testing.assert_allclose(task.with_thickness(0.0).sample(few, seed=2)[1][:5].shape, (5, 256))
    assert follows((y[:few].numpy() - clean) / 0.02, "norm", comparisons=6)
    assert follows((x[:few].numpy() - reduce(clean)) / 0.1, "norm", comparisons=6)


@given(precision=st.floats(1, 1e8), best=st.floats(-3, 5))
@settings(max_examples=40, deadline=None)
def test_brightness_integrates_out(precision, best):
    found = float(log_brightness_integral(*torch.tensor([precision, best], dtype=torch.float64)))
    low, high = BRIGHTNESS
    peak = min(max(best, low), high)
    width = 1 / (precision**0.5 + precision * abs(best - peak))
    edges = [max(low, peak - 40 * width), min(high, peak + 40 * width)]

    def integrand(c):
        return math.exp(-0.5 * precision * ((c - best) ** 2 - (peak - best) ** 2))

    mass = sum(integrate.quad(integrand, a, b, epsrel=1e-10)[0] for a, b in ((edges[0], peak), (peak, edges[1])))
    expected = math.log(mass / (high - low)) - 0.5 * precision * (peak - best) ** 2
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("thickness", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_log_prob_against_a_grid_over_all_three_latents(thickness):
    """Thick enough for an independent grid of 2 · 48 · 96 · 16 shapes."""
    task = task_at(thickness)
    x, y = (part.numpy() for part in task.sample(2, seed=5))
    node, weight = np.polynomial.legendre.leggauss(16)
    brightness = BRIGHTNESS[0] + 0.5 * (BRIGHTNESS[1] - BRIGHTNESS[0]) * (1 + node)
    axis, place = np.meshgrid(np.pi * (np.arange(48) + 0.3) / 48, 2 * np.pi * (np.arange(96) + 0.3) / 96, indexing="ij")
    joint, alone = [[], []], [[], []]
    for kind in (0, 1):
        drawn = render(kind, axis.ravel(), place.ravel())
        for row in range(2):
            own = log_likelihood(x[row], reduce(drawn), brightness, 0.1) + np.log(weight / 2)
            alone[row].append(own)
            joint[row].append(own + log_likelihood(y[row], drawn, brightness, thickness))
    expected = [logsumexp(joint[row]) - logsumexp(alone[row]) for row in range(2)]
    found = task.reference.log_prob(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(found, np.array(expected) - 128 * math.log(2 * math.pi * thickness**2), atol=1e-5)


@pytest.mark.parametrize("thickness", [0.01, *(pytest.param(value, marks=pytest.mark.slow) for value in (0.07, 1e-4))])
def test_thin_joint_likelihoods_against_a_box_round_the_truth(thickness):
    """Equal steps in a box of all three latents round their best fit, in axes by finite differences."""
    task = task_at(thickness)
    x, y, z = task.sample_with_latent(40, seed=6)
    middle = (z[:, 3] - sum(BRIGHTNESS) / 2).abs() < 0.1
    rows = [int((middle & (z[:, 0] == kind)).nonzero()[0, 0]) for kind in (0, 1)]
    for row in rows:
        kind, start = int(z[row, 0]), z[row, 1:].numpy()
        given = np.concatenate([x[row].numpy() / 0.1, y[row].numpy() / thickness])

        def scaled(latents, kind=kind):
            clean = latents[..., 2:] * render(kind, latents[..., 0], latents[..., 1])
            return np.concatenate([reduce(clean) / 0.1, clean / thickness], -1)

        found = optimize.least_squares(
            lambda u, given=given, scaled=scaled: scaled(u) - given, start, x_scale=1e-3 + thickness, xtol=1e-15
        )
        axes = np.linalg.cholesky(np.linalg.inv(found.jac.T @ found.jac))
        side = np.linspace(-7.2, 7.2, 25)  # .6 of a deviation apart: exact for what is nearly Gaussian
        cube = np.stack(np.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)
        total = []
        for part in np.array_split(found.x + cube @ axes.T, 40):
            inside = (part[:, 2] >= BRIGHTNESS[0]) & (part[:, 2] <= BRIGHTNESS[1])
            total.append(np.where(inside, -0.5 * ((scaled(part) - given) ** 2).sum(1), -np.inf))
        cell = 3 * math.log(0.6) + np.log(np.diag(axes)).sum() - math.log(4 * math.pi**2 * 0.5)
        value = float(log_integral(Likelihood(thickness, 0.1), x[row, None], y[row, None])[0])
        assert value == pytest.approx(logsumexp(np.concatenate(total)) + cell, abs=2e-5)


def test_the_rules_of_quadrature_agree_where_they_meet():
    """The lattice, the modes and the halved lattice, each on its own, of the same pairs."""
    likelihood = Likelihood(0.05, 0.1)
    x, y = task_at(0.05).sample(3, seed=7)
    peaks = likelihood.on_lattice(x, y).largest
    modes = Modes(likelihood, x, y, peaks)
    value, settled = _by_modes(likelihood, x, y, modes)
    assert bool(settled.all())
    torch.testing.assert_close(_by_halving(likelihood, x, y, peaks, modes), value, rtol=0, atol=3e-7)


@pytest.mark.slow
def test_the_density_integrates_to_1():
    """By importance sampling, at a thickness at which one Gaussian round the mean answer covers them all."""
    task = task_at(1.5)
    x, _ = task.sample(1, seed=8)
    mean = task.reference.answers(x)[0].mean(0)
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.standard_normal((400, 256)))
    log_proposal = -0.5 * noise.square().sum(-1) - 128 * math.log(2 * math.pi * 1.5**2)
    weights = (task.reference.log_density(x, mean + 1.5 * noise) - log_proposal).exp()
    assert within_standard_errors(weights.mean(), 1.0, weights.std() / 400**0.5, degrees=399)


@pytest.mark.slow
def test_draws_follow_the_posterior():
    """Kind, and quantiles of each latent, against sums over an independent grid; the noise is fresh."""
    task = task_at(0.01)
    x, _ = task.sample(1, seed=9)
    y, z = task.draw(np.repeat(x.numpy(), 4000, 0), np.random.default_rng(1))
    clean = np.stack([c * render(int(k), a, p) for k, a, p, c in z[:50].tolist()])
    assert follows((y[:50] - clean) / 0.01, "norm", comparisons=5)
    node, weight = np.polynomial.legendre.leggauss(24)
    brightness = BRIGHTNESS[0] + 0.5 * (BRIGHTNESS[1] - BRIGHTNESS[0]) * (1 + node)
    axis, place = np.meshgrid(np.pi * np.arange(96) / 96, 2 * np.pi * np.arange(192) / 192, indexing="ij")
    logs = [
        log_likelihood(x[0].numpy(), reduce(render(k, axis.ravel(), place.ravel())), brightness, 0.1) + np.log(weight)
        for k in (0, 1)
    ]
    share = np.exp(np.stack(logs) - logsumexp(logs))
    assert counts_agree(np.bincount(z[:, 0].astype(int), minlength=2), share.sum((1, 2)), comparisons=5)
    for values, function in (
        (np.cos(2 * z[:, 1]), np.cos(2 * axis.ravel())[None, :, None]),
        (np.sin(z[:, 2]), np.sin(place.ravel())[None, :, None]),
        (z[:, 3], brightness[None, None, :]),
    ):
        expected = float((share * function).sum())
        assert within_standard_errors(values.mean(), expected, values.std() / len(values) ** 0.5, comparisons=5)


@pytest.mark.slow
def test_distance_is_to_the_nearest_shape_and_projection_is_idempotent():
    task = task_at(0.05)
    x, y = task.sample(4, seed=10)
    y[2:] = y[2:].roll(77, -1)
    found = task.reference.distance(x, y)
    grid = np.stack(np.meshgrid(np.linspace(0, np.pi, 24, False), np.linspace(0, 2 * np.pi, 48, False)), -1)
    for row in range(4):
        point, best = y[row].numpy(), np.inf
        for kind in (0, 1):

            def away(u, kind=kind, point=point):
                picture = render(kind, u[..., 0], u[..., 1])
                c = np.clip((picture @ point) / (picture**2).sum(-1), *BRIGHTNESS)
                return np.linalg.norm(point - c[..., None] * picture, axis=-1)

            values = away(grid).ravel()
            for start in grid.reshape(-1, 2)[np.argsort(values)[:4]]:
                run = optimize.minimize(away, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-11})
                best = min(best, run.fun)
        assert float(found[row]) == pytest.approx(best, abs=1e-8)
    clean = task.with_thickness(0.0).sample(20, seed=1)
    assert float(task.reference.distance(*clean).max()) < 1e-9
    other = (x + 1.0, y)
    torch.testing.assert_close(task.reference.distance(*other), found, rtol=0, atol=0)


def test_answers_are_plausible_pictures_spread_over_the_posterior():
    task = task_at()
    x, _ = task.sample(2, seed=11)
    answers = task.reference.answers(x)
    assert answers.shape == (2, 256, 256)
    assert float(task.reference.distance(x.repeat_interleave(256, 0)[::8], answers.flatten(0, 1)[::8]).max()) < 1e-9
    misfit = (x.unsqueeze(1) - torch.from_numpy(reduce(answers.numpy()))).square().sum(-1) / 0.1**2
    assert float(misfit.max()) < stats.chi2(16).isf(1e-6)
    drawn = task.with_thickness(0.0).reference.sample(x, 400, seed=0)
    # 256 strata err by no more than as many draws; pixels that are nearly always dark are not normal.
    error = drawn.std(1) * (1 / 400 + 1 / 256) ** 0.5
    assert within_standard_errors(drawn.mean(1), answers.mean(1), error, slack=5e-3)


@pytest.mark.parametrize("thickness", [0.01, 1.0])
def test_derivatives_against_finite_differences(thickness):
    task = task_at(thickness)
    x, y = task.sample(2, seed=12)
    along = torch.from_numpy(np.random.default_rng(0).standard_normal(y.shape))
    step = 1e-4 * thickness

    def slope(y):
        point = y.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(task.reference.log_density(x, point).sum(), point, create_graph=True)
        return (gradient * along).sum(-1), point

    first, point = slope(y)
    difference = task.reference.log_density(x, y + step * along) - task.reference.log_density(x, y - step * along)
    torch.testing.assert_close(first.detach(), difference / (2 * step), rtol=1e-4, atol=1e-3 / thickness)
    bend = (torch.autograd.grad(first.sum(), point)[0] * along).sum(-1)
    expected = (slope(y + step * along)[0] - slope(y - step * along)[0]).detach() / (2 * step)
    torch.testing.assert_close(bend, expected, rtol=1e-3, atol=1e-3 / thickness**2)


@pytest.mark.parametrize("thickness", [1e-4, 0.01, 3.0])
def test_far_from_every_answer_the_density_is_finite(thickness):
    task = task_at(thickness)
    x, y = task.sample(4, seed=13)
    uniform = task.y_space.uniform((4,), torch.Generator().manual_seed(0))
    found = task.reference.log_prob(x, uniform)
    assert bool(found.isfinite().all())
    assert bool((found < task.reference.log_prob(x, y)).all())


def test_what_is_not_known_and_bad_options_say_so():
    with pytest.raises(NoExactReference, match="272 dimensions"):
        task_at().reference.entropy()
    with pytest.raises(NoExactReference, match="thickness = 0"):
        task_at(0.0).reference.entropy()
    for value in (0.0, 0.05, -1.0, 11.0, math.nan):
        with pytest.raises(ValueError, match=r"super_resolution: input_noise = .* is not valid"):
            task_at(input_noise=value)
