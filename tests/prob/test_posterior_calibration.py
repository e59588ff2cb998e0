"""Simulation-based calibration of the package's own inference over weights, on linear regression in closed form."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from statistical import level, share_agrees
from torch import nn

from ebm_vs_prob.gibbs.normalizers import ImportanceSampling
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO
from ebm_vs_prob.prob.posteriors.nuts import nuts_chain
from ebm_vs_prob.prob.posteriors.simulation_based_calibration import Calibration, simulation_based_calibration
from ebm_vs_prob.prob.posteriors.weight_guides import LatentSpace, NormalGuide
from ebm_vs_prob.prob.posteriors.weight_model import WeightModel
from ebm_vs_prob.prob.priors import GaussianPrior
from ebm_vs_prob.prob.weights import WeightSpace

SIGMA, STRENGTH, BOX = 0.5, 2.0, (-8.0, 8.0)
#: Two inputs that are much alike, so that their weights are correlated given data.
INPUTS = torch.tensor([[1.0, 0.9], [0.5, 0.7], [-0.3, -0.1], [-1.0, -0.8], [0.2, 0.5], [1.4, 1.1]], dtype=torch.float64)
PRECISION = STRENGTH * torch.eye(2, dtype=torch.float64) + INPUTS.T @ INPUTS / SIGMA**2
COVARIANCE = PRECISION.inverse()
#: A trapezoid rule of width σ / 2, which is exact for a Gaussian to more than float64's digits, as importance samples.
NODES = torch.arange(-8.0, 8.01, 0.25, dtype=torch.float64).unsqueeze(-1)
NORMALIZER = ImportanceSampling(
    samples=NODES, log_density=torch.full((len(NODES),), -math.log(0.25 * len(NODES)), dtype=torch.float64)
)


class Line(nn.Module):
    """E = (y - w x)² / (2 SIGMA²) of R replicates."""

    def __init__(self, replicates: int) -> None:
        super().__init__()
        self.num_replicates = replicates
        self.slope = nn.Parameter(torch.zeros(replicates, 1, 2, dtype=torch.float64))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        slope = self.slope.reshape(-1, *[1] * (x.ndim - 2), 2)
        return 0.5 * ((y[..., 0] - (x * slope).sum(-1)) / SIGMA).square()


def regression() -> None:
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2, dtype=torch.float64), STRENGTH**-0.5).to_event(1))
    with pyro.plate("data", len(INPUTS)):
        pyro.sample("y", dist.Normal(INPUTS @ slope, SIGMA))


def posterior_of(y: torch.Tensor) -> tuple[WeightModel, LatentSpace, torch.Tensor, torch.Tensor]:
    """The package's model of R data sets (R, N), the latent space of its prior, and x and y as it takes them."""
    prior, space = GaussianPrior(STRENGTH), WeightSpace(Line(len(y)))
    model = WeightModel(prior, space, len(INPUTS), BOX)
    return model, LatentSpace(prior, space), INPUTS.expand(len(y), -1, -1), y.unsqueeze(-1)


def chain_of(y: torch.Tensor, draws: int, warmup: int, seed: int) -> torch.Tensor:
    model, latent, x, y = posterior_of(y.unsqueeze(0))
    chain = nuts_chain(
        lambda: model(x, y, NORMALIZER),
        latent,
        latent.start()[0],
        warmup=warmup,
        draws=draws,
        max_tree_depth=4,
        target_acceptance=0.8,
        seed=seed,
    )
    assert chain.diverging.shape == chain.potential.shape == (draws,)
    return chain.weights


@pytest.mark.long
def test_nuts_chains_pass():
    found = simulation_based_calibration(
        regression,
        lambda data, seed: {"slope": chain_of(data["y"], 18, 15, seed)[1::2]},
        ["slope"],
        num_simulations=30,
    )
    assert found.num_draws == 9
    assert found.chi_square(5).min() > level(comparisons=2 * len(found.names))
    assert found.kolmogorov_smirnov().min() > level(comparisons=2 * len(found.names))


