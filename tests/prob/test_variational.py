"""Claims C6 and C7: marginalising a latent exactly is Gibbs and Boltzmann on F_beta; guides and objectives bound it."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from statistical import follows, standard_errors, variance_bounds

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NormalizerWarning
from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.gibbs.normalizers import Quadrature
from ebm_vs_prob.prob.latents.guides import GUIDES, amortised_guide
from ebm_vs_prob.prob.latents.laplace import LaplaceGuide
from ebm_vs_prob.prob.latents.noise import ReplicateNoise
from ebm_vs_prob.prob.latents.variational import (
    EnumeratedLatentModel,
    LatentModel,
    laplace_free_energy,
    over_particles,
    variational_free_energy,
)
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO, ReplicatedIWAE, ReplicatedRenyi, no_guide, of_particles

BETA = torch.tensor([3.0, 40.0], dtype=torch.float64)
NODES = torch.linspace(-3, 3, 37, dtype=torch.float64)[:, None]
CIRCLE = dist.Uniform(
    torch.tensor([-math.pi], dtype=torch.float64), torch.tensor([math.pi], dtype=torch.float64), validate_args=False
).to_event(1)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ellipse(x, y, z):
    """½ |y - g(z)|² of an ellipse, another one in each of two replicates."""
    long = torch.tensor([1.0, 1.5], dtype=torch.float64).reshape(-1, *[1] * (y.ndim - 2))
    return 0.5 * ((y[..., 0] - long * z[..., 0].cos()).square() + (y[..., 1] - 0.7 * z[..., 0].sin()).square())


def pairs(n=5):
    return torch.zeros(2, n, 0, dtype=torch.float64), normals(2, n, 2)


def by_quadrature(energy, x, y, nodes, beta=BETA):
    energies = energy(x.unsqueeze(-2), y.unsqueeze(-2), nodes.reshape(1, 1, *nodes.shape))
    return evp.free_energy(energies, beta.reshape(-1, 1), -1)


def fine_turn(count=4000):
    return ((torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 * math.pi - math.pi)[:, None]


def test_enumeration_in_pyro_is_the_free_energy_to_rounding():
    """C6, first half: TraceEnum_ELBO's marginal of z is exp(-beta F_beta)."""
    x, y = pairs()
    model = EnumeratedLatentModel(ellipse, NODES, BETA)
    expected = by_quadrature(ellipse, x, y, NODES)
    assert float((model.free_energy(x, y) - expected).abs().max()) <= 1e-10
    loss = TraceEnum_ELBO(max_plate_nesting=2).loss(model, no_guide, x, y)
    assert loss == pytest.approx(float((BETA[:, None] * expected).sum()), abs=1e-10)


def test_weights_of_nodes_are_those_of_the_free_energy():
    x, y = pairs()
    log_weights = torch.linspace(-2, 1, len(NODES), dtype=torch.float64)
    energies = ellipse(x.unsqueeze(-2), y.unsqueeze(-2), NODES.reshape(1, 1, -1, 1))
    expected = evp.free_energy(energies, BETA.reshape(-1, 1), -1, log_weights)
    found = EnumeratedLatentModel(ellipse, NODES, BETA, log_weights).free_energy(x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [0.5, 4.0, 60.0])
def test_marginalising_z_is_gibbs_and_boltzmann_on_the_free_energy(beta):
    """C6: Pyro's marginal of z, times the joint's partition function in closed form, is `GibbsBoltzmann(F_beta)`."""
    places = torch.tensor([-1.3, 0.2, 0.5, 1.9], dtype=torch.float64)[:, None]

    def energy(x, y, z):
        return 0.5 * (y[..., 0] - z[..., 0]).square()

    bounds = (-16.0, 16.0)
    density = evp.GibbsBoltzmann(
        lambda x, y: evp.free_energy(energy(x.unsqueeze(-2), y.unsqueeze(-2), places), beta, -1),
        y_dim=1,
        beta=beta,
        bounds=bounds,
        normalizer=Quadrature(rtol=1e-13, max_nodes=1 << 20),
    )
    y = torch.linspace(-3, 4, 29, dtype=torch.float64).reshape(1, -1, 1)
    model = EnumeratedLatentModel(energy, places, beta)
    noise = torch.distributions.Normal(places[:, 0], beta**-0.5)
    inside = noise.cdf(torch.full((4,), bounds[1])) - noise.cdf(torch.full((4,), bounds[0]))
    log_z = 0.5 * math.log(2 * math.pi / beta) + float(inside.double().mean().log())
    expected = -beta * model.free_energy(y[..., :0], y)[0] - log_z
    assert float((density.log_prob(y[0]) - expected).abs().max()) <= 1e-10


