"""The variational autoencoder: its marginal, its bounds, its training, and what it says of both."""

from __future__ import annotations

import copy
import itertools
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from statistical import standard_errors, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NormalizerWarning
from ebm_vs_prob.core.programs import Program
from ebm_vs_prob.energies.decoders import Decoder, LinearDecoder
from ebm_vs_prob.prob.latents.autoencoder import BEYOND, COARSE, HEAVY, VariationalAutoencoderEnergy
from ebm_vs_prob.prob.latents.guides import amortised_guide
from ebm_vs_prob.prob.latents.marginal import importance_error, quadrature
from ebm_vs_prob.prob.latents.noise import SuppliedNoise
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO, ReplicatedIWAE

CIRCLE = evp.get_task("circle", thickness=0.1)
SMALL = {"budget": evp.Budget(steps=60, batch_size=32, examples=200), "network": evp.Network(hidden=(8, 8))}


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Curve(Decoder):
    """A closed curve with bends of several sizes, or a disk drawn towards its rim."""

    multiply_adds = 1.0

    def __init__(self, latent_dim):
        super().__init__(torch.zeros(1))
        self.num_replicates, self.latent_dim = 1, latent_dim

    def decode(self, x, z):
        if self.latent_dim == 1:
            t = 1.2 * z[..., 0]
            return torch.stack([t.cos() + 0.1 * (3 * t).sin(), t.sin()], -1)
        return z / (z.square().sum(-1, keepdim=True) + 1).sqrt()


def brute_force(decoder, sigma, y, nodes):
    """Point masses on a grid so fine that it is far below sigma."""
    axis = torch.linspace(-6, 6, nodes, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * decoder.latent_dim).reshape(1, -1, decoder.latent_dim)
    places = decoder.decode(None, grid)[0]
    prior = -0.5 * grid[0].square().sum(-1) + decoder.latent_dim * math.log(float(axis[1] - axis[0]))
    joint = [prior - 0.5 * ((row - places) / sigma).square().sum(-1) for row in y[0]]
    constant = 0.5 * (2 + decoder.latent_dim) * math.log(2 * math.pi) + 2 * math.log(sigma)
    return torch.stack(joint).logsumexp(-1) - constant


