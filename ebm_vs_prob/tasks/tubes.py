"""Torus and Klein bottle, blurred: circles of radius TUBE whose centres go round the unit circle.

The noise integrates out of the angle on the circles in closed form, as in `circle`, so that the density is an integral
over the angle of their centres. Along it the distance has one minimum for the torus and up to four for the bottle.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch

from ..core.errors import NoExactReference
from ..core.spaces import Box
from .arcs import DEPTH, log_integral, log_von_mises, zero_between
from .base import refined
from .planar import log_ring
from .surfaces import SIDE, Surface

#: Radius of the circles; their centres are at distance 1 from the origin.
TUBE = 0.4
#: Below this noise the torus's entropy is integrated in coordinates of the tube, above it over the space, as far as
#: REACH standard deviations from the surface, beyond which lies less than 1e-13 of the mass.
THIN, REACH = 0.06, 7.5
#: Points whose density is computed at once.
BLOCK = 1024
#: The least distances of the Klein bottle are bisected within CLUSTER of the roots that tell of them, so many times
#: for the density and for the projection. Near the circle of the centres six roots fall together, and are found no
#: better than that.
CLUSTER, ROUGH, EXACT = 8e-3, 24, 44


class Tube(Surface):
    """Circles of radius TUBE round the points e1(phi) of the unit circle, each in the plane of e1(phi) and e2(phi).

    The point is e1 + TUBE (cos theta e1 + sin theta e2), both angles von Mises of mean 0; u = (phi, theta).
    """

    manifold_dim = 2
    extent = 1.0 + TUBE

    def __init__(self, concentration: float) -> None:
        self.latents = Box((-math.pi, math.pi), 2)
        self._concentration = concentration

    @abstractmethod
    def _coordinates(self, phi: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """<y, e1>, <y, e2> and what is normal to both (..., k, m - 2), of y (..., 1, m) at phi (..., k)."""

    @abstractmethod
    def _embed(self, phi: torch.Tensor, radius: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
        """radius e1(phi) + height e2(phi)."""

    @abstractmethod
    def _extrema(self, y: torch.Tensor, halvings: int) -> torch.Tensor:
        """Angles phi (..., k), among them those at which the distance of y (..., m) to the circles has an extremum."""

    @abstractmethod
    def _log_area_element(self, phi: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """ln of the area of the surface per unit of phi and theta."""

    def points(self, latent: torch.Tensor) -> torch.Tensor:
        """The points (..., m) at angles (..., 2)."""
        phi, theta = latent.unbind(-1)
        return self._embed(phi, 1 + TUBE * theta.cos(), TUBE * theta.sin())

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        latent = rng.vonmises(0.0, self._concentration, (n, 2))
        return self.points(torch.from_numpy(latent)).numpy(), latent

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        """An integral over phi; theta is a blurred circle of radius TUBE in the plane of e1 and e2, as in `circle`."""
        fixed = y.detach().unsqueeze(-2)
        turns = self._extrema(y.detach(), ROUGH)
        # The law of phi has its own extrema, which count where the noise is thick.
        turns = torch.cat([turns, torch.zeros_like(turns[..., :1]), torch.full_like(turns[..., :1], math.pi)], -1)
        turns = torch.remainder(turns, 2 * math.pi).sort(-1).values
        breaks = torch.cat([turns, turns[..., :1] + 2 * math.pi], -1)

        def log_integrand(phi: torch.Tensor) -> torch.Tensor:
            along, height, normal = self._coordinates(phi, y.unsqueeze(-2))
            planar = torch.stack([(along - 1) / TUBE, height / TUBE], -1)
            log_circle = log_ring(planar, eps / TUBE, self._concentration)
            return log_circle - 0.5 * (normal / eps).square().sum(-1) + self._concentration * (phi.cos() - 1)

        def energy(phi: torch.Tensor) -> torch.Tensor:
            return 0.5 * self._distance(phi, fixed).square()

        constant = 2 * math.log(TUBE) + (self.dim - 2) * (math.log(eps) + 0.5 * math.log(2 * math.pi))
        origin = log_von_mises(torch.zeros((), dtype=torch.float64, device="cpu"), self._concentration).to(y.device)
        depth = DEPTH + 2 * self._concentration
        return log_integral(log_integrand, energy, breaks, eps, depth) + origin - constant

    def _distance(self, phi: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance of y (..., 1, m) to the circles at phi (..., k)."""
        along, height, normal = self._coordinates(phi, y)
        return torch.hypot(torch.hypot(along - 1, height) - TUBE, normal.norm(dim=-1))

    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        phi, theta = latent.unbind(-1)
        law = log_von_mises(phi, self._concentration) + log_von_mises(theta, self._concentration)
        return law - self._log_area_element(phi, theta)

    def project(self, y: torch.Tensor) -> torch.Tensor:
        turns = self._extrema(y, EXACT)
        best = self._distance(turns, y.unsqueeze(-2)).argmin(-1, keepdim=True)
        phi = turns.gather(-1, best)
        along, height, _ = self._coordinates(phi, y.unsqueeze(-2))
        theta = torch.atan2(height, along - 1)
        return self.points(torch.stack([phi, theta], -1)).squeeze(-2)

    def answers(self) -> np.ndarray:
        """32 by 32 points at equal angles."""
        angle = (torch.arange(SIDE, dtype=torch.float64, device="cpu") + 0.5) * (2 * math.pi / SIDE) - math.pi
        return self.points(torch.cartesian_prod(angle, angle)).numpy()