@pytest.mark.parametrize("family", ["mean_field", "mixture", "laplace"])
def test_bounds_lie_above_the_free_energy_and_fall_with_more_particles(family):
    """C7 on angles: -ELBO/beta and -IWAE/beta are upper bounds of F_beta in expectation, ordered in K."""
    x, y = pairs()
    model = LatentModel(ellipse, CIRCLE, BETA)
    expected = by_quadrature(ellipse, x, y, fine_turn())
    if family == "laplace":
        density = LaplaceGuide(model.potential, fine_turn(64), (-math.pi, math.pi), 2, periodic=True).distribution(x, y)

        def guide(x, y):
            with pyro.plate("replicate", 2, dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("z", density)
    else:
        guide = amortised_guide(family, (0, 1), 0, 2, 1, (8,), periodic=True).double()
    found = [
        variational_free_energy(model, guide, x, y, objective, 60)
        for objective in (ReplicatedELBO(4), ReplicatedIWAE(4), ReplicatedIWAE(16), ReplicatedIWAE(64))
    ]
    for bound in found:
        assert bound.is_upper_bound
        reach = standard_errors(comparisons=4 * bound.value.numel()) * bound.error
        assert (bound.value - expected > -reach - 1e-12).all()
    for loose, tight in itertools.pairwise(found):
        gap = (loose.value - tight.value).mean()
        error = (loose.error.square() + tight.error.square()).mean().sqrt() / len(y[0]) ** 0.5
        assert gap > -standard_errors(comparisons=3) * error
    assert (found[0].value - found[-1].value).mean() > 0


def test_renyi_orders_lie_where_theory_puts_them():
    """Li and Turner 2016, theorem 1: decreasing in the order; alpha < 0 crosses to the other side of the evidence."""
    x, y = pairs()
    model = LatentModel(ellipse, CIRCLE, BETA)
    guide = amortised_guide("mean_field", (0, 1), 0, 2, 1, (8,), periodic=True).double()
    expected = by_quadrature(ellipse, x, y, fine_turn())
    values = {a: variational_free_energy(model, guide, x, y, ReplicatedRenyi(a, 64), 40) for a in (-2.0, 0.0, 0.5, 1.0)}
    means = [float(values[a].value.mean()) for a in (-2.0, 0.0, 0.5, 1.0)]
    assert means == sorted(means)
    below = expected - values[-2.0].value
    assert (below > standard_errors(comparisons=below.numel()) * values[-2.0].error).any()
    assert not values[-2.0].is_upper_bound
    assert values[0.5].is_upper_bound


def test_laplace_is_called_no_bound_and_lies_on_either_side():
    x, y = pairs()
    model = LatentModel(ellipse, CIRCLE, BETA)
    found = laplace_free_energy(model, x, y, fine_turn(64), (-math.pi, math.pi), periodic=True)
    expected = by_quadrature(ellipse, x, y, fine_turn())
    assert not found.is_upper_bound
    assert found.error.isnan().all()
    assert (found.value[1] - expected[1]).abs().max() < 0.01
    narrow = LatentModel(lambda x, y, z: z[..., 0] ** 4 + 0.5 * z[..., 0] ** 2 + 0 * y[..., 0], CIRCLE)
    below = laplace_free_energy(narrow, x, y, fine_turn(65), (-math.pi, math.pi))
    exact = -(-(fine_turn() ** 4 + 0.5 * fine_turn() ** 2)).exp().mean().log()
    assert (below.value < exact - 0.1).all()


def in_z(potential):
    """A potential of z alone, which broadcasts as one of (x, y, z)."""
    return lambda x, y, z: potential(z[..., 0]) + 0 * y[..., 0]


ON_THE_LINE = dist.Normal(torch.zeros(1, dtype=torch.float64), 1.0).to_event(1)


@pytest.mark.parametrize(
    ("energy", "starts", "bounds", "reason"),
    [
        (lambda z: -60 * z.square() + z**4, [0.0], (-20.0, 20.0), "curvature not above 0"),
        (lambda z: 12 * (z - 9).square(), [-1.0, 3.0], (-4.0, 4.0), "z at an end of its bounds"),
        (lambda z: -12 * z, [-1.0, 3.0], (-4.0, 4.0), "z at an end of its bounds"),
        (lambda z: z + math.nan, [-1.0, 3.0], (-4.0, 4.0), "the search ended short of a minimum"),
    ],
)
def test_laplace_without_a_minimum_is_nan_and_says_why(energy, starts, bounds, reason):
    """Started at a maximum, at a minimum or none beyond the interval, without a finite energy."""
    x, y = (part[:1, :3] for part in pairs())
    starts = torch.tensor(starts, dtype=torch.float64)[:, None]
    model = LatentModel(in_z(energy), ON_THE_LINE)
    with pytest.warns(NormalizerWarning, match=f"{reason} at 3 of 3 pairs"):
        found = laplace_free_energy(model, x, y, starts, bounds)
    assert found.value.isnan().all()
    assert found.error.isnan().all()
    with pytest.warns(NormalizerWarning, match=reason):  # a guide stays a density: it bounds loosely
        density = LaplaceGuide(model.potential, starts, bounds).distribution(x, y)
    assert torch.isfinite(density.covariance_matrix).all()


def test_laplace_after_too_few_steps_is_nan_and_says_why():
    x, y = (part[:1, :3] for part in pairs())
    starts = torch.tensor([[2.2]], dtype=torch.float64)
    potential = in_z(lambda z: 50 * z.square())
    brief = evp.Search(max_steps=1, tolerance=1e-8)
    with pytest.warns(NormalizerWarning, match="the search ended short of a minimum at 3 of 3 pairs"):
        few = LaplaceGuide(potential, starts, (-5.0, 5.0), search=brief).log_evidence(x, y)
    assert few.isnan().all()
    found = LaplaceGuide(potential, starts, (-5.0, 5.0)).log_evidence(x, y)
    torch.testing.assert_close(found, torch.full_like(found, 0.5 * math.log(2 * math.pi / 100)))


def test_a_minimum_that_laplace_misses_costs_no_other_pair_its_value():
    y = torch.tensor([[[0.5], [9.0]]], dtype=torch.float64)
    model = LatentModel(lambda x, y, z: 0.5 * (z[..., 0] - y[..., 0]).square(), ON_THE_LINE, beta=2.0)
    starts = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    with pytest.warns(NormalizerWarning, match="z at an end of its bounds at 1 of 2 pairs"):
        found = laplace_free_energy(model, y[..., :0], y, starts, (-4.0, 4.0)).value[0]
    assert bool(found[1].isnan())
    exact = -0.5 * 0.25 / 1.5 - 0.5 * math.log(2 * math.pi * 1.5) + 0.5 * math.log(2 * math.pi / 2)
    assert float(found[0]) == pytest.approx(-exact / 2, abs=1e-9)


def one_of(energy, replicate):
    """The energy of one of two replicates."""

    def alone(x, y, z):
        parts = (part.expand(2, *part.shape[1:]) for part in (x, y, z))
        return energy(*parts)[replicate : replicate + 1]

    return alone


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("particles", [4, 8])
def test_a_replicates_free_energy_is_what_it_is_alone(name, particles, monkeypatch):
    """Each replicate draws from a stream of its own, and no global generator is seeded, on any device."""

    def refused(*args, **options):
        raise AssertionError("a global generator was seeded")

    for module in (torch, torch.random):
        monkeypatch.setattr(module, "manual_seed", refused)
    x, y = pairs()
    periodic = name in ("mean_field", "mixture")
    prior = CIRCLE if periodic else ON_THE_LINE

    def found(seeds, replicates, seed=3):
        guide = amortised_guide(name, seeds, 0, 2, 1, (8,), periodic=periodic).double()
        energy = ellipse if len(seeds) == 2 else one_of(ellipse, seeds[0])
        model = LatentModel(energy, prior, BETA[replicates])
        objective = ReplicatedIWAE(particles)
        return variational_free_energy(model, guide, x[replicates], y[replicates], objective, 5, seed, seeds)

    together = found((0, 1), [0, 1])
    for r in (0, 1):
        alone = found((r,), [r])
        torch.testing.assert_close(alone.value[0], together.value[r], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(alone.error[0], together.error[r], rtol=1e-9, atol=1e-12)
    assert (found((0, 1), [0, 1], seed=4).value != together.value).all()


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda: dist.Normal(0.0, 1.0), "inside the replicate plate"),
    ],
)
def test_draws_that_no_replicate_can_have_to_itself_are_refused(density, message):
    generators = [torch_generator(seed, "test") for seed in range(2)]
    with pytest.raises(ValueError, match=message), ReplicateNoise(generators, torch.zeros(())):
        pyro.sample("z", density())


