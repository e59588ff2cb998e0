"""Parallel tempering and NUTS: what they leave as it is, what they reach, and NUTS against its recursion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from statistical import follows, share_agrees, variance_agrees, within_standard_errors

from ebm_vs_prob.samplers import MALA, NUTS, Tempering, get_kernel, run, sample_chains, warm_up
from ebm_vs_prob.samplers.hmc import leapfrog
from ebm_vs_prob.samplers.nuts import DIVERGENCE

WIDE = (-5000.0, 5000.0)


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + r) for r in range(count)]


def normals(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(*scales):
    precision = torch.as_tensor(scales, dtype=torch.float64) ** -2

    def potential(y):
        return 0.5 * (precision * y.square()).sum(-1), precision * y

    return potential


WEIGHTS, CENTRES, WIDTH = (0.3, 0.7), (-1.0, 1.0), 0.1


def far_modes(y):
    """U of .3 N(-1, .1²) + .7 N(1, .1²) in the first coordinate, of N(0, .1²) in the others: 50 nats between them."""
    centres = torch.tensor(CENTRES, dtype=y.dtype)
    first, rest = y[..., :1], y[..., 1:]
    log_parts = torch.tensor(WEIGHTS, dtype=y.dtype).log() - (first - centres).square() / (2 * WIDTH**2)
    pull = (log_parts.softmax(-1) * (first - centres)).sum(-1, keepdim=True)
    value = -log_parts.logsumexp(-1) + rest.square().sum(-1) / (2 * WIDTH**2)
    return value, torch.cat([pull, rest], -1) / WIDTH**2


def ends(kernel, potential, start, steps, h, bounds=WIDE, warmup=0, seed=0):
    state = kernel.init(potential, start, h)
    if warmup:
        state = warm_up(kernel, potential, state, warmup, bounds, generators(1, seed + 100))
    for after, _ in run(kernel, potential, state, steps, bounds, generators(1, seed)):
        state = after
    return state


def check_standard(standard, comparisons):
    """Independent draws of N(0, I), (n, d)."""
    count, dim = standard.shape
    assert within_standard_errors(standard.mean(0), 0.0, count**-0.5, comparisons=3 * comparisons)
    assert variance_agrees(standard, mean=0.0, comparisons=3 * comparisons)
    assert all(follows(each, "norm", comparisons=3 * comparisons * dim) for each in standard.T)


@pytest.mark.parametrize(
    ("kernel", "h"),
    [(NUTS(doublings=4), 0.3), (NUTS(doublings=2), 0.02), (Tempering(rungs=3, hottest=0.2), 0.8)],
    ids=["nuts", "nuts cut short", "tempering"],
)
@pytest.mark.parametrize("scales", [(1.0, 2.0), (1.0,) * 8])
def test_exact_draws_of_a_gaussian_stay_exact(kernel, h, scales):
    """One draw a chain, so that they are independent whatever the kernel mixes."""
    scale = torch.tensor(scales, dtype=torch.float64)
    state = ends(kernel, gaussian(*scales), scale * normals(1, 4000, len(scales), seed=3), 12, h)
    check_standard(state.y[0] / scale, comparisons=1)


@pytest.mark.parametrize("kernel", [NUTS(doublings=4), Tempering(rungs=3, hottest=0.2)], ids=["nuts", "tempering"])
def test_chains_begun_far_off_end_as_draws_of_the_gaussian(kernel):
    scales = torch.tensor([0.5, 2.0], dtype=torch.float64)
    steps = 20 if kernel.name == "nuts" else 200
    state = ends(kernel, gaussian(0.5, 2.0), 3 * scale_of(scales, 600), steps, 0.1, warmup=30)
    check_standard(state.y[0] / scales, comparisons=1)


def scale_of(scales, count):
    return scales * normals(1, count, len(scales), seed=4)


def test_every_rung_of_the_ladder_has_its_own_temperature():
    kernel = Tempering(rungs=4, hottest=0.05)
    state = ends(kernel, gaussian(1.0), normals(1, 2000, 1, seed=5), 100, 0.5)
    rungs = torch.cat([state.y.unsqueeze(-2), state.hot_y], -2)[0, ..., 0]
    for k, beta in enumerate(kernel.betas):
        check_standard(beta**0.5 * rungs[:, k : k + 1], comparisons=4)
    value, gradient = gaussian(1.0)(state.hot_y)
    torch.testing.assert_close(state.hot_potential, value)
    torch.testing.assert_close(state.hot_gradient, gradient)


@pytest.mark.parametrize("dim", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_tempering_shares_far_modes_by_their_weights_where_mala_stays(dim):
    """All chains begin in the rarer mode. MALA's stay there: e^-50 lies between."""
    start = torch.zeros(1, 400, dim, dtype=torch.float64)
    start[..., 0] = -1.0
    box = (-3.0, 3.0)
    tempered = ends(Tempering(rungs=6, hottest=0.02), far_modes, start, 300, WIDTH**2, box).y[0]
    plain = ends(MALA(), far_modes, start, 300, WIDTH**2, box).y[0]
    assert bool((plain[:, 0] < 0).all())
    right = tempered[:, 0] > 0
    assert share_agrees(int(right.sum()), len(right), WEIGHTS[1])
    local = tempered.clone()
    local[:, 0] -= torch.where(right, 1.0, -1.0)
    check_standard(local / WIDTH, comparisons=1)


