"""Partition functions against closed forms, SciPy and finite differences; what hides between nodes; honest errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from scipy.integrate import dblquad, quad, tplquad
from statistical import level, within_standard_errors

from ebm_vs_prob import GibbsBoltzmann
from ebm_vs_prob.core.errors import NormalizerWarning, UnknownName
from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling, Quadrature, pareto_k
from ebm_vs_prob.gibbs.normalizers.cells import CellRule

Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def ring(thickness: float) -> Energy:
    return lambda x, y: (y.norm(dim=-1) - 1).square() / (2 * thickness**2)


def ring_log_z(thickness: float) -> float:
    def shell(r: float) -> float:
        return 2 * math.pi * r * math.exp(-((r - 1) ** 2) / (2 * thickness**2))

    return math.log(quad(shell, max(0.0, 1 - 12 * thickness), 1 + 12 * thickness, epsabs=0, epsrel=1e-12)[0])


def within(density: GibbsBoltzmann, exact: float | torch.Tensor, level: float) -> None:
    """log Z is within `level` of exact, and within three times the error it states (and rounding)."""
    value, error = density.log_partition()
    difference = (value - exact).abs()
    assert bool((difference < level).all()), (difference, error)
    assert bool((difference <= 3 * error + 1e-7).all()), (difference, error)
    assert not bool(density.diagnostics["unresolved"].any())


@pytest.mark.parametrize("thickness", [0.3, 0.1, 0.03, 0.01, 0.003])
def test_a_ring_of_any_thickness_in_two_dimensions(thickness: float) -> None:
    density = GibbsBoltzmann(ring(thickness), y_dim=2, bounds=(-3.0, 3.0))
    within(density, ring_log_z(thickness), 1e-4)
    evaluations = int(density.diagnostics["evaluations"])
    assert evaluations < (12_000 if thickness >= 0.1 else 200_000)


@pytest.mark.parametrize("middle", [(0.0, 0.0), (0.41, -0.23)])
def test_a_thin_ring_that_the_coarse_grid_does_not_see(middle: tuple[float, float]) -> None:
    energy = ring(0.003)
    shift = torch.tensor(middle, dtype=torch.float64)
    density = GibbsBoltzmann(lambda x, y: energy(x, y - shift), y_dim=2, bounds=(-3.0, 3.0))
    within(density, ring_log_z(0.003), 1e-4)


@pytest.mark.parametrize("middles", [(-1.234, 0.777, 2.9), (-3.7, 0.0, 0.05), (1.0, 1.1, 1.2)])
def test_three_spikes_in_one_dimension(middles: tuple[float, float, float]) -> None:
    at = torch.tensor(middles, dtype=torch.float64)
    density = GibbsBoltzmann(lambda x, y: -((y - at).square() / (-2 * 0.003**2)).logsumexp(-1), bounds=(-4.0, 4.0))
    within(density, math.log(3 * 0.003 * math.sqrt(2 * math.pi)), 1e-4)


def well(depth: float, width: float, at: torch.Tensor) -> Energy:
    """A broad bowl with a cusp of the given depth whose slope reaches out, but whose mass lies in a few widths."""
    return lambda x, y: -torch.logaddexp(-0.01 * y.square().sum(-1), depth - (y - at).norm(dim=-1) / width)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_narrow_well_is_found_by_descent(dim: int) -> None:
    at, depth, width = torch.full((dim,), 0.37, dtype=torch.float64), 30.0, 0.01
    energy = well(depth, width, at)
    exact_well = 2 * width if dim == 1 else 2 * math.pi * width**2
    density = GibbsBoltzmann(energy, y_dim=dim, bounds=(-3.0, 3.0))
    value, error = density.log_partition()
    exact = depth + math.log(exact_well)  # the bowl adds less than 1e-6 of it
    assert abs(float(value) - exact) < max(1e-3, 3 * float(error))
    assert float(error) < 1e-3


def test_a_narrow_well_in_a_high_cell_is_found() -> None:
    """Descents start in every coarse cell of a line, also where the nodes show no sign of the well beside them."""
    width, at = 1e-4, 2.26

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        step = 2 * torch.sigmoid(20 * (y[..., 0] - 1.9)) + 0.1 * (y[..., 0] - at).abs()
        return step - 40 * torch.exp(-0.5 * ((y[..., 0] - at) / width).square())

    log_z, _ = GibbsBoltzmann(energy, y_dim=1, bounds=(-3.0, 3.0)).log_partition()
    near = at + width * torch.linspace(-12, 12, 200_001, dtype=torch.float64).unsqueeze(1)
    exact = torch.logsumexp(-energy(torch.empty(0), near), 0) + math.log(24 * width / 200_000)
    assert float(log_z) == pytest.approx(float(exact), abs=1e-3)


def test_without_probes_a_well_between_nodes_is_missed() -> None:
    """What the probes are for: a dip whose signal at the coarse nodes is a slope alone."""
    at = torch.tensor([0.25], dtype=torch.float64)

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.1 * (y - at).norm(dim=-1) - 40 * torch.exp(-(y - at).square().sum(-1) / 2e-8)

    exact = quad(lambda t: math.exp(-0.1 * abs(t) + 40 * math.exp(-t * t / 2e-8)), -1e-3, 1e-3, points=[0.0])[0]
    seen = GibbsBoltzmann(energy, bounds=(-3.0, 3.0), normalizer=Quadrature(rtol=1e-4, probes=0)).log_partition()[0]
    found = GibbsBoltzmann(energy, bounds=(-3.0, 3.0)).log_partition()[0]
    assert float(seen) < 2.0
    assert float(found) == pytest.approx(math.log(exact), abs=1e-3)


@pytest.mark.parametrize("dim", [1, 2])
def test_kinks_and_walls_keep_the_error_honest(dim: int) -> None:
    density = GibbsBoltzmann(lambda x, y: (y - 0.3).abs().sum(-1), y_dim=dim)
    within(density, dim * math.log(2 - math.exp(-8.3) - math.exp(-7.7)), 1e-4)


def test_forbidden_regions() -> None:

    def wall(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(y[..., 0] < 0.123, math.inf, 0.5 * y[..., 0] ** 2)

    exact = quad(lambda t: math.exp(-t * t / 2), 0.123, 8.0)[0]
    within(GibbsBoltzmann(wall), math.log(exact), 1e-3)


def test_scipy_agrees_in_one_two_and_three_dimensions() -> None:
    def energy(*y: float) -> float:
        return sum(math.cos(3 * t) + 0.2 * t * t for t in y) + 0.5 * math.sin(y[0] * y[-1])

    def torch_energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        bowl = (torch.cos(3 * y) + 0.2 * y.square()).sum(-1)
        return bowl + 0.5 * torch.sin(y[..., 0] * y[..., -1])

    one = quad(lambda a: math.exp(-energy(a)), -2, 2)[0]
    two = dblquad(lambda b, a: math.exp(-energy(a, b)), -2, 2, -2, 2, epsrel=1e-7)[0]
    three = tplquad(lambda c, b, a: math.exp(-energy(a, b, c)), -2, 2, -2, 2, -2, 2, epsabs=1e-2, epsrel=1e-3)[0]
    for dim, exact, reach in ((1, one, 1e-5), (2, two, 1e-5), (3, three, 2e-3)):
        value, _ = GibbsBoltzmann(torch_energy, y_dim=dim, bounds=(-2.0, 2.0)).log_partition()
        assert float(value) == pytest.approx(math.log(exact), abs=reach)


def test_each_element_of_a_batch_has_its_own_cells() -> None:
    """Thicknesses side by side: each as alone, although they share one padded set of nodes; NaN stays where it is."""
    thickness = torch.tensor([0.3, math.nan, 0.03], dtype=torch.float64)[:, None]

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (y.norm(dim=-1) - 1).square() / (2 * thickness**2)

    together = GibbsBoltzmann(energy, y_dim=2, x=torch.zeros(3, 0), bounds=(-3.0, 3.0))
    value, error = together.log_partition()
    assert bool(value[1].isnan())
    for k in (0, 2):
        alone = GibbsBoltzmann(ring(float(thickness[k])), y_dim=2, bounds=(-3.0, 3.0))
        assert float(value[k]) == pytest.approx(float(alone.log_partition()[0]), abs=1e-10)
        assert float(error[k]) == pytest.approx(float(alone.log_partition()[1]), abs=1e-10)
        assert int(together.diagnostics["evaluations"][k]) == int(alone.diagnostics["evaluations"])
    assert together.diagnostics["unresolved"].tolist() == [False, True, False]


@pytest.mark.parametrize("dim", [1, 2])
def test_a_large_batch_in_parts_is_the_batch(monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    """Log-partitions, their errors and gradients, diagnostics and draws: in parts of two of five inputs, or at once."""
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5, 1)

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (8 * (y - x).square() + (3 * y).cos()).sum(-1)

    found = []
    for most in (1 << 40, 3 * 2 * (1 << 18)):
        monkeypatch.setattr("ebm_vs_prob.gibbs.normalizers.quadrature.MOST_NODES", most)
        monkeypatch.setattr("ebm_vs_prob.gibbs.normalizers.quadrature.ON_A_LINE", 1)
        beta = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).reshape(3, 1).requires_grad_()
        density = GibbsBoltzmann(energy, y_dim=dim, x=x, beta=beta, bounds=(-4.0, 4.0))
        value, error = density.log_partition()
        (slope,) = torch.autograd.grad(value.sum(), beta)
        with torch.no_grad():
            drawn = density.sample(torch.Size((7,)), generators=[torch_generator(r, "parts") for r in range(3)])
            doubts = density.doubts()
        found.append((value, error, slope, drawn, *(doubts[name] for name in sorted(doubts))))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_the_cap_is_kept_and_reported() -> None:
    density = GibbsBoltzmann(ring(0.003), y_dim=2, bounds=(-3.0, 3.0), normalizer=Quadrature(max_nodes=12_000))
    assert bool(density.diagnostics["unresolved"])
    assert int(density.diagnostics["evaluations"]) <= 12_000
    value, error = density.log_partition()
    assert float(error) > 1e-4
    assert abs(float(value) - ring_log_z(0.003)) < 3 * max(float(error), 0.05)


def test_a_trained_size_network_costs_what_it_may() -> None:
    network = MLPEnergy([0, 1], 0, 2, Network(hidden=(32, 32)))
    density = GibbsBoltzmann(network, y_dim=2, x=torch.zeros(2, 1, 0), bounds=(-3.0, 3.0))
    assert density.log_partition()[0].dtype == torch.float32
    assert density.batch_shape == (2, 1)
    assert int(density.diagnostics["evaluations"].max()) < 10_000


def test_the_rule_is_gauss_legendre_and_its_intervals_hold_its_nodes() -> None:
    rule = CellRule(8, 2, torch.device("cpu"))
    u, v = rule.nodes.T
    exact = (2 / 15) * (2 / 13)
    assert float(((u**14) * (v**12) * rule.log_weights.exp()).sum()) == pytest.approx(exact, rel=1e-12)
    assert bool(((rule.axis_nodes > rule.axis_edges[:-1]) & (rule.axis_nodes < rule.axis_edges[1:])).all())
    # A quadratic log-density is its own interpolant, so the error foretold is the error there is.
    log_density = -2.0 * (u**2 + v**2)[None]
    integral, error = rule.integral_and_error(log_density, torch.zeros(1).double())
    side = math.sqrt(math.pi / 2) * math.erf(math.sqrt(2))
    assert float(error) == pytest.approx(abs(float(integral) - side**2), rel=0.1, abs=1e-12)


def parameters_of(log_z: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> None:
    """The gradient of log_z agrees with central differences."""
    at = at.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(log_z(at), at)
    step = 1e-5
    for k in range(len(at)):
        e = torch.zeros_like(at)
        e[k] = step
        with torch.no_grad():
            numeric = (log_z(at + e) - log_z(at - e)) / (2 * step)
        assert float(gradient[k]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-6)


def parametric(theta: torch.Tensor) -> Energy:
    return lambda x, y: theta[0].exp() * (y[..., 0] - theta[1]).square() + 0.3 * torch.cos(theta[2] * y[..., 0])


def test_quadrature_is_differentiable_in_the_energy() -> None:
    theta = torch.tensor([0.2, 0.5, 1.3], dtype=torch.float64)
    parameters_of(lambda t: GibbsBoltzmann(parametric(t), normalizer=Quadrature(rtol=1e-8)).log_partition()[0], theta)


def test_quadrature_is_differentiable_in_beta() -> None:
    beta = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    value, _ = GibbsBoltzmann(lambda x, y: 0.5 * y[..., 0] ** 2, beta=beta).log_partition()
    (gradient,) = torch.autograd.grad(value.sum(), beta)
    assert float(gradient) == pytest.approx(-0.5 / 0.7, rel=1e-3)


def test_importance_sampling_is_differentiable_on_fixed_proposals() -> None:
    generator = torch_generator(0, "test")
    samples = 2 * torch.randn(200, 1, dtype=torch.float64, generator=generator)
    proposal = torch.distributions.Normal(torch.tensor(0.0).double(), 2.0)
    sampling = ImportanceSampling(samples=samples, log_density=proposal.log_prob(samples[:, 0]))
    theta = torch.tensor([0.2, 0.5, 1.3], dtype=torch.float64)
    parameters_of(lambda t: GibbsBoltzmann(parametric(t), normalizer=sampling).log_partition()[0], theta)


def gaussian_proposal(scale: float, dim: int) -> torch.distributions.Distribution:
    normal = torch.distributions.Normal(torch.zeros(dim).double(), scale)
    return torch.distributions.Independent(normal, 1)


def test_importance_sampling_covers_the_truth_at_its_stated_error() -> None:
    """Over 200 seeds the exact log Z lies within two standard errors 95 % of the time."""
    dim, exact = 4, 2 * math.log(2 * math.pi)
    covered = []
    for seed in range(200):
        sampling = ImportanceSampling(gaussian_proposal(1.5, dim), 500, seed=seed)
        density = GibbsBoltzmann(lambda x, y: 0.5 * y.square().sum(-1), y_dim=dim, normalizer=sampling)
        value, error = density.log_partition()
        covered.append(abs(float(value) - exact) < 2 * float(error))
    # Of errors half as large two thirds would cover; at 93 % fewer than these come once in 1e5.
    assert sum(covered) >= stats.binom(200, 0.93).ppf(level())


def test_pareto_k_tells_a_proposal_that_is_too_narrow() -> None:
    def k(scale: float) -> float:
        sampling = ImportanceSampling(gaussian_proposal(scale, 3), 2000)
        density = GibbsBoltzmann(lambda x, y: 0.5 * y.square().sum(-1), y_dim=3, normalizer=sampling)
        return float(density.diagnostics["pareto_k"])

    assert k(1.3) < 0.5
    assert k(0.25) > 0.7
    assert bool(pareto_k(torch.full((1, 100), math.nan)).isnan().all())


def test_importance_weights_outside_the_box_count_for_nothing() -> None:
    sampling = ImportanceSampling(gaussian_proposal(1.0, 1), 200_000)
    density = GibbsBoltzmann(lambda x, y: 0.5 * y[..., 0] ** 2, bounds=(0.0, 8.0), normalizer=sampling)
    assert float(density.log_partition()[0]) == pytest.approx(math.log(math.sqrt(math.pi / 2)), abs=0.01)


def test_draws_that_are_not_numbers_are_not_passed_over() -> None:
    samples = torch.tensor([[0.0], [math.nan], [1.0]], dtype=torch.float64)
    sampling = ImportanceSampling(samples=samples, log_density=torch.zeros(3, dtype=torch.float64))
    with pytest.warns(NormalizerWarning, match="not finite"):
        value, _ = GibbsBoltzmann(lambda x, y: 0.5 * y[..., 0] ** 2, normalizer=sampling).log_partition()
    assert bool(value.isnan())


def test_given_proposals_are_per_element_of_the_batch() -> None:
    generator = torch_generator(1, "test")
    middle = torch.tensor([[-2.0], [3.0]], dtype=torch.float64)
    samples = middle[:, None] + 1.2 * torch.randn(2, 4000, 1, dtype=torch.float64, generator=generator)
    log_density = torch.distributions.Normal(middle, 1.2).log_prob(samples[..., 0])
    sampling = ImportanceSampling(samples=samples, log_density=log_density)
    density = GibbsBoltzmann(lambda x, y: 0.5 * (y - x).square().sum(-1), x=middle, normalizer=sampling)
    value, error = density.log_partition()
    assert value.shape == (2,)
    assert within_standard_errors(value, 0.5 * math.log(2 * math.pi), error)
    draws = density.sample((2000,), seed=0)
    assert draws.shape == (2000, 2, 1)
    torch.testing.assert_close(draws.mean(0), middle, atol=0.15, rtol=0)


def test_bad_normalisers_are_named() -> None:

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y.sum(-1)

    with pytest.raises(UnknownName, match="did you mean 'quadrature'"):
        GibbsBoltzmann(energy, normalizer="quadratur")
    with pytest.raises(ValueError, match="normalizer = 3"):
        GibbsBoltzmann(energy, normalizer=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="y_dim = 4"):
        GibbsBoltzmann(energy, y_dim=4).log_partition()
    for arguments, field in (({"rtol": 0.0}, "rtol"), ({"order": 2}, "order"), ({"max_nodes": 0}, "max_nodes")):
        with pytest.raises(ValueError, match=f"{field} = "):
            Quadrature(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probes = -1"):
        Quadrature(probes=-1)
    with pytest.raises(ValueError, match="num_samples = 1"):
        ImportanceSampling(num_samples=1)
    with pytest.raises(ValueError, match="samples, log_density"):
        ImportanceSampling(samples=torch.zeros(3, 1))
    with pytest.raises(ValueError, match="shapes of samples"):
        ImportanceSampling(samples=torch.zeros(3, 1), log_density=torch.zeros(4))
    with pytest.raises(ValueError, match="proposal = "):
        ImportanceSampling(gaussian_proposal(1, 1), samples=torch.zeros(3, 1), log_density=torch.zeros(3))
    with pytest.raises(ValueError, match=r"proposal\.event_shape = \(\) "):
        GibbsBoltzmann(energy, normalizer=ImportanceSampling(torch.distributions.Normal(0.0, 1.0))).log_partition()
    with pytest.raises(ValueError, match=r"proposal\.event_shape = \(3,\) "):
        GibbsBoltzmann(energy, y_dim=2, normalizer=ImportanceSampling(gaussian_proposal(1.0, 3))).log_partition()
    wrong = ImportanceSampling(samples=torch.zeros(5, 3, 1), log_density=torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"samples\.shape"):
        GibbsBoltzmann(energy, x=torch.zeros(2, 1), normalizer=wrong).log_partition()


@pytest.mark.parametrize("low", [-3.3, 0.1, 1.2345])
@pytest.mark.parametrize("depth", [8.0, 10.0])
def test_what_a_node_saw_is_not_forgotten_when_its_cell_is_split(low, depth):
    # A level trench of .004 in a box of 16, which one node of a coarse cell meets and none of its halves.
    width = 0.004

    def trench(x, y):
        inside = (y[..., 0] > low) & (y[..., 0] < low + width)
        return torch.where(inside, -depth, 0.0).double()

    density = GibbsBoltzmann(trench, x=torch.zeros(1, dtype=torch.float64), y_dim=1, bounds=(-8.0, 8.0))
    value, error = density.log_partition()
    truth = math.log(16 + width * math.expm1(depth))
    assert abs(float(value) - truth) <= 3 * float(error)
    assert float(error) < 1e-6


@pytest.mark.parametrize("width", [0.02, 1e-3, 1e-4])
def test_a_lone_gaussian_is_found_however_narrow(width):
    # Eight places in the box: one that meets a node by chance says nothing of the others.
    for place in (-7.3, -4.71, -1.2, -0.01, 0.3, 2.77, 5.005, 7.6):

        def well(x, y, place=place):
            return 0.5 * ((y[..., 0] - place) / width) ** 2

        density = GibbsBoltzmann(well, x=torch.zeros(1, dtype=torch.float64), y_dim=1, bounds=(-8.0, 8.0))
        value, error = density.log_partition()
        truth = math.log(width * math.sqrt(2 * math.pi))
        assert abs(float(value) - truth) < 1e-8, place
        assert float(error) < 1e-7, place


@pytest.mark.parametrize(
    "normalizer", ["quadrature", "importance", pytest.param(AnnealedImportanceSampling(50, 100), id="annealed")]
)
def test_what_was_found_in_another_mode_of_torch_serves_later(normalizer):
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)

    def well(x, y):
        return y[..., 0] ** 2 + x[..., 0] * y[..., 0]

    def asked():
        return GibbsBoltzmann(well, x=x, y_dim=1, bounds=(-8.0, 8.0), normalizer=normalizer)

    with torch.no_grad():
        expected = asked().log_partition()[0]
    for mode in (torch.inference_mode, lambda: torch.autocast("cpu")):
        density = asked()
        with mode():
            density.log_partition()
        value = density.log_partition()[0]
        torch.testing.assert_close(value.detach(), expected, rtol=0, atol=0)
        (slope,) = torch.autograd.grad(value.sum(), x)
        assert bool(slope.isfinite().all())
