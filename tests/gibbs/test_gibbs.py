"""The Gibbs-Boltzmann distribution: closed forms, draws, batches, Pyro, calibration, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from rounding import rounding
from scipy import stats
from statistical import FALSE_ALARM, follows, variance_agrees, within_standard_errors

from ebm_vs_prob import GibbsBoltzmann
from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.core.spaces import Box
from ebm_vs_prob.gibbs.normalizers import ImportanceSampling, Quadrature
from ebm_vs_prob.gibbs.normalizers.minima import Minima
from ebm_vs_prob.gibbs.normalizers.rejection import envelope
from ebm_vs_prob.gibbs.temperature import LIMITS, TOLERANCE, fit_beta

#: Largest relative error of Z, and so error of ln Z in nats, at which quadrature stops.
RTOL = 1e-4


def quadratic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 0.5 * (y - x.sum(-1, keepdim=True)).square().sum(-1)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch_generator(seed, "test", r) for r in range(count)]


# ---- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("beta", "middle", "dim"), [(1.0, 0.0, 1), (4.0, 1.5, 1), (0.7, -0.8, 2), (300.0, 0.2, 2)])
def test_a_quadratic_energy_is_a_gaussian(beta: float, middle: float, dim: int) -> None:
    density = GibbsBoltzmann(quadratic, y_dim=dim, x=torch.tensor([middle]), beta=beta, bounds=(-9.0, 9.0))
    value, error = density.log_partition()
    assert float(value) == pytest.approx(0.5 * dim * math.log(2 * math.pi / beta), abs=RTOL)
    assert float(error) < RTOL
    y = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None].expand(7, dim)
    exact = torch.distributions.Normal(torch.tensor(middle).double(), beta**-0.5).log_prob(y).sum(-1)
    torch.testing.assert_close(density.log_prob(y), exact, atol=RTOL, rtol=0)


def moments_and_law_agree(draws: torch.Tensor, middle: float, scale: float) -> bool:
    """Whether draws (n, d) are of N(middle, scale² I), at the false-alarm rate; the three tests share it."""
    dim = draws.shape[1]
    law = stats.norm(middle, scale).cdf
    return (
        within_standard_errors(draws.mean(0), middle, scale / math.sqrt(len(draws)), comparisons=3)
        and variance_agrees(draws, scale**2, mean=middle, comparisons=3)
        and all(follows(column.numpy(), law, comparisons=3 * dim) for column in draws.T)
    )


@pytest.mark.parametrize(("beta", "middle", "dim"), [(1.0, 0.0, 1), (4.0, 1.5, 1), (0.7, -0.8, 2), (300.0, 0.2, 2)])
def test_draws_of_a_quadratic_energy_are_normal(beta: float, middle: float, dim: int) -> None:
    """10,000 draws show a mean off by .08 scales and a scale off by 6 % with power .999."""
    density = GibbsBoltzmann(quadratic, y_dim=dim, x=torch.tensor([middle]), beta=beta, bounds=(-9.0, 9.0))
    draws = density.sample((10_000,), seed=1)
    assert draws.shape == (10_000, dim)
    assert moments_and_law_agree(draws, middle, beta**-0.5)
    assert not moments_and_law_agree(draws + 0.08 * beta**-0.5, middle, beta**-0.5)
    assert not moments_and_law_agree(draws, middle, 1.06 * beta**-0.5)


@pytest.mark.parametrize("thickness", [0.3, 0.1, 0.003])
def test_draws_from_a_ring_have_its_radius_and_uniform_angles(thickness: float) -> None:
    """10,000 draws show a distribution function that is off by .04 anywhere: Kolmogorov's 1e-5 quantile is .025."""
    density = GibbsBoltzmann(
        lambda x, y: (y.norm(dim=-1) - 1).square() / (2 * thickness**2), y_dim=2, bounds=(-3.0, 3.0)
    )
    draws = density.sample((10_000,), seed=2)
    radii = np.linspace(max(0.0, 1 - 6 * thickness), 1 + 6 * thickness, 8001)
    cumulative = np.cumsum(radii * np.exp(-((radii - 1) ** 2) / (2 * thickness**2)))
    cumulative /= cumulative[-1]
    assert follows(draws.norm(dim=-1), lambda r: np.interp(r, radii, cumulative), comparisons=2)
    angle = torch.atan2(draws[:, 1], draws[:, 0])
    assert follows(angle, stats.uniform(-math.pi, 2 * math.pi).cdf, comparisons=2)


