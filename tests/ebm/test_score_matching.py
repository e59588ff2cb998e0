"""Score matching against the explicit Fisher divergence by quadrature, against full Hessians, and on N(0, I)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.ebm.methods import denoising_score_matching, score_matching
from ebm_vs_prob.ebm.objectives import score as objectives
from ebm_vs_prob.energies.derivatives import gradient_and_products, gradient_and_trace
from ebm_vs_prob.energies.evaluation import energy_and_gradient
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.energies.replicated import Replicated

METHODS = ("score_matching", "sliced_score_matching", "multiscale_denoising_score_matching")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def gaussian_nodes(dim: int, nodes: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Hermite nodes (K, dim) and weights (K,), summing to 1, of N(0, I)."""
    point, weight = np.polynomial.hermite_e.hermegauss(nodes)
    weight = weight / weight.sum()
    points = torch.tensor(list(itertools.product(point, repeat=dim)))
    return points, torch.tensor(list(itertools.product(weight, repeat=dim))).prod(1)


class Bent(nn.Module):
    """An energy that is no Gaussian's: its score differs from any linear one, and its Hessian is not constant."""

    num_replicates = 1

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("slope", torch.linspace(0.5, 1.5, dim, dtype=torch.float64))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        projected = y @ self.slope
        return torch.sin(projected) + 0.3 * projected.square() + 0.1 * y.square().sum(-1) + 0 * x.sum(-1)


def fisher_divergence(energy: nn.Module, points: torch.Tensor, weight: torch.Tensor, variance: float) -> float:
    """½ E_p ‖∇ ln p + ∇E‖² for p = N(0, variance I), at nodes of p."""
    _, gradient = energy_and_gradient(energy, torch.zeros(1, 1, 0), points.unsqueeze(0))
    return float((weight @ (0.5 * (gradient[0] - points / variance).square().sum(-1))).detach())


def no_x(points: torch.Tensor) -> torch.Tensor:
    return points.new_zeros(1, len(points), 0)


@pytest.mark.parametrize("dim", [1, 2])
def test_exact_score_matching_is_the_fisher_divergence_less_its_constant(dim):
    """On N(0, I) the constant ½ E ‖∇ ln p‖² is d / 2; quadrature is exact to 1e-9 for these smooth energies."""
    energy = Bent(dim)
    points, weight = gaussian_nodes(dim)
    gradient, trace = gradient_and_trace(energy, no_x(points), points.unsqueeze(0))
    losses = objectives.score_matching_loss(gradient.transpose(0, 1), trace.T)
    assert float((weight @ losses).detach()) == pytest.approx(
        fisher_divergence(energy, points, weight, 1.0) - dim / 2, abs=1e-9
    )


@pytest.mark.parametrize("variance_reduced", [False, True])
@pytest.mark.parametrize("projection", ["normal", "rademacher"])
@pytest.mark.parametrize("dim", [1, 2])
def test_sliced_score_matching_has_the_same_expectation(dim, projection, variance_reduced):
    energy = Bent(dim)
    points, weight = gaussian_nodes(dim)
    if projection == "normal":  # the integrand is a quadratic form in v, so three nodes an axis are exact
        directions, chance = gaussian_nodes(dim, 3)
    else:
        directions = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=dim)), dtype=torch.float64)
        chance = torch.full((len(directions),), 1 / len(directions), dtype=torch.float64)
    v = directions.unsqueeze(1).expand(-1, len(points), -1).unsqueeze(0).contiguous()
    gradient, products = gradient_and_products(energy, no_x(points), points.unsqueeze(0), v)
    gradient, products, v = gradient.transpose(0, 1), products[0], v[0]
    expected = 0.0
    for m, probability in enumerate(chance):
        losses = objectives.sliced_score_matching_loss(
            gradient, products[m][:, None, None], v[m][:, None, None], variance_reduced
        )
        expected += float((probability * (weight @ losses)).detach())
    assert expected == pytest.approx(fisher_divergence(energy, points, weight, 1.0) - dim / 2, abs=1e-9)


def denoising_loss(energy: nn.Module, dim: int, sigma: float) -> float:
    """sigma² times the denoising objective on N(0, I), by quadrature over data and noise."""
    pairs, weight = gaussian_nodes(2 * dim)
    y, noise = pairs[:, :dim], pairs[:, dim:]
    level = torch.full((1, 1, 1), sigma, dtype=torch.float64)
    _, gradient = energy_and_gradient(energy, torch.zeros(1, 1, 0), (y + sigma * noise).unsqueeze(0))
    losses = objectives.denoising_score_matching_loss(gradient.transpose(0, 1), noise.unsqueeze(1), level)
    return float(weight @ losses)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_denoising_is_the_fisher_divergence_to_the_blurred_density(sigma):
    """sigma² F(p_sigma, E) + ½ d (1 - sigma² / (1 + sigma²)): Vincent 2011, with the score of N(0, (1 + sigma²) I)."""
    energy, variance = Bent(1), 1 + sigma**2
    points, weight = gaussian_nodes(1)
    fisher = fisher_divergence(energy, variance**0.5 * points, weight, variance)
    constant = 0.5 * (1 - sigma**2 / variance)
    assert denoising_loss(energy, 1, sigma) == pytest.approx(sigma**2 * fisher + constant, abs=1e-9)


