"""Ellipses (a cos t, b sin t) with isotropic Gaussian noise, t uniform: nearest point, density, entropy, direction.

Points are folded into the first quadrant, where each has one nearest point, and coordinates are swapped where b > a.
The density is the integral of the noise over t, cut where distance has its extrema: one or two minima and as many
maxima, the inner ones within the evolute only, (a p)^(2/3) + (b q)^(2/3) = (a² - b²)^(2/3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.errors import NoExactReference
from ..quadrature import refined

#: Halvings of an interval that must be found to rounding error, to some 1e-9, and only roughly.
EXACT, FINE, ROUGH = 52, 30, 12
#: The density is integrated as far as it is above exp(-DEPTH) of its largest, with this many nodes on each of 4 arcs.
DEPTH, NODES = 36.0, 24
#: An arc is cut to 2^-k of its length, k up to the first number, found by the second number of halvings.
CUTS, CUT_HALVINGS = 40.0, 7
#: Points whose density is computed at once.
BLOCK = 4096
#: Noise below this share of the smaller semi-axis is thin: the logarithm of the density is all but a polynomial in it.
THIN = 0.1
#: What the log-density may be off by, in nats.
OF_DENSITY = 1e-8

Function = Callable[[torch.Tensor], torch.Tensor]


def _rises(function: Function, low: torch.Tensor, high: torch.Tensor, halvings: int) -> torch.Tensor:
    """Where a function goes from negative to positive between `low` and `high`; an end where it does not."""
    for _ in range(halvings):
        middle = 0.5 * (low + high)
        above = function(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return 0.5 * (low + high)


def _slope(sine: torch.Tensor, cosine: torch.Tensor, product: torch.Tensor) -> Function:
    """sine * sin t + cosine * cos t - product * sin t cos t, times (1 + u²)², as a polynomial in u = tan(t / 2).

    Half the squared distance from (p, q) to (a cos t, b sin t) has the slope
    a p sin t - b q cos t - (a² - b²) sin t cos t.
    """

    def polynomial(u: torch.Tensor) -> torch.Tensor:
        square = u * u
        return 2 * u * (sine * (1 + square) - product * (1 - square)) + cosine * (1 - square * square)

    return polynomial


def _nearest(a: torch.Tensor, b: torch.Tensor, p: torch.Tensor, q: torch.Tensor, halvings: int) -> torch.Tensor:
    """t in [0, π/2] of the point nearest to (p, q), p, q >= 0: the one root there of the distance's slope."""
    zero = torch.zeros_like(p * a)
    return 2 * _rises(_slope(a * p, -b * q, a**2 - b**2), zero, zero + 1, halvings).atan()


