"""Isolated modes beside annealed chains: found and measured, unbiased, row by row; and what checks them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from random_energies import MAKERS
from scipy import stats
from statistical import level, standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling
from ebm_vs_prob.gibbs.normalizers.annealed_partition import AnnealedPartition
from ebm_vs_prob.gibbs.normalizers.modes import Scan, scanned
from ebm_vs_prob.gibbs.trust import doubts_asked_for
from ebm_vs_prob.tasks.geometry.spheres import RadialEnergy

WIDTHS, PLACES = torch.tensor([0.05, 0.6]).double(), torch.tensor([[1.5, -1.0], [-1.0, 0.7]]).double()


def two_modes(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A narrow and a wide Gaussian of equal mass in a plane; ln Z is 0 but for the mass outside (-3, 3)²."""
    squares = (y.unsqueeze(-2) - PLACES).square().sum(-1) / WIDTHS.square()
    return -(-squares / 2 - 2 * WIDTHS.log()).logsumexp(-1) + math.log(4 * math.pi)


def annealed(energy, dim=2, *, x=None, beta=1.0, chains=60, temperatures=40, **options):
    sampling = AnnealedImportanceSampling(chains, temperatures, **options)
    return evp.GibbsBoltzmann(energy, dim, x, beta, (-3.0, 3.0), sampling)


def off(density: evp.GibbsBoltzmann, exact: float) -> float:
    """In stated errors."""
    value, error = density.log_partition()
    return abs(float(value) - exact) / float(error)


# ---- the search ------------------------------------------------------------------------------------------------------


def test_modes_are_found_and_measured():
    modes = scanned(evp.GibbsBoltzmann(two_modes, 2, bounds=(-3.0, 3.0)).target, 2000, 0).modes
    assert modes.y.shape == (1, 2, 2)
    torch.testing.assert_close(modes.log_mass, torch.full((1, 2), -math.log(2)).double(), atol=1e-4, rtol=0)
    order = (modes.y[0] - PLACES[0]).norm(dim=-1).argsort()
    torch.testing.assert_close(modes.y[0, order], PLACES, atol=1e-4, rtol=0)
    precision = modes.factor[0, order] @ modes.factor[0, order].transpose(-1, -2)
    torch.testing.assert_close(precision, WIDTHS.pow(-2)[:, None, None] * torch.eye(2).double(), atol=1e-3, rtol=1e-4)


def test_a_turned_mode_has_its_axes():
    root = torch.tensor([[5.0, 0.0], [3.0, 2.0]], dtype=torch.float64)
    energy = lambda x, y: ((y - 0.4) @ root).square().sum(-1) / 2  # noqa: E731
    modes = scanned(evp.GibbsBoltzmann(energy, 2, bounds=(-3.0, 3.0)).target, 500, 0).modes
    torch.testing.assert_close(modes.factor[0, 0], root, atol=1e-6, rtol=1e-6)