@pytest.mark.parametrize(
    "density",
    [
        lambda rate: dist.Gamma(rate.exp(), rate.exp()),
        lambda rate: dist.Gamma(2.0, 1.0).expand(rate.shape).mask(True),
        lambda rate: dist.Normal(rate, 1.0).mask(rate > 0),
        lambda rate: dist.LowRankMultivariateNormal(
            rate.unsqueeze(-1).expand(*rate.shape, 2), torch.ones(*rate.shape, 2, 1), torch.ones(*rate.shape, 2)
        ),
    ],
    ids=["gamma", "expanded and masked", "masked normal", "low rank"],
)
def test_replicates_draw_alone_what_they_draw_in_company(density):
    rate = normals(3, 2, 5, seed=4).float()

    def draws(replicates):
        generators = [torch_generator(seed, "test") for seed in replicates]
        with ReplicateNoise(generators, torch.zeros(())):
            return pyro.sample("z", density(rate[:, replicates]))

    before = torch.random.get_rng_state()
    together = draws([0, 1])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert together.shape[:3] == (3, 2, 5)
    assert together.flatten(0, 2).unique(dim=0).shape[0] == 30
    for r in (0, 1):
        torch.testing.assert_close(draws([r])[:, 0], together[:, r], rtol=0, atol=0)


