"""Tubes, blurred: circles of radius TUBE whose centres go round the unit circle, such as a torus.

The noise integrates out of the angle on the circles in closed form, as in `circle`, so that the density is an integral
over the angle of their centres. Along it the distance has one minimum for the torus and up to four for the bottle.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.spaces import Box
from ..quadrature import refined
from .arcs import DEPTH, log_integral, log_von_mises
from .planar import log_ring
from .surfaces import OF_DENSITY, SIDE, Surface

#: Radius of the circles; their centres are at distance 1 from the origin.
TUBE = 0.4
#: Below this noise the torus's entropy is integrated in coordinates of the tube, above it over the space, as far as
#: REACH standard deviations from the surface, beyond which lies less than 1e-13 of the mass.
THIN, REACH = 0.06, 7.5
#: Points whose density is computed at once.
BLOCK = 1024
#: Halvings by which extrema are found, for the density and for the projection.
ROUGH, EXACT = 24, 44


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

    def entropy(self, eps: float) -> Approximate:
        """To 1e-6. Thin noise: radius and two angles of a shell round the surface; thick: the whole space."""
        rule = self._over_the_shell if eps <= THIN else self._over_the_space
        start = 8 if eps <= THIN else 1
        return refined(lambda nodes: rule(eps, nodes), start, tolerance=1e-6, of_integrand=OF_DENSITY)

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


def _surprise(surface: Surface, y: torch.Tensor, eps: float) -> torch.Tensor:
    """-p ln p at all points of y (..., m), flat."""
    log_p = torch.cat([surface.log_density(part, eps) for part in y.reshape(-1, y.shape[-1]).split(BLOCK)])
    return -log_p.exp() * log_p


__all__ = ["BLOCK", "EXACT", "ROUGH", "TUBE", "Torus", "Tube"]