def test_at_the_edge_the_slope_is_the_precision():
    energy = lambda x, y: 5 * (3 - y[..., 0]) + 8 * y[..., 1].square()  # noqa: E731
    modes = scanned(evp.GibbsBoltzmann(energy, 2, bounds=(-3.0, 3.0)).target, 500, 0).modes
    torch.testing.assert_close(modes.y, torch.tensor([[[3.0, 0.0]]]).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(modes.factor[0, 0], torch.diag(torch.tensor([5.0, 4.0]).double()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "energy",
    [
        RadialEnergy(0.1),  # every point of the circle is a minimum
        lambda x, y: 0 * y.sum(-1),
        lambda x, y: (y[..., 0] > 1).double(),
        lambda x, y: 0.01 * y.square().sum(-1),  # wider than the box
        lambda x, y: y.sum(-1) + math.nan,
        lambda x, y: torch.from_numpy(y.detach().numpy()[..., 0] ** 2),  # not to be differentiated
    ],
)
def test_what_is_no_isolated_mode_is_none(energy):
    assert not scanned(evp.GibbsBoltzmann(energy, 2, bounds=(-3.0, 3.0)).target, 500, 0).modes.any


def test_draws_have_the_density_that_is_stated():
    """E[g / q] over draws of q is the integral of g: here of Gaussians at the modes, by 20 000 draws."""
    modes = scanned(evp.GibbsBoltzmann(two_modes, 2, bounds=(-3.0, 3.0)).target, 2000, 0).modes
    y, log_density = modes.draws(20_000, 0)
    weights = (-two_modes(torch.empty(0), y) - log_density).exp()
    assert abs(float(weights.mean()) - 1) < standard_errors() * float(weights.std()) / math.sqrt(20_000)
    assert float(weights.std()) < 1
    assert float(modes.inside(y).double().mean()) > 0.9


# ---- the sum ---------------------------------------------------------------------------------------------------------


def test_the_sum_is_unbiased_and_its_error_covers():
    """Over 30 seeds of few chains on a short path: the mean of Z, and how often two errors cover."""
    found, covered = [], []
    for seed in range(30):
        with doubts_asked_for():
            value, error = annealed(two_modes, chains=40, temperatures=8, seed=seed).log_partition()
        found.append(math.exp(float(value)))
        covered.append(abs(float(value)) < 2 * float(error))
    assert abs(np.mean(found) - 1) < standard_errors(degrees=29) * np.std(found, ddof=1) / math.sqrt(30)
    # Of errors a third as large half would cover; at 93 % fewer than these come once in 1e5.
    assert sum(covered) >= stats.binom(30, 0.93).ppf(level())


def test_chains_alone_miss_the_narrow_mode():
    start = torch.distributions.Independent(torch.distributions.Normal(PLACES[1], 1.0), 1)
    assert off(annealed(two_modes, initial=start), 0.0) > 5


def test_draws_are_of_both_modes():
    draws = annealed(two_modes).sample((4000,), seed=0)
    share = float(((draws - PLACES[0]).norm(dim=-1) < 0.3).double().mean())
    # The share itself has the error of Z, of some .02 in each mode; the other mode missing would be .5 off.
    assert share == pytest.approx(0.5, abs=standard_errors() * 0.02)


def test_gradients_are_those_of_the_sum():
    """Of ln Z = ln(2 pi / beta) in beta, and of a shift, which leaves it as it is."""
    beta = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    density = annealed(lambda x, y: (y - shift).square().sum(-1) / 2, beta=beta)
    by_beta, by_shift = torch.autograd.grad(density.log_partition()[0], (beta, shift))
    assert float(by_beta) == pytest.approx(-1 / 9, rel=0.1)
    assert float(by_shift.norm()) < 0.3  # nine times the mean of 500 draws and more


def test_an_element_is_what_it_is_alone_with_modes_and_without():
    x = torch.tensor([[0.05], [0.3], [0.02]], dtype=torch.float64)

    def energy(x, y):
        ring = (y.norm(dim=-1) - 1).square() / (2 * x[..., 0] ** 2)
        return torch.where(x[..., 0] > 0.2, ring, y.sub(0.7).square().sum(-1) / (2 * x[..., 0] ** 2))

    together = annealed(energy, x=x)
    value, error = together.log_partition()
    for k in range(3):
        alone = annealed(energy, x=x[k : k + 1])
        assert float(alone.log_partition()[0]) == pytest.approx(float(value[k]), abs=1e-9)
        assert float(alone.log_partition()[1]) == pytest.approx(float(error[k]), abs=1e-9)
        for name, each in alone.diagnostics.items():
            assert float(each) == pytest.approx(float(together.diagnostics[name][k]), abs=1e-6), name


def test_the_global_generator_is_left_and_the_seed_decides():
    before = torch.get_rng_state()
    values = [float(annealed(two_modes, seed=seed).log_partition()[0]) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("dim", "seed", "steps"),
    [(3, 0, 200), (3, 1, 200), pytest.param(6, 2, 1000, marks=pytest.mark.slow)],
)
def test_three_modes_of_mixed_widths(dim, seed, steps):
    """Widths .03 to .28: without the search one to two nats were missing, without a warning."""
    energy, log_z = MAKERS["needles"](np.random.default_rng([7, seed]), dim)
    sampling = AnnealedImportanceSampling(steps // 2, steps)
    value, error = evp.GibbsBoltzmann(energy, dim, normalizer=sampling).log_partition()
    assert abs(float(value) - log_z) < standard_errors(comparisons=3) * float(error) < 0.25


# ---- the checks ------------------------------------------------------------------------------------------------------


def partition(log_z: float, error: float) -> AnnealedPartition:
    """Chains of a box without energy, beside a search of another opinion."""
    density = annealed(lambda x, y: 0 * y.sum(-1))
    made = density.normalizer.partition(density.target)
    made._scan = dataclasses.replace(made._scan, log_z=torch.tensor([log_z]).double(), error=torch.tensor([error]))
    return made


def test_an_estimate_that_is_larger_enters_the_error_and_one_that_is_smaller_does_not():
    flat = 2 * math.log(6)
    higher, lower, vague = partition(flat + 2, 0.1), partition(flat - 2, 0.1), partition(flat + 2, 0.9)
    assert float(higher.log_z()[1]) == pytest.approx(1.7, abs=0.1)
    assert float(higher.diagnostics()["excess"]) == pytest.approx(1.7, abs=0.1)
    for other in (lower, vague):
        assert float(other.log_z()[1]) < 0.05
        assert float(other.diagnostics()["excess"]) == 0
    agrees = partition(flat, 0.1)
    assert [bool(each.diagnostics()["confirmed"]) for each in (agrees, higher, lower, vague)] == [True] + 3 * [False]


def test_a_heavy_tail_that_a_second_estimate_confirms_is_no_doubt():
    """Weights of two levels have no Pareto tail to speak of: the points of the search agree."""

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -2 * (y > 1.8).all(-1).double()

    density = annealed(step, 3, chains=200, temperatures=60)
    assert float(density.diagnostics["pareto_k"]) > 0.7
    assert off(density, math.log(6**3 + 1.2**3 * math.expm1(2))) < 3
    assert bool(density.diagnostics["confirmed"])
    assert density.warnings() == ()


@pytest.mark.parametrize("normalizer", ["quadrature", "importance", "annealed"])
def test_what_looks_constant_states_an_error(normalizer):
    """A box of a thousandth of the volume, four nats deep, may hide between the points."""
    sampling = AnnealedImportanceSampling(60, 40) if normalizer == "annealed" else normalizer
    density = evp.GibbsBoltzmann(lambda x, y: 0 * y.sum(-1), 3, normalizer=sampling)
    value, error = density.log_partition()
    assert float(value) == pytest.approx(3 * math.log(16), abs=1e-9)
    assert 2e-4 < float(error) < 0.05
    assert density.warnings() == ()


def test_importance_weights_that_differ_state_what_they_stated():
    draws = torch.linspace(-1, 1, 101, dtype=torch.float64).unsqueeze(1)
    given = ImportanceSampling(samples=draws, log_density=torch.zeros(101, dtype=torch.float64))
    _, error = evp.GibbsBoltzmann(lambda x, y: y[..., 0], normalizer=given).log_partition()
    weights = np.exp(-draws.numpy())
    assert float(error) == pytest.approx(weights.std(ddof=1) / weights.mean() / math.sqrt(101), rel=1e-9)


def test_a_scan_of_the_whole_box_is_its_volume():
    scan: Scan = scanned(evp.GibbsBoltzmann(lambda x, y: y[..., 0] / 3, 2, bounds=(-3.0, 3.0)).target, 4000, 0)
    exact = math.log(6 * 3 * 2 * math.sinh(1))
    assert scan.count == 4000
    assert abs(float(scan.log_z) - exact) < standard_errors() * float(scan.error) < 0.11