@pytest.mark.parametrize(
    "density",
    [
        lambda: dist.Normal(torch.full((2, 2000), 3.0), 2.0),
        lambda: dist.Laplace(torch.full((2, 2000), -1.0), 2.0),
        lambda: dist.Uniform(torch.full((2, 2000), -1.0), 2.0),
        lambda: dist.LogNormal(torch.full((2, 2000), 0.3), 0.2),
        lambda: dist.Normal(torch.zeros(2, 2000, 1), 3.0).to_event(1),
    ],
)
def test_draws_of_noise_follow_their_distribution(density):
    """By their probability integral transform; a scale off by a fifth is seen with power over .9."""
    fn = density()
    with ReplicateNoise([torch_generator(seed, "test") for seed in range(2)], torch.zeros(())):
        value = pyro.sample("z", fn)
    assert value.shape == fn.shape()
    flat = value.reshape(2, -1)
    first = fn.base_dist if isinstance(fn, dist.Independent) else fn
    law = type(first)(*(getattr(first, name).flatten()[0] for name in first.arg_constraints))
    for draws in flat:
        assert follows(law.cdf(draws), "uniform", comparisons=2)
    assert not torch.isclose(flat[0], flat[1]).any()


def test_objectives_are_what_they_are_defined_as():
    """On weights known by hand, at one particle, at order 1, and against Pyro's own ELBO."""
    log_weights = torch.tensor([0.0, 1.0, -2.0, 0.5], dtype=torch.float64).reshape(4, 1, 1)
    even = torch.full((), -math.log(4), dtype=torch.float64)
    weights = log_weights.exp()
    assert float(ReplicatedELBO(4).combine(log_weights, even)) == pytest.approx(float(log_weights.mean()))
    assert float(ReplicatedIWAE(4).combine(log_weights, even)) == pytest.approx(float(weights.mean().log()))
    for alpha in (-1.0, 0.5, 3.0):
        expected = float((weights ** (1 - alpha)).mean().log() / (1 - alpha))
        assert float(ReplicatedRenyi(alpha, 4).combine(log_weights, even)) == pytest.approx(expected)
    assert float(ReplicatedRenyi(1.0, 4).combine(log_weights, even)) == pytest.approx(float(log_weights.mean()))
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).reshape(4, 1, 1)
    assert float(ReplicatedIWAE(4).combine(log_weights, shares.log())) == pytest.approx(
        float((shares * weights).sum().log())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_of_particles_round_as_the_weights_do(dtype):
    """Equal weights are their own mean, however large, and whatever the order of the mean."""
    for count, weight in ((3, -1e4), (7, 0.0), (6, 250.0)):
        log_weights = torch.full((count, 2, 5), weight, dtype=dtype)
        uneven = torch.arange(1.0, 4.0, dtype=dtype).log_softmax(0).reshape(-1, 1, 1)
        for strata in (None, uneven) if count % 3 == 0 else (None,):
            log_shares = of_particles(strata, count, log_weights)
            for objective in (
                ReplicatedELBO(count),
                ReplicatedIWAE(count),
                *(ReplicatedRenyi(alpha, count) for alpha in (1 - 1e-6, 1 + 1e-6, 0.5, -2.0)),
            ):
                found = objective.combine(log_weights, log_shares)
                assert found.dtype == dtype
                bound = 4 * torch.finfo(dtype).eps * max(abs(weight), 1.0) + 1e-9
                torch.testing.assert_close(found, log_weights[0], rtol=0, atol=bound)


def test_objectives_stay_on_the_device_of_the_weights():
    log_weights = torch.zeros(4, 2, 5, dtype=torch.float64, device="meta")
    log_shares = of_particles(None, 4, log_weights)
    for objective in (ReplicatedELBO(4), ReplicatedIWAE(4), ReplicatedRenyi(0.5, 4)):
        assert objective.combine(log_weights, log_shares).device.type == "meta"


def test_bounds_are_declared_as_bounds():
    assert ReplicatedELBO().is_lower_bound
    assert ReplicatedIWAE(4).is_lower_bound
    assert ReplicatedRenyi(2.0, 4).is_lower_bound
    assert not ReplicatedRenyi(-0.1, 4).is_lower_bound


@pytest.mark.parametrize("objective", [ReplicatedELBO(6), ReplicatedIWAE(6), ReplicatedRenyi(0.3, 6)])
def test_losses_of_replicates_sum_what_they_say_of_examples(objective):
    x, y = pairs()
    model = LatentModel(ellipse, CIRCLE, BETA)
    guide = amortised_guide("mean_field", (0, 1), 0, 2, 1, (8,), periodic=True).double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        losses = objective.replicate_losses(model, guide, x, y)
        torch.manual_seed(1)
        values = objective.example_values(model, guide, x, y)
    torch.testing.assert_close(losses, -values.sum(-1))
    (slope,) = torch.autograd.grad(losses[0], guide.encoder.weights[0])
    assert slope[0].abs().max() > 0
    assert slope[1].abs().max() == 0


def test_latents_outside_the_data_plate_and_draws_without_gradient_are_refused():
    def shared(x, y):
        with pyro.plate("replicate", 2, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 1), 1.0))
            with pyro.plate("data", 5, dim=-1):
                pyro.sample("y", dist.Normal(z, 1.0), obs=torch.zeros(2, 5))

    def guide(x, y):
        with pyro.plate("replicate", 2, dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(2, 1), 1.0))

    with torch.random.fork_rng():
        with pytest.raises(ValueError, match=r"model site 'z'.*inside the data plate"):
            ReplicatedIWAE(3).replicate_losses(shared, guide, None, None)
        assert ReplicatedELBO(3).replicate_losses(shared, guide, None, None).shape == (2,)


