"""Modified Bessel functions of the first kind, scaled and logarithmic, differentiable in torch any number of times."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch

#: Above this argument differences of AMOS's values lose digits; Hankel's expansion has them, for spheres up to R^66.
_HANKEL_ABOVE = 1e5
_HANKEL_TERMS = 8
#: Above this order Debye's expansion has all digits at any argument, where AMOS's values leave the range of float64.
_DEBYE_ABOVE = 33.0
_DEBYE_TERMS = 9


def log_scaled_bessel(order: float, argument: torch.Tensor) -> torch.Tensor:
    """g_v(k) = ln[Gamma(v + 1) (2/k)^v exp(-k) I_v(k)]: float64 of any shape, for order v >= 0 and k >= 1.

    exp(g_v(k) + k) is the mean of exp(k u) over the first coordinate u of a uniform point on the unit sphere of
    R^(2v + 2), the normaliser of the von Mises-Fisher law (Mardia and Jupp, Directional Statistics, 2000, eq. 9.3.4).
    Values are SciPy's `ive` (Amos 1986), and Hankel's expansion (DLMF 10.40.1) for large arguments. The derivative is
    g_v' = k exp(g_{v+1} - g_v) / (2 v + 2) - 1 (DLMF 10.29.2), which is made of the same function. Orders above 33 have
    Debye's expansion (DLMF 10.41.3), with the large terms cancelled on paper.
    """
    if order > _DEBYE_ABOVE:
        return _debye(order, argument)
    far = argument > _HANKEL_ABOVE
    # Each branch gets arguments at which it is regular, so that neither puts a NaN into the other's derivatives.
    moderate: torch.Tensor = _LogScaledBessel.apply(order, torch.where(far, 1.0, argument))
    large = torch.where(far, argument, _HANKEL_ABOVE)
    total = term = torch.ones_like(large)
    for k in range(1, _HANKEL_TERMS + 1):
        term = -term * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k * large)
        total = total + term
    constant = math.lgamma(order + 1) + order * math.log(2) - 0.5 * math.log(2 * math.pi)
    return torch.where(far, total.log() - (order + 0.5) * large.log() + constant, moderate)


def _debye(order: float, argument: torch.Tensor) -> torch.Tensor:
    root = torch.hypot(argument, torch.full_like(argument, order))
    ratio = order / root
    total = torch.zeros_like(root)
    for k in range(_DEBYE_TERMS, 0, -1):
        polynomial = torch.zeros_like(root)
        for coefficient in _debye_polynomial(k)[::-1]:
            polynomial = polynomial * ratio + float(coefficient)
        total = (total + polynomial) / order
    large = order**2 / (root + argument) + order * torch.log(2.0 / (order + root))
    return math.lgamma(order + 1) + large - 0.5 * torch.log(2 * math.pi * root) + torch.log1p(total)


@cache
def _debye_polynomial(k: int) -> np.ndarray:
    """Coefficients of U_k(p), lowest power first (DLMF 10.41.9)."""
    if k == 0:
        return np.ones(1)
    previous = np.polynomial.Polynomial(_debye_polynomial(k - 1))
    factor = np.polynomial.Polynomial([0.0, 0.0, 0.5, 0.0, -0.5])
    integrand = np.polynomial.Polynomial([1.0, 0.0, -5.0]) * previous
    coefficients: np.ndarray = (factor * previous.deriv() + integrand.integ() / 8.0).coef
    return coefficients


def log_hypergeometric(order: float, square: torch.Tensor) -> torch.Tensor:
    """ln 0F1(; v + 1; s/4), which is g_v(k) + k for s = k²: smooth in s at 0, to 1e-15 for s in [0, 1]."""
    total = term = torch.ones_like(square)
    for k in range(1, 11):
        term = term * square / (4.0 * k * (order + k))
        total = total + term
    return total.log()


class _LogScaledBessel(torch.autograd.Function):
    """g_v by SciPy, with the rules that torch needs for any composition of its derivatives and for `vmap`."""

    @staticmethod
    def forward(order: float, argument: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(_values(order, argument.detach().cpu().numpy()))).to(argument)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[float, torch.Tensor], output: torch.Tensor) -> None:
        ctx.order = inputs[0]
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, gradients[0] * _slope(ctx.order, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        result: torch.Tensor = tangents[1] * _slope(ctx.order, *ctx.saved_tensors)
        return result

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int], order: float, argument: torch.Tensor) -> tuple[torch.Tensor, int]:
        result: torch.Tensor = _LogScaledBessel.apply(order, argument)
        return result, in_dims[1]


def _slope(order: float, argument: torch.Tensor) -> torch.Tensor:
    change = _LogScaledBessel.apply(order + 1, argument) - _LogScaledBessel.apply(order, argument)
    slope: torch.Tensor = argument * change.exp() / (2 * order + 2) - 1
    return slope


def _values(order: float, argument: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln, ive

    values: np.ndarray = np.log(ive(order, argument)) + gammaln(order + 1) + order * np.log(2 / argument)
    return values


__all__ = ["log_hypergeometric", "log_scaled_bessel"]