def test_an_exchange_with_the_wrong_sign_is_seen(monkeypatch):
    """The even pairs exchange as if the colder chain were the hotter one."""
    from ebm_vs_prob.samplers import tempering

    right = tempering._exchanged
    monkeypatch.setattr(tempering, "_exchanged", lambda cold, hot, gap, uniform: right(cold, hot, -gap, uniform))
    with pytest.raises(AssertionError):
        test_every_rung_of_the_ladder_has_its_own_temperature()


def recursive(potential, y, momentum, length, direction, halves, picks, bounds):
    """The step of one chain by the recursion of Betancourt 2017 (appendix A), of the same random numbers.

    Subtrees are lists of points in the order of their building; a balanced piece is judged by its two halves first.
    """

    def point(state, p):
        return {"state": state, "p": p, "H": float(state.potential + p.square().sum(-1) / 2)}

    def turned(points):
        first, last = points[0]["p"], points[-1]["p"]
        way = sum(each["p"] for each in points) - (first + last) / 2
        return bool((first * way).sum() <= 0) or bool((last * way).sum() <= 0)

    def piece(points):
        if len(points) == 1:
            return False
        middle = len(points) // 2
        return piece(points[:middle]) or piece(points[middle:]) or turned(points)

    kernel = NUTS()
    state = kernel.init(potential, y, 1.0)
    tree, h0 = [point(state, momentum)], None
    h0, proposal, total = tree[0]["H"], state, 0.0
    for depth, (forwards, half) in enumerate(zip(direction, halves, strict=True)):
        end, step = (tree[-1], length) if forwards else (tree[0], -length)
        new, weight = [], -math.inf
        candidate = None
        for leaf in range(2**depth):
            moved = point(*leapfrog(potential, end["state"], end["p"], torch.tensor(step), 1))
            gain = h0 - moved["H"]
            if not gain > -DIVERGENCE:
                return proposal.y
            inside = bool(((moved["state"].y >= bounds[0]) & (moved["state"].y <= bounds[1])).all())
            own = gain if inside else -math.inf
            weight = float(np.logaddexp(weight, own))
            if inside and picks[2**depth - 1 + leaf] < math.exp(own - weight):
                candidate = moved["state"]
            new.append(moved)
            end = moved
        if piece(new):
            return proposal.y
        if candidate is not None and half < math.exp(min(0.0, weight - total)):
            proposal = candidate
        total = float(np.logaddexp(total, weight))
        tree = tree + new if forwards else new[::-1] + tree
        if turned(tree):
            return proposal.y
    return proposal.y