def simulated(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Truths (M, 2) and their data (M, N)."""
    generator = torch.Generator().manual_seed(5)
    truth = STRENGTH**-0.5 * torch.randn(count, 2, dtype=torch.float64, generator=generator)
    noise = torch.randn(count, len(INPUTS), dtype=torch.float64, generator=generator)
    return truth, truth @ INPUTS.T + SIGMA * noise


def fitted_guide(y: torch.Tensor, rank: int, steps: int = 700) -> NormalGuide:
    """The guides of all data sets at once, each a replicate, by Adam at a rate that falls to nothing."""
    model, latent, x, y = posterior_of(y)
    guide, elbo = NormalGuide(latent, latent.start(), 0.3, rank), ReplicatedELBO()
    elbo.max_plate_nesting = 3
    adam = torch.optim.Adam(guide.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.002 ** (1 / steps))
    generator = torch.Generator().manual_seed(6)
    for _ in range(steps):
        noise = torch.randn(len(y), guide.noise_size, dtype=torch.float64, generator=generator)
        adam.zero_grad()
        elbo.replicate_losses(lambda: model(x, y, NORMALIZER), lambda z=noise: guide.sample(z)).sum().backward()
        adam.step()
        decay.step()
    return guide


def ranked(guide: NormalGuide, truth: torch.Tensor, draws: int = 49) -> Calibration:
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(draws, len(truth), guide.noise_size, dtype=torch.float64, generator=generator)
    ranks = (guide.weights(noise) < truth.unsqueeze(1)).sum(1)
    return Calibration(ranks.numpy(), ("slope[0]", "slope[1]"), draws)


def mean_divergence(guide: NormalGuide, y: torch.Tensor) -> float:
    """KL(guide || posterior) in nats, the mean over data sets."""
    law = guide.law()
    covariance = torch.diag_embed(law.variance) if guide.rank == 0 else law.covariance_matrix
    found = torch.distributions.MultivariateNormal(guide.loc, covariance.squeeze(1))
    exact = torch.distributions.MultivariateNormal(y @ INPUTS @ COVARIANCE / SIGMA**2, COVARIANCE)
    return float(torch.distributions.kl_divergence(found, exact).mean().detach())


#: Nats of divergence that training leaves at most over the least that a family has. The mean of 200 data sets is
#: .0196 ± .0021 at full rank and .0103 ± .0009 for mean fields, its standard error from the spread of data sets: 9 and
#: 33 of them below. Variances that are all 1.4 times the optimum's cost .06 besides, means .3 of a deviation off .09.
TRAINED = 0.04


@pytest.mark.slow
def test_normal_guides_of_full_rank_pass():
    truth, y = simulated(200)
    guide = fitted_guide(y, rank=2)
    assert mean_divergence(guide, y) < TRAINED
    found = ranked(guide, truth)
    assert found.chi_square(5).min() > level(comparisons=2 * len(found.names))
    assert found.kolmogorov_smirnov().min() > level(comparisons=2 * len(found.names))


@pytest.mark.slow
def test_mean_field_guides_fail_as_predicted():
    """Their variances are 1 / Λ_ii (Bishop 2006, 10.1.2), so truths are outside of the draws' .9 range too often."""
    truth, y = simulated(200)
    guide = fitted_guide(y, rank=0)
    least = 0.5 * float(PRECISION.diagonal().log().sum() - PRECISION.logdet())
    assert mean_divergence(guide, y) - least < TRAINED
    assert (COVARIANCE.diagonal() * PRECISION.diagonal()).min() > 2
    found = ranked(guide, truth)
    assert found.chi_square(5).max() < level(comparisons=4)
    ratio = (COVARIANCE.diagonal() * PRECISION.diagonal()).sqrt().numpy()
    predicted = 2 * norm.cdf(norm.ppf(0.1) / ratio)
    ends = ((found.ranks < 5) | (found.ranks >= 45)).mean(0)
    assert share_agrees(np.rint(200 * ends), 200, predicted)
    assert predicted.min() > 0.25
