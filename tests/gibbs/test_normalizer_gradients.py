"""The gradient of ln Z by every normaliser, in the energy's parameters, in x and in beta: -E_p of the slope of beta E.

Against central differences of the same estimate, and against autograd through a dense fixed quadrature, which shares no
code with any of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling, Quadrature
from ebm_vs_prob.gibbs.normalizers.pareto import pareto_smoothed
from ebm_vs_prob.gibbs.normalizers.partition import Normalizer

BOUNDS = (-3.0, 3.0)
#: Parameters (3), x and beta of two densities.
AT = (
    torch.tensor([0.2, 0.5, 1.3], dtype=torch.float64),
    torch.tensor([[0.4], [-0.7]], dtype=torch.float64),
    torch.tensor([0.8, 2.5], dtype=torch.float64),
)
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
LogZ = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def energy(theta: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        bowl = theta[0].exp() * (y - theta[1] - 0.5 * x).square().sum(-1)
        return bowl + 0.6 * torch.cos(theta[2] * y[..., 0] + x[..., 0])

    return of


def by(normalizer: Normalizer, dim: int) -> LogZ:
    def log_z(theta: torch.Tensor, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        density = evp.GibbsBoltzmann(energy(theta), x=x, beta=beta, y_dim=dim, bounds=BOUNDS, normalizer=normalizer)
        return density.log_partition()[0]

    return log_z


def dense(dim: int) -> LogZ:
    """The trapezoidal rule on a fixed lattice."""
    axis = torch.linspace(*BOUNDS, 401 if dim == 2 else 4001, dtype=torch.float64)
    weight = torch.full_like(axis, float(axis[1] - axis[0]))
    weight[[0, -1]] /= 2
    nodes = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    log_weights = torch.cartesian_prod(*[weight] * dim).reshape(-1, dim).log().sum(-1)

    def log_z(theta: torch.Tensor, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        values = energy(theta)(x.unsqueeze(-2), nodes.expand(2, -1, -1))
        return (log_weights - beta.unsqueeze(-1) * values).logsumexp(-1)

    return log_z


def gradients(log_z: LogZ) -> Inputs:
    """d ln Z_b / d each input, for each density b, first: (2, 3), (2, 2, 1), (2, 2)."""
    inputs = tuple(each.clone().requires_grad_() for each in AT)
    rows = [torch.autograd.grad(value, inputs, retain_graph=True) for value in log_z(*inputs)]  # type: ignore[arg-type]
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def differences(log_z: LogZ, step: float = 1e-5) -> Inputs:
    """The same by central differences."""
    found = []
    with torch.no_grad():
        for position, at in enumerate(AT):
            slopes = []
            for k in range(at.numel()):
                values = []
                for sign in (1, -1):
                    moved = at.clone()
                    moved.view(-1)[k] += sign * step
                    values.append(log_z(*AT[:position], moved, *AT[position + 1 :]))  # type: ignore[arg-type]
                slopes.append((values[0] - values[1]) / (2 * step))
            found.append(torch.stack(slopes, -1).reshape(2, *at.shape))
    return tuple(found)  # type: ignore[return-value]


def test_the_dense_rule_is_its_own_difference() -> None:
    for analytic, numeric in zip(gradients(dense(1)), differences(dense(1)), strict=True):
        torch.testing.assert_close(analytic, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2])
def test_quadrature(dim: int) -> None:
    log_z = by(Quadrature(rtol=1e-7), dim)
    for analytic, numeric, exact in zip(gradients(log_z), differences(log_z), gradients(dense(dim)), strict=True):
        torch.testing.assert_close(analytic, numeric, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(analytic, exact, rtol=1e-4, atol=1e-6)


def fixed(smoothed: bool = False, count: int = 20_000) -> ImportanceSampling:
    generator = torch.Generator().manual_seed(0)
    samples = 1.2 * torch.randn(count, 1, generator=generator, dtype=torch.float64) + 0.5
    log_density = torch.distributions.Normal(torch.tensor(0.5).double(), 1.2).log_prob(samples[:, 0])
    return ImportanceSampling(samples=samples, log_density=log_density, pareto_smoothed=smoothed)


def test_importance_sampling_on_fixed_draws() -> None:
    few = by(fixed(count=300), 1)
    for analytic, numeric in zip(gradients(few), differences(few), strict=True):
        torch.testing.assert_close(analytic, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("smoothed", [False, True])
def test_importance_sampling_is_near_the_exact_gradient(smoothed: bool) -> None:
    for analytic, exact in zip(gradients(by(fixed(smoothed), 1)), gradients(dense(1)), strict=True):
        torch.testing.assert_close(analytic, exact, rtol=0.05, atol=0.03)


def test_pareto_smoothed_gradients_are_means_under_the_smoothed_weights() -> None:
    """Not the derivative of the smoothing, whose quantiles move: -E of the slope, by the weights that are there."""
    sampling = fixed(smoothed=True)
    theta, x, beta = AT
    density = evp.GibbsBoltzmann(energy(theta), x=x, beta=beta, bounds=BOUNDS, normalizer=sampling)
    partition = density._memory.partition()
    log_weights = partition.log_weights()  # type: ignore[attr-defined]
    share = pareto_smoothed(log_weights)[0].softmax(-1)
    values = energy(theta)(x.unsqueeze(-2), partition.rows)  # type: ignore[attr-defined]
    mean_energy = (share * values).sum(-1)
    (_, _, in_beta) = gradients(by(sampling, 1))
    torch.testing.assert_close(in_beta, torch.diag(-mean_energy), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 3])
def test_annealed_importance_sampling_against_differences_on_its_chains(dim: int) -> None:
    """On chains that were annealed once ln Z is a differentiable function of everything, as by importance sampling."""
    theta, x, beta = AT
    sampling = AnnealedImportanceSampling(100, 20, step_size=0.3)

    class Held:
        """The normaliser whose chains stay where they ended at the inputs given first."""

        def partition(self, target):  # type: ignore[no-untyped-def]
            made = sampling.partition(anchor.target)
            made.target = target
            return made

    anchor = evp.GibbsBoltzmann(energy(theta), x=x, beta=beta, y_dim=dim, bounds=BOUNDS)
    log_z = by(Held(), dim)
    for analytic, numeric in zip(gradients(log_z), differences(log_z), strict=True):
        torch.testing.assert_close(analytic, numeric, rtol=1e-5, atol=1e-7)


def test_annealed_importance_sampling_is_near_the_exact_gradient() -> None:
    log_z = by(AnnealedImportanceSampling(4000, 60, step_size=0.5), 1)
    for analytic, exact in zip(gradients(log_z), gradients(dense(1)), strict=True):
        torch.testing.assert_close(analytic, exact, rtol=0.05, atol=0.04)


def test_the_tolerance_would_see_the_wrong_sign_or_half_the_slope() -> None:
    for exact in gradients(dense(1)):
        assert float(exact.abs().max()) > 0.3


@pytest.mark.parametrize(
    "normalizer",
    [Quadrature(), fixed(), fixed(smoothed=True), AnnealedImportanceSampling(50, 10)],
    ids=["quadrature", "importance", "smoothed", "annealed"],
)
def test_log_prob_carries_both_slopes(normalizer: Normalizer) -> None:
    """d ln p / d beta = -E(y) + E_p[E], by the same estimate of the mean as ln Z has."""
    theta, x, beta = AT[0], AT[1], AT[2].clone().requires_grad_()
    y = torch.tensor([[0.3], [1.0]], dtype=torch.float64)
    density = evp.GibbsBoltzmann(energy(theta), x=x, beta=beta, bounds=BOUNDS, normalizer=normalizer)
    (whole,) = torch.autograd.grad(density.log_prob(y).sum(), beta)
    (of_log_z,) = torch.autograd.grad(density.log_partition()[0].sum(), beta)
    torch.testing.assert_close(whole, -energy(theta)(x, y) - of_log_z, rtol=1e-9, atol=1e-12)
