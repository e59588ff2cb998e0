"""The Klein bottle in R^4, blurred: a tube whose plane turns half as fast as its centre.

Along the angle of the centres the distance to the circles may have up to four minima, roots of a polynomial.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.errors import NoExactReference
from ..quadrature import refined
from .arcs import zero_between
from .surfaces import OF_DENSITY
from .tubes import BLOCK, TUBE, Tube

#: The least distances are bisected within CLUSTER of the roots that tell of them. Near the circle of the centres six
#: roots fall together, and are found no better than that.
CLUSTER = 8e-3
#: Noise up to which the entropy is integrated, in coordinates along the bottle and normal to it.
THICK = 0.05


class KleinBottle(Tube):
    """In R^4: e1 turns in the plane of the first two axes, e2 half as fast in that of the others.

    (phi + 2 pi, theta) and (phi, -theta) are one point, and so have one density.
    """

    dim = 4

    def _coordinates(self, phi: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        half_cosine, half_sine = (phi / 2).cos(), (phi / 2).sin()
        cosine, sine = half_cosine.square() - half_sine.square(), 2 * half_sine * half_cosine
        along, first = y[..., 0] * cosine + y[..., 1] * sine, y[..., 1] * cosine - y[..., 0] * sine
        height = y[..., 2] * half_cosine + y[..., 3] * half_sine
        second = y[..., 3] * half_cosine - y[..., 2] * half_sine
        return along, height, torch.stack([first, second], -1)

    def _embed(self, phi: torch.Tensor, radius: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
        half = phi / 2
        return torch.stack([radius * phi.cos(), radius * phi.sin(), height * half.cos(), height * half.sin()], -1)

    def _extrema(self, y: torch.Tensor, halvings: int) -> torch.Tensor:
        """All roots of the trigonometric polynomial 4 a'² Q - TUBE² Q'², where a = <y, e1>, Q = (a - 1)² + <y, e2>².

        Half the squared distance is (|y|² + 1 + TUBE²) / 2 - a - TUBE sqrt(Q), and at its extrema 2 a' sqrt(Q) =
        - TUBE Q'. The polynomial is of degree 4 in phi and 8 in tan(phi / 2), taken from an angle where it is large.
        """
        first, second = torch.complex(y[..., 0], -y[..., 1]), torch.complex(y[..., 2], -y[..., 3])
        zero = torch.zeros_like(first)
        constant = (first.abs().square() + second.abs().square()) / 2 + 1
        positive = [constant.to(first), second.square() / 4 - first, first.square() / 4]
        square = torch.stack([part.conj() for part in positive[:0:-1]] + positive, -1)
        order = torch.arange(-2, 3, dtype=y.dtype, device=y.device)
        turned = torch.stack([-0.5j * first.conj(), zero, 0.5j * first], -1)
        derivative = order * 1j * square
        series = 4 * _product(_product(turned, turned), square) - TUBE**2 * _product(derivative, derivative)
        phi = _roots(series)

        def slope(phi: torch.Tensor) -> torch.Tensor:
            """That of half the squared distance, times sqrt(Q)."""
            along, height, normal = self._coordinates(phi, y.unsqueeze(-2))
            along_slope, height_slope = normal[..., 0], normal[..., 1] / 2
            half_slope = (along - 1) * along_slope + height * height_slope
            return -torch.hypot(along - 1, height) * along_slope - TUBE * half_slope

        low, high = phi - CLUSTER, phi + CLUSTER
        least = (slope(low) < 0) & (slope(high) > 0)
        return torch.where(least, zero_between(slope, low, high, halvings), phi)

    def _log_area_element(self, phi: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """The tangents are orthogonal: TUBE along theta, and along phi (1 + TUBE cos theta, TUBE sin theta / 2)."""
        return math.log(TUBE) + torch.hypot(1 + TUBE * theta.cos(), 0.5 * TUBE * theta.sin()).log()

    def entropy(self, eps: float) -> Approximate:
        """To 1e-6, over both angles and Gauss-Hermite nodes of the two normal coordinates, where those are small.

        Raises:
            NoExactReference: thicker than .05.
        """
        if eps > THICK:
            raise NoExactReference(
                f"manifold: the entropy of a Klein bottle thicker than {THICK} is an integral over R^4 of a density "
                "that is itself one, too dear to refine to a stated tolerance: use reference.sampled_entropy()"
            )
        return refined(
            lambda nodes: self._over_the_normals(eps, nodes), 6, tolerance=1e-6, doublings=3, of_integrand=OF_DENSITY
        )

    def _over_the_normals(self, eps: float, resolution: int) -> float:
        node, weight = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(resolution // 12 + 6))
        # Even in both angles, the normal coordinates taken together.
        angle = (torch.arange(resolution, dtype=torch.float64, device="cpu") + 0.5) * (math.pi / resolution)
        places = torch.cartesian_prod(angle, angle, eps * node, eps * node)
        share = torch.cartesian_prod(weight, weight).prod(-1) * (2 * math.pi / resolution) ** 2 * eps**2
        share = share * torch.exp(0.5 * torch.cartesian_prod(node, node).square().sum(-1))
        jacobian = torch.func.vmap(torch.func.jacfwd(self._off))
        total = 0.0
        for part, weights in zip(places.split(BLOCK), share.repeat(resolution**2).split(BLOCK), strict=True):
            log_p = self.log_density(self._off(part), eps)
            total -= float((weights * torch.linalg.det(jacobian(part)).abs() * log_p.exp()) @ log_p)
        return total

    def _off(self, place: torch.Tensor) -> torch.Tensor:
        """The point (..., 4) at `place` (..., 4): phi, theta, how far out in the plane of the circle, and how far along
        the normal across that plane."""
        phi, theta, outwards, across = place.unbind(-1)
        radius, height = 1 + (TUBE + outwards) * theta.cos(), (TUBE + outwards) * theta.sin()
        scale = across / torch.hypot(radius, height / 2)
        first, second = -scale * height / 2, scale * radius
        half = phi / 2
        turned = [-first * phi.sin(), first * phi.cos(), -second * half.sin(), second * half.cos()]
        return self._embed(phi, radius, height) + torch.stack(turned, -1)


def _product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Coefficients of the product of two Laurent polynomials (..., i) and (..., j): (..., i + j - 1)."""
    size = one.shape[-1] + other.shape[-1] - 1
    padded = [torch.nn.functional.pad(other, (k, size - other.shape[-1] - k)) for k in range(one.shape[-1])]
    return (one.unsqueeze(-1) * torch.stack(padded, -2)).sum(-2)