@pytest.mark.parametrize(
    ("latent_dim", "sigma", "nodes", "brute", "tolerance"),
    [(1, 0.3, 512, 4001, 1e-4), (1, 0.03, 512, 40001, 5e-3), (1, 0.003, 2048, 40001, 5e-3), (2, 0.2, 64, 601, 2e-2)],
)
def test_quadrature_is_the_marginal(latent_dim, sigma, nodes, brute, tolerance):
    decoder = Curve(latent_dim).double()
    y = decoder.decode(None, normals(1, 12, latent_dim)) + sigma * normals(1, 12, 2, seed=1)
    log_sigma = torch.tensor([math.log(sigma)], dtype=torch.float64)
    found = quadrature(decoder, log_sigma, y[..., :0], y, nodes, latent_dim)[0]
    expected = brute_force(decoder, sigma, y, brute)
    error = (found - expected).abs().max()
    assert float(error) < tolerance
    coarse = quadrature(decoder, log_sigma, y[..., :0], y, nodes // 2, latent_dim)[0]
    assert float((found - coarse).abs().max()) > float(error)


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("y_dim", [3, 12])
@pytest.mark.parametrize("sigma", [0.5, 1e-3])
def test_quadrature_is_exact_for_a_linear_decoder_on_the_coarsest_grid(latent_dim, y_dim, sigma):
    decoder = LinearDecoder([0, 1], 1, y_dim, latent_dim, torch.zeros(2)).double()
    x, z = normals(2, 6, 1), normals(2, 6, latent_dim, seed=1)
    y = decoder.decode(x, z).detach() + sigma * normals(2, 6, y_dim, seed=2)
    log_sigma = torch.full((2,), math.log(sigma), dtype=torch.float64)
    weight = decoder.trunk.weights[0]
    twin = dist.LowRankMultivariateNormal(
        decoder.decode(x, torch.zeros_like(z)),
        weight[:, 1:].mT.unsqueeze(1),
        torch.full((2, 6, y_dim), sigma**2, dtype=torch.float64),
    )
    found = quadrature(decoder, log_sigma, x, y, 28, latent_dim)
    torch.testing.assert_close(found, twin.log_prob(y), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("y_dim", [9, 16])
@pytest.mark.parametrize("sigma", [1e-3, 1e-4])
def test_float32_loses_no_more_than_its_rounding_of_y_in_many_dimensions(latent_dim, y_dim, sigma):
    """Rounding y and g by 1e-7 moves ln p by some 1e-7 / sigma nats times |y - g| / sigma; products of squared norms
    would lose 1e-7 / sigma²."""
    decoder = LinearDecoder([0, 1], 1, y_dim, latent_dim, torch.zeros(2))
    x, z = normals(2, 40, 1).float(), normals(2, 40, latent_dim, seed=1)
    twin = copy.deepcopy(decoder).double()
    y = (twin.decode(x.double(), z) + sigma * normals(2, 40, y_dim, seed=2)).detach().float()
    log_sigma = torch.full((2,), math.log(sigma))
    nodes = 512 if latent_dim == 1 else 64
    law = dist.LowRankMultivariateNormal(
        twin.decode(x.double(), torch.zeros_like(z)),
        twin.trunk.weights[0][:, 1:].mT.unsqueeze(1),
        (2 * log_sigma.double()).exp().reshape(2, 1, 1).expand(2, 40, y_dim),
    )
    found = quadrature(decoder, log_sigma, x, y, nodes, latent_dim)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), law.log_prob(y.double()), rtol=0, atol=1e-6 / sigma)


def straight(sigma, nodes, latent_dim=1, hidden=(4,)):
    """Two replicates of g(z) = z in the first coordinates of the plane."""
    decoder = LinearDecoder([0, 1], 0, 2, latent_dim, torch.zeros(2)).double()
    with torch.no_grad():
        decoder.trunk.weights[0].copy_(torch.eye(2)[:latent_dim])
        decoder.trunk.biases[0].zero_()
    guide = amortised_guide("mean_field", [0, 1], 0, 2, latent_dim, hidden).double()
    width = torch.full((2,), sigma, dtype=torch.float64)
    return VariationalAutoencoderEnergy(decoder, guide, width, nodes, 4, 1, (0, 1))


