"""The Swiss roll, blurred: an Archimedean spiral in the plane, and a normal height across it.

Noise leaves the height normal, and the spiral's density is an integral over its angle. All stationary points of the
distance are found, one by one in intervals that hold at most one each.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.spaces import Box
from ..quadrature import refined
from .arcs import log_integral, zero_between
from .surfaces import COVERED, OF_DENSITY, SIDE, Surface

#: The spiral is SCALE * t (cos t, sin t) from the first to the last angle t, a turn and a half; it ends at radius 1.
FIRST, LAST = 1.5 * math.pi, 4.5 * math.pi
SCALE = 1.0 / LAST
#: Standard deviation of the height, and of how many the box has room for.
HEIGHT, BOXED = 0.5, 6.0
#: Below this noise the entropy is integrated along the spiral and across it, above it over the plane.
THIN = 0.03
#: Panels of the spiral are halved so many times towards either end.
GRADED = 14
#: Halvings of an interval that holds a stationary point, for the projection and for the density.
EXACT, FINE = 52, 34
#: Points whose density is computed at once.
BLOCK = 1024


class SwissRoll(Surface):
    """SCALE t (cos t, sin t) in the first two coordinates of R^3 and a normal height in the third; u = (t, height).

    t has the density 3 (1 - v²) / (2 (LAST - FIRST)), v from -1 to 1 between the ends of the spiral.
    """

    dim, manifold_dim = 3, 2
    extent = 1.0 + BOXED * HEIGHT

    def __init__(self) -> None:
        self.latents = Box((-BOXED * HEIGHT, LAST), 2)

    def points(self, latent: torch.Tensor) -> torch.Tensor:
        """The points (..., 3) at u (..., 2)."""
        t, height = latent.unbind(-1)
        return torch.stack([SCALE * t * t.cos(), SCALE * t * t.sin(), height], -1)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        t = FIRST + (LAST - FIRST) * rng.beta(2.0, 2.0, n)
        latent = np.stack([t, HEIGHT * rng.standard_normal(n)], -1)
        return self.points(torch.from_numpy(latent)).numpy(), latent

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        return self._log_planar(y[..., :2], eps) + _log_normal(y[..., 2], math.hypot(HEIGHT, eps))

    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        t, height = latent.unbind(-1)
        length = SCALE * torch.hypot(t, torch.ones_like(t))
        return _law(t).log() - length.log() + _log_normal(height, HEIGHT)

    def project(self, y: torch.Tensor) -> torch.Tensor:
        t = _stationary(y[..., :2], EXACT)
        square = _half_square(t, y[..., :2].unsqueeze(-2))
        nearest = t.gather(-1, square.argmin(-1, keepdim=True)).squeeze(-1)
        return self.points(torch.stack([nearest, y[..., 2]], -1))

    def answers(self) -> np.ndarray:
        """32 by 32 points, evenly along t and within 4 standard deviations of height."""
        unit = (torch.arange(SIDE, dtype=torch.float64, device="cpu") + 0.5) / SIDE
        return self.points(
            torch.cartesian_prod(FIRST + (LAST - FIRST) * unit, COVERED * HEIGHT * (2 * unit - 1))
        ).numpy()

    def entropy(self, eps: float) -> Approximate:
        """To 1e-6: the height's in closed form; the spiral's along it and across it, or where thick over the plane."""
        height = 0.5 * math.log(2 * math.pi * math.e * (HEIGHT**2 + eps**2))
        if eps > THIN:
            rule, start, tolerance = self._over_the_plane, 1, 1e-6
        else:
            rule, start, tolerance = self._over_the_noise, 5, 1e-7
        return height + refined(lambda nodes: rule(eps, nodes), start, tolerance, of_integrand=OF_DENSITY)

    def _log_planar(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        """ln of the density of the blurred spiral at y (..., 2)."""

        def log_integrand(t: torch.Tensor) -> torch.Tensor:
            law = _law(t).clamp_min(torch.finfo(t.dtype).tiny).log()
            return law - _half_square(t, y.unsqueeze(-2)) / eps**2

        fixed = y.detach()
        breaks = _stationary(fixed, FINE).sort(-1).values
        integral = log_integral(log_integrand, lambda t: _half_square(t, fixed.unsqueeze(-2)), breaks, eps)
        return integral - math.log(2 * math.pi * eps**2)

    def _over_the_noise(self, eps: float, resolution: int) -> float:
        node, weight = np.polynomial.hermite_e.hermegauss(resolution)
        panel_node, panel_weight = np.polynomial.legendre.leggauss(resolution)
        # Finer towards the ends, where the logarithm of the law is singular.
        graded = np.append(0.0, 0.5 ** np.arange(GRADED, 0, -1))
        unit = np.unique(np.concatenate([graded, [0.375, 0.625], 1 - graded]))
        edges = FIRST + (LAST - FIRST) * unit
        half = np.diff(edges)[:, None] / 2
        t = torch.from_numpy((edges[:-1, None] + half * (1 + panel_node)).ravel())
        share = torch.from_numpy((half * panel_weight).ravel()) * _law(t)
        noise = torch.cartesian_prod(*[torch.from_numpy(eps * node)] * 2)
        noise_share = torch.from_numpy(np.outer(weight, weight).ravel() / (2 * math.pi))
        y = self.points(torch.stack([t, torch.zeros_like(t)], -1))[:, None, :2] + noise
        return -float(share @ self._in_blocks(y.reshape(-1, 2), eps).reshape(len(t), -1) @ noise_share)

    def _over_the_plane(self, eps: float, resolution: int) -> float:
        spacing = eps / resolution
        side = math.ceil((1 + 9 * eps) / spacing)
        axis = spacing * torch.arange(-side, side + 1, dtype=torch.float64, device="cpu")
        log_p = self._in_blocks(torch.cartesian_prod(axis, axis), eps)
        return -float(log_p.exp() @ log_p) * spacing**2

    def _in_blocks(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        return torch.cat([self._log_planar(part, eps) for part in y.split(BLOCK)])


def _law(t: torch.Tensor) -> torch.Tensor:
    """Density of the angle."""
    return 6.0 * (t - FIRST) * (LAST - t) / (LAST - FIRST) ** 3


def _log_normal(value: torch.Tensor, deviation: float) -> torch.Tensor:
    return -0.5 * (value / deviation).square() - math.log(deviation) - 0.5 * math.log(2 * math.pi)


def _half_square(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Half the squared distance of y (..., 1, 2) to the spiral at t (..., k)."""
    return 0.5 * ((SCALE * t * t.cos() - y[..., 0]).square() + (SCALE * t * t.sin() - y[..., 1]).square())