@pytest.mark.parametrize("bounds", [WIDE, (-1.0, 1.5)])
def test_nuts_side_by_side_is_the_recursion_chain_by_chain(bounds):
    kernel, count, h = NUTS(doublings=5), 40, 0.02
    y, momentum = 0.4 * normals(1, count, 2, seed=6), normals(1, count, 2, seed=7)
    uniform = torch.rand(1, count, kernel.num_uniforms, dtype=torch.float64, generator=generators(1)[0])
    potential = gaussian(0.3, 1.0)
    after, info = kernel.step(potential, kernel.init(potential, y, h), momentum, uniform, bounds)
    for c in range(count):
        numbers = uniform[0, c].tolist()
        direction = [each < 0.5 for each in numbers[:5]]
        alone = recursive(
            potential, y[:, c], momentum[:, c], math.sqrt(2 * h), direction, numbers[5:10], numbers[10:], bounds
        )
        torch.testing.assert_close(after.y[0, c], alone[0])
    assert 0.5 < float(info.acceptance.mean()) <= 1


def test_nuts_cut_off_by_a_box_has_the_law_of_the_box():
    """Half a normal, begun with exact draws."""
    start = normals(1, 4000, 1, seed=8).abs()
    state = ends(NUTS(doublings=4), gaussian(1.0), start, 10, 0.1, bounds=(0.0, 50.0))
    assert float(state.y.min()) >= 0
    assert follows(state.y.flatten(), "halfnorm")


@pytest.mark.slow
def test_nuts_adapts_and_mixes_as_its_diagnostics_say():
    """Of 800 draws 130 or more are effective in the direction that is ten times as long, and all in the other."""
    start = normals(1, 8, 2, seed=9) * torch.tensor([1.0, 10.0])
    samples = sample_chains(gaussian(1.0, 10.0), start, 100, generators(1), step_size=0.1, kernel="nuts", warmup=100)
    assert float(samples.r_hat.max()) < 1.1
    assert float(samples.ess.min()) > 60
    assert abs(float(samples.acceptance.mean()) - 0.8) < 0.12


def test_nuts_stays_where_the_energy_is_not_finite_and_counts_it():
    def broken(y):
        value, gradient = gaussian(1.0)(y)
        bad = y[..., 0] > 0
        return torch.where(bad, math.nan, value), gradient

    y = torch.tensor([[[1.0], [-3.0]]], dtype=torch.float64)
    kernel = NUTS(doublings=3)
    uniform = torch.zeros(1, 2, kernel.num_uniforms, dtype=torch.float64)
    after, info = kernel.step(broken, kernel.init(broken, y, 0.1), torch.zeros_like(y), uniform, WIDE)
    assert after.y[0, 0, 0] == 1.0
    assert info.acceptance[0, 0] == 0
    assert info.diverged[0, 0]
    assert -3 < after.y[0, 1, 0] < 0


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("nuts", "doublings", 0),
        ("nuts", "doublings", 11),
        ("tempering", "rungs", 1),
        ("tempering", "hottest", 1.0),
        ("tempering", "hottest", 0.0),
        ("tempering", "hottest", math.nan),
    ],
)
def test_kernels_name_their_own_mistakes(name, option, value):
    with pytest.raises(ValueError, match=f"{option} = {value}"):
        get_kernel(name, **{option: value})
    kernel = get_kernel(name)
    state = kernel.init(gaussian(1.0), torch.zeros(1, 2, 1, dtype=torch.float64), 0.1)
    with pytest.raises(ValueError, match="uniform"):
        kernel.step(gaussian(1.0), state, torch.zeros(kernel.normal_shape((1, 2, 1))), None, WIDE)