def _roots(series: torch.Tensor) -> torch.Tensor:
    """The 2n angles (..., 2n) at which sum_k c_k exp(i k phi) = 0, for c (..., 2n + 1) of a real function, k from -n.

    Roots that are not real give some angle near their own. A root that is m-fold is found to 1e-16^(1/m).
    """
    degree = series.shape[-1] // 2
    order = torch.arange(-degree, degree + 1, dtype=torch.float64, device=series.device)
    tries = torch.arange(4 * degree, dtype=torch.float64, device=series.device) * (math.pi / (2 * degree))
    values = (series.unsqueeze(-2) * torch.exp(1j * tries.unsqueeze(-1) * order)).sum(-1).real.abs()
    largest = values.amax(-1, keepdim=True)
    origin = values.argmax(-1, keepdim=True) * (math.pi / (2 * degree))
    series = series / torch.where(largest > 0, largest, 1.0)
    # With u = tan((phi - origin) / 2), exp(i (phi - origin)) = (1 + iu) / (1 - iu); the origin lies at infinity.
    turned = series * torch.exp(1j * order * (origin + math.pi))
    basis = np.array([np.poly1d(_binomial(degree, k)).coef for k in range(-degree, degree + 1)])
    polynomial = (turned.unsqueeze(-2) * torch.from_numpy(basis.T.copy()).to(turned)).sum(-1).real
    leading = torch.where(largest > 0, polynomial[..., :1], 1.0)
    companion = torch.diag_embed(torch.ones_like(polynomial[..., 2:]), offset=-1)
    first_row = torch.nn.functional.one_hot(torch.zeros((), dtype=torch.int64, device=series.device), 2 * degree)
    companion = companion - first_row.to(companion).unsqueeze(-1) * (polynomial[..., 1:] / leading).unsqueeze(-2)
    return 2 * torch.linalg.eigvals(companion).real.atan() + origin + math.pi


def _binomial(degree: int, k: int) -> np.ndarray:
    """Coefficients of (1 + iu)^(degree + k) (1 - iu)^(degree - k), highest power first."""
    result = np.poly1d([1.0 + 0.0j])
    for sign, power in ((1, degree + k), (-1, degree - k)):
        for _ in range(power):
            result = result * np.poly1d([sign * 1j, 1.0])
    coefficients: np.ndarray = result.coef
    return coefficients


__all__ = ["KleinBottle"]