def distance(axes: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Distance from y (..., 2) to the ellipse of semi-axes (..., 2): (...) float64."""
    (a, b), (p, q) = axes.unbind(-1), y.abs().unbind(-1)
    t = _nearest(a, b, p, q, EXACT)
    return torch.hypot(p - a * t.cos(), q - b * t.sin())


def log_density(axes: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    """ln p(y) in nats at noise eps > 0, y (..., 2), semi-axes (..., 2): (...) float64, twice differentiable in y.

    Gauss-Legendre nodes on four arcs, from the one or two nearest points to the farthest ones, each cut where the
    integrand is exp(-36) of its largest; the error is below 1e-9.
    """
    axes, y = torch.broadcast_tensors(axes, y)
    # Not abs(): its second derivative at 0 would be lost.
    y = torch.where(y.detach() < 0, -y, y)
    (a, b), (p, q) = axes.unbind(-1), y.unbind(-1)
    swapped = a < b
    a, b, p, q = (torch.where(swapped, *pair) for pair in ((b, a), (a, b), (q, p), (p, q)))
    start, length, way, least = _arcs(a, b, p.detach(), q.detach())
    depth = DEPTH * eps**2

    a, b, p, q, least = (value.unsqueeze(-1) for value in (a, b, p, q, least))
    fixed = p.detach(), q.detach()

    def half_square(t: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((p - a * t.cos()) ** 2 + (q - b * t.sin()) ** 2)

    def too_far(cuts: torch.Tensor) -> torch.Tensor:
        return depth - (half_square(start + way * length * torch.exp2(-cuts), *fixed) - least)

    low = torch.zeros_like(length)
    high = low + CUTS
    for _ in range(CUT_HALVINGS):
        middle = 0.5 * (low + high)
        far = too_far(middle) < 0
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    length = length * torch.exp2(-low)

    node, weight = (torch.from_numpy(part).to(y) for part in np.polynomial.legendre.leggauss(NODES))
    t = (start + 0.5 * way * length).unsqueeze(-1) + 0.5 * (way * length).unsqueeze(-1) * node
    a, b, p, q, least = (value.unsqueeze(-1) for value in (a, b, p, q, least))
    part = torch.exp(-(half_square(t, p, q) - least) / eps**2)
    integral = (part * weight * 0.5 * length.unsqueeze(-1)).sum((-2, -1))
    return integral.log() - least[..., 0, 0] / eps**2 - 2 * math.log(2 * math.pi * eps)


def log_density_in_blocks(axes: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    """`log_density` of many points y (n, 2) at semi-axes (n, 2) or (2,), in blocks that stay in cache: (n,)."""
    parts = zip(axes.expand(len(y), 2).split(BLOCK), y.split(BLOCK), strict=True)
    return torch.cat([log_density(*part, eps) for part in parts])


def _arcs(
    a: torch.Tensor, b: torch.Tensor, p: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Arcs along which the distance from (p, q) grows: start, length and way, (..., 4), and half its least square.

    Needs a >= b > 0 and p, q >= 0. Where there is no second nearest point, its arc has no length.
    """
    nearest = _nearest(a, b, p, q, FINE)
    zero = torch.zeros_like(p)
    # At -t, downwards, the slope over sin t cos t is least at `turn`; below 0 there, its roots are the inner extrema.
    opposite = _slope(a * p, b * q, a**2 - b**2)
    along, across = (a * p).pow(1 / 3), (b * q).pow(1 / 3)
    turn = across / (along + torch.hypot(along, across)).clamp_min(torch.finfo(p.dtype).tiny)
    inner_farthest = 2 * _rises(lambda u: -opposite(u), zero, turn, ROUGH).atan()
    inner_nearest = 2 * _rises(opposite, turn, zero + 1, FINE).atan()
    # The farthest point, at π + t.
    farthest = 2 * _rises(_slope(a * p, -b * q, b**2 - a**2), zero, zero + 1, ROUGH).atan()
    start = torch.stack([nearest, -inner_nearest, -inner_nearest, nearest], -1)
    length = torch.stack([
        nearest + inner_farthest,
        (inner_nearest - inner_farthest).clamp_min(0.0),
        math.pi - farthest - inner_nearest,
        math.pi + farthest - nearest,
    ], -1)  # fmt: skip
    least = 0.5 * ((p - a * nearest.cos()) ** 2 + (q - b * nearest.sin()) ** 2)
    return start, length, torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64, device="cpu").to(p), least


def entropy(a: float, b: float, eps: float) -> Approximate:
    """h(Y) in nats at noise eps > 0, to 1e-8.

    Thin: the midpoint rule over a quarter turn, Gauss-Hermite over the noise. Thick: the midpoint rule over a quarter
    of the plane. Each is refined until it stays within 1e-9.
    """
    rule = _over_the_noise if eps <= THIN * min(a, b) else _over_the_plane
    start = 8 if eps <= THIN * min(a, b) else 2
    return refined(lambda resolution: rule(a, b, eps, resolution), start, tolerance=1e-9, of_integrand=OF_DENSITY)