@pytest.mark.parametrize("examples", [1, 5])
@pytest.mark.parametrize("inside", ["nothing", "replicate"])
@pytest.mark.uses_global_generator
def test_factors_outside_the_data_plate_are_counted_once_or_refused_by_name(inside, examples):
    """Weights of examples would count such a factor once for each: the ELBO of a replicate is the only honest one."""

    def model(x, y):
        if inside == "nothing":
            pyro.factor("penalty", torch.tensor(-7.0))
        with pyro.plate("replicate", 2, dim=-2):
            if inside == "replicate":
                pyro.factor("penalty", torch.full((2, 1), -7.0))
            with pyro.plate("data", examples, dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, examples), 1.0))
                pyro.factor("energy", -z.square())

    def guide(x, y):
        with pyro.plate("replicate", 2, dim=-2), pyro.plate("data", examples, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(2, examples), 0.1))

    objectives = (ReplicatedIWAE(1), ReplicatedIWAE(3), ReplicatedRenyi(0.5, 3))
    if examples > 1 or inside == "nothing":
        for objective in objectives:
            with pytest.raises(ValueError, match="shape of model site 'penalty'"):
                objective.replicate_losses(model, guide, None, None)
        with pytest.raises(ValueError, match="shape of model site 'penalty'"):
            ReplicatedELBO().example_values(model, guide, None, None)
    elif inside == "replicate":  # one example: there is nothing to count twice
        torch.manual_seed(0)
        expected = ReplicatedELBO().replicate_losses(model, guide, None, None)
        torch.manual_seed(0)
        torch.testing.assert_close(objectives[0].replicate_losses(model, guide, None, None), expected)
    torch.manual_seed(0)
    losses = ReplicatedELBO(200).replicate_losses(model, guide, None, None)
    # A draw's term is ln 10 - .485 c, c chi-square of one degree; a factor left out or counted twice is off by 7.
    mean_square = (7 + examples * math.log(10.0) - losses) / (0.485 * examples)
    low, high = variance_bounds(200 * examples, comparisons=2)
    assert ((mean_square > low) & (mean_square < high)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReplicatedIWAE(0), "num_particles = 0 is not valid"),
        (lambda: ReplicatedRenyi(math.nan, 2), "alpha = nan is not valid"),
        (lambda: LatentModel(ellipse, CIRCLE, beta=-1.0), "beta = -1.0 is not valid"),
        (lambda: LatentModel(ellipse, dist.Normal(0.0, 1.0)), r"to_event\(1\)"),
        (lambda: EnumeratedLatentModel(ellipse, NODES[:, 0]), "nodes.shape"),
        (lambda: EnumeratedLatentModel(ellipse, NODES, 1.0, torch.zeros(3)), "log_weights.shape"),
        (lambda: LaplaceGuide(ellipse, torch.zeros(4, 2), (-1, 1), periodic=True), "False where z has 2 entries"),
        (lambda: LaplaceGuide(ellipse, torch.zeros(4), (-1, 1)), "starts.shape"),
        (
            lambda: variational_free_energy(LatentModel(ellipse, CIRCLE), no_guide, *pairs(), num_estimates=1),
            "num_estimates = 1",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_functions_of_particles_see_replicates_first():
    x, z = normals(2, 3, 1), normals(4, 2, 3, 2)

    def function(x, z):
        assert z.shape[0] == 2
        return x + z

    torch.testing.assert_close(over_particles(function, z, x), x + z)
    torch.testing.assert_close(over_particles(function, z[0], x), x + z[0])