def test_draws_without_rejection_would_be_seen_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own density as envelope cuts what lies above it: the KS test must tell."""

    def flat(cells: Any) -> torch.Tensor:
        return cells.log_density - 3.0

    monkeypatch.setattr("ebm_vs_prob.gibbs.normalizers.rejection.envelope", flat)
    assert draws_of_a_narrow_gaussian() < FALSE_ALARM


def test_draws_with_rejection_are_right_where_cells_are_coarse() -> None:
    assert draws_of_a_narrow_gaussian() > FALSE_ALARM


def draws_of_a_narrow_gaussian() -> float:
    """The KS level of draws from a Gaussian that four coarse nodes resolve; of a quarter as many the fault has 1e-5."""
    density = GibbsBoltzmann(quadratic, x=torch.tensor([0.3]), beta=16.0, normalizer=Quadrature(rtol=1e-4))
    draws = density.sample((200_000,), seed=3)[:, 0]
    return float(stats.kstest(draws.numpy(), stats.norm(0.3, 0.25).cdf).pvalue)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_envelope_is_above_the_density(dim: int) -> None:
    density = GibbsBoltzmann(lambda x, y: 5 * (y.norm(dim=-1) - 1).square(), y_dim=dim, bounds=(-3.0, 3.0))
    cells = density._memory.partition().cells  # type: ignore[attr-defined]
    top, rule = envelope(cells), cells.rule
    u = torch.rand(50, dim, dtype=torch.float64, generator=torch_generator(0, "test"))
    index = torch.cartesian_prod(*[torch.arange(rule.order)] * dim).reshape(-1, dim)
    low, high = rule.axis_edges[index], rule.axis_edges[index + 1]
    offset = low + (high - low) * u[:, None]  # (50, q, dim)
    y = cells.centers[0][:, None, None] + cells.half_width[0][:, None, None, None] * offset
    excess = density.target.log_density(y.reshape(-1, dim)).reshape(y.shape[:-1]) - top[0][:, None]
    mass = (top[0] - cells.log_z[0] + cells.log_weights().reshape(top[0].shape)).exp()
    assert float((mass * (excess.exp() - 1).clamp_min(0).mean(1)).sum()) < 1e-3


# ---- shapes ----------------------------------------------------------------------------------------------------------


def test_batch_shapes_broadcast() -> None:
    x = torch.linspace(-1, 1, 12).reshape(3, 4, 1)
    beta = torch.tensor([0.5, 1.0, 2.0]).reshape(3, 1)
    density = GibbsBoltzmann(quadratic, x=x, beta=beta)
    assert density.batch_shape == (3, 4)
    assert density.event_shape == (1,)
    value, error = density.log_partition()
    assert value.shape == error.shape == (3, 4)
    torch.testing.assert_close(value, (0.5 * (2 * math.pi / beta.double()).log()).expand(3, 4), atol=RTOL, rtol=0)
    y = torch.randn(5, 3, 4, 1, dtype=torch.float64, generator=torch_generator(0, "test"))
    exact = torch.distributions.Normal(x.double().squeeze(-1), beta.double().rsqrt()).log_prob(y.squeeze(-1))
    torch.testing.assert_close(density.log_prob(y), exact, atol=RTOL, rtol=0)
    torch.testing.assert_close(density.log_prob(y[0, 0, 0]), density.log_prob(y[0, 0, 0].expand(3, 4, 1)))
    draws = density.sample((2, 6), seed=0)
    assert draws.shape == (2, 6, 3, 4, 1)
    only_beta = GibbsBoltzmann(quadratic, x=torch.zeros(1), beta=torch.ones(2, 3))
    assert only_beta.batch_shape == (2, 3)
    assert all(bool((v == v[0, 0]).all()) for v in only_beta.log_partition())


def test_the_energy_is_called_with_its_batch_in_front() -> None:
    seen = []

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(x.shape), tuple(y.shape)))
        return y.square().sum(-1) + x.sum(-1)

    density = GibbsBoltzmann(energy, y_dim=2, x=torch.zeros(3, 1, 0)).expand((3, 5))
    density.log_prob(torch.zeros(7, 3, 5, 2))
    density.sample((4,), seed=0)
    assert all(x == (3, 1, 1, 0) and y[:2] == (3, 1) and y[3:] == (2,) for x, y in seen)
    assert ((3, 1, 1, 0), (3, 1, 35, 2)) in seen


def test_an_expanded_density_is_the_same_density() -> None:
    x = torch.tensor([[-2.0], [0.0], [2.0]])[:, None]
    base = GibbsBoltzmann(quadratic, x=x, beta=4.0)
    wide = base.expand((2, 3, 5))
    y = torch.randn(4, 2, 3, 5, 1, dtype=torch.float64, generator=torch_generator(0, "test"))
    loc = x.double().squeeze(-1).expand(3, 5)
    exact = torch.distributions.Normal(loc, 0.5).log_prob(y.squeeze(-1))
    torch.testing.assert_close(wide.log_prob(y), exact, atol=RTOL, rtol=0)
    draws = wide.sample((3000,), seed=4)
    assert draws.shape == (3000, 2, 3, 5, 1)
    # A tenth of a standard deviation would be seen; the means of x are four apart.
    assert within_standard_errors(draws.mean(0).squeeze(-1), loc.expand(2, 3, 5), 0.5 / math.sqrt(3000))
    assert wide.log_partition()[0].shape == wide.diagnostics["unresolved"].shape == (2, 3, 5)
    assert wide._memory is base._memory


def test_a_box_may_be_given_as_a_space() -> None:
    one = GibbsBoltzmann(quadratic, y_dim=2, x=torch.zeros(1), bounds=(-4.0, 5.0))
    other = GibbsBoltzmann(quadratic, x=torch.zeros(1), space=Box((-4.0, 5.0), 2))
    assert (other.event_shape, other.bounds) == ((2,), (-4.0, 5.0))
    assert torch.equal(other.log_partition()[0], one.log_partition()[0])
    assert not other.has_enumerate_support


def test_outside_the_box_there_is_no_mass() -> None:
    density = GibbsBoltzmann(quadratic, x=torch.zeros(1), bounds=(0.0, 2.0), validate_args=True)
    mass = stats.norm.cdf(2) - 0.5
    y = torch.tensor([[-0.1], [0.5], [2.1]])
    expected = torch.tensor([-math.inf, stats.norm.logpdf(0.5) - math.log(mass), -math.inf], dtype=torch.float64)
    torch.testing.assert_close(density.log_prob(y), expected, atol=RTOL, rtol=0)
    draws = density.sample((2000,), seed=5)
    assert bool(((draws >= 0) & (draws <= 2)).all())
    assert follows(draws, stats.truncnorm(0, 2).cdf)  # sees a distribution function that is off by .08


def test_the_dtype_is_the_energys() -> None:
    class Learned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_scale = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.log_scale.exp() * 0.5 * y.square().sum(-1)

    density = GibbsBoltzmann(Learned(), x=None)
    value, _ = density.log_partition()
    assert value.dtype == density.sample((2,), seed=0).dtype == torch.float32
    value.backward()
    assert GibbsBoltzmann(quadratic, x=torch.zeros(1)).log_partition()[0].dtype == torch.float64


# ---- random numbers --------------------------------------------------------------------------------------------------


def test_a_replicates_draws_do_not_depend_on_its_company() -> None:
    x = torch.tensor([[0.3], [-1.0], [2.0]])[:, None].expand(3, 4, 1)
    beta = torch.tensor([1.0, 50.0, 7.0])[:, None]
    together = GibbsBoltzmann(quadratic, x=x, beta=beta).sample((100,), generators=generators(3))
    for r in range(3):
        alone = GibbsBoltzmann(quadratic, x=x[r : r + 1], beta=beta[r : r + 1])
        draws = alone.sample((100,), generators=generators(3)[r : r + 1])
        # A cell is found by the sum of at most 1000 masses; of 1200 draws the rarest cell has a mass of some 1e-5.
        reach = rounding(1000, scale=16.0, condition=1e5)
        torch.testing.assert_close(draws[:, 0], together[:, r], atol=reach, rtol=0)
    other = GibbsBoltzmann(quadratic, x=x, beta=beta).sample((100,), generators=generators(3, seed=1))
    assert not torch.equal(other, together)
    assert not torch.equal(together[:, 0], together[:, 1])


def test_generators_serve_expanded_and_importance_sampled_densities() -> None:
    wide = GibbsBoltzmann(quadratic, x=torch.zeros(2, 1, 1)).expand((2, 5))
    draws = wide.sample((3,), generators=generators(2))
    assert draws.shape == (3, 2, 5, 1)
    assert len(draws.unique()) == 30
    sampled = GibbsBoltzmann(quadratic, x=torch.zeros(2, 1, 1), normalizer=ImportanceSampling(num_samples=500))
    alone = GibbsBoltzmann(quadratic, x=torch.zeros(1, 1, 1), normalizer=ImportanceSampling(num_samples=500))
    first = sampled.sample((3,), generators=generators(2))[:, :1]
    torch.testing.assert_close(first, alone.sample((3,), generators=generators(1)))


@pytest.mark.uses_global_generator
def test_seedless_draws_follow_the_global_generator_and_seeded_ones_do_not() -> None:
    density = GibbsBoltzmann(quadratic, x=torch.zeros(1))
    torch.manual_seed(0)
    first = density.sample((5,))
    second = density.sample((5,))
    torch.manual_seed(0)
    torch.testing.assert_close(density.sample((5,)), first)
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    seeded = density.sample((5,), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(seeded, density.sample((5,), seed=3))
    assert not torch.equal(seeded, density.sample((5,), seed=4))


def test_a_replicate_that_failed_leaves_the_others_their_draws() -> None:
    beta = torch.tensor([1.0, math.nan])[:, None]
    density = GibbsBoltzmann(quadratic, x=torch.zeros(2, 3, 1), beta=beta, validate_args=False)
    draws = density.sample((50,), generators=generators(2))
    assert bool(draws[:, 0].isfinite().all())
    assert bool(draws[:, 1].isnan().all())
    y = torch.zeros(2, 3, 1)
    assert density.log_prob(y).isfinite().all(1).tolist() == [True, False]


# ---- Pyro ------------------------------------------------------------------------------------------------------------


@pytest.mark.uses_global_generator
def test_it_is_a_pyro_distribution_in_plates_and_trains() -> None:
    """Maximum likelihood of E = exp(t) y²/2 on N(0, 1/4) data: t goes to ln 4, by quadrature and by ELBO alike."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    data = 0.5 * torch.randn(2, 400, 1, dtype=torch.float64)

    def model() -> None:
        log_scale = pyro.param("log_scale", torch.zeros(2, 1, dtype=torch.float64))
        density = GibbsBoltzmann(
            lambda x, y: log_scale[:, :, None].exp() * 0.5 * y.square().sum(-1), x=torch.zeros(2, 1, 0)
        )
        with pyro.plate("replicate", 2, dim=-2), pyro.plate("data", 400, dim=-1):
            pyro.sample("y", density, obs=data)

    svi = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.2}), Trace_ELBO())
    losses = [svi.step() for _ in range(60)]
    precision = pyro.param("log_scale").exp().detach().squeeze(-1)
    torch.testing.assert_close(precision, 1 / data.square().mean((1, 2)), rtol=4e-2, atol=0)
    entropy = 0.5 * (1 + torch.log(2 * math.pi * data.square().mean((1, 2))))
    assert losses[-1] == pytest.approx(float(400 * entropy.sum()), rel=1e-3)
    pyro.clear_param_store()


