"""Free energies: both ends of beta, exact values, monotonicity, and accuracy where the textbook formula fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import ebm_vs_prob as evp

energies_and_weights = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.floats(-1e3, 1e3)), arrays(np.float64, n, elements=st.floats(-20, 20))
    )
)
betas = st.floats(0, 1e6) | st.just(math.inf)


@given(energies_and_weights, betas)
def test_lies_between_the_minimum_and_the_mean(pair: tuple[np.ndarray, np.ndarray], beta: float) -> None:
    energies, log_weights = pair
    mean = float(np.average(energies, weights=np.exp(log_weights - log_weights.max())))
    value = float(evp.free_energy(energies, beta, 0, log_weights))
    assert energies.min() - 1e-9 <= value <= mean + 1e-9


@given(energies_and_weights, betas, betas)
def test_falls_as_beta_grows(pair: tuple[np.ndarray, np.ndarray], first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert evp.free_energy(pair[0], high, 0, pair[1]) <= evp.free_energy(pair[0], low, 0, pair[1]) + 1e-9


@given(energies_and_weights, st.floats(-50, 50))
def test_shifts_with_the_energy_and_ignores_the_scale_of_the_weights(
    pair: tuple[np.ndarray, np.ndarray], shift: float
) -> None:
    value = float(evp.free_energy(pair[0], 0.7, 0, pair[1]))
    assert float(evp.free_energy(pair[0] + shift, 0.7, 0, pair[1] + shift)) == pytest.approx(value + shift, abs=1e-9)


@pytest.mark.parametrize("beta", [1e-8, 1e-4, 0.3, 1.0, 40.0])
def test_is_exact_for_a_linear_energy(beta: float) -> None:
    """For E = a u with u uniform on [0, 1]: F = -1/beta ln((1 - exp(-beta a)) / (beta a))."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    a = 3.0
    value = float(evp.free_energy(a * (nodes + 1) / 2, beta, 0, np.log(weights)))
    exact = -math.log(-math.expm1(-beta * a) / (beta * a)) / beta if beta > 1e-3 else a / 2 - beta * a**2 / 24
    assert value == pytest.approx(exact, rel=1e-10)


def test_small_beta_gives_the_mean_and_infinite_beta_the_minimum() -> None:
    energies = torch.tensor([1.0, 2.0, 4.0, 1e3], dtype=torch.float64)
    assert float(evp.free_energy(energies, 1e-12, 0)) == pytest.approx(float(energies.mean()), abs=1e-6)
    assert float(evp.free_energy(energies[:3], 1e-8, 0)) == pytest.approx(7 / 3, abs=1e-7)
    assert float(evp.free_energy(energies, 0.0, 0)) == float(energies.mean())
    assert float(evp.free_energy(energies, math.inf, 0)) == 1.0
    # Nodes without weight and forbidden nodes count for nothing.
    log_weights = torch.tensor([-math.inf, 0.0, 0.0, 0.0])
    assert float(evp.free_energy(energies, math.inf, 0, log_weights)) == 2.0
    forbidden = torch.tensor([1.0, math.inf], dtype=torch.float64)
    assert float(evp.free_energy(forbidden, 2.0, 0)) == pytest.approx(1.0 + math.log(2) / 2)


def test_no_overflow_at_huge_energies() -> None:
    energies = torch.tensor([1e8, 1e8 + 1, -1e8], dtype=torch.float64)
    assert float(evp.free_energy(energies, 50.0, 0)) == pytest.approx(-1e8 + math.log(3) / 50)


def test_shapes_dtypes_and_many_betas() -> None:
    energies = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert evp.free_energy(energies, 1.0, 1).shape == (4, 6)
    assert evp.free_energy(energies, 1.0, 1).dtype == torch.float32
    assert evp.free_energy([1, 2], 1.0, 0).dtype == torch.float64
    beta = torch.tensor([0.0, 1e-6, 1.0, 1e3, math.inf], dtype=torch.float64)
    together = evp.free_energy(energies.double().unsqueeze(-1), beta, 1)
    for k, each in enumerate(beta):
        torch.testing.assert_close(together[..., k], evp.free_energy(energies.double(), float(each), 1))


@pytest.mark.parametrize("beta", [0.0, 1e-9, 0.02, 3.0, math.inf])
def test_is_differentiable(beta: float) -> None:
    """dF/dE_i is the Gibbs weight of node i."""
    energies = torch.tensor([0.3, -0.2, 1.7], dtype=torch.float64, requires_grad=True)
    log_weights = torch.tensor([0.1, -1.0, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(evp.free_energy(energies, beta, 0, log_weights), energies)
    expected = torch.tensor([0.0, 1.0, 0.0]).double()
    if math.isfinite(beta):
        expected = (log_weights - beta * energies.detach()).softmax(0)
    torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("beta", [-1.0, math.nan, -math.inf])
def test_a_bad_beta_is_named(beta: float) -> None:
    with pytest.raises(ValueError, match="beta = "):
        evp.free_energy([1.0, 2.0], beta, 0)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"log_weights\.shape"):
        evp.free_energy(torch.zeros(3), 1.0, 0, torch.zeros(4))
    with pytest.raises(ValueError, match="dim = 1"):
        evp.free_energy(torch.zeros(3), 1.0, 1)
    with pytest.raises(ValueError, match=r"energies\.shape"):
        evp.free_energy(torch.zeros(3, 0), 1.0, 1)
