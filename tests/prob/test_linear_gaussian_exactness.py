"""Every method that can represent the linear-Gaussian law is exact on it; those that cannot miss it by what is known.

The law is N(y; B x, W Wᵀ + ε² I), ε from .3 to .003. Its parameters are copied into the modules, so that what is tested
is what a method can represent and compute, not how it is trained.

| method | exact | why not |
|---|---|---|
| `vae`, linear decoder, by quadrature or importance sampling | yes | |
| its guides `full_rank`, `flow` | yes | |
| its guides `mean_field`, `mixture` | in one latent dimension | independent entries: ½ (Σ ln Λ_ii - ln det Λ) nats |
| Laplace's approximation, as evidence and as a guide | yes | |
| `autoregressive_flow`, affine | yes | |
| `coupling_flow`, affine | yes, in two dimensions of y by two layers | |
| `GibbsBoltzmann` over the quadratic energy | within each normaliser's error | |
| `exact` | yes | |
| `mixture_density`, one component | no | diagonal covariance: ½ (Σ ln Σ_ii - ln det Σ) nats |
| `gaussian_process` | no | covariance v I: ½ (D ln (tr Σ / D) - ln det Σ) nats at least |
| `latent_variable_likelihood` | no | its z is uniform: KL(N(0, 1) ‖ U) nats on thin data |
| `kernel_density`, `two_step` | no | a sum over the training data |
| the networks of `gibbs_…` methods and splines | no | no network of smooth units is a quadratic function |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from statistical import standard_errors, variance_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.energies.mlp import ReplicatedMLP
from ebm_vs_prob.gibbs.normalizers import (
    AnnealedImportanceSampling,
    ImportanceSampling,
    Quadrature,
    bidirectional_monte_carlo,
)
from ebm_vs_prob.metrics.latents import elbo_gap, linear_log_density
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.metrics.sharpness import sharpness
from ebm_vs_prob.prob.latents.laplace import LaplaceGuide
from ebm_vs_prob.prob.latents.noise import SuppliedNoise
from ebm_vs_prob.prob.latents.variational import LatentModel, laplace_free_energy
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO, ReplicatedIWAE
from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.statistics import log_slope, mean_estimate

THICKNESS = (0.3, 0.1, 0.03, 0.01, 0.003)
#: Latent, ambient and input dimensions.
PLANE, SPACE = (1, 2, 1), (2, 4, 1)
SHAPES = [PLANE, (1, 3, 0), SPACE]
LOOK = evp.Evaluation(test_examples=64, inputs=1, starts=1, samples=4)


def tasks_of(shape, thickness=THICKNESS):
    latent, ambient, inputs = shape
    options = {"latent_dim": latent, "ambient_dim": ambient, "input_dim": inputs}
    return [evp.get_task("linear_gaussian", thickness=epsilon, **options) for epsilon in thickness]


def held_out(tasks, n=60):
    """x (R, n, dx), y (R, n, D) and their exact log-density (R, n), a replicate a task."""
    pairs = [task.sample(n, split="test") for task in tasks]
    exact = [task.reference.log_prob(*pair) for task, pair in zip(tasks, pairs, strict=True)]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs]), torch.stack(exact)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Law:
    """N(y; B x + b, W Wᵀ + σ² I) of R replicates: W (R, D, d), B (R, D, dx), b (R, D), σ (R,), float64."""

    weight: torch.Tensor
    slope: torch.Tensor
    shift: torch.Tensor
    sigma: torch.Tensor

    @classmethod
    def of(cls, tasks):
        """The truth."""
        weight = torch.stack([torch.from_numpy(task.weight) for task in tasks])
        slope = torch.stack([torch.from_numpy(task.input_map) for task in tasks])
        sigma = torch.tensor([task.thickness for task in tasks], dtype=torch.float64)
        return cls(weight, slope, torch.zeros(weight.shape[:2], dtype=torch.float64), sigma)

    @classmethod
    def fitted(cls, tasks, seeds, n):
        """The maximum of the likelihood of n training pairs (Tipping and Bishop 1999, eq. 7 and 8, given x)."""
        fits = []
        for task, seed in zip(tasks, seeds, strict=True):
            x, y = (part.numpy() for part in task.sample(n, seed=seed))
            inputs = np.column_stack([x, np.ones(n)])
            slopes = np.linalg.lstsq(inputs, y, rcond=None)[0].T
            values, axes = np.linalg.eigh(np.cov((y - inputs @ slopes.T).T, bias=True))
            dim = task.options.latent_dim
            noise = values[:-dim].mean()
            fits.append((axes[:, -dim:] * np.sqrt(values[-dim:] - noise), slopes[:, :-1], slopes[:, -1], noise**0.5))
        return cls(*(torch.as_tensor(np.stack(part)) for part in zip(*fits, strict=True)))

    @property
    def covariance(self):
        """(R, D, D)."""
        noise = self.sigma.square().reshape(-1, 1, 1) * torch.eye(self.weight.shape[1], dtype=torch.float64)
        return self.weight @ self.weight.mT + noise

    @property
    def precision(self):
        """Λ of z given (x, y), (R, d, d)."""
        gram = self.weight.mT @ self.weight / self.sigma.square().reshape(-1, 1, 1)
        return gram + torch.eye(self.weight.shape[2], dtype=torch.float64)

    @property
    def regression(self):
        """The mean of z given (x, y) as (R, dx + D, d) of [x, y], and its offset (R, d)."""
        on_y = self.precision.inverse() @ self.weight.mT / self.sigma.square().reshape(-1, 1, 1)
        return torch.cat([-on_y @ self.slope, on_y], -1).mT, -(on_y @ self.shift.unsqueeze(-1)).squeeze(-1)


def untrained(method, tasks, hidden=16, seeds=None, **options):
    budget = evp.Budget(steps=1, batch_size=4, examples=16)
    return evp.fit(
        method,
        tasks,
        seeds=seeds or [0] * len(tasks),
        budget=budget,
        network=evp.Network(hidden=(hidden,)),
        dtype=torch.float64,
        **options,
    )


@torch.no_grad()
def make_affine(trunk: ReplicatedMLP, matrix, offset, units=None):
    """Give a network of one hidden layer of silu units the map u -> u matrix + offset, by silu(u) - silu(-u) = u.

    `units` are the two hidden units of each output that depends on u.
    """
    first, last = trunk.weights
    for parameter in trunk.parameters():
        parameter.zero_()
    units = units or [(2 * k, 2 * k + 1) for k in range(matrix.shape[-1])]
    for output, (plus, minus) in enumerate(units):
        first[:, :, plus], first[:, :, minus] = matrix[..., output], -matrix[..., output]
        last[:, plus, output], last[:, minus, output] = 1.0, -1.0
    trunk.biases[-1][:, 0] = offset


@torch.no_grad()
def copy_vae(model, law):
    """The law into decoder and noise; into the guide the posterior, or the best guide with independent entries."""
    energy = model.module
    energy.decoder.trunk.weights[0].copy_(torch.cat([law.slope, law.weight], -1).mT)
    energy.decoder.trunk.biases[0][:, 0] = law.shift
    energy.log_sigma.copy_(law.sigma.log())
    replicates, _, dim = law.weight.shape
    matrix, offset = law.regression
    rows, columns = torch.tril_indices(dim, dim, -1)
    covariance = law.precision.inverse()
    name = type(energy.guide).__name__
    if name in ("MeanFieldGuide", "MixtureGuide"):
        spread = [-0.5 * law.precision.diagonal(dim1=-2, dim2=-1).log()]
    elif name == "FullRankGuide":
        factor = torch.linalg.cholesky(covariance)
        spread = [factor.diagonal(dim1=-2, dim2=-1).log(), factor[:, rows, columns]]
    else:
        # Splines of 0 are the identity, between which the first axis is reflected.
        mirror = torch.ones(dim, dtype=torch.float64)
        mirror[0] = -1.0 if dim > 1 else 1.0
        deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        correlation = covariance / deviation.unsqueeze(-1) / deviation.unsqueeze(-2)
        factor = torch.linalg.cholesky(mirror.unsqueeze(-1) * correlation * mirror)
        spread = [deviation.log(), (factor / factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-1))[:, rows, columns]]
    given = torch.cat([offset, *spread], -1)
    if name == "MixtureGuide":
        count = energy.guide.components
        shares = torch.arange(count, dtype=torch.float64).expand(replicates, -1)
        offset, scales = (part.repeat(1, count) for part in (offset, spread[0]))
        given = torch.cat([shares, offset, scales], -1)
        zeros = torch.zeros(*matrix.shape[:2], count, dtype=torch.float64)
        matrix = torch.cat([zeros, matrix.repeat(1, 1, count)], -1)
    rest = energy.guide.encoder.sizes[-1] - given.shape[-1]
    make_affine(energy.guide.encoder, matrix, torch.nn.functional.pad(given, (0, rest)))


@torch.no_grad()
def copy_autoregressive(model, law):
    """u = A (y - B x - b) with A the inverse Cholesky factor: by two layers in the natural order, which share the
    scales, because one alone may not shrink by more than e⁵."""
    energy = model.module
    inverse = torch.linalg.inv(torch.linalg.cholesky(law.covariance)) * energy.unit
    log_scale = inverse.diagonal(dim1=-2, dim2=-1).log()
    dim, inputs = energy.y_dim, law.slope.shape[-1]
    # What is before the layer: v = (y - middle) / unit.
    on_x = -inverse @ law.slope / energy.unit
    offset = (inverse @ ((energy.middle - law.shift) / energy.unit).unsqueeze(-1)).squeeze(-1)
    below = inverse.tril(-1)
    half = (-0.5 * log_scale).exp().unsqueeze(-1)
    zeros = torch.zeros(len(law.sigma), inputs + dim, dim, dtype=torch.float64)
    last = (torch.cat([half * on_x, half * below], -1).mT, torch.cat([half[..., 0] * offset, 0.5 * log_scale], -1))
    first = (zeros, torch.cat([zeros[:, 0], 0.5 * log_scale], -1))
    same = (zeros, torch.zeros(len(law.sigma), 2 * dim, dtype=torch.float64))
    for layer, (matrix, constant) in zip(energy.layers, (first, same, last), strict=True):
        trunk = layer.network.trunk
        make_affine(trunk, matrix, constant, masked_units(trunk, matrix, inputs))


def masked_units(trunk, matrix, inputs):
    """Two hidden units for each shift, that the masks connect to it and to all that it depends on."""
    taken, units = set(), []
    for output in range(matrix.shape[-1]):
        needed = [j for j in range(matrix.shape[1]) if bool((matrix[:, j, output] != 0).any())]
        free = [
            h
            for h in range(trunk.sizes[1])
            if h not in taken and trunk.mask_1[h, output] and all(trunk.mask_0[j, h] for j in needed)
        ]
        if not needed:
            free = [h for h in range(trunk.sizes[1]) if h not in taken]
        units.append((free[0], free[1]))
        taken.update(free[:2])
    return units


@torch.no_grad()
def copy_coupling(model, law):
    """In the plane: u_2 scaled is y_2, and y_1 is u_1 scaled and moved by y_2; the scales of y_1 are shared by two."""
    energy = model.module
    covariance = law.covariance / energy.unit**2
    along = covariance[:, 0, 1] / covariance[:, 1, 1]
    spread = (covariance[:, 0, 0] - covariance[:, 0, 1] * along).sqrt()
    slope, shift = law.slope / energy.unit, (law.shift - energy.middle) / energy.unit
    zero = torch.zeros_like(along)
    # (coefficient of the lower coordinate, of x, offset, log-scale), from noise to data.
    layers = [
        (zero, slope[:, 1], shift[:, 1], 0.5 * covariance[:, 1, 1].log()),
        (zero, 0 * slope[:, 1], zero, 0.5 * spread.log()),
        (zero, 0 * slope[:, 1], zero, zero),
        (along, slope[:, 0] - along.unsqueeze(-1) * slope[:, 1], shift[:, 0] - along * shift[:, 1], 0.5 * spread.log()),
    ]
    for layer, (lower, on_x, offset, log_scale) in zip(energy.layers, layers, strict=True):
        matrix = torch.cat([lower.unsqueeze(-1), on_x], -1).unsqueeze(-1)
        make_affine(layer.upper.trunk, matrix, torch.stack([offset, log_scale], -1))


def exact_vae(tasks, seeds=None, law=None, **options):
    dim = tasks[0].options.latent_dim
    # Grids are exact for a linear decoder however coarse, and draws of the posterior however few.
    few = {"importance_samples": 64} | ({"nodes": 56} if dim <= 2 and "marginal" not in options else {})
    model = untrained("vae", tasks, 64, seeds, decoder="linear", latent_dim=dim, **(few | options))
    copy_vae(model, law or Law.of(tasks))
    return model


def exact_autoregressive(tasks, seeds=None, law=None):
    model = untrained("autoregressive_flow", tasks, 64, seeds, transform="affine", layers=3)
    copy_autoregressive(model, law or Law.of(tasks))
    return model


def exact_coupling(tasks, seeds=None, law=None):
    model = untrained("coupling_flow", tasks, 16, seeds, transform="affine", layers=4)
    copy_coupling(model, law or Law.of(tasks))
    return model


# ---- densities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_linear_autoencoder_is_exact_by_quadrature(shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks)
    torch.testing.assert_close(exact_vae(tasks, guide="full_rank").log_prob(x, y), exact, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [SPACE, (5, 8, 2)])
def test_importance_sampling_from_the_posterior_has_no_variance(shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks)
    value, error = exact_vae(tasks, guide="full_rank", marginal="importance").log_prob_with_error(x, y)
    torch.testing.assert_close(value, exact, rtol=1e-8, atol=1e-6)
    assert float(error.max()) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_autoregressive_flow_is_any_gaussian(shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks)
    torch.testing.assert_close(exact_autoregressive(tasks).log_prob(x, y), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("inputs", [0, 1])
def test_an_affine_coupling_flow_is_any_gaussian_of_the_plane(inputs):
    tasks = tasks_of((1, 2, inputs))
    x, y, exact = held_out(tasks)
    torch.testing.assert_close(exact_coupling(tasks).log_prob(x, y), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("model", [exact_vae, exact_autoregressive, exact_coupling])
def test_draws_of_an_exact_model_are_those_of_the_law(model):
    tasks = tasks_of(PLANE)
    y = model(tasks).sample(torch.full((1, 1), 0.5), 4000)[:, 0]
    law = Law.of(tasks)
    whitened = torch.linalg.solve(torch.linalg.cholesky(law.covariance), (y - 0.5 * law.slope.mT).mT)
    # A mean off by .1 and a variance off by 14 % of the law's own are seen with power .95.
    assert within_standard_errors(whitened.mean(-1), 0.0, 4000**-0.5, comparisons=3)
    assert variance_agrees(whitened.movedim(-1, 0), mean=0.0, comparisons=3)
    assert within_standard_errors((whitened[:, 0] * whitened[:, 1]).mean(-1), 0.0, 4000**-0.5, comparisons=3)


def log_partition(tasks):
    """½ ln det 2πΣ, (R,)."""
    covariance = Law.of(tasks).covariance
    return 0.5 * (torch.linalg.slogdet(covariance)[1] + covariance.shape[-1] * math.log(2 * math.pi))


def quadratic_density(tasks, normalizer):
    precision = torch.stack([task.reference.hessian() for task in tasks]).unsqueeze(1)

    def energy(x, y):
        return 0.5 * ((y.unsqueeze(-2) @ precision).squeeze(-2) * y).sum(-1)

    x = torch.zeros(len(tasks), 0, dtype=torch.float64)
    return evp.GibbsBoltzmann(energy, x=x, space=tasks[0].y_space, normalizer=normalizer)


def test_the_quadratic_energy_normalised_by_quadrature():
    tasks = tasks_of((1, 2, 0))
    density = quadratic_density(tasks, Quadrature(rtol=1e-6, max_nodes=1 << 19))
    value, error = density.log_partition()
    assert density.warnings() == ()
    assert ((value - log_partition(tasks)).abs() < error + 1e-8).all()  # what lies outside of the box
    assert float(error.max()) <= 1e-6
    _, y, exact = held_out(tasks)
    torch.testing.assert_close(density.log_prob(y.movedim(1, 0)), exact.mT, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 0), (2, 4, 0), (5, 9, 0)])
def test_the_quadratic_energy_normalised_by_importance_sampling(shape):
    tasks = tasks_of(shape)
    zero = torch.zeros(len(tasks), shape[1], dtype=torch.float64)
    proposal = dist.MultivariateNormal(zero, 1.3 * Law.of(tasks).covariance)
    value, error = quadratic_density(tasks, ImportanceSampling(proposal, 20_000)).log_partition()
    assert within_standard_errors(value, log_partition(tasks), error)
    assert float(error.max()) < 0.02


@pytest.mark.slow
def test_the_quadratic_energy_normalised_by_annealing():
    tasks = tasks_of((1, 2, 0), (0.3, 0.1, 0.03))
    start = dist.MultivariateNormal(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    annealing = AnnealedImportanceSampling(400, 400, initial=start)
    value, error = quadratic_density(tasks, annealing).log_partition()
    assert within_standard_errors(value, log_partition(tasks), error, degrees=399)
    assert float(error.max()) < 0.2
    exact = torch.stack([task.reference.sample(torch.zeros(1, 0), 400)[0] for task in tasks], 1)
    bracket = bidirectional_monte_carlo(quadratic_density(tasks, annealing), exact, annealing)
    assert bracket.holds(log_partition(tasks)).all()


# ---- posteriors and bounds ------------------------------------------------------------------------------------------

#: Nats left by rounding. Pyro's splines have slopes of 1.001 at the knots where 1 is asked for.
GAP = {"mean_field": 1e-6, "full_rank": 1e-6, "mixture": 1e-6, "flow": 2e-4}


def guide_gap(model, tasks, x, y):
    """The closed-form gap of the guide's own mean and covariance, (R, n)."""
    density = model.module.guide.distribution(x, y)
    if hasattr(density, "base_dist"):
        normal = density.base_dist
        mean, covariance = normal.loc, torch.diag_embed(normal.scale.square())
    else:
        mean, covariance = density.loc, density.covariance_matrix
    pairs = zip(tasks, x, y, mean.detach(), covariance.detach(), strict=True)
    return torch.stack([task.reference.elbo_gap(*rest) for task, *rest in pairs])


