"""Video at a fork: motion, futures, density, distance and entropy against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import logsumexp
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.images.branch_integrals import log_mean_over, nearest_on
from ebm_vs_prob.tasks.images.fork_frames import DIRECTIONS, FORK, GAP, RADIUS, SIDE, SPEEDS, WEIGHTS
from ebm_vs_prob.testing import check_task


def task_at(thickness=0.01, **options):
    return evp.get_task("video", thickness=thickness, **options)


def blob(column, row):
    """One frame, pixel by pixel."""
    return np.array(
        [[math.exp(-((j - column) ** 2 + (i - row) ** 2) / (2 * RADIUS**2)) for j in range(SIDE)] for i in range(SIDE)]
    ).ravel()


def future(gap, speed, branch, factor, frames):
    """The next frames by walking along the path."""
    places = [factor * (speed * step - gap) for step in range(1, frames + 1)]
    angle = DIRECTIONS[branch]
    return np.concatenate([blob(FORK[0] + q * math.cos(angle), FORK[1] + q * math.sin(angle)) for q in places])


@pytest.mark.parametrize("options", [{}, {"past": 3, "future": 3, "speed_change": 0.2}])
def test_data_are_the_frames_before_and_after_the_fork(options):
    task = task_at(0.0, **options)
    past, frames = task.options.past, task.options.future
    x, y, z = task.sample_with_latent(30, seed=3)
    motion = task.reference.motion(x)
    torch.testing.assert_close(motion[:, 1], z[:, 1], rtol=0, atol=1e-12)
    for seen, coming, (label, speed, factor), (gap, _) in zip(x, y, z.tolist(), motion.tolist(), strict=True):
        before = np.concatenate([blob(FORK[0] - gap - speed * k, FORK[1]) for k in reversed(range(past))])
        np.testing.assert_allclose(seen, before, atol=1e-12)
        np.testing.assert_allclose(coming, future(gap, speed, int(label), factor, frames), atol=1e-12)


def test_the_latents_have_their_laws():
    task = task_at(speed_change=0.1)
    x, y, z = task.sample_with_latent(5000, seed=1)
    assert counts_agree(np.bincount(z[:, 0].long(), minlength=3), WEIGHTS, comparisons=5)
    assert follows(z[:, 1], stats.uniform(SPEEDS[0], SPEEDS[1] - SPEEDS[0]).cdf, comparisons=5)
    assert follows(task.reference.motion(x)[:, 0], stats.uniform(0, GAP).cdf, comparisons=5)
    assert follows(z[:, 2], stats.uniform(0.9, 0.2).cdf, comparisons=5)
    clean = np.stack(
        [
            future(*m, int(k), f, 2)
            for m, (k, _, f) in zip(task.reference.motion(x[:20]).tolist(), z[:20].tolist(), strict=True)
        ]
    )
    assert follows((y[:20].numpy() - clean) / 0.01, "norm", comparisons=5)


@pytest.mark.parametrize("thickness", [1e-4, 0.01, 1.0])
def test_log_prob_is_the_mixture_of_the_futures(thickness):
    task = task_at(thickness)
    x, y = task.sample(20, seed=1)
    y[10:] = y[10:].roll(100, -1)  # far from every future
    expected = []
    for (gap, speed), point in zip(task.reference.motion(x).tolist(), y.numpy(), strict=True):
        terms = [stats.norm(future(gap, speed, k, 1.0, 2), thickness).logpdf(point).sum() for k in range(3)]
        expected.append(logsumexp(terms, b=WEIGHTS))
    np.testing.assert_allclose(task.reference.log_prob(x, y), expected, rtol=1e-9)


@pytest.mark.parametrize("thickness", [0.01, 0.3])
def test_a_change_of_speed_is_integrated(thickness):
    """Against equal steps so fine that they resolve the integrand everywhere."""
    task = task_at(thickness, speed_change=0.1, future=1)
    x, y = task.sample(4, seed=2)
    factors = 0.9 + 0.2 * (np.arange(4000) + 0.5) / 4000
    for (gap, speed), point, value in zip(
        task.reference.motion(x).tolist(), y.numpy(), task.reference.log_prob(x, y).tolist(), strict=True
    ):
        terms = np.empty((3, len(factors)))
        for k in range(3):
            q = factors * (speed - gap)
            pixel = np.arange(SIDE)
            across = np.exp(-((pixel - FORK[0] - q[:, None] * math.cos(DIRECTIONS[k])) ** 2) / (2 * RADIUS**2))
            down = np.exp(-((pixel - FORK[1] - q[:, None] * math.sin(DIRECTIONS[k])) ** 2) / (2 * RADIUS**2))
            frames = (down[:, :, None] * across[:, None, :]).reshape(len(factors), -1)
            terms[k] = math.log(WEIGHTS[k] / len(factors)) - ((point - frames) ** 2).sum(1) / (2 * thickness**2)
        expected = logsumexp(terms) - 128 * math.log(2 * math.pi * thickness**2)
        assert value == pytest.approx(expected, abs=2e-5)  # what midpoints miss at the ends of the interval


@pytest.mark.parametrize(
    "thickness", [1e-4, 0.5, *(pytest.param(value, marks=pytest.mark.slow) for value in (0.05, 3.0))]
)
def test_mean_log_prob_is_minus_the_entropy(thickness):
    task = task_at(thickness)
    values = task.reference.log_prob(*task.sample(3000, seed=3))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / len(values) ** 0.5)


@pytest.mark.slow
def test_entropy_of_thin_branches_is_label_plus_noise_and_of_thick_ones_noise_alone():
    labels = -sum(weight * math.log(weight) for weight in WEIGHTS)
    for thickness, tells in ((0.01, labels), (1000.0, 0.0)):
        noise = 512 * (math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e))
        assert task_at(thickness).reference.entropy() == pytest.approx(tells + noise, abs=1e-5)
    with pytest.raises(NoExactReference, match="speed_change = 0"):
        task_at(speed_change=0.1).reference.entropy()


@pytest.mark.parametrize("speed_change", [0.0, 0.1])
def test_distance_is_to_the_nearest_future(speed_change):
    task = task_at(0.05, speed_change=speed_change)
    x, y = task.sample(10, seed=4)
    y[5:] = y[5:].roll(100, -1)
    for (gap, speed), point, found in zip(
        task.reference.motion(x).tolist(), y.numpy(), task.reference.distance(x, y).tolist(), strict=True
    ):

        def away(factor, branch, gap=gap, speed=speed, point=point):
            return float(np.linalg.norm(point - future(gap, speed, branch, factor, 2)))

        best = min(away(1.0, k) for k in range(3))
        if speed_change:
            runs = [
                optimize.minimize_scalar(away, bounds=bounds, args=(k,), method="bounded", options={"xatol": 1e-9}).fun
                for k in range(3)
                for bounds in ((0.9, 1.0), (1.0, 1.1))
            ]
            best = min(runs)
        assert found == pytest.approx(best, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("speed_change", [0.0, 0.2])
def test_answers_are_futures_and_the_label_is_read_back(speed_change):
    task = task_at(0.02, speed_change=speed_change)
    x, y, z = task.sample_with_latent(40, seed=5)
    answers = task.reference.answers(x[:4])
    assert answers.shape == (4, 3 if speed_change == 0 else 195, 512)
    repeated = x[:4].repeat_interleave(answers.shape[1], 0)
    assert float(task.reference.distance(repeated, answers.flatten(0, 1)).max()) < 1e-8
    assert torch.equal(task.reference.branch(x, y), z[:, 0].long())
    assert task.reference.branch(x, y).dtype == torch.int64
    weights = task.reference.branch_weights(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(40, dtype=torch.float64))
    drawn = task.reference.sample(x[:1], 300, seed=1)[0]
    counts = torch.bincount(task.reference.branch(x[:1].expand(300, -1), drawn), minlength=3)
    assert counts_agree(counts, weights[0])


@pytest.mark.parametrize(("thickness", "future"), [(0.6, 1), (1.0, 2), (3.0, 2)])
def test_weights_of_branches_have_the_noise_of_y(thickness, future):
    """Pearson's test of the counts of 20,000 draws, by its false-alarm rate."""
    task = task_at(thickness, future=future)
    x, _ = task.sample(1, seed=7)
    weights = task.reference.branch_weights(x)[0]
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert (weights - torch.tensor(WEIGHTS, dtype=torch.float64)).abs().max() > 0.01
    drawn = task.reference.sample(x, 20_000, seed=1)[0]
    counts = torch.bincount(task.reference.branch(x.expand(len(drawn), -1), drawn), minlength=3)
    assert counts_agree(counts, weights)