class Torus(Tube):
    """In R^3: e1 turns about the third axis, which is e2."""

    dim = 3

    def _coordinates(self, phi: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cosine, sine = phi.cos(), phi.sin()
        along = y[..., 0] * cosine + y[..., 1] * sine
        normal = y[..., 1] * cosine - y[..., 0] * sine
        return along, y[..., 2].expand_as(along), normal.unsqueeze(-1)

    def _embed(self, phi: torch.Tensor, radius: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
        return torch.stack([radius * phi.cos(), radius * phi.sin(), height], -1)

    def _extrema(self, y: torch.Tensor, halvings: int) -> torch.Tensor:
        """The two half planes of y: the distance is a monotone function of <y, e1>."""
        nearest = torch.atan2(y[..., 1], y[..., 0])
        return torch.stack([nearest, nearest + math.pi], -1)

    def _log_area_element(self, phi: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return (TUBE * (1 + TUBE * theta.cos())).log()

    def entropy(self, eps: float) -> float:
        """To 1e-6. Thin noise: radius and two angles of a shell round the surface; thick: the whole space."""
        rule = self._over_the_shell if eps <= THIN else self._over_the_space
        return refined(lambda resolution: rule(eps, resolution), start=8 if eps <= THIN else 1, tolerance=1e-6)

    def _over_the_shell(self, eps: float, resolution: int) -> float:
        node, weight = np.polynomial.legendre.leggauss(4 * resolution)
        low, high = max(0.0, TUBE - REACH * eps), TUBE + REACH * eps
        radius = torch.from_numpy(low + (high - low) * (node + 1) / 2)
        # Even in both angles.
        angle = (torch.arange(resolution, dtype=torch.float64, device="cpu") + 0.5) * (math.pi / resolution)
        radius, theta, phi = torch.meshgrid(radius, angle, angle, indexing="ij")
        y = self._embed(phi, 1 + radius * theta.cos(), radius * theta.sin())
        volume = radius * (1 + radius * theta.cos()) * torch.from_numpy((high - low) / 2 * weight)[:, None, None]
        return 4 * (math.pi / resolution) ** 2 * float(_surprise(self, y, eps) @ volume.flatten())

    def _over_the_space(self, eps: float, resolution: int) -> float:
        spacing, reach = eps / resolution, REACH * eps
        across = torch.arange(-math.ceil((self.extent + reach) / spacing), 1, dtype=torch.float64, device="cpu")
        up = torch.arange(math.ceil((TUBE + reach) / spacing), dtype=torch.float64, device="cpu") + 0.5
        along = torch.cat([across, -across[:-1].flip(0)])
        y = spacing * torch.cartesian_prod(along, -across, up)
        y = y[(y - self.project(y)).norm(dim=-1) < reach]
        share = torch.where(y[:, 1] > 0, 4.0, 2.0)  # even in the second and third coordinates
        return spacing**3 * float(_surprise(self, y, eps) @ share.to(y))


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

    def entropy(self, eps: float) -> float:
        raise NoExactReference(
            "manifold: the entropy of the Klein bottle is an integral over R^4 of a density that is itself one, too "
            "dear to refine to a stated tolerance: use the mean of -log_prob over samples, with its standard error"
        )


def _surprise(surface: Surface, y: torch.Tensor, eps: float) -> torch.Tensor:
    """-p ln p at all points of y (..., m), flat."""
    log_p = torch.cat([surface.log_density(part, eps) for part in y.reshape(-1, y.shape[-1]).split(BLOCK)])
    return -log_p.exp() * log_p


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


__all__ = ["TUBE", "KleinBottle", "Torus", "Tube"]