@pytest.mark.parametrize(("latent_dim", "nodes"), [(1, 512), (1, 48), (2, 64)])
@pytest.mark.parametrize("sigma", [0.3, 0.05])
def test_a_posterior_beyond_the_grid_is_noticed_and_the_border_named(latent_dim, nodes, sigma):
    """At posterior means from the middle to twice the reach: what is off by .02 nats is never trusted, the error
    that is stated covers what is lost, and the spacing is not blamed for it."""
    energy = straight(sigma, nodes, latent_dim)
    mean = torch.tensor([0.0, 3.0, 5.0, 5.6, 5.9, 6.2, 6.5, 7.5, 9.0, 12.0], dtype=torch.float64)
    y = torch.stack([mean * (1 + sigma**2), torch.zeros_like(mean)], -1).expand(2, -1, -1)
    variance = torch.tensor([1.0, float(latent_dim == 2)], dtype=torch.float64) + sigma**2
    exact = dist.Normal(torch.zeros_like(variance), variance.sqrt()).to_event(1).log_prob(y)
    value, error, doubts = energy.log_marginal(y[..., :0], y)
    off = (value - exact).abs()
    assert (off[:, -1] > 10).all()
    assert (doubts[BEYOND] | doubts[COARSE])[off > 0.02].all()
    assert doubts[BEYOND][off > 0.2].all()
    assert not doubts[COARSE][off > 0.02].any()
    assert not (doubts[BEYOND] | doubts[COARSE])[:, :3].any()
    near = mean < 8  # what lies beyond the margin too is not known
    assert (off <= 1.01 * error + 1e-6)[:, near].all()
    if nodes > 48:  # elsewhere the distance to half the nodes adds to it
        assert (error <= 1.01 * off + 1e-5)[:, near].all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guide": "full_rank", "latent_dim": 2},
        pytest.param({"guide": "flow", "latent_dim": 3}, marks=pytest.mark.slow),
    ],
)
def test_importance_sampling_meets_quadrature_or_more_draws(options):
    given = {**SMALL, **options, "marginal": "importance"}
    model = evp.fit("vae", CIRCLE, seeds=[0, 1], **given, importance_samples=2000)
    x, y = CIRCLE.sample(20, split="test")
    value, error, doubts = model.module.log_marginal(*(part.float().expand(2, -1, -1) for part in (x, y)))
    latent_dim = options.get("latent_dim", 1)
    if latent_dim < 3:
        twin = quadrature(
            model.module.decoder, model.module.log_sigma, x[None].float(), y[None].float(), 256, latent_dim
        )
        spread = error
    else:
        more = evp.fit("vae", CIRCLE, seeds=[0, 1], **given, importance_samples=40_000)
        twin, other = more.log_prob_with_error(x, y)
        spread = torch.hypot(error, other)
    trusted = ~doubts[HEAVY]
    assert float(trusted.double().mean()) > 0.5
    # Weights with tails up to k = .7 lean by some hundredths of a nat more than their error says.
    assert within_standard_errors(value[trusted], twin[trusted], spread[trusted], slack=0.01)
    assert (model.elbo(x, y).mean(1) < twin.mean(1)).all()


def assert_bounded(model, x, y):
    """Over the pairs at which the density is trusted the ELBO lies below it, by more than the error that it states and
    what the draws leave open, which all pairs share: guides as little trained as these have gaps of 13 standard
    errors and more."""
    given = [part.float().expand(model.num_replicates, -1, -1) for part in (x, y)]
    density, error, doubts = model.module.log_marginal(*given)
    with torch.no_grad():
        log_weights, log_shares = model.module.log_weights(*given)
    count, strata = len(log_weights), model.module.guide.strata
    terms = count * log_shares.exp() * log_weights
    for r in range(model.num_replicates):
        trusted = ~torch.stack([where[r] for where in doubts.values()]).any(0)
        assert float(trusted.double().mean()) > 0.5
        draws = terms[:, r, trusted].mean(-1)
        spread = draws.reshape(-1, strata).var(0).mean().sqrt() / count**0.5
        gap = (density[r] - model.elbo(x, y)[r])[trusted].mean()
        assert float(gap) > float(standard_errors() * spread + error[r, trusted].mean())


@pytest.mark.parametrize(
    "guide", ["mean_field", *(pytest.param(g, marks=pytest.mark.slow) for g in ("full_rank", "flow")), "mixture"]
)
def test_every_guide_and_objective_trains_and_is_bounded_by_the_density(guide):
    x, y = CIRCLE.sample(40, split="test")
    for objective in ("elbo", "iwae", "renyi"):
        model = evp.fit("vae", CIRCLE, seeds=[0, 1], **SMALL, guide=guide, objective=objective, latent_dim=2)
        assert all(status.ok for status in model.status)
        assert float(model.training.loss[:, -10:].mean()) < float(model.training.loss[:, :10].mean())
        assert_bounded(model, x, y)
        assert (model.module.sigma != 0.1).all()