@pytest.mark.uses_global_generator
def test_it_samples_as_a_latent_site_and_in_a_trace() -> None:
    pyro.set_rng_seed(1)

    def model() -> torch.Tensor:
        with pyro.plate("data", 1500):
            z: torch.Tensor = pyro.sample("z", GibbsBoltzmann(quadratic, x=torch.tensor([1.0])))
            pyro.sample("y", dist.Normal(z, 1.0).to_event(1), obs=torch.zeros(1500, 1))
        return z

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    z = trace.nodes["z"]["value"]
    assert z.shape == (1500, 1)
    assert trace.nodes["z"]["log_prob"].shape == (1500,)
    assert follows(z, stats.norm(1, 1).cdf)  # sees a mean off by a fifth
    assert not trace.nodes["z"]["fn"].has_rsample


# ---- calibration -----------------------------------------------------------------------------------------------------


class NormalTask:
    """Validation data N(0, I); x of width 0, or one number that shifts y."""

    def __init__(self, dim: int = 1, conditional: bool = False) -> None:
        self.x_space = Box((-1.0, 1.0), int(conditional))
        self.y_space = Box((-8.0, 8.0), dim)

    def sample(self, n: int, seed: int = 0, split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
        assert split == "validation"
        generator = torch_generator(seed, "test")
        x = 2 * torch.rand(n, self.x_space.dim, dtype=torch.float64, generator=generator) - 1
        y = torch.randn(n, self.y_space.dim, dtype=torch.float64, generator=generator)
        return x, y + x.sum(-1, keepdim=True)


def calibrated(scales: list[float], task: NormalTask, failed: int | None = None, sign: float = 1.0) -> torch.Tensor:
    scale = torch.tensor(scales, dtype=torch.float64)

    def module(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        shape = (-1, *[1] * (y.ndim - 2))
        return sign * scale.reshape(shape) * 0.5 * (y - x.sum(-1, keepdim=True)).square().sum(-1)

    count = len(scales)
    module.num_replicates = count  # type: ignore[attr-defined]
    x, y = (torch.stack(part) for part in zip(*(task.sample(256, r, "validation") for r in range(count)), strict=True))
    trained = torch.tensor([r != failed for r in range(count)])

    def unused(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("up to two dimensions nothing is proposed")

    return fit_beta(module, x, y, task.y_space.bounds, trained, unused)


@pytest.mark.parametrize(
    "task", [NormalTask(1), NormalTask(2), NormalTask(1, conditional=True)], ids=["1d", "2d", "conditional"]
)
def test_the_fitted_beta_undoes_the_scale_of_the_energy(task: NormalTask) -> None:
    """E = c y²/2 on N(0, 1): the best beta is 1 / (c mean(y²)) over the very pairs it was fitted to."""
    scales = [0.01, 1.0, 250.0]
    beta = calibrated(scales, task)
    assert beta.dtype == torch.float64
    for r, scale in enumerate(scales):
        x, y = task.sample(256, r, split="validation")
        used = slice(None, 64) if task.x_space.dim else slice(None)
        second = (y - x.sum(-1, keepdim=True))[used].square().mean()
        assert float(beta[r] * scale) == pytest.approx(1 / float(second), rel=TOLERANCE)


def test_failed_replicates_get_nan_and_harm_nobody() -> None:
    beta = calibrated([2.0, math.nan, 3.0], NormalTask(), failed=0)
    assert beta.isnan().tolist() == [True, True, False]
    # Rounding may end the search at another of the points that it takes for the same, 5e-4 in ln beta apart.
    assert float(beta[2]) == pytest.approx(float(calibrated([1.0, 1.0, 3.0], NormalTask())[2]), rel=1e-3)


def test_a_fitted_beta_is_the_same_bits_whatever_is_fitted_beside_it() -> None:
    """The second energy's deep hole beside the data takes ten rounds and the most nodes, after others settled."""
    task = NormalTask()
    pairs = [task.sample(256, r, "validation") for r in range(3)]
    energies = [
        lambda y: y.abs() ** 1.8,
        lambda y: y.square() - 1e4 * (-((y - 7.77) / 0.05).square()).exp(),
        lambda y: y.square() ** 8,
    ]

    def unused(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("up to two dimensions nothing is proposed")

    def fitted(*chosen: int) -> torch.Tensor:
        def module(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.stack([energies[c](y[r, ..., 0]) for r, c in enumerate(chosen)])

        module.num_replicates = len(chosen)  # type: ignore[attr-defined]
        x, y = (torch.stack([pairs[c][part] for c in chosen]) for part in (0, 1))
        trained = torch.ones(len(chosen), dtype=torch.bool)
        return fit_beta(module, x, y, task.y_space.bounds, trained, unused)

    together = fitted(0, 1, 2)
    for one in range(3):
        assert torch.equal(together[one : one + 1], fitted(one))


@pytest.mark.parametrize("dim", [1, 2])
def test_minima_found_at_one_beta_serve_the_next(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wells, of which the deeper is narrower than the nodes of any cell are apart, at scales far from beta = 1."""
    task = NormalTask(dim)
    scales = torch.tensor([1e-3, 1.0, 400.0], dtype=torch.float64).reshape(-1, 1, 1)
    asked = [0]

    class Wells(torch.nn.Module):
        num_replicates = 3

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            shape = torch.broadcast_shapes((3, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
            asked[0] += shape.numel()
            narrow = 7 - ((y - 1.2345) / 0.004).square().sum(-1)
            energy = -torch.logaddexp(-0.3 * y.pow(4).sum(-1), narrow)
            return (energy * scales.reshape(-1, *[1] * (energy.ndim - 1))).expand(shape)

    pairs = [task.sample(256, r, split="validation") for r in range(3)]
    x, y = (torch.stack([pair[part] for pair in pairs]) for part in (0, 1))

    def unused(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("up to two dimensions nothing is proposed")

    def fitted() -> tuple[torch.Tensor, int]:
        asked[0] = 0
        beta = fit_beta(Wells(), x, y, task.y_space.bounds, torch.ones(3, dtype=torch.bool), unused)
        return beta, asked[0]

    shared, evaluations = fitted()
    cells, minima = Quadrature.cells, Quadrature.minima
    none = torch.zeros(0, 1, dim)
    monkeypatch.setattr(Quadrature, "minima", lambda self, target: Minima(none, none[..., 0], none[:, 0, 0]))
    monkeypatch.setattr(Minima, "scaled", lambda self, ratio: self)
    monkeypatch.setattr(Quadrature, "cells", lambda self, target, known: cells(self, target, minima(self, target)))
    anew, more = fitted()
    torch.testing.assert_close(shared, anew, rtol=1e-9, atol=0)
    assert evaluations < 0.95 * more


def test_an_upside_down_energy_gets_the_smallest_beta() -> None:
    beta = calibrated([1.0], NormalTask(), sign=-1.0)
    # The range of the energy, 32, is seen at midpoints of 512 cells, and the search stays 5e-4 from its ends.
    assert float(beta) == pytest.approx(LIMITS[0] / 32.0, rel=0.01)


# ---- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"beta": 0.0}, "beta"),
        ({"beta": -1.0}, "beta"),
        ({"beta": math.nan}, "beta"),
        ({"beta": math.inf}, "beta"),
        ({"beta": torch.tensor([1.0, -2.0])}, "beta"),
        ({"beta": torch.ones(3), "x": torch.zeros(2, 1)}, "shapes of x, beta"),
        ({"y_dim": 0}, "y_dim"),
        ({"y_dim": 1.5}, "y_dim"),
        ({"bounds": (1.0, 1.0)}, "bounds"),
        ({"bounds": (0.0, math.inf)}, "bounds"),
        ({"bounds": 3.0}, "bounds"),
        ({"x": torch.tensor(1.0)}, r"x\.shape"),
        ({"energy": 3}, "energy"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} = "):
        GibbsBoltzmann(**{"energy": quadratic, **arguments})


def test_bad_values_and_energies_are_named() -> None:
    density = GibbsBoltzmann(quadratic, x=torch.zeros(2, 1), validate_args=True)
    with pytest.raises(ValueError, match=r"y\.shape"):
        density.log_prob(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"y\.shape"):
        density.log_prob(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="y = 'NaN entries'"):
        density.log_prob(torch.full((2, 1), math.nan))
    with pytest.raises(ValueError, match="energy\\(x, y\\)\\.shape"):
        GibbsBoltzmann(lambda x, y: y).log_partition()
    with pytest.raises(ValueError, match="generators"):
        density.sample((1,), generators=generators(3))
    with pytest.raises(ValueError, match="seed, generators"):
        density.sample((1,), seed=1, generators=generators(2))
    with pytest.raises(ValueError, match="seed = -1"):
        density.sample((1,), seed=-1)
