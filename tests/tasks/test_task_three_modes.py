"""Three modes and circles: density, entropy, weights and distances against independent computations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.geometry.planar import Ring, Segment
from ebm_vs_prob.tasks.three_modes import WEIGHTS
from ebm_vs_prob.testing import check_task

KINDS = [("modes", 0.0), ("modes", 0.1), ("circles", 0.0), ("circles", 0.1)]
kinds = pytest.mark.parametrize(("shape", "bridge"), KINDS)


def task_at(shape, bridge, thickness):
    return evp.get_task("three_modes", shape=shape, bridge=bridge, thickness=thickness)


@pytest.mark.parametrize(
    ("shape", "bridge"), [pytest.param(*kind, marks=[pytest.mark.slow] * (kind[1] > 0)) for kind in KINDS[1:]]
)
def test_it_keeps_the_rules(shape, bridge):
    check_task(task_at(shape, bridge, 0.05))


@kinds
@pytest.mark.parametrize("thickness", [0.03, 0.3])
def test_the_density_is_that_of_many_blurred_points(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    x, y = task.sample(40, seed=1)
    density = 0.0
    for share, piece in zip(task.shares, task.pieces, strict=True):
        points = torch.tensor(piece.at((np.arange(20_000) + 0.5) / 20_000))
        square = torch.cdist(y, points).square() / thickness**2
        density = density + share * torch.exp(-0.5 * square).mean(1) / (2 * math.pi * thickness**2)
    torch.testing.assert_close(task.reference.log_prob(x, y), density.log(), rtol=0, atol=1e-6)


@pytest.mark.slow
@kinds
def test_entropy_against_a_sum_over_the_plane(shape, bridge):
    task = task_at(shape, bridge, 0.3)
    # Of what is blurred by .3, the trapezoidal rule of step .05 has errors below exp(-2 pi² .3² / .05²).
    axis = torch.arange(-5.0, 5.0, 0.05, dtype=torch.float64)
    y = torch.cartesian_prod(axis, axis)
    log_density = task.reference.log_density(y[:, :0], y)
    mass = log_density.exp() * 0.05**2
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-9)
    assert task.reference.entropy() == pytest.approx(-float(mass @ log_density), abs=1e-8)


@kinds
@pytest.mark.parametrize(
    "thickness", [pytest.param(3.0, marks=pytest.mark.slow), 0.1, pytest.param(1e-4, marks=pytest.mark.slow)]
)
def test_mean_log_prob_is_minus_the_entropy(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    values = task.reference.log_prob(*task.sample(20_000, seed=3))
    checks = len(KINDS) * 3
    error = values.std() / len(values) ** 0.5
    assert within_standard_errors(values.mean(), -task.reference.entropy(), error, comparisons=checks)


def test_entropy_of_thin_pieces_is_their_weights_lengths_and_noise():
    weights = -sum(weight * math.log(weight) for weight in WEIGHTS)
    for thickness in (0.01, 1e-4):
        noise = math.log(thickness) + 0.5 * math.log(2 * math.pi * math.e)
        assert task_at("modes", 0.0, thickness).reference.entropy() == pytest.approx(weights + 2 * noise, abs=1e-9)
        circles = task_at("circles", 0.0, thickness)
        lengths = sum(w * math.log(piece.length) for w, piece in zip(WEIGHTS, circles.pieces, strict=True))
        # The noise of a ring of radius r widens it by ε²/(2 r²) of itself to first order.
        assert circles.reference.entropy() == pytest.approx(weights + lengths + noise, abs=2 * thickness**2)


@kinds
@pytest.mark.parametrize("thickness", [0.0, 0.05, 0.4])
def test_draws_have_the_weights_of_the_branches(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    x, y, label = task.sample_with_latent(20_000, seed=0)
    weights = task.reference.branch_weights(x[:2])
    assert weights.shape == (2, 3)
    assert weights.dtype == torch.float64
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, dtype=torch.float64))
    nearest = task.reference.branch(x, y)
    assert nearest.dtype == label.dtype == torch.int64
    checks = 2 * len(KINDS) * 3
    assert counts_agree(torch.bincount(nearest, minlength=3), weights[0], checks)
    noiseless = task.with_thickness(0.0).reference.branch_weights(x[:1])[0]
    assert counts_agree(torch.bincount(label, minlength=3), noiseless, checks)
    if thickness == 0.0:
        assert torch.equal(nearest, label)


def test_weights_of_branches_against_sums_over_their_cells():
    for shape, bridge in KINDS:
        task = task_at(shape, bridge, 0.4)
        axis = torch.arange(-5.0, 5.0, 0.02, dtype=torch.float64) + 0.01
        y = torch.cartesian_prod(axis, axis)
        mass = task.reference.log_density(y[:, :0], y).exp() * 0.02**2
        found = torch.zeros(3, dtype=torch.float64).index_add(0, task.reference.branch(y[:, :0], y), mass)
        # Of the squares of a grid that a boundary of some 10 cuts, .02 wide, as much is counted too much as too little.
        torch.testing.assert_close(found, task.reference.branch_weights(y[:1, :0])[0], rtol=0, atol=1e-3)


def test_without_a_bridge_the_score_does_not_see_the_weights():
    """Of separated modes the score is that of the nearest, whatever its weight; on a bridge it is not."""
    thickness = 0.1
    for bridge in (0.0, 0.2):
        task = task_at("modes", bridge, thickness)
        x, y = task.sample(200, seed=0)
        score = torch.func.vmap(torch.func.grad(task.reference.log_density, argnums=1))(x, y)
        modes = task_at("modes", 0.0, 0.0).reference.answers(x[:1])[0]
        own = (modes[task.reference.branch(x, y)] - y) / thickness**2
        alike = (score - own).norm(dim=-1) * thickness < 1e-6
        assert bool(alike.all()) == (bridge == 0.0)


@kinds
def test_distance_is_zero_on_the_answers_and_the_least_to_them(shape, bridge):
    task = task_at(shape, bridge, 0.3)
    x, y = task.sample(200, seed=0)
    answers = task.reference.answers(x)
    on = task.reference.distance(x[:1].expand(answers.shape[1], -1), answers[0])
    assert float(on.max()) < 1e-12
    distance = task.reference.distance(x, y)
    nearest = torch.cdist(y, answers[0]).amin(1)
    assert bool((distance <= nearest + 1e-12).all())
    spacing = 0.0 if (shape, bridge) == ("modes", 0.0) else 0.026  # half of pi / 64, and what rounding counts adds
    torch.testing.assert_close(distance, nearest, rtol=0, atol=spacing + 1e-12)
    # What is drawn without noise lies there too.
    assert float(task.reference.distance(*task.with_thickness(0.0).sample(500)).max()) < 1e-12


@kinds
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_derivatives_against_finite_differences(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    x, y = task.sample(20, seed=0)
    if shape == "circles":
        y = torch.cat([y, torch.zeros(1, 2, dtype=torch.float64)])
    x = y[:, :0]
    gradient = torch.func.vmap(torch.func.grad(task.reference.log_density, argnums=1))(x, y)
    hessian = torch.func.vmap(torch.func.hessian(task.reference.log_density, argnums=1))(x, y)
    step = 1e-4 * thickness
    for k in range(2):
        move = torch.zeros(2, dtype=torch.float64)
        move[k] = step
        around = [task.reference.log_density(x, y + sign * move) for sign in (1, -1)]
        slope = (around[0] - around[1]) / (2 * step)
        torch.testing.assert_close(gradient[:, k], slope, rtol=1e-5, atol=1e-5 / thickness)
        of_gradient = torch.func.vmap(torch.func.grad(task.reference.log_density, argnums=1))
        bend = (of_gradient(x, y + move) - of_gradient(x, y - move)) / (2 * step)
        torch.testing.assert_close(hessian[:, k], bend, rtol=1e-4, atol=1e-4 / thickness**2)


@kinds
@pytest.mark.parametrize("thickness", [1e-4, 3.0])
def test_deep_tails_are_finite(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    y = torch.tensor([[0.0, 0.0], [1e3, -1e3], [0.875, 0.0], [0.0, 1.0]], dtype=torch.float64)
    x = y[:, :0]
    assert bool(task.reference.log_prob(x, y).isfinite().all())
    hessian = torch.func.vmap(torch.func.hessian(task.reference.log_density, argnums=1))(x, y)
    assert bool(hessian.isfinite().all())


def test_noise_and_places_along_the_pieces():
    task = task_at("circles", 0.2, 0.0)
    _, clean = task.sample(20_000, seed=4)
    radius, angle = clean.norm(dim=-1), torch.atan2(clean[:, 1], clean[:, 0])
    on_ring = [(radius - piece.radius).abs() < 1e-9 for piece in task.pieces if isinstance(piece, Ring)]
    uniform = (angle[torch.stack(on_ring).any(0)] / (2 * math.pi) + 0.5).numpy()
    assert follows(uniform, "uniform", comparisons=3)
    on_bridge = ~torch.stack(on_ring).any(0)
    (length,) = {piece.length for piece in task.pieces if isinstance(piece, Segment)}
    assert follows(((radius[on_bridge] - 0.5) / length).numpy(), "uniform", comparisons=3)
    noise = (task.with_thickness(0.1).sample(20_000, seed=4)[1] - clean) / 0.1
    assert follows(noise, "norm", comparisons=3)


@given(
    shape=st.sampled_from(["modes", "circles"]),
    bridge=st.floats(0.0, 0.5),
    thickness=st.just(0.0) | st.floats(1e-12, 100.0),
)
@settings(max_examples=30)
def test_every_valid_task_works(shape, bridge, thickness):
    task = task_at(shape, bridge, thickness)
    assert json.loads(json.dumps(task.specification())) == task.specification()
    x, y = task.sample(5)
    assert bool(y.isfinite().all())
    weights = task.reference.branch_weights(x)
    assert bool((weights > -1e-9).all())
    assert float(weights[0].sum()) == pytest.approx(1.0)
    if thickness > 1e-100:
        assert bool(task.reference.log_prob(x, y).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "squares"}, "three_modes: shape = 'squares' is not valid"),
        ({"bridge": 0.6}, "three_modes: bridge = 0.6 is not valid"),
        ({"bridge": -0.1}, "three_modes: bridge = -0.1 is not valid"),
        ({"bridge": math.nan}, "three_modes: bridge = nan is not valid"),
        ({"thickness": -1.0}, "three_modes: thickness = -1.0 is not valid"),
        ({"brigde": 0.1}, "did you mean 'bridge'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.get_task("three_modes", **options)


@pytest.mark.parametrize("dim", [3, 1024])
def test_beyond_the_plane_there_is_noise_alone(dim):
    plane, task = (evp.get_task("three_modes", bridge=0.1, thickness=0.05, ambient_dim=d) for d in (2, dim))
    x, y = task.sample(50, seed=3)
    beyond = torch.distributions.Normal(0.0, 0.05).log_prob(y[:, 2:]).sum(-1)
    reference = plane.reference
    torch.testing.assert_close(task.reference.log_prob(x, y), reference.log_prob(x, y[:, :2]) + beyond)
    squared = reference.distance(x, y[:, :2]).square() + y[:, 2:].square().sum(-1)
    torch.testing.assert_close(task.reference.distance(x, y), squared.sqrt())
    assert torch.equal(task.reference.branch(x, y), reference.branch(x, y[:, :2]))
    noise = 0.5 * (dim - 2) * math.log(2 * math.pi * math.e * 0.05**2)
    assert task.reference.entropy() == pytest.approx(reference.entropy() + noise, abs=1e-9)
    answers = task.reference.answers(x[:1])[0]
    assert task.reference.distance(x[:1].expand(len(answers), -1), answers).max() <= 1e-12


def test_it_keeps_the_rules_in_more_dimensions():
    check_task(evp.get_task("three_modes", thickness=0.05, ambient_dim=3))