def test_the_mixture_guide_is_drawn_from_by_its_shares():
    """Stratified particles without their shares bound nothing: the ELBO would exceed the density by nats."""
    model = evp.fit("vae", CIRCLE, **SMALL, guide="mixture", latent_dim=2)
    with torch.no_grad():  # shares far from even
        model.module.guide.encoder.biases[-1][..., :4] += torch.tensor([4.0, 0.0, -4.0, -8.0])
    x, y = CIRCLE.sample(40, split="test")
    gap = (model.log_prob(x, y) - model.elbo(x, y)).mean()
    assert float(gap) > 0
    log_weights, log_shares = model.module.log_weights(x[None].float(), y[None].float())
    torch.testing.assert_close(log_shares.exp().sum(0), torch.ones(1, 40), rtol=1e-5, atol=1e-5)
    error, k = importance_error(log_weights, log_shares)
    light = k < 0.7
    assert int(light.sum()) >= 3  # of 40 pairs; how many depends on the guide that training happens to leave
    found, density = (log_weights + log_shares).logsumexp(0), model.log_prob(x, y)
    assert within_standard_errors(found[light], density[light], error[light], slack=0.01)


@pytest.mark.parametrize("name", ["circle", "three_curves", "linear_gaussian"])
def test_importance_weighted_bounds_are_ordered_in_the_number_of_particles(name):
    """C7 on each task, for a decoder and a guide that are hardly trained: the order is a theorem for any."""
    task = evp.get_task(name, thickness=0.2)
    model = evp.fit("vae", task, seeds=[0, 1], **SMALL)
    x, y = (part.float().expand(2, -1, -1) for part in task.sample(200, split="test"))
    means = [bound(model.module, x, y, count) for count in (1, 4, 16, 64)]
    for loose, tight in itertools.pairwise([*means, model.log_prob(x, y)]):
        difference = tight - loose
        error = float(difference.std()) / difference.numel() ** 0.5
        assert float(difference.mean()) > -standard_errors(comparisons=4) * error
    assert float((means[-1] - means[0]).mean()) > 0


def bound(energy, x, y, particles):
    objective = ReplicatedELBO() if particles == 1 else ReplicatedIWAE(particles)
    shape = (2, 200, 1) if particles == 1 else (particles, 2, 200, 1)
    with SuppliedNoise({"z": normals(*shape, seed=particles).float()}), torch.no_grad():
        return objective.example_values(energy.model, energy.guide, x, y)


