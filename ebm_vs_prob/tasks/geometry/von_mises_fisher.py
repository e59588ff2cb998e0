"""The von Mises-Fisher law on the unit sphere of R^m, blurred by isotropic Gaussian noise: exact in any dimension.

The point integrates out of the density in closed form: the noise only adds y / eps² to the natural parameter (Mardia
and Jupp, Directional Statistics, 2000, section 9.3.2). The mean direction is the first axis.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...core.approximate import Approximate
from ..quadrature import refined
from .bessel import log_hypergeometric, log_scaled_bessel
from .spheres import log_area, radial_nodes

#: Angles at which the density is below exp(-DEPTH) of its largest are left out of the entropy.
DEPTH = 50.0


def log_density(y: torch.Tensor, eps: float, concentration: float) -> torch.Tensor:
    """ln p(y) in nats at noise eps > 0, y (..., m) with m >= 2: (...) float64, smooth in y everywhere."""
    return _log_density(y[..., 0], y[..., 1:].square().sum(-1), y.shape[-1], eps, concentration)


def log_surface_density(cosine: torch.Tensor, dim: int, concentration: float) -> torch.Tensor:
    """ln of the density on the sphere of R^dim by its area, at cosines with the mean direction."""
    return concentration * (cosine - 1) - _log_mean(dim / 2 - 1, concentration) - log_area(dim)


def _log_density(
    first: torch.Tensor, rest_square: torch.Tensor, dim: int, eps: float, concentration: float
) -> torch.Tensor:
    """ln p at points by their first coordinate and the squared norm of the others.

    As in `circle`, the exponent w - kappa - (r² + 1) / (2 eps²), w = |kappa e1 + y / eps²|, is a small difference of
    large terms near the sphere, so the largest are cancelled on paper: round the shifted radius eps² w, or round kappa
    where that exceeds 1 / eps². Each branch gets arguments at which it is regular, so that neither puts a NaN into the
    other's derivatives.
    """
    variance, order = eps**2, dim / 2 - 1
    square_radius = first.square() + rest_square
    square = ((first + concentration * variance).square() + rest_square) / variance**2
    near = square < 1.0
    argument = torch.where(near, 1.0, square).sqrt()
    if concentration * variance <= 1.0:
        exponent = concentration * first + concentration * (concentration * variance / 2 - 1)
        exponent = exponent - (argument * variance - 1).square() / (2 * variance)
    else:
        exponent = (2 * concentration * first + square_radius / variance) / (variance * (argument + concentration))
        exponent = exponent - (square_radius + 1) / (2 * variance)
    away = log_scaled_bessel(order, argument) + exponent
    central = log_hypergeometric(order, torch.where(near, square, 0.0)) - concentration
    central = central - (square_radius + 1) / (2 * variance)
    constant = _log_mean(order, concentration) + dim / 2 * math.log(2 * math.pi * variance)
    return torch.where(near, central, away) - constant


def _log_mean(order: float, concentration: float) -> float:
    """ln of the mean over the sphere of exp(concentration (u_1 - 1))."""
    value = torch.tensor(concentration, dtype=torch.float64, device="cpu")
    if concentration < 1.0:
        return float(log_hypergeometric(order, value.square())) - concentration
    return float(log_scaled_bessel(order, value))


def draw(rng: np.random.Generator, n: int, dim: int, concentration: float) -> np.ndarray:
    """n points (n, dim) of the sphere: the cosine by Wood's rejection (1994, Simulation of the von Mises-Fisher
    distribution, algorithm VM*), the direction across it uniform."""
    shape = dim - 1.0
    spread = shape / (2 * concentration + math.hypot(2 * concentration, shape))
    centre = (1 - spread) / (1 + spread)
    top = concentration * centre + shape * math.log1p(-(centre**2))
    cosine = np.empty(0)
    while len(cosine) < n:
        beta = rng.beta(shape / 2, shape / 2, n)
        proposed = (1 - (1 + spread) * beta) / (1 - (1 - spread) * beta)
        log_ratio = concentration * proposed + shape * np.log1p(-centre * proposed) - top
        cosine = np.append(cosine, proposed[np.log(rng.random(n)) <= log_ratio])
    cosine = cosine[:n, None]
    across = rng.standard_normal((n, dim - 1))
    across *= np.sqrt(1 - cosine**2) / np.linalg.norm(across, axis=1, keepdims=True)
    return np.concatenate([cosine, across], axis=1)


def entropy(dim: int, eps: float, concentration: float) -> Approximate:
    """h in nats at noise eps > 0, to 1e-8: Gauss-Legendre nodes over the radius and over the angle to the mean."""
    centre = math.sqrt(1 + (dim - 1) * eps**2)

    def log_mass(radius: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ln of the density of radius and angle, and ln p, on the grid of both."""
        radius, angle = radius[:, None], angle[None, :]
        first, rest = radius * np.cos(angle), (radius * np.sin(angle)) ** 2
        log_p = _log_density(torch.from_numpy(first), torch.from_numpy(rest), dim, eps, concentration).numpy()
        shell = (dim - 1) * np.log(radius) + (dim - 2) * np.log(np.sin(angle))
        return log_p + shell + log_area(dim - 1), log_p

    coarse = (np.arange(4000) + 0.5) * (np.pi / 4000)
    # At each radius the angle has one mode; the widest law of the angle is that of the radii in the middle.
    profile = log_mass(centre + eps * np.linspace(-1, 1, 3) * min(1.0, 0.9 * centre / eps), coarse)[0]
    kept = coarse[(profile - profile.max(1, keepdims=True) > -DEPTH).any(0)]
    low, high = max(0.0, kept[0] - np.pi / 4000), min(np.pi, kept[-1] + np.pi / 4000)

    def quadrature(num_nodes: int) -> float:
        node, weight = np.polynomial.legendre.leggauss(num_nodes)
        radius, radius_weight = radial_nodes(centre, eps, num_nodes)
        mass, log_p = log_mass(radius, low + (high - low) * (node + 1) / 2)
        return float(-radius_weight @ (np.exp(mass) * log_p) @ weight * (high - low) / 2)

    return refined(quadrature, start=64, tolerance=1e-9)


__all__ = ["draw", "entropy", "log_density", "log_surface_density"]