def test_multiscale_denoising_is_least_at_the_scale_mixture():
    """Σ_k loss_k has slope 0, in every direction of the energy, at E = -ln Σ w_k p_k with w_k ∝ sigma_k² alone."""
    sigmas = torch.tensor([0.3, 0.6, 1.2], dtype=torch.float64)

    class Mixture(nn.Module):
        num_replicates = 1

        def __init__(self, power: float, step: float, frequency: float) -> None:
            super().__init__()
            self.power, self.step, self.frequency = power, step, frequency

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            variance = 1 + sigmas.square()
            each = self.power * sigmas.log() - 0.5 * variance.log() - 0.5 * y.square() / variance
            return -each.logsumexp(-1) + self.step * torch.sin(self.frequency * y[..., 0] + 0.4) + 0 * x.sum(-1)

    def slope(power: float, frequency: float) -> float:
        up, down = (
            sum(denoising_loss(Mixture(power, step, frequency), 1, float(s)) for s in sigmas) for step in (1e-3, -1e-3)
        )
        return (up - down) / 2e-3

    assert max(abs(slope(2.0, frequency)) for frequency in (0.5, 1.0, 2.0)) < 1e-8
    assert max(abs(slope(0.0, frequency)) for frequency in (0.5, 1.0, 2.0)) > 1e-3


def hessians(energy, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Full Hessians (R, B, dy, dy), one example at a time."""
    replicates = x.shape[0]

    def one(r: int, b: int) -> torch.Tensor:
        def value(point: torch.Tensor) -> torch.Tensor:
            return energy(x[:, b : b + 1], point.expand(replicates, 1, -1))[r, 0]

        return torch.autograd.functional.hessian(value, y[r, b])

    return torch.stack([torch.stack([one(r, b) for b in range(y.shape[1])]) for r in range(replicates)])


class Plain(nn.Module):
    """What a user writes: no closed form of its gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 7), nn.Softplus(), nn.Linear(7, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([x, y], -1)).squeeze(-1)


def energies(x_dim: int, y_dim: int):
    for activation in ("silu", "softplus", "tanh"):
        yield MLPEnergy((0, 1), x_dim, y_dim, Network(hidden=(6, 5), activation=activation)).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield Replicated([Plain(x_dim + y_dim) for _ in range(2)]).double()


@pytest.mark.parametrize(("x_dim", "y_dim"), [(0, 1), (0, 3), (2, 4)])
def test_products_and_traces_are_those_of_the_full_hessian(x_dim, y_dim):
    x, y, v = normals(2, 3, x_dim), normals(2, 3, y_dim, seed=1), normals(2, 5, 3, y_dim, seed=2)
    for energy in energies(x_dim, y_dim):
        full = hessians(energy, x, y)
        gradient, products = gradient_and_products(energy, x, y, v)
        torch.testing.assert_close(products, torch.einsum("rbij,rmbj->rmbi", full, v), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(gradient, energy_and_gradient(energy, x, y)[1])
        with torch.no_grad():
            _, trace = gradient_and_trace(energy, x, y)
        torch.testing.assert_close(trace, full.diagonal(dim1=-2, dim2=-1).sum(-1), rtol=1e-10, atol=1e-12)


def test_the_loss_is_differentiable_in_the_parameters():
    """Its derivative along a direction of the first weights equals a central difference of the loss."""
    energy = MLPEnergy((0, 1), 0, 2, Network(hidden=(6, 5))).double()
    x, y, weight = torch.zeros(2, 9, 0), normals(2, 9, 2), energy.trunk.weights[0]
    move = normals(*weight.shape, seed=5)

    def loss() -> torch.Tensor:
        return objectives.score_matching_loss(*gradient_and_trace(energy, x, y)).sum()

    (slope,) = torch.autograd.grad(loss(), weight)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight.add_(step * move)
        values.append(float(loss().detach()))
        with torch.no_grad():
            weight.sub_(step * move)
    assert float((slope * move).sum()) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_levels_are_geometric_and_equally_frequent():
    low, high = torch.tensor([0.1, 0.2]).reshape(2, 1, 1), torch.tensor([10.0, 0.2]).reshape(2, 1, 1)
    uniform = torch.rand(2, 60, 1, generator=generator(0))
    sigma = objectives.stratified_levels(low, high, 3, uniform)
    values, counts = sigma[0].unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.1, 1.0, 10.0]))
    assert counts.tolist() == [20, 20, 20]
    torch.testing.assert_close(sigma[1], torch.full((60, 1), 0.2))
    edge = objectives.stratified_levels(low, high, 3, torch.full((2, 60, 1), 1 - 2**-24))
    assert float(edge.max()) == pytest.approx(10.0)


