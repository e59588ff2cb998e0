"""Posteriors over an energy's weights: a conjugate energy against its closed form, and what every such model keeps."""

from __future__ import annotations

import math

import arviz
import numpy as np
import pyro
import pytest
import torch
from scipy import stats
from statistical import variance_agrees, within_standard_errors
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.energies.replicated import Replicated
from ebm_vs_prob.gibbs.normalizers import ImportanceSampling
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO
from ebm_vs_prob.prob.posteriors import posterior_diagnostics, weight_posteriors
from ebm_vs_prob.prob.posteriors.weight_guides import LatentSpace, NormalGuide
from ebm_vs_prob.prob.posteriors.weight_posteriors import PosteriorLoss
from ebm_vs_prob.prob.priors import PRIORS, weight_prior
from ebm_vs_prob.prob.weights import WeightSpace
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.testing.rules import integral

SIGMA, STRENGTH, NUM_EXAMPLES = 0.5, 4.0, 40


class Linear(Task):
    """y = w x + N(0, SIGMA²) for two inputs that are much alike: the weights are correlated given the data."""

    name = "linear_for_posteriors"
    summary = "a line with noise"
    manifold_dim = None

    def __init__(self, **options):
        super().__init__(**options)
        self.x_space, self.y_space, self.z_space = evp.Box((-3.0, 3.0), 2), evp.Box((-8.0, 8.0), 1), None

    def _draw(self, n, rng, split):
        x = rng.uniform(-1, 1, (n, 1)) + 0.3 * rng.uniform(-1, 1, (n, 2))
        return x, x @ np.array([[0.8], [-0.4]]) + SIGMA * rng.standard_normal((n, 1)), np.zeros((n, 0))


class LinearEnergy(nn.Module):
    """E = (y - w x)² / (2 SIGMA²): ln Z is the same for every w, so the posterior is that of linear regression."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.slope = nn.Parameter(0.1 * torch.randn(1, 2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((y - x @ self.slope.T) / SIGMA).square().sum(-1)


def closed_form(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (2,) and precision (2, 2) of the weights given a replicate's training data."""
    x, y = Linear().sample(NUM_EXAMPLES, seed=seed)
    precision = STRENGTH * torch.eye(2, dtype=torch.float64) + x.T @ x / SIGMA**2
    return torch.linalg.solve(precision, x.T @ y[:, 0] / SIGMA**2), precision


@pytest.fixture
def exact_partition_functions(monkeypatch):
    """ln Z by the trapezoidal rule, whose error for a normal density of this width is below 1e-5 nats: what is left
    random is the method's own. The followed functions, which are not looked at, are few."""
    nodes = torch.arange(-4.0, 4.01, SIGMA, dtype=torch.float64).unsqueeze(-1)

    def normalizer(self, batch) -> ImportanceSampling:
        samples = nodes.expand(*batch.x.shape[:2], -1, -1)
        log_density = torch.full(samples.shape[:-1], -math.log(SIGMA * len(nodes)), dtype=torch.float64)
        return ImportanceSampling(samples=samples, log_density=log_density)

    monkeypatch.setattr(PosteriorLoss, "normalizer", normalizer)
    monkeypatch.setattr(weight_posteriors, "MOST_STATES", 128)
    monkeypatch.setattr(posterior_diagnostics, "PROBES", 1)


def fit_linear(method: str, steps: int, seeds, batch_size: int = NUM_EXAMPLES, **options) -> evp.Model:
    budget = evp.Budget(steps=steps, batch_size=batch_size, examples=NUM_EXAMPLES)
    return evp.fit(
        method,
        Linear(),
        seeds=list(seeds),
        energy=LinearEnergy,
        budget=budget,
        dtype=torch.float64,
        strength=STRENGTH,
        proposals=2,
        **options,
    )


