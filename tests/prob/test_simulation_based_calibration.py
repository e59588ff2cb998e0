"""Simulation-based calibration of Bayesian linear regression, whose posterior has a closed form."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import binom, kstwo, norm
from statistical import level, share_agrees

from ebm_vs_prob.prob.posteriors.simulation_based_calibration import Calibration, simulation_based_calibration

NOISE = 0.5
#: Two inputs that are much alike, so that their weights are correlated given data.
INPUTS = torch.tensor([[1.0, 0.9], [0.5, 0.7], [-0.3, -0.1], [-1.0, -0.8], [0.2, 0.5], [1.4, 1.1]], dtype=torch.float64)
#: Λ, the posterior's precision: the prior is N(0, I).
PRECISION = torch.eye(2, dtype=torch.float64) + INPUTS.T @ INPUTS / NOISE**2
COVARIANCE = PRECISION.inverse()


def model(y: torch.Tensor | None = None) -> None:
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))
    with pyro.plate("data", len(INPUTS)):
        pyro.sample("y", dist.Normal((weights * INPUTS).sum(-1), NOISE), obs=y)


def posterior_mean(y: torch.Tensor) -> torch.Tensor:
    return COVARIANCE @ INPUTS.T @ y / NOISE**2


def gaussian_draws(mean: torch.Tensor, covariance: torch.Tensor, count: int, seed: int) -> dict[str, torch.Tensor]:
    noise = torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return {"weights": mean + noise @ torch.linalg.cholesky(covariance).T}


def exact(data, seed):
    return gaussian_draws(posterior_mean(data["y"]), COVARIANCE, 49, seed)


def mean_field_optimum(data, seed):
    """The diagonal normal of least reverse divergence: the right mean, variances 1 / Λ_ii (Bishop 2006, 10.1.2)."""
    return gaussian_draws(posterior_mean(data["y"]), torch.diag(1 / PRECISION.diagonal()), 49, seed)


def test_exact_draws_pass_and_the_mean_field_optimum_fails_as_predicted():
    """Its variances are too small by 1 - ρ², so truths fall outside of the draws too often: ranks pile up there."""
    right = simulation_based_calibration(model, exact, ["weights"], num_simulations=300)
    assert right.ranks.shape == (300, 2)
    assert right.names == ("weights[0]", "weights[1]")
    assert right.chi_square().min() > level(comparisons=6)
    assert right.kolmogorov_smirnov().min() > level(comparisons=6)
    wrong = simulation_based_calibration(model, mean_field_optimum, ["weights"], num_simulations=300)
    assert wrong.chi_square().max() < level(comparisons=6)
    ends = ((wrong.ranks < 5) | (wrong.ranks >= 45)).mean(0)
    # P(|truth| > the .9 range of the draws) where the posterior is wider by sqrt(Σ_ii Λ_ii).
    ratio = (COVARIANCE.diagonal() * PRECISION.diagonal()).sqrt().numpy()
    predicted = 2 * norm.cdf(norm.ppf(0.1) / ratio)
    assert share_agrees(np.rint(300 * ends), 300, predicted, comparisons=3)
    assert predicted.min() > 0.3


def test_a_shifted_and_a_wide_posterior_are_noticed():
    """Shifted by .6 of its spread, or twice as wide: the distribution of ranks is off by .24 or .16, of 300."""

    def shifted(data, seed):
        return {"weights": exact(data, seed)["weights"] + 0.6 * COVARIANCE.diagonal().sqrt()}

    def wide(data, seed):
        return gaussian_draws(posterior_mean(data["y"]), 4 * COVARIANCE, 49, seed)

    for infer in (shifted, wide):
        found = simulation_based_calibration(model, infer, ["weights"], num_simulations=300)
        assert min(found.chi_square().max(), found.kolmogorov_smirnov().max()) < level(comparisons=6)


@pytest.mark.parametrize("num_draws", [9, 19])
def test_few_draws_make_ties_and_no_false_alarm(num_draws):
    """Uniform ranks pass at the rate that p-values promise, posteriors that are shifted or narrow do not."""
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(200)))
    uniform = Calibration(rng.integers(num_draws + 1, size=(300, 200)), names, num_draws)
    p = uniform.kolmogorov_smirnov()
    assert p.min() > level(comparisons=2 * 200)
    assert (p < 0.05).sum() <= binom(200, 0.05).isf(level(comparisons=2))  # of few draws it may be fewer
    even = np.tile(np.arange(num_draws + 1), 30)[:, None]
    assert Calibration(even, names[:1], num_draws).kolmogorov_smirnov()[0] > 0.999
    truth = rng.standard_normal((300, 5, 1))
    for shift, width in ((0.8, 1.0), (0.0, 0.2)):
        draws = shift + width * rng.standard_normal((300, 5, num_draws))
        wrong = Calibration((draws < truth).sum(-1), names[:5], num_draws)
        assert wrong.kolmogorov_smirnov().max() < level(comparisons=2 * 200)


def test_equal_ranks_are_spread_over_their_own_width():
    """Of ranks 0 and 1 in shares 3 : 1 with L = 1, the places are uniform on either half: the gap is 1 / 4."""
    ranks = np.array([0, 1, 0, 0] * 25)[:, None]
    found = Calibration(ranks, ("a",), 1).kolmogorov_smirnov()[0]
    assert kstwo.sf(0.26, 100) < found < kstwo.sf(0.25, 100)


def test_inference_that_draws_from_the_global_generator_gives_it_back():
    def infer(data, seed):
        return {"weights": torch.randn(9, 2, dtype=torch.float64)}

    before = torch.random.get_rng_state()
    first = simulation_based_calibration(model, infer, ["weights"], num_simulations=4).ranks
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        assert (simulation_based_calibration(model, infer, ["weights"], num_simulations=4).ranks == first).all()


def test_the_same_seed_gives_the_same_ranks():
    first, again, other = (
        simulation_based_calibration(model, exact, ["weights"], num_simulations=5, seed=s).ranks for s in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulation_based_calibration(model, exact, ["weight"]), "latent"),
        (lambda: simulation_based_calibration(model, exact, []), "latent"),
        (lambda: simulation_based_calibration(model, exact, ["weights"], num_simulations=0), "num_simulations"),
        (
            lambda: simulation_based_calibration(model, lambda d, s: {"weights": torch.zeros(9, 3)}, ["weights"]),
            r"draws of weights.*\(L, 2\)",
        ),
        (lambda: Calibration(np.zeros((3, 1), int), ("a",), 9).chi_square(11), "bins"),
        (lambda: simulation_based_calibration(model, lambda d, s: {"weight": 0}, ["weights"]), "sites of the draws"),
        (
            lambda: simulation_based_calibration(
                model, lambda d, s: {"weights": torch.full((9, 2), torch.nan)}, ["weights"]
            ),
            "draws of weights = 'NaN in simulation 0'",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