def _over_the_noise(a: float, b: float, eps: float, resolution: int) -> float:
    node, weight = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(resolution))
    noise = eps * torch.cartesian_prod(node, node)
    share = torch.cartesian_prod(weight, weight).prod(-1) / (2 * math.pi * resolution)
    t = (torch.arange(resolution, dtype=torch.float64, device="cpu") + 0.5) * (0.5 * math.pi / resolution)
    axes = torch.tensor([a, b], dtype=torch.float64, device="cpu")
    y = (axes * torch.stack([t.cos(), t.sin()], -1)).unsqueeze(1) + noise
    return -float((log_density_in_blocks(axes, y.flatten(0, 1), eps) * share.repeat(resolution)).sum())


def _over_the_plane(a: float, b: float, eps: float, resolution: int) -> float:
    spacing = eps / resolution
    sides = [
        (torch.arange(math.ceil((axis + 9 * eps) / spacing), dtype=torch.float64, device="cpu") + 0.5) * spacing
        for axis in (a, b)
    ]
    axes = torch.tensor([a, b], dtype=torch.float64, device="cpu")
    log_p = log_density_in_blocks(axes, torch.cartesian_prod(*sides), eps)
    return -4 * spacing**2 * float((log_p.exp() * log_p).sum())


#: Terms of a series of directions at first and at most, and what of them the last ones may have.
_TERMS, _MOST_TERMS, _NEGLIGIBLE = 48, 768, 1e-10


def direction_series(a: float, b: float, eps: float) -> np.ndarray:
    """Coefficients c_k of the density (1 + Σ c_k cos 2kφ) / 2π of φ, the angle of (Y_1 / a, Y_2 / b): (terms,).

    As many as it takes for the last to be negligible.

    Raises:
        NoExactReference: the directions are too concentrated for a series.
    """
    terms = _TERMS
    while terms <= _MOST_TERMS:
        found = _direction_series(a, b, eps, terms)
        if np.abs(found[-4:]).max() < _NEGLIGIBLE:
            return found
        terms *= 2
    raise NoExactReference(
        f"ellipse of semi-axes {a:g} and {b:g} at thickness {eps:g}: its directions are too concentrated for a series"
    )


def _direction_series(a: float, b: float, eps: float, terms: int) -> np.ndarray:
    """The first coefficients.

    Given t, (Y_1 / a, Y_2 / b) is normal round (cos t, sin t), and its direction a projected normal (Mardia and Jupp,
    Directional Statistics, 2000, section 3.5.6), which is integrated over t. No noise leaves φ = t, uniform.
    """
    from scipy.special import ndtr

    if eps == 0.0:
        return np.zeros(terms)
    phi = (np.arange(4 * terms) + 0.5) * (0.5 * np.pi / (4 * terms))
    node, weight = np.polynomial.legendre.leggauss(16)
    reach = min(np.pi, 12.0 * eps / min(a, b))
    edges = np.linspace(-reach, reach, 33)
    half = 0.5 * (edges[1] - edges[0])
    delta = (edges[:-1, None] + half * (1.0 + node)).ravel()
    delta_weight = np.tile(half * weight, len(edges) - 1)
    t = phi[:, None] - delta
    u = a * np.cos(phi)[:, None] / eps, b * np.sin(phi)[:, None] / eps
    mean = a * np.cos(t) / eps, b * np.sin(t) / eps
    squared = u[0] ** 2 + u[1] ** 2
    along = (u[0] * mean[0] + u[1] * mean[1]) / np.sqrt(squared)
    root = a * b / eps**2  # of the determinant of the precision
    around = np.exp(-0.5 * (root * np.sin(delta)) ** 2 / squared)
    far = np.exp(-0.5 * (mean[0] ** 2 + mean[1] ** 2))
    density = root / (2 * np.pi * squared) * (far + np.sqrt(2 * np.pi) * along * ndtr(along) * around)
    values = (density * delta_weight).sum(1)  # 2π times the mean over t, and so 1 on average
    order = np.arange(1, terms + 1)
    coefficients: np.ndarray = 2.0 * (values[:, None] * np.cos(2 * np.outer(phi, order))).mean(0)
    return coefficients