def test_with_a_change_of_speed_weights_are_known_where_no_noise_leads_astray():
    thin, thick = (task_at(thickness, speed_change=0.2) for thickness in (0.02, 0.3))
    x, _ = thin.sample(2, seed=7)
    assert thin.reference.branch_weights(x)[0].tolist() == pytest.approx(WEIGHTS)
    with pytest.raises(NoExactReference, match="use a thickness of"):
        thick.reference.branch_weights(x)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["zeros", "noise", "shifted", "one pixel"]))
@settings(max_examples=12, deadline=None)
def test_frames_that_show_no_such_blob_are_refused(seed, kind):
    task = task_at(0.02)
    x, y = task.sample(3, seed=seed)
    frames = x[1].unflatten(0, (2, SIDE, SIDE)).clone()
    if kind == "zeros":
        frames.zero_()
    elif kind == "noise":
        frames = torch.rand(frames.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    elif kind == "shifted":
        frames = frames.roll(1, 1)
    else:
        frames[seed % 2, seed % SIDE, seed // 7 % SIDE] += 0.01
    x[1] = frames.flatten()
    for ask in (lambda: task.reference.log_prob(x, y), lambda: task.reference.answers(x)):
        with pytest.raises(ValueError, match=r"x\[1\].*frames of a blob"):
            ask()


@pytest.mark.parametrize("speed_change", [0.0, 0.2])
def test_the_mean_is_that_of_draws_and_no_future(speed_change):
    task = task_at(0.0, speed_change=speed_change)
    x, _ = task.sample(3, seed=6)
    mean = task.reference.conditional_mean(x)
    drawn = task.reference.sample(x, 4000, seed=2)
    error = drawn.std(1) / 4000**0.5
    assert within_standard_errors(drawn.mean(1), mean, error, slack=1e-12)
    torch.testing.assert_close(task.reference.mean_distance(x), task.reference.distance(x, mean))
    assert float(task.reference.mean_distance(task.sample(200)[0]).min()) > 0.5


def test_the_distance_of_the_mean_is_in_closed_form():
    """From the inner products of blobs, which are Gaussian integrals but for the pixels at the edge."""
    task = task_at()
    x, _ = task.sample(6, seed=7)
    for (gap, speed), found in zip(
        task.reference.motion(x).tolist(), task.reference.mean_distance(x).tolist(), strict=True
    ):
        gram = np.zeros((3, 3))
        for q in (speed - gap, 2 * speed - gap):
            places = np.array([[q * math.cos(a), q * math.sin(a)] for a in DIRECTIONS])
            squares = ((places[:, None] - places) ** 2).sum(-1)
            gram += math.pi * RADIUS**2 * np.exp(-squares / (4 * RADIUS**2))
        offsets = np.array(WEIGHTS) - np.eye(3)
        expected = min(math.sqrt(row @ gram @ row) for row in offsets)
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("speed_change", [0.0, 0.1])
def test_derivatives_against_finite_differences(speed_change):
    task = task_at(0.05, speed_change=speed_change, future=1)
    x, y = task.sample(4, seed=8)
    along = torch.from_numpy(np.random.default_rng(0).standard_normal(y.shape))
    step = 1e-5

    def slope(y):
        point = y.clone().requires_grad_()
        value = task.reference.log_density(x, point).sum()
        (gradient,) = torch.autograd.grad(value, point, create_graph=True)
        return (gradient * along).sum(-1), point

    difference = task.reference.log_density(x, y + step * along) - task.reference.log_density(x, y - step * along)
    first, point = slope(y)
    torch.testing.assert_close(first.detach(), difference / (2 * step), rtol=1e-5, atol=1e-3)
    bend = (torch.autograd.grad(first.sum(), point)[0] * along).sum(-1)
    expected = (slope(y + step * along)[0] - slope(y - step * along)[0]).detach() / (2 * step)
    torch.testing.assert_close(bend, expected, rtol=1e-5, atol=1e-2)


@given(width=st.floats(1e-7, 0.5), place=st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_a_gaussian_of_any_width_is_integrated_and_its_peak_found(width, place):
    law = stats.norm(place, width)
    value = log_mean_over(lambda t: -0.5 * ((t - place) / width) ** 2, 2, (-1.0, 1.0))
    expected = math.log(law.cdf(1) - law.cdf(-1)) + math.log(width * math.sqrt(2 * math.pi) / 2)
    np.testing.assert_allclose(value, expected, atol=1e-7)
    np.testing.assert_allclose(nearest_on(lambda t: (t - place) ** 2, 2, (-1.0, 1.0)), 0.0, atol=1e-9)


def test_what_no_rule_resolves_is_an_error():
    with pytest.raises(ArithmeticError, match="quadrature moved by"):
        log_mean_over(lambda t: 10 * torch.sin(1e5 * t), 1, (0.0, 1.0))


@pytest.mark.parametrize(
    "options", [{"past": 1}, {"past": 4}, {"future": 0}, {"future": 4}, {"speed_change": 0.3}, {"speed_change": -0.1}]
)
def test_bad_options_are_named(options):
    with pytest.raises(ValueError, match=f"video: {next(iter(options))} = .* is not valid"):
        evp.get_task("video", **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"speed_change": 0.1}, {"past": 3, "future": 3, "thickness": 0.3}])
def test_other_options_keep_the_rules(options):
    check_task(evp.get_task("video", **options), examples=500)