SEEDS, EXAMPLES = range(8), 4000


def fitted(method: str, dim: int, **options) -> evp.Model:
    budget = evp.Budget(steps=300, batch_size=128, examples=EXAMPLES)
    return evp.fit(method, gaussian(dim), seeds=SEEDS, energy=Quadratic, budget=budget, learning_rate=0.06, **options)


def gap(model: evp.Model, dim: int) -> float:
    declared = model.method.gaussian_optimum.of(model.setting.options.replicates[0])
    return abs(float(mean_curvature(model, dim).mean()) - declared)


def tolerance(dim: int) -> float:
    """.01 is for what 300 steps leave."""
    return curvature_tolerance(dim, EXAMPLES, len(SEEDS), left=0.01)


@pytest.mark.parametrize(
    ("method", "options", "dim"),
    [
        *((method, {}, 8) for method in METHODS),
        *(pytest.param(method, {}, 1, marks=pytest.mark.slow) for method in METHODS),
        *(pytest.param(method, {}, 2, marks=pytest.mark.long) for method in METHODS),
        ("score_matching", {"sigma": 0.5}, 2),
        ("sliced_score_matching", {"variance_reduced": False, "projection": "normal", "projections": 4}, 2),
        ("multiscale_denoising_score_matching", {"sigma_max": 1.0}, 2),
    ],
)
def test_the_optimum_on_a_gaussian_is_the_declared_one(method, options, dim):
    model = fitted(method, dim, **options)
    assert all(status.ok for status in model.status)
    assert gap(model, dim) < tolerance(dim)


@pytest.mark.parametrize(
    ("module", "name", "method"),
    [
        (score_matching, "score_matching_loss", "score_matching"),
        (score_matching, "sliced_score_matching_loss", "sliced_score_matching"),
        (score_matching, "denoising_score_matching_loss", "multiscale_denoising_score_matching"),
        (denoising_score_matching, "denoising_score_matching_loss", "denoising_score_matching"),
    ],
)
def test_a_flipped_sign_fails_the_gaussian_test(module, name, method, monkeypatch):
    """The sign of the energy: ∇E and its products turn round, as if -E were trained."""
    objective = getattr(module, name)

    def flipped(gradient, second, *rest):
        return objective(-gradient, second if "denoising" in name else -second, *rest)

    monkeypatch.setattr(module, name, flipped)
    assert gap(fitted(method, 2), 2) > tolerance(2)


def test_a_step_costs_what_its_shapes_say():
    exact, sliced = evp.get_method("score_matching"), evp.get_method("sliced_score_matching")
    circle, digits = evp.get_task("circle"), evp.get_task("digits")
    assert exact.step_evaluations(exact.Options(), circle) == 9 * (1 + 2)
    assert exact.step_evaluations(exact.Options(), digits) == 9 * (1 + 64)
    assert sliced.step_evaluations(sliced.Options(projections=3), digits) == 9 * (1 + 3)
    model = evp.fit("score_matching", circle, seeds=[0, 1], budget=evp.Budget(steps=3, batch_size=16))
    assert [cost.energy_evaluations for cost in model.cost] == [27.0 * 16 * 3] * 2


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("score_matching", {"sigma": -0.1}, "sigma"),
        ("sliced_score_matching", {"projections": 0}, "projections"),
        ("sliced_score_matching", {"projection": "cauchy"}, "projection"),
        ("multiscale_denoising_score_matching", {"levels": 1}, "levels"),
        ("multiscale_denoising_score_matching", {"sigma_min": 0.6}, "sigma_max >= sigma_min = 0.6"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(ValueError, match=message):
        evp.fit(method, evp.get_task("circle"), budget=evp.Budget(steps=1), **options)


def test_raw_score_matching_of_thin_data_has_no_floor():
    """On points without a density the loss falls on and on, which blurred data stop: documented, and shown."""
    task, budget = evp.get_task("circle", thickness=0.0), evp.Budget(steps=200, batch_size=32, examples=100)
    raw, blurred = (
        evp.fit("score_matching", task, budget=budget, learning_rate=0.03, sigma=s).training.loss[0] for s in (0.0, 0.3)
    )
    assert float(raw[-20:].mean()) < 5 * float(blurred[-20:].mean()) < 0