def _stationary(y: torch.Tensor, halvings: int) -> torch.Tensor:
    """Angles t (..., 21) of y (..., 2), among which are all at which its distance to the spiral is stationary, and both
    ends.

    With y at angle alpha and radius SCALE s, the distance is stationary where t = s cos(psi) / (1 + s sin(psi)),
    psi = t - alpha. The difference of the two sides has poles at s sin(psi) = -1 and its slope has the sign of
    v² + 3 v + 1 + s², v = s sin(psi), so that between poles and zeros of the slope, which are arcsines, there is at
    most one stationary point.
    """
    s = (y.norm(dim=-1) / SCALE).clamp_min(torch.finfo(y.dtype).tiny)
    alpha = torch.atan2(y[..., 1], y[..., 0])
    bend = (5 - 4 * s.square()).clamp_min(0.0).sqrt()
    sines = torch.stack([torch.full_like(s, -1.0), (-3 + bend) / 2, (-3 - bend) / 2], -1) / s.unsqueeze(-1)
    psi = sines.clamp(-1.0, 1.0).arcsin()
    psi = torch.cat([psi, math.pi - psi], -1) + alpha.unsqueeze(-1) - FIRST
    turns = 2 * math.pi * torch.arange(2, dtype=y.dtype, device=y.device)
    edges = (FIRST + torch.remainder(psi, 2 * math.pi).unsqueeze(-1) + turns).flatten(-2).clamp_max(LAST)
    ends = torch.tensor([FIRST, LAST], dtype=y.dtype, device="cpu").to(y.device).expand(*y.shape[:-1], 2)
    edges = torch.cat([edges, ends], -1).sort(-1).values

    def slope(t: torch.Tensor) -> torch.Tensor:
        along = y[..., :1] * t.cos() + y[..., 1:] * t.sin()
        across = y[..., 1:] * t.cos() - y[..., :1] * t.sin()
        return SCALE * t - along - t * across

    return torch.cat([zero_between(slope, edges[..., :-1], edges[..., 1:], halvings), ends], -1)


__all__ = ["FIRST", "HEIGHT", "LAST", "SCALE", "SwissRoll"]
