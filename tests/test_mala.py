"""MALA against laws whose moments are known, judged only once its chains have mixed."""

from __future__ import annotations

import math

import arviz
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from ebm_vs_prob.samplers import mala
from ebm_vs_prob.spaces import Box

WIDE = (-50.0, 50.0)


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + r) for r in range(count)]


def gaussian(scales):
    """U of independent normals with the given standard deviations."""
    precision = torch.as_tensor(scales, dtype=torch.float64) ** -2

    def potential(y):
        return 0.5 * (precision * y.square()).sum(-1), precision * y

    return potential


def ring(eps):
    def potential(y):
        radius = y.norm(dim=-1, keepdim=True)
        return ((radius - 1) ** 2 / (2 * eps**2)).squeeze(-1), (radius - 1) / eps**2 * y / radius

    return potential


def chains(potential, y, steps, warmup=300, bounds=WIDE, seed=0, step_size=1.0):
    """The trace (steps, R, chains, dy) and the acceptances after a warm-up that adapts."""
    drawn = generators(y.shape[0], seed)
    state = mala.init(potential, y, step_size)
    for after, _ in mala.run(potential, state, warmup, bounds, drawn, adapting=True):
        state = after
    trace, acceptance = [], []
    for after, info in mala.run(potential, mala.settle(state), steps, bounds, drawn):
        trace.append(after.y)
        acceptance.append(info.acceptance)
    return torch.stack(trace), torch.stack(acceptance)


def gated(values, exact):
    """The mean of values (chain, draw) lies within 4 Monte-Carlo standard errors of `exact`, chains mixed."""
    values = np.asarray(values)
    assert float(arviz.rhat(values)) < 1.05
    assert float(arviz.ess(values)) > 400
    error = float(arviz.mcse(values))
    assert abs(values.mean() - exact) < 4 * error, (values.mean(), exact, error)
    assert error < 0.05 * max(abs(exact), 1.0)


@pytest.mark.parametrize("scales", [(1.0,), (0.01, 0.02), (3.0,) * 8])
def test_a_gaussian_has_its_moments(scales):
    start = torch.zeros(2, 8, len(scales), dtype=torch.float64)
    trace, acceptance = chains(gaussian(scales), start, 2000)
    for r in range(2):
        for i, scale in enumerate(scales):
            value = trace[:, r, :, i].T / scale
            gated(value, 0.0)
            gated(value**2, 1.0)
    assert abs(acceptance.mean().item() - mala.TARGET_ACCEPTANCE) < 0.08


@pytest.mark.parametrize("eps", [0.3, 0.1])
def test_a_ring_has_its_radial_moments_and_no_preferred_angle(eps):
    angle = torch.linspace(0, 2 * math.pi, 17, dtype=torch.float64)[:-1]
    start = torch.stack([angle.cos(), angle.sin()], -1).unsqueeze(0)
    trace, _ = chains(ring(eps), start, 3000)
    radius = trace[:, 0].norm(dim=-1).T

    def moment(k):
        return quad(lambda r: r ** (k + 1) * math.exp(-((r - 1) ** 2) / (2 * eps**2)), 0, 1 + 12 * eps, points=[1.0])[0]

    gated(radius, moment(1) / moment(0))
    gated((radius - 1) ** 2 / eps**2, (moment(2) - 2 * moment(1) + moment(0)) / moment(0) / eps**2)
    if eps == 0.3:  # a thinner ring needs longer chains to go round
        gated(trace[:, 0, :, 0].T, 0.0)


def test_without_the_metropolis_test_the_ring_would_be_wrong():
    # The same statistic on unadjusted chains misses by far more than the tolerance of the test above.
    eps, h = 0.1, 0.5 * 0.1**2
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(64, 1)
    spread = []
    for _ in range(1500):
        noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        y = y - h * ring(eps)(y)[1] + math.sqrt(2 * h) * noise
        spread.append(((y.norm(dim=-1) - 1) ** 2 / eps**2).mean().item())
    assert abs(np.mean(spread[200:]) - 1.0) > 0.2


def test_the_box_cuts_the_law_off():
    # Half a normal: mean sqrt(2 / pi).
    start = torch.full((1, 8, 1), 0.5, dtype=torch.float64)
    trace, _ = chains(gaussian((1.0,)), start, 3000, bounds=(0.0, 50.0))
    assert trace.min() >= 0.0
    gated(trace[:, 0, :, 0].T, math.sqrt(2 / math.pi))