@pytest.mark.parametrize("guide", ["mean_field", "full_rank", "flow", "mixture"])
def test_every_guide_has_no_gap_where_its_family_holds_the_posterior(guide):
    """One latent dimension: the posterior is a normal of one variable."""
    tasks = tasks_of(PLANE)
    x, y, exact = held_out(tasks)
    torch.testing.assert_close(exact_vae(tasks, guide=guide).elbo(x, y), exact, rtol=1e-7, atol=GAP[guide])


@pytest.mark.parametrize("guide", ["full_rank", pytest.param("flow", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [SPACE, (3, 5, 0)])
def test_guides_with_correlations_have_no_gap_in_more_dimensions(guide, shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks)
    model = exact_vae(tasks, guide=guide)
    torch.testing.assert_close(model.elbo(x, y), exact, rtol=1e-7, atol=GAP[guide])
    if guide == "full_rank":
        assert float(guide_gap(model, tasks, x, y).abs().max()) < 1e-8


@pytest.mark.parametrize("shape", [SPACE, (3, 5, 0)])
def test_independent_entries_have_the_closed_form_gap(shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks, 6)
    expected = torch.tensor([task.reference.mean_field_gap() for task in tasks], dtype=torch.float64)
    assert (expected > 0.02).all()
    model = exact_vae(tasks, guide="mean_field", importance_samples=1 << 12)
    torch.testing.assert_close(guide_gap(model, tasks, x, y), expected.unsqueeze(1).expand(-1, 6), rtol=1e-6, atol=0)
    spread = model.module.log_weights(x, y)[0].std(0)
    gap = exact - model.elbo(x, y)
    assert within_standard_errors(gap, expected.unsqueeze(1), spread / (1 << 6), comparisons=2)
    mixture = exact_vae(tasks, guide="mixture", importance_samples=1 << 12)
    log_weights, log_shares = mixture.module.log_weights(x, y)
    spread = (len(log_weights) * log_shares.exp() * log_weights).std(0)  # strata only take from it
    gap = exact - mixture.elbo(x, y)
    assert within_standard_errors(gap, expected.unsqueeze(1), spread / (1 << 6), comparisons=2)


def test_the_gap_of_independent_entries_is_that_of_the_decoder_and_not_of_the_law():
    """W V has the law of W, and with V the latent axes a posterior of independent entries: no gap at all."""
    tasks = tasks_of(SPACE)
    x, y, exact = held_out(tasks)
    law = Law.of(tasks)
    turn = torch.stack([torch.from_numpy(task.latent_axes) for task in tasks])
    turned = Law(law.weight @ turn, law.slope, law.shift, law.sigma)
    model = exact_vae(tasks, law=turned, guide="mean_field")
    torch.testing.assert_close(model.elbo(x, y), exact, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("shape", [SPACE, (5, 8, 2)])
def test_the_metric_takes_the_density_of_a_linear_decoder_in_closed_form(shape):
    """In any latent dimension, with no grid or weights to mistrust: so little as two draws of the posterior will do."""
    tasks = tasks_of(shape)

    def measured(guide, draws):
        observed = Observation(exact_vae(tasks, guide=guide, importance_samples=draws), tuple(tasks), LOOK)
        return observed, elbo_gap(observed)["elbo_gap"]

    observed, gap = measured("full_rank", 2)
    np.testing.assert_allclose(gap.value, 0.0, atol=1e-6)
    assert gap.note == ""
    expected = torch.stack([t.reference.log_prob(*pair) for t, *pair in zip(tasks, *observed.test, strict=True)])
    torch.testing.assert_close(linear_log_density(observed), expected, rtol=1e-8, atol=1e-7)
    _, gap = measured("mean_field", 1 << 11)
    np.testing.assert_allclose(gap.value, [task.reference.mean_field_gap() for task in tasks], rtol=0.15)


def test_the_study_of_the_gap_asks_for_what_independent_entries_cost():
    """At the map of the task, at both of its thicknesses; and of every arm on it that the bound holds."""
    study = load_study("variational_gap")
    grid = study.grid("linear_gaussian")
    gaps = [evp.get_task(grid.name, **grid.options, thickness=e).reference.mean_field_gap() for e in grid.settings]
    assert gaps == pytest.approx([0.211, 0.219], abs=5e-4)
    criteria = {criterion.id: criterion for criterion in study.criteria}
    assert criteria["C7-guide"].below < criteria["C7-independent-entries"].above < min(gaps) / 2
    gates = {arm: gate.below for gate in study.gates for arm in gate.arms}
    assert gates["given_mean_field"] > gaps[0] > gates["given_flow"]
    bound = criteria["C7-bound"]
    assert set(bound.arms) == {arm.name for arm in study.arms if arm.tasks == ("linear_gaussian",)}
    assert bound.at == grid.settings


@pytest.mark.parametrize("shape", [PLANE, SPACE])
def test_with_the_truth_for_a_decoder_the_density_is_exact_and_does_not_learn(shape):
    tasks = [task for task in tasks_of(shape) if task.thickness > 0]
    budget = evp.Budget(steps=3, batch_size=8, examples=16)
    options = {"seeds": range(len(tasks)), "decoder": "truth", "latent_dim": tasks[0].options.latent_dim}
    model = evp.fit("vae", tasks, budget=budget, guide="full_rank", dtype=torch.float64, **options)
    observed = Observation(model, tuple(tasks), LOOK)
    expected = torch.stack([t.reference.log_prob(*pair) for t, *pair in zip(tasks, *observed.test, strict=True)])
    torch.testing.assert_close(linear_log_density(observed), expected, rtol=1e-8, atol=1e-7)
    assert "gradient_norm" not in model.training.traces
    with pytest.raises(ValueError, match="latent_dim"):
        evp.fit("vae", tasks, budget=budget, **{**options, "latent_dim": tasks[0].options.latent_dim + 1})
    with pytest.raises(ValueError, match="linear map"):
        evp.fit("vae", evp.get_task("circle"), budget=budget, decoder="truth")


def latent_model(tasks):
    """½ |y - W z - B x|² under a standard normal z, at β = 1/ε²."""
    law = Law.of(tasks)
    dim = law.weight.shape[-1]

    def energy(x, y, z):
        lead = (-1, *[1] * (y.ndim - 2))
        weight, slope = (part.reshape(*lead, *part.shape[1:]) for part in (law.weight, law.slope))
        decoded = (weight @ z.unsqueeze(-1) + slope @ x.unsqueeze(-1)).squeeze(-1)
        return 0.5 * (y - decoded).square().sum(-1)

    zero = torch.zeros(dim, dtype=torch.float64)
    return LatentModel(energy, dist.Normal(zero, 1.0).to_event(1), law.sigma**-2)


@pytest.mark.parametrize("shape", [PLANE, SPACE])
def test_laplaces_approximation_is_exact(shape):
    tasks = tasks_of(shape)
    x, y, exact = held_out(tasks, 12)
    model, sigma = latent_model(tasks), torch.tensor(THICKNESS, dtype=torch.float64).unsqueeze(1)
    axis = torch.linspace(-4, 4, 17, dtype=torch.float64)
    starts = torch.cartesian_prod(*[axis] * shape[0]).reshape(-1, shape[0])
    free = laplace_free_energy(model, x, y, starts, (-8.0, 8.0)).value
    constant = shape[1] * (sigma.log() + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(-free / sigma**2 - constant, exact, rtol=1e-6, atol=1e-5)
    density = LaplaceGuide(model.potential, starts, (-8.0, 8.0), len(tasks)).distribution(x, y)
    for r, task in enumerate(tasks):
        gap = task.reference.elbo_gap(x[r], y[r], density.loc[r], density.covariance_matrix[r])
        assert float(gap.abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.uses_global_generator  # Pyro's MCMC
def test_nuts_draws_the_posterior():
    """Means and variances of z of ten pairs, within what the effective sample size leaves open."""
    tasks = tasks_of(SPACE, (0.1,))
    x, y, _ = held_out(tasks, 10)
    torch.manual_seed(0)
    chain = MCMC(NUTS(latent_model(tasks)), num_samples=400, warmup_steps=200, disable_progbar=True)
    chain.run(x, y)
    z = chain.get_samples()["z"][:, 0]
    size = torch.as_tensor(chain.diagnostics()["z"]["n_eff"])[0]
    mean, covariance = tasks[0].reference.posterior(x[0], y[0])
    variance = covariance.diagonal()
    assert within_standard_errors(z.mean(0), mean, (variance / size).sqrt(), comparisons=2)
    pooled = (z - mean).square().mean((0, 1)) / variance
    assert within_standard_errors(pooled, 1.0, (2 / (10 * size.mean(0))).sqrt(), comparisons=2)


VAE_TASKS = [task.name for task in evp.list_tasks() if task.has_truth and evp.get_method("vae").why_not(task()) is None]


@pytest.mark.slow
@pytest.mark.parametrize("name", VAE_TASKS)
@pytest.mark.parametrize("guide", ["mean_field", pytest.param("full_rank", marks=pytest.mark.long)])
def test_importance_weighted_bounds_are_ordered_in_the_number_of_particles_on_every_task(name, guide):
    """In expectation, for a decoder that is hardly trained and a guide that is off: the order is a theorem for any."""
    task = evp.get_task(name)
    budget = evp.Budget(steps=40, batch_size=32, examples=200)
    # Noise so wide that no posterior leaves the grid of the quadrature.
    options = {"guide": guide, "initial_sigma": 1.0}
    model = evp.fit("vae", task, seeds=[0, 1], budget=budget, network=evp.Network(hidden=(8,)), **options)
    x, y = (part.float().expand(2, -1, -1) for part in task.sample(200, split="test"))
    energy, bounds = model.module, []
    with torch.no_grad():
        energy.guide.encoder.biases[-1].add_(0.6)
    for count in (1, 4, 16, 64):
        shape = (2, 200, 1) if count == 1 else (count, 2, 200, 1)
        objective = ReplicatedELBO() if count == 1 else ReplicatedIWAE(count)
        with SuppliedNoise({"z": normals(*shape, seed=count).float()}), torch.no_grad():
            bounds.append(objective.example_values(energy.model, energy.guide, x, y))
    bounds.append(model.log_prob(x, y))
    for loose, tight in pairwise(bounds):
        difference = (tight - loose).double()
        error = float(difference.std()) / difference.numel() ** 0.5
        assert float(difference.mean()) > -standard_errors(comparisons=4) * error
    total = (bounds[-1] - bounds[0]).double()
    assert float(total.mean()) > standard_errors() * float(total.std()) / total.numel() ** 0.5


# ---- methods that cannot be exact -----------------------------------------------------------------------------------


def test_one_diagonal_gaussian_misses_the_correlations():
    tasks = tasks_of((2, 4, 0))
    _, y, exact = held_out(tasks, 4000)
    model = untrained("mixture_density", tasks, components=1)
    covariance = Law.of(tasks).covariance
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    head, floor = model.module.head, model.module.floor.unsqueeze(-1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        raw = (variance.sqrt() - floor).expm1().log()
        head.biases[-1][:, 0] = torch.cat([torch.zeros_like(raw[:, :1]), -model.module.centers[:, 0], raw], -1)
    gap = exact - model.log_prob(y[..., :0], y)
    expected = 0.5 * (variance.log().sum(-1) - torch.linalg.slogdet(covariance)[1])
    assert within_standard_errors(gap.mean(1), expected, gap.std(1) / 4000**0.5)
    # Two directions across the plane, each of which costs ln 1/ε nats.
    assert float(expected[-1] - expected[-2]) == pytest.approx(2 * math.log(0.01 / 0.003), rel=1e-3)


def test_a_gaussian_process_has_one_variance_for_all_directions():
    tasks = tasks_of(PLANE, (0.3, 0.03))
    model = evp.fit("gaussian_process", tasks, seeds=[0, 0], budget=evp.Budget(steps=20, examples=200))
    x, y, exact = held_out(tasks, 2000)
    gap = exact - model.log_prob(x, y)
    covariance = Law.of(tasks).covariance
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    least = 0.5 * (2 * (trace / 2).log() - torch.linalg.slogdet(covariance)[1])
    assert (gap.mean(1) > least - standard_errors(comparisons=2) * gap.std(1) / 2000**0.5).all()
    assert (gap.mean(1) < least + 0.2).all()


def test_a_uniform_latent_costs_its_divergence_from_the_normal():
    """On thin data ln p - ln q is ln N(z; 0, 1) - ln U(z) at the z of the data."""
    tasks = tasks_of((1, 2, 0), (0.03, 0.01, 0.003))
    x, y, exact = held_out(tasks, 200)
    options = {"decoder": "linear", "nodes": 8192, "low": -6.0, "high": 6.0}
    model = untrained("latent_variable_likelihood", tasks, **options)
    law = Law.of(tasks)
    with torch.no_grad():
        model.module.decoder.trunk.weights[0].copy_(law.weight.mT)
        model.module.decoder.trunk.biases[0].zero_()
        model.module.log_sigma.copy_(law.sigma.log())
    z = torch.stack([task.reference.posterior(*pair)[0] for task, *pair in zip(tasks, x, y, strict=True)])[..., 0]
    expected = -0.5 * z.square() - 0.5 * math.log(2 * math.pi) + math.log(12)
    torch.testing.assert_close(exact - model.log_prob(x, y), expected, rtol=0, atol=5e-3)
    assert float(expected.mean()) == pytest.approx(math.log(12) - 0.5 * math.log(2 * math.pi * math.e), abs=0.1)


# ---- the exponent of the Hessian ------------------------------------------------------------------------------------

SEEDS = 10


def exponent(model, tasks):
    """The slope of ln curvature in ln ε over the seeds, by the package's metric and its statistics."""
    curvature = sharpness(Observation(model, tuple(tasks), LOOK))["curvature_p95"].value.reshape(-1, len(THICKNESS))
    return mean_estimate([log_slope(THICKNESS, seed) for seed in curvature])


def grid(shape, seeds=SEEDS):
    """Tasks and seeds of a replicate each: every thickness of the first seed, then of the next."""
    return tasks_of(shape) * seeds, [seed for seed in range(seeds) for _ in THICKNESS]


MODELS = {
    "exact": lambda tasks, seeds, law: untrained("exact", tasks, seeds=seeds),
    "vae": exact_vae,
    "autoregressive_flow": exact_autoregressive,
    "coupling_flow": exact_coupling,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_hessian_of_an_exact_model_grows_with_the_inverse_square(name):
    tasks, seeds = grid(PLANE)
    found = exponent(MODELS[name](tasks, seeds, Law.of(tasks)), tasks)
    assert found.n == SEEDS
    assert (found.low, found.high) == pytest.approx((-2.0, -2.0), abs=1e-5)


@pytest.mark.parametrize("name", ["vae", "autoregressive_flow", "coupling_flow"])
def test_the_exponent_of_the_likelihoods_maximum_is_minus_two_within_its_interval(name):
    """Parameters estimated from 200 training pairs of each seed, at the maximum of the likelihood."""
    tasks, seeds = grid(PLANE)
    law = Law.fitted(tasks, [100 * seed + place for place, seed in enumerate(seeds)], 200)
    found = exponent(MODELS[name](tasks, seeds, law), tasks)
    assert 1e-3 < found.high - found.low < 0.1
    assert found.low <= -2.0 <= found.high


TRAINED = {
    "autoregressive_flow": ({"transform": "affine", "layers": 3}, 2500, 0.01),
    "coupling_flow": ({"transform": "affine", "layers": 4}, 1500, 0.01),
    "vae": ({"decoder": "linear", "guide": "full_rank", "initial_sigma": 1.0}, 2000, 0.03),
}


def trained(name, tasks, seeds):
    options, steps, learning_rate = TRAINED[name]
    budget = evp.Budget(steps=steps, batch_size=128, examples=5000)
    network = evp.Network(hidden=(16,))
    return evp.fit(name, tasks, seeds=seeds, budget=budget, network=network, learning_rate=learning_rate, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoregressive_flow", "coupling_flow"])
def test_a_flow_trained_at_each_thickness_finds_the_exponent(name):
    tasks, seeds = grid((1, 2, 0), 5)
    found = exponent(trained(name, tasks, seeds), tasks)
    assert found.high - found.low < 0.2
    assert found.low <= -2.0 <= found.high


@pytest.mark.slow
def test_an_autoencoder_trained_by_its_bound_falls_short_of_the_exponent():
    """Noise pays for what the encoder misses of the posterior's mean, in units of ε the more the thinner the data."""
    tasks, seeds = grid((1, 2, 0), 3)
    model = trained("vae", tasks, seeds)
    found = exponent(model, tasks)
    assert -2.0 < found.low < found.high < -1.7
    learned = model.module.sigma.detach().reshape(3, -1) / torch.tensor(THICKNESS)
    assert (learned[:, -1] > 1.05).all()
    assert ((learned[:, 0] - 1).abs() < 0.05).all()