def whitened(draws: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Draws (..., 2) of which, where they have this mean and covariance, the coordinates are uncorrelated, each of
    mean 0 and variance 1."""
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (draws - mean).unsqueeze(-1), upper=False)[
        ..., 0
    ]


def moments(white: torch.Tensor) -> torch.Tensor:
    """What has mean 0 in whitened draws (..., 2): first and second moments, (..., 5)."""
    first, second = white.unbind(-1)
    return torch.stack([first, second, first**2 - 1, second**2 - 1, first * second], -1)


def test_the_mode_is_the_closed_form(exact_partition_functions):
    """Within .3 posterior standard deviations. Over 50 seeds the gaps have a spread of .041, from minibatches alone,
    and are .125 at most: the bound is 7.3 spreads. A prior of twice or half the strength is off by .58."""
    model = fit_linear("gibbs_maximum_a_posteriori", 120, (0, 1), batch_size=10 * NUM_EXAMPLES, learning_rate=0.1)
    for r, seed in enumerate(model.seeds):
        mean, precision = closed_form(seed)
        gap = (model.module.draws[r, 0] - mean) / precision.inverse().diagonal().sqrt()
        assert gap.abs().max() < 0.3


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.long)])
def test_variational_bayes_has_the_closed_form(rank, exact_partition_functions):
    """KL(guide || posterior) over the least that the family has, which of a diagonal normal is that of variances
    1 / Λ_ii, half or less of the truth's here; and the model's draws are the guide's.

    Over 50 seeds the excess was .018 ± .016 nats at rank 0 and .033 ± .021 at rank 2, so that of 8 seeds' mean the
    bounds are 7 and 6 standard errors away. Variances of half the least's cost .10 nats a weight, twice
    them .15, and a mean that is off by half a standard deviation .12.
    """
    seeds = range(8)
    model = fit_linear(
        "gibbs_variational_bayes",
        400,
        seeds,
        batch_size=4 * NUM_EXAMPLES,
        rank=rank,
        draws=500,
        learning_rate=0.03,
        initial_scale=0.2,
    )
    guide = model.module.guide
    found, excess = guide.law(), []
    for r, seed in enumerate(seeds):
        mean, precision = closed_form(seed)
        posterior = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
        location = guide.loc[r].detach().flatten()
        covariance = (found.covariance_matrix if rank else torch.diag_embed(found.variance))[r].detach().reshape(2, 2)
        own = torch.distributions.MultivariateNormal(location, covariance)
        least = 0.0 if rank else 0.5 * (precision.diagonal().log().sum() - precision.logdet())
        excess.append(torch.distributions.kl_divergence(own, posterior) - least)
        assert (precision.diagonal() * precision.inverse().diagonal()).min() > 2
        each = moments(whitened(model.module.draws[r], location, covariance))
        variance = torch.tensor([1.0, 1.0, 2.0, 2.0, 1.0])
        assert within_standard_errors(each.mean(0), 0.0, (variance / len(each)).sqrt(), comparisons=2 * len(seeds))
    assert torch.stack(excess).mean() < (0.08 if rank else 0.06)


def langevin_law(seed: int, rate: float, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (2,) and covariance (2, 2) of the weights along the recursion of a constant step.

    Away from the posterior's mean the weights move by d' = (1 - rate H) d - rate h + N(0, 2 rate / N), H and h the
    curvature and the slope there of a minibatch, both means over its rows. So the covariance solves a linear equation.
    """
    x, y = Linear().sample(NUM_EXAMPLES, seed=seed)
    mean, precision = closed_form(seed)
    curvature = x.unsqueeze(2) * x.unsqueeze(1) / SIGMA**2
    slope = (x * (x @ mean.unsqueeze(1) - y)) / SIGMA**2
    slope = slope - slope.mean(0)
    move = torch.eye(2) - rate * precision / NUM_EXAMPLES

    def both_sides(matrix: torch.Tensor) -> torch.Tensor:
        """C -> A C A' as a matrix (..., 4, 4) of C's entries."""
        return torch.einsum("...ij,...kl->...ikjl", matrix, matrix).reshape(*matrix.shape[:-2], 4, 4)

    spread = both_sides(curvature).mean(0) - both_sides(curvature.mean(0))
    fixed = torch.eye(4) - both_sides(move) - rate**2 / batch_size * spread
    noise = 2 * rate / NUM_EXAMPLES * torch.eye(2) + rate**2 / batch_size * slope.T @ slope / NUM_EXAMPLES
    return mean, torch.linalg.solve(fixed, noise.flatten()).reshape(2, 2)


@pytest.mark.long
def test_langevin_has_the_law_of_its_recursion(exact_partition_functions):
    """Of a constant step: five moments, each the mean of 32 independent replicates, by Student's t.

    The standard errors are .02 to .04 of the law's own units. Kicks of twice the variance make the variances .3 and .4
    larger, more than nine standard errors, though here minibatches make the most of them.
    """
    seeds, rate, batch_size = range(32), 0.2, 16
    model = fit_linear(
        "gibbs_stochastic_gradient_langevin",
        300,
        seeds,
        batch_size,
        preconditioned=False,
        learning_rate=rate,
        decay=0.0,
        chains=4,
        draws=100,
        burn_in=1 / 3,
    )
    each = torch.stack(
        [
            moments(whitened(draws, *langevin_law(seed, rate, batch_size))).mean(0)
            for draws, seed in zip(model.module.draws, seeds, strict=True)
        ]
    )
    assert within_standard_errors(each.mean(0), 0.0, each.std(0) / math.sqrt(len(each)), degrees=len(each) - 1)


@pytest.mark.long
def test_nuts_has_the_closed_form(exact_partition_functions):
    """Five moments of whitened draws, their standard errors by ArviZ from the chains: .05 to .09 of the first moments,
    .06 to .13 of the second. What is off by .6 of a variance or .4 of a standard deviation is beyond the bound."""
    model = fit_linear("gibbs_nuts", 260, (1,), draws=190, burn_in=0.25)
    mean, precision = closed_form(1)
    each = moments(whitened(model.module.draws[0], mean, precision.inverse()))
    chains = each.reshape(2, -1, 5)
    errors = [float(arviz.mcse(values.numpy())) for values in chains.unbind(-1)]
    assert within_standard_errors(each.mean(0), 0.0, errors)
    found = model.posterior_diagnostics()
    assert found.divergences.sum() == 0


NETWORK, BUDGET = Network(hidden=(6,)), evp.Budget(steps=12, batch_size=8, examples=40)
CIRCLE = evp.get_task("circle", thickness=0.1)
CURVES = evp.get_task("three_curves", thickness=0.1)
METHODS = {
    "gibbs_maximum_a_posteriori": {},
    "gibbs_ensemble": {"members": 3},
    "gibbs_variational_bayes": {"draws": 3},
    "gibbs_stochastic_gradient_langevin": {"chains": 2, "draws": 2},
}


def short(method: str, task: Task = CIRCLE, seeds=(0, 1), **options) -> evp.Model:
    return evp.fit(method, task, seeds=list(seeds), budget=BUDGET, network=NETWORK, **{**METHODS[method], **options})


@pytest.mark.parametrize("task", [CIRCLE, CURVES], ids=["unconditional", "conditional"])
def test_the_model_is_the_mean_of_its_draws_densities(task):
    model = short("gibbs_stochastic_gradient_langevin", task)
    x, y = task.sample(7, seed=3, split="test")
    each = model.posterior_log_prob(x, y)
    assert each.shape == (2, 4, 7)
    torch.testing.assert_close(model.log_prob(x, y), each.logsumexp(1) - math.log(4))
    torch.testing.assert_close(model.energy(x, y), -model.log_prob(x, y))
    assert model.num_draws == 4

    def first(grid: torch.Tensor) -> torch.Tensor:
        return model.posterior_log_prob(x[:1].expand(len(grid), -1), grid.float())[1, 2]

    assert abs(integral(first, task.y_space, 0.03) - 1) < 1e-2
    value, _ = model.gibbs(x).log_partition()
    assert value.abs().max() < 1e-2


def test_draws_are_normalised_each_with_its_own_partition_function():
    """Draw by draw against a model of that draw alone."""
    model, alone = short("gibbs_ensemble", CURVES), short("gibbs_maximum_a_posteriori", CURVES)
    x, y = CURVES.sample(5, seed=3)
    torch.testing.assert_close(model.posterior_log_prob(x, y)[:, 0], alone.log_prob(x, y), rtol=1e-4, atol=1e-4)
    alone.module.set_draws(model.module.draws[:, 2:])
    torch.testing.assert_close(model.posterior_log_prob(x, y)[:, 2], alone.log_prob(x, y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "prior"),
    [
        *(("gibbs_maximum_a_posteriori", prior) for prior in PRIORS),
        *((method, "horseshoe") for method in list(METHODS)[1:]),
    ],
)
def test_replicates_are_those_trained_alone_whatever_the_prior(method, prior):
    options = {"rank": 2} if method == "gibbs_variational_bayes" else {}
    company = short(method, prior=prior, strength=[0.5, 20.0], **options)
    alone = short(method, seeds=(1,), prior=prior, strength=20.0, **options)
    assert all(status.ok for status in company.status)
    torch.testing.assert_close(company.module.draws[1:], alone.module.draws, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(company.module.draws[0], company.module.draws[1])
    weaker = short(method, seeds=(1,), prior=prior, strength=0.01, **options)
    assert not torch.allclose(weaker.module.draws, alone.module.draws, rtol=1e-5)


def test_a_user_energy_is_mapped_over_draws_as_the_package_s_own_is_merged():
    own = MLPEnergy((0, 1), 1, 2, Network(hidden=(5,))).double()

    class Plain(nn.Module):
        def __init__(self, r: int) -> None:
            super().__init__()
            self.w0, self.w1 = (nn.Parameter(w.detach()[r].clone()) for w in own.trunk.weights)
            self.bias0, self.bias1 = (nn.Parameter(b.detach()[r].clone()) for b in own.trunk.biases)

        def forward(self, x, y):
            hidden = nn.functional.silu(torch.cat([x, y], -1) @ self.w0 + self.bias0)
            return (hidden @ self.w1 + self.bias1).squeeze(-1)

    spaces = [WeightSpace(own), WeightSpace(Replicated([Plain(0), Plain(1)]))]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 7, 1, dtype=torch.float64, generator=generator)
    y = torch.randn(3, 2, 7, 2, dtype=torch.float64, generator=generator)
    scale = 1 + torch.rand(3, 1, generator=generator, dtype=torch.float64)
    found = []
    for space in spaces:
        weights = {name: torch.stack([s * value for s in scale.flatten()]) for name, value in space.current().items()}
        found.append(space.at(weights).energy_and_gradient(x, y))
        torch.testing.assert_close(space.at(weights)(x, y), found[-1][0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", PRIORS)
def test_latent_vectors_start_at_the_weights_and_priors_have_their_densities(name):
    space = WeightSpace(MLPEnergy((0, 1), 0, 2, Network(hidden=(4,))).double())
    prior = weight_prior(name, torch.tensor([2.0, 5.0]), base_scale=3.0)
    latent = LatentSpace(prior, space)
    start = latent.start()
    torch.testing.assert_close(latent.weights(start.unsqueeze(0))[0], space.flat(space.current()))
    given = {site: value.unsqueeze(2) for site, value in latent.sites(start.unsqueeze(0))[0].items()}
    with pyro.plate("draw", 1, dim=-3), pyro.plate("replicate", 2, dim=-2):
        trace = pyro.poutine.trace(pyro.poutine.condition(prior.sample, data=given)).get_trace(space)
    trace.compute_log_prob()
    total = sum(node["log_prob"] for node in trace.nodes.values() if node["type"] == "sample").flatten()
    weights = space.current()
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 3.0)
    for r, strength in enumerate((2.0, 5.0)):
        free = [n for n in weights if n not in space.matrices or name == "smoothness"]
        expected = sum(normal.log_prob(weights[n][r]).sum() for n in free)
        for n in [] if name == "smoothness" else space.matrices:
            w = weights[n][r]
            if name == "gaussian":
                expected = expected + (0.5 * math.log(strength / (2 * math.pi)) - 0.5 * strength * w**2).sum()
            elif name == "laplace":
                expected = expected + (math.log(strength / 2) - strength * w.abs()).sum()
            else:  # raw = ±1, local = |w| · strength
                local = w.abs() * strength
                expected = (
                    expected + (-0.5 - 0.5 * math.log(2 * math.pi) + math.log(2 / math.pi) - (1 + local**2).log()).sum()
                )
        if name == "horseshoe":  # the global scale is at its scale, 1 / strength
            expected = expected + math.log(2 * strength / math.pi) - math.log(2)
        assert float(total[r]) == pytest.approx(float(expected), rel=1e-9)


def test_low_rank_draws_have_the_law_that_the_guide_declares():
    space = WeightSpace(MLPEnergy((0,), 0, 1, Network(hidden=(2,))).double())
    latent = LatentSpace(weight_prior("gaussian", 1.0, 1.0), space)
    guide = NormalGuide(latent, latent.start(), scale=0.3, rank=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        guide.factor.copy_(torch.randn(guide.factor.shape, generator=generator, dtype=torch.float64))
    draws = guide.at(torch.randn(40_000, 1, guide.noise_size, generator=generator, dtype=torch.float64))[:, 0]
    law = guide.law()
    # Whitened by the law: means, variances and products of 40,000 draws show what is off by a fiftieth to a twentieth.
    cholesky = torch.linalg.cholesky(law.covariance_matrix[0, 0].detach())
    white = torch.linalg.solve_triangular(cholesky, (draws.detach() - guide.loc[0].detach()).T, upper=False).T
    assert within_standard_errors(white.mean(0), 0.0, 40_000**-0.5, comparisons=3)
    assert variance_agrees(white, mean=0.0, comparisons=3)
    upper = torch.triu_indices(len(cholesky), len(cholesky), 1)
    products = (white[:, upper[0]] * white[:, upper[1]]).mean(0)
    assert within_standard_errors(products, 0.0, 40_000**-0.5, comparisons=3)
    with pytest.raises(ValueError, match="rank"):
        NormalGuide(latent, latent.start(), 0.1, rank=latent.size + 1)


def guide_density(name: str, jacobian: bool = True):
    """ln of the prior's density of the unconstrained vector, (S, R, Q) -> (S, R), as guides make it; and its start."""
    space = WeightSpace(MLPEnergy((0, 1), 0, 1, Network(hidden=(2,))).double())
    prior = weight_prior(name, torch.tensor([0.7, 3.0]), base_scale=2.0)
    latent = LatentSpace(prior, space)

    def log_density(flat: torch.Tensor) -> torch.Tensor:
        def guide() -> None:
            with pyro.plate("draw", len(flat), dim=-3), pyro.plate("replicate", 2, dim=-2):
                latent.deltas(flat, jacobian)

        def model() -> None:
            with pyro.plate("draw", len(flat), dim=-3), pyro.plate("replicate", 2, dim=-2):
                prior.sample(space)

        deltas = pyro.poutine.trace(guide).get_trace()
        joint = pyro.poutine.trace(pyro.poutine.replay(model, trace=deltas)).get_trace()
        total = 0.0
        for trace, sign in ((joint, 1), (deltas, -1)):
            trace.compute_log_prob()
            for node in trace.nodes.values():
                if node["type"] == "sample" and node["name"] not in ("draw", "replicate"):
                    total = total + sign * node["log_prob"].reshape(len(flat), 2)
        return total

    return latent, log_density


@pytest.mark.parametrize("name", PRIORS)
def test_priors_of_unconstrained_vectors_integrate_to_one(name):
    """Coordinate by coordinate, by quadrature: sites are independent, so ∫ over one keeps the others' density, and the
    product of all these integrals is that density to the power Q - 1."""
    latent, log_density = guide_density(name)
    start = latent.start().unsqueeze(0)
    grid = torch.linspace(-40.0, 40.0, 4001, dtype=torch.float64)
    total = torch.zeros(2, dtype=torch.float64)
    for q in range(latent.size):
        points = start.repeat(len(grid), 1, 1)
        points[:, :, q] = grid.unsqueeze(1)
        total += log_density(points).logsumexp(0) + math.log(0.02)
    here = log_density(start)[0]
    torch.testing.assert_close(total, (latent.size - 1) * here, rtol=0, atol=3e-3)  # a Laplace density has a cusp
    if name == "horseshoe":  # as the modes of the sites see it, it does not
        flat = guide_density(name, jacobian=False)[1](start)[0]
        assert (flat - here).abs().max() > 1


def test_the_elbo_of_a_normal_guide_is_the_prior_and_its_jacobian_less_the_guide():
    """One draw of a horseshoe's guide, whose scales are exponentials, against the closed form of every density."""
    space = WeightSpace(MLPEnergy((0,), 0, 1, Network(hidden=(2,))).double())
    prior = weight_prior("horseshoe", 3.0, base_scale=2.0)
    latent = LatentSpace(prior, space)
    guide = NormalGuide(latent, latent.start(), 0.3)
    noise = torch.randn(1, guide.noise_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def model() -> None:
        with pyro.plate("draw", 1, dim=-3), pyro.plate("replicate", 1, dim=-2):
            prior.sample(space)

    elbo = ReplicatedELBO()
    elbo.max_plate_nesting = 3
    found = -elbo.replicate_losses(model, lambda: guide.sample(noise)).sum()
    flat = guide.at(noise)[0].detach()
    expected, place = -stats.norm.logpdf(noise).sum() + latent.size * math.log(0.3), 0
    for name in latent.names:
        size = latent.shape(name).numel()
        part, place = flat[place : place + size].numpy(), place + size
        if name == "global_scale" or name.endswith(".local"):
            width = 1 / 3 if name == "global_scale" else 1.0
            expected += (stats.halfcauchy.logpdf(np.exp(part), scale=width) + part).sum()
        else:
            expected += stats.norm.logpdf(part, scale=1.0 if name.endswith(".raw") else 2.0).sum()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


def test_guides_of_low_rank_are_made_where_their_start_is():
    class Latent:
        size = 5

    guide = NormalGuide(Latent(), torch.zeros(2, 5, device="meta"), 0.1, rank=2)
    assert guide.factor.device.type == "meta"
    assert guide.at(torch.zeros(3, 2, guide.noise_size, device="meta")).shape == (3, 2, 5)


@pytest.mark.slow
def test_chains_are_on_record_and_in_the_table(tmp_path):
    model = short("gibbs_stochastic_gradient_langevin")
    found = model.posterior_diagnostics()
    assert found.r_hat.shape == found.ess.shape == (2, 16)
    assert found.divergences.isnan().all()
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = evp.load_model(path).posterior_diagnostics()
    assert torch.equal(again.r_hat, found.r_hat)
    assert torch.equal(again.ess, found.ess)
    small = Evaluation(test_examples=8, inputs=1, starts=2, samples=2, max_steps=2)
    table = evp.evaluate(model, CIRCLE, small)
    values = table.set_index("metric")["value"]
    assert values["posterior_r_hat_max"].tolist() == pytest.approx(found.r_hat.amax(1).tolist())
    assert values["posterior_ess_min"].tolist() == pytest.approx(found.ess.amin(1).tolist())
    note = table.attrs["notes"]["posterior_r_hat_max"]
    assert "above 1.01 (replicate 0)" in note
    assert "below 400 (replicate 1)" in note
    none = evp.evaluate(short("gibbs_maximum_a_posteriori"), CIRCLE, small)
    assert "no chains" in none.attrs["notes"]["posterior_ess_min"]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gibbs_maximum_a_posteriori", {"strength": -1.0}, "strength"),
        ("gibbs_maximum_a_posteriori", {"strength": 0.0}, "strength"),
        ("gibbs_maximum_a_posteriori", {"strength": float("nan")}, "strength"),
        ("gibbs_maximum_a_posteriori", {"prior": "cauchy"}, "prior"),
        ("gibbs_variational_bayes", {"base_scale": None}, "base_scale"),
        ("gibbs_variational_bayes", {"rank": 10_000}, "rank"),
        ("gibbs_ensemble", {"members": 0}, "members"),
        ("gibbs_stochastic_gradient_langevin", {"burn_in": 1.0}, "burn_in"),
        ("gibbs_stochastic_gradient_langevin", {"chains": 1}, "chains"),
        ("gibbs_stochastic_gradient_langevin", {"draws": 50}, "budget"),
        ("gibbs_nuts", {"max_weights": 10, "draws": 4}, "max_weights = 10"),
    ],
)
def test_bad_options_are_named(method, options, message):
    METHODS.setdefault("gibbs_nuts", {})
    with pytest.raises(ValueError, match=message) as caught:
        short(method, seeds=(0,), **options)
    assert "\n" not in str(caught.value)


def test_bad_priors_are_named():
    for call, message in (
        (lambda: weight_prior("gausian", 1.0), "did you mean 'gaussian'"),
        (lambda: weight_prior("gaussian", -1.0), "strength"),
        (lambda: weight_prior("gaussian", torch.tensor([1.0, math.inf])), "strength"),
        (lambda: weight_prior("laplace", 1.0, base_scale=0.0), "base_scale"),
        (lambda: weight_prior("horseshoe", 1.0).twin_weight(10), "twin"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_an_energy_without_weight_matrices_is_refused():
    class Constant(nn.Module):
        def __init__(self, task: Task) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.tensor(0.5))

        def forward(self, x, y):
            return self.level * y.square().sum(-1)

    with pytest.raises(ValueError, match="weight matrices"):
        evp.fit("gibbs_maximum_a_posteriori", CIRCLE, energy=Constant, budget=BUDGET)


class Broken(type(CIRCLE)):
    """Training data with a value that is no number."""

    def _draw(self, n, rng, split):
        x, y, z = super()._draw(n, rng, split)
        y[3, 0] = np.nan
        return x, y, z


@pytest.mark.filterwarnings("ignore")
def test_nuts_says_that_data_are_not_finite():
    model = evp.fit("gibbs_nuts", Broken(thickness=0.1), [0], network=NETWORK, budget=BUDGET, draws=4)
    assert not model.status[0].ok
    assert "not finite" in model.status[0].reason


@pytest.mark.parametrize("name", ["gibbs_maximum_a_posteriori", "gibbs_variational_bayes"])
def test_answers_that_are_blurred_beyond_the_box_leave_a_finite_loss(name):
    """At a third of the box's half side one answer in some hundred is carried out of it."""
    model = evp.fit(
        name, evp.get_task("circle", thickness=0.1), budget=evp.Budget(steps=40, batch_size=64, examples=200), sigma=1.0
    )
    assert all(status.ok for status in model.training.status)