def test_a_replicate_alone_equals_the_same_replicate_in_company():
    start = torch.zeros(3, 4, 2, dtype=torch.float64)
    together, _ = chains(gaussian((1.0, 2.0)), start, 40, warmup=40)
    drawn, alone = generators(3)[1:2], mala.init(gaussian((1.0, 2.0)), start[1:2], 1.0)
    for alone, _ in mala.run(gaussian((1.0, 2.0)), alone, 40, WIDE, drawn, adapting=True):  # noqa: B007, B020
        pass
    for alone, _ in mala.run(gaussian((1.0, 2.0)), mala.settle(alone), 40, WIDE, drawn):  # noqa: B007, B020
        pass
    assert torch.equal(together[-1, 1], alone.y[0])


def test_info_says_what_happened():
    def broken(y):
        value, gradient = gaussian((1.0,))(y)
        return torch.where(y[..., 0] > 0, math.nan, value), gradient

    state = mala.init(broken, torch.full((1, 3, 1), -1.0, dtype=torch.float64), 0.5)
    # Proposals are y / 2 + noise: one stays left, one crosses into NaN, one leaves the box.
    noise = torch.tensor([[[0.1], [5.0], [-9.0]]], dtype=torch.float64)
    after, info = mala.step(broken, state, noise, torch.zeros(1, 3, dtype=torch.float64), (-3.0, 30.0))
    assert info.accepted.tolist() == [[True, False, False]]
    assert info.diverged.tolist() == [[False, True, False]]
    torch.testing.assert_close(after.y.flatten(), torch.tensor([-0.4, -1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(info.gradient_norm, after.y.abs().squeeze(-1))
    assert (info.acceptance[0, 1:] == 0).all()


class Bowls(nn.Module):
    """E = |y - x|^2 / (2 s_r^2)."""

    def __init__(self, scales):
        super().__init__()
        self.scales = torch.as_tensor(scales, dtype=torch.float64)
        self.num_replicates = len(self.scales)

    def forward(self, x, y):
        energy = (y - x).square().sum(-1) / 2
        return energy / self.scales.reshape(-1, *[1] * (energy.ndim - 1)).to(y).square()


def test_samples_from_descent_follow_the_energy_and_its_temperature():
    x = torch.tensor([[[0.0, 0.0], [0.4, -0.2]]], dtype=torch.float64)
    scales, beta = [0.1, 0.02], torch.tensor([1.0, 4.0], dtype=torch.float64)
    draws = mala.sample_from_descent(Bowls(scales), x, Box((-1.0, 1.0), 2), 400, beta, generators(2))
    assert draws.shape == (2, 2, 400, 2)
    for r in range(2):
        scale = scales[r] / math.sqrt(beta[r].item())
        standard = (draws[r] - x[0].unsqueeze(1)) / scale
        # 1600 independent normals a replicate: the mean to 4 / 40, the variance to 4 sqrt(2) / 40.
        assert standard.mean().abs() < 0.1
        assert (standard.var() - 1).abs() < 0.15


def test_samples_of_a_nan_replicate_are_nan_and_the_others_as_before():
    x, box = torch.zeros(1, 1, 2, dtype=torch.float64), Box((-1.0, 1.0), 2)
    sick = mala.sample_from_descent(Bowls([0.1, math.nan]), x, box, 5, torch.ones(2), generators(2))
    well = mala.sample_from_descent(Bowls([0.1]), x, box, 5, torch.ones(1), generators(1))
    assert sick[1].isnan().all()
    torch.testing.assert_close(sick[:1], well)


def test_same_seed_same_draws_other_seed_others():
    x, box = torch.zeros(1, 1, 2, dtype=torch.float64), Box((-1.0, 1.0), 2)
    first, again, other = (
        mala.sample_from_descent(Bowls([0.1]), x, box, 3, torch.ones(1), generators(1, seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_bad_input_names_the_field():
    y = torch.zeros(2, 3, 1)
    with pytest.raises(ValueError, match="step_size"):
        mala.init(gaussian((1.0,)), y, 0.0)
    with pytest.raises(ValueError, match="generators"):
        next(mala.run(gaussian((1.0,)), mala.init(gaussian((1.0,)), y, 0.1), 1, WIDE, generators(1)))
    with pytest.raises(ValueError, match="num_samples"):
        mala.sample_from_descent(
            Bowls([1.0]), torch.zeros(1, 1, 1), Box((-1.0, 1.0), 1), 0, torch.ones(1), generators(1)
        )