def test_the_objective_is_pyros_elbo_of_each_replicate():
    model = evp.fit("vae", CIRCLE, seeds=[0, 1], **SMALL)
    energy, noise = model.module, normals(2, 7, 1).float()
    x, y = (part.float().expand(2, -1, -1) for part in CIRCLE.sample(7))

    def plain(r):
        def model(y):
            with pyro.plate("data", 7):
                z = pyro.sample("z", dist.Normal(torch.zeros(7, 1), 1.0).to_event(1))
                loc = energy.decoder.decode(x[:1], z.expand(2, 7, 1))[r]
                pyro.sample("y", dist.Normal(loc, energy.sigma[r]).to_event(1), obs=y)

        def guide(y):
            with pyro.plate("data", 7):
                density = energy.guide.distribution(x, y.expand(2, -1, -1)).base_dist
                pyro.sample("z", dist.Normal(density.loc[r], density.scale[r]).to_event(1))

        with SuppliedNoise({"z": noise[r]}):
            return Trace_ELBO().differentiable_loss(model, guide, y[r])

    with SuppliedNoise({"z": noise}):
        losses = ReplicatedELBO().replicate_losses(energy.model, energy.guide, x, y)
    torch.testing.assert_close(losses, torch.stack([plain(0), plain(1)]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("guide", ["mean_field", "full_rank", pytest.param("flow", marks=pytest.mark.slow), "mixture"])
def test_a_recorded_bound_is_the_bound_with_its_gradient_wherever_the_draws_fall(guide):
    model = evp.get_method("vae").build(_setting(guide=guide, objective="iwae", latent_dim=2))
    energy, count = model.module, model.module.particles
    bound, parameters = ReplicatedIWAE(count), list(energy.parameters())

    def loss(noise, y):
        with SuppliedNoise({"z": noise.movedim(1, 0)}):
            losses = bound.replicate_losses(energy.model, energy.guide, torch.zeros(2, 16, 0), y)
        return [losses.detach(), *torch.autograd.grad(losses.sum(), parameters)]

    def inputs(seed):
        noise = normals(2, count, 16, 2, seed=seed).float().clamp(-3, 3)
        if seed == 0:  # one draw outside the splines of the flow, then none, then many
            noise[0, 0, 0, 0] = 6.0
        elif seed == 2:
            noise = 3 * noise
        return noise, normals(2, 16, 2, seed=seed + 9).float()

    recorded = Program(loss, parameters, inputs(0))
    for seed in range(3):
        assert all(map(torch.equal, recorded(*inputs(seed)), loss(*inputs(seed))))
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(0.9)


def _setting(**options):
    from ebm_vs_prob.training.fitting import prepare

    return prepare(
        evp.get_method("vae"),
        CIRCLE,
        [0, 1],
        energy=None,
        network=evp.Network(hidden=(8, 8)),
        budget=evp.Budget(steps=1, batch_size=16, examples=64),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options=options,
    )


def test_a_grid_coarser_than_the_learned_sigma_is_said():
    model = evp.fit("vae", CIRCLE, seeds=[0, 1], **SMALL, nodes=64)
    with torch.no_grad():
        model.module.log_sigma.copy_(torch.tensor([math.log(0.3), math.log(1e-3)]))
        for weight in model.module.decoder.trunk.weights:
            weight[1].mul_(3.0)
    x = torch.zeros(20, 0)
    z = normals(2, 20, 1).float()
    y = model.module.decoder.decode(x.expand(2, -1, -1), z).detach()
    (line,) = model.log_prob_warnings(x.expand(2, -1, -1), y)
    assert "replicate 1: latent grid coarser than the learned sigma" in line
    assert "of 20 pairs checked" in line
    with pytest.warns(NormalizerWarning, match="replicate 1"):
        model.log_prob(x.expand(2, -1, -1), y)
    table = evp.evaluate(model, CIRCLE, evp.Evaluation(test_examples=16, inputs=1, starts=1, samples=8, max_steps=2))
    assert "latent grid" in table.attrs["notes"]["elbo_gap"]
    assert "latent grid" in table.attrs["notes"]["log_score"]


def test_the_pairs_that_are_checked_are_spread_over_the_batch():
    """A pair that the grid does not reach is found at either end and in the middle, and all of 16 or fewer are."""
    model = evp.fit("vae", CIRCLE, seeds=[0, 1], **SMALL, decoder="linear")
    model.module.load_state_dict(straight(0.3, 512, hidden=(8, 8)).state_dict())
    for count, number in ((1, 0), (16, 7), (16, 15), (31, 30), (31, 16), (1000, 999), (1000, 0)):
        y = torch.zeros(count, 2)
        y[number, 0] = 6.5 * 1.09
        with pytest.warns(NormalizerWarning, match="border of the latent grid") as caught:
            model.log_prob(y[:, :0], y)
        for lines in ([str(each.message) for each in caught], model.log_prob_warnings(y[:, :0], y)):
            assert len(lines) == 2
            assert all("border of the latent grid, |z| = 6" in line and "coarser" not in line for line in lines)
    y[500:] = 0.0
    y[77, 0] = 6.5 * 1.09  # between those that log_prob checks
    assert len(model.log_prob_warnings(y[:, :0], y)) == 2
    y[77] = 0.0
    assert model.log_prob_warnings(y[:, :0], torch.zeros_like(y)) == ()


def test_a_trusted_log_density_warns_of_nothing():
    model = evp.fit("vae", CIRCLE, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.log_prob(*CIRCLE.sample(20, split="test"))


def test_samples_are_those_of_the_density():
    """Their mean surprise is the entropy, within .08 nats; the latent grid's doubts are where there is no mass."""
    model = evp.fit("vae", CIRCLE, seeds=[3], **SMALL)
    drawn = model.sample(torch.zeros(1, 0), 4000, seed=1)[0, 0]
    assert model.log_prob_warnings(torch.zeros(4000, 0), drawn) == ()
    surprise = -model.log_prob(torch.zeros(4000, 0), drawn)[0]
    axis = torch.linspace(-4, 4, 161)
    grid = torch.cartesian_prod(axis, axis).unsqueeze(0)
    log_density, _, doubts = model.module.log_marginal(grid[..., :0], grid)
    mass = log_density[0].double().exp() * 0.05**2
    doubted = torch.stack([where[0] for where in doubts.values()]).any(0)
    assert float(mass[doubted].sum()) < 1e-6
    assert float(mass[~doubted].sum()) == pytest.approx(1.0, abs=1e-5)
    exact = -(mass * log_density[0])[~doubted].sum()
    error = surprise.std() / 4000**0.5
    assert within_standard_errors(surprise.mean(), exact, error, slack=1e-5)
    assert float(error) < 0.08 / standard_errors()


def test_blurred_data_give_a_blurred_density():
    """A Gaussian blurred by s is the one whose thickness is hypot(thickness, s)."""
    task = evp.get_task("linear_gaussian", thickness=0.3)
    blurred = evp.get_task("linear_gaussian", thickness=math.hypot(0.3, 0.8))
    budget, network = evp.Budget(steps=500, batch_size=128, examples=5000), evp.Network(hidden=(16,), activation="tanh")
    options = {"decoder": "linear", "sigma": [0.0, 0.8], "learning_rate": 0.1}
    model = evp.fit("vae", [task] * 2, seeds=[0, 0], budget=budget, network=network, **options)
    for truth, near, far in ((task, 0, 1), (blurred, 1, 0)):
        x, y = truth.sample(2000, split="test")
        gap = (truth.reference.log_prob(x, y) - model.log_prob(x, y)).mean(1)
        assert float(gap[near]) < 0.1 < 0.3 < float(gap[far])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guide": "mixture", "particles": 3}, "particles a multiple of components = 4, not 3"),
        ({"guide": "mixture", "components": 3}, "importance_samples a multiple of components = 3"),
        ({"latent_dim": 3, "marginal": "quadrature"}, "latent_dim = 3 is above 2"),
        ({"marginal": "importance", "nodes": 64}, "no nodes where marginal"),
        ({"latent_dim": 3, "nodes": 64}, "no nodes where latent_dim = 3 is above 2"),
        ({"nodes": 4}, "nodes = 4 is not valid"),
        ({"alpha": 0.5}, 'objective = "renyi" with alpha = 0.5, not "elbo"'),
        ({"alpha": 0.1, "objective": "iwae"}, 'objective = "renyi" with alpha = 0.1, not "iwae"'),
        ({"components": 4}, 'guide = "mixture" with components = 4, not "mean_field"'),
        ({"components": 8, "guide": "flow"}, 'guide = "mixture" with components = 8, not "flow"'),
        ({"initial_sigma": 0.0}, "initial_sigma = 0.0 is not valid"),
        ({"guide": "laplace"}, "guide = 'laplace' is not valid"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.fit("vae", CIRCLE, **options)


def test_options_of_a_choice_have_their_defaults_with_it(tmp_path):
    model = evp.fit("vae", CIRCLE, **SMALL, guide="mixture", objective="renyi", importance_samples=64)
    options = model.setting.options.replicates[0]
    assert model.module.guide.strata == 4
    assert options.bound().alpha == 0.5
    assert options.num_particles == 8
    model.save(tmp_path / "model")
    assert evp.load_model(tmp_path / "model").setting.options.replicates[0] == options
    given = evp.fit("vae", CIRCLE, **SMALL, guide="mixture", objective="renyi", components=3, alpha=-1.0,
                    importance_samples=66)  # fmt: skip
    assert given.module.guide.strata == 3
    assert given.setting.options.replicates[0].bound().alpha == -1.0


def test_a_users_energy_is_refused():
    with pytest.raises(ValueError, match="made of a Network"):
        evp.fit("vae", CIRCLE, energy=lambda task: torch.nn.Linear(2, 1))
