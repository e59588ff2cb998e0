"""The polynomial surface of Brehmer and Cranmer (2020), blurred: a graph over the plane with a mixture of normal laws.

The density is an integral over the plane of an analytic function, for which an even lattice converges faster than any
power of its spacing. Where the noise is thin, the blocks of the lattice that count are found by halving.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.errors import NoExactReference
from ...core.seeding import numpy_generator
from ...core.spaces import Box
from ..quadrature import refined
from .blocks import halved_blocks
from .surfaces import OF_DENSITY, SIDE, Surface

#: The height is exp(-DAMPING |z|²) times a polynomial of degree DEGREE, whose coefficients of total degree k > 0 are
#: normal of standard deviation k^-DECAY, drawn from SEED.
DEGREE, DAMPING, DECAY, SEED = 5, 0.1, 3.0, 9
#: Weights, means and standard deviations of the two laws of z; the second deviation is that at theta = 0.
WEIGHTS, MEANS, DEVIATIONS = (0.6, 0.4), ((1.0, -1.0), (-1.0, 1.0)), (2.0, 0.6)
#: How many deviations of the wider law answers and box cover.
COVERED, BOXED = 4.0, 6.0
#: Up to this noise the lattice is local; REACH is how many deviations of noise it covers, FURTHEST its half side.
THICK, REACH, FURTHEST = 0.5, 9.0, 20.0
#: A local lattice has ROOT² blocks, each of NODES nodes a side, REACH / ROOT of the noise from its middle to its edge.
ROOT, NODES = 8, 5
#: Spacings of the lattice over the plane, below noise 1 and from there on, its depth in nats and that for the entropy.
WIDE, DEPTH, SHALLOW = (0.2, 0.3), 45.0, 24.0
#: Blocks a side by which the nearest point is found, halved until they reach no further than CLOSE together or so many
#: times, and the Newton steps from there.
SEARCHED, CLOSE, HALVINGS, STEPS = 6, 0.05, 9, 6
#: Noise up to which the entropy is integrated, in coordinates along the surface and normal to it.
THIN = 0.05
#: Points whose density is computed at once, and whose lattices are.
BLOCK, CHUNK = 1024, 64


class PolynomialSurface(Surface):
    """(z0, z1, f(z)) in R^3, f(z) = exp(-0.1 |z|²) sum a_ij z0^i z1^j with i + j <= 5; u = z.

    z is 0.6 N((1, -1), 2² I) + 0.4 N((-1, 1), 0.6² I), the law of Brehmer and Cranmer at theta = 0. The form, degrees,
    decay of the coefficients and law are those of their published simulator, whose damping is by |z|². Their
    coefficients are drawn too, from another generator; their rotation is that of the task.
    """

    dim, manifold_dim = 3, 2
    extent = 1.0 + BOXED * DEVIATIONS[0]

    def __init__(self) -> None:
        self.latents = Box((-self.extent, self.extent), 2)
        rng = numpy_generator(SEED, "coefficients", "polynomial surface")
        self.coefficients = np.zeros((DEGREE + 1, DEGREE + 1))
        for total in range(DEGREE + 1):
            for first in range(total, -1, -1):
                self.coefficients[first, total - first] = rng.standard_normal() * max(total, 1) ** -DECAY

    def height(self, z: torch.Tensor) -> torch.Tensor:
        """f(z), (...), at z (..., 2)."""
        first, second = (part.contiguous() for part in _bounded(z).unbind(-1))
        total = torch.zeros_like(first)
        for i in range(DEGREE, -1, -1):
            row = torch.zeros_like(first)
            for j in range(DEGREE - i, -1, -1):
                row = row * second + float(self.coefficients[i, j])
            total = total * first + row
        return total * torch.exp(-DAMPING * (first.square() + second.square()))

    def points(self, latent: torch.Tensor) -> torch.Tensor:
        """The points (..., 3) at u (..., 2)."""
        return torch.cat([latent, self.height(latent).unsqueeze(-1)], -1)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        which = (rng.random(n) < WEIGHTS[1]).astype(int)
        latent = np.array(MEANS)[which] + np.array(DEVIATIONS)[which, None] * rng.standard_normal((n, 2))
        return self.points(torch.from_numpy(latent)).numpy(), latent

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        """By an even lattice of z: local and found by halving where the noise is thin, or over all of the law."""
        constant = 3 * (math.log(eps) + 0.5 * math.log(2 * math.pi))
        if eps > THICK:
            z, log_cell = _whole_lattice(WIDE[eps >= 1.0], DEPTH, y.device)
            points = self.points(z)
            # The square is multiplied out, which costs no digits that count where the noise is thick.
            fixed = log_law(z) - 0.5 * (points / eps).square().sum(-1)
            exponent = (y / eps) @ (points / eps).T + fixed
            return exponent.logsumexp(-1) - 0.5 * (y / eps).square().sum(-1) + log_cell - constant
        if y.ndim > 1 and len(y) > CHUNK:
            return torch.cat([self.log_density(part, eps) for part in y.split(CHUNK)])
        z, side = _Local.apply(self, y.detach(), eps)
        unit = (torch.arange(NODES, dtype=y.dtype, device=y.device) + 0.5) / NODES - 0.5
        first, second = (z.unsqueeze(-1) + side[..., None, None, None] * unit).unbind(-2)
        off = (first - y[..., :1, None]).square().unsqueeze(-1) + (second - y[..., 1:2, None]).square().unsqueeze(-2)
        off = off + (self._height_on(first, second) - y[..., 2, None, None, None]).square()
        exponent = _log_law_on(first, second) - 0.5 * off / eps**2
        return exponent.flatten(-3).logsumexp(-1) + 2 * (side / NODES).log() - constant

    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        if not latent.numel():  # vmap has no row to trace by
            return latent.sum(-1)
        slope = torch.func.vmap(torch.func.grad(self.height))(latent.reshape(-1, 2)).reshape(latent.shape)
        return log_law(latent) - 0.5 * torch.log1p(slope.square().sum(-1))

    def project(self, y: torch.Tensor) -> torch.Tensor:
        """The best block of all, and Newton's method from there. No foot is further off than the height of y."""

        if not y.numel():  # vmap has no row to trace by
            return y

        def energy(z: torch.Tensor) -> torch.Tensor:
            return self._half_square(z, y)

        centre = y[..., :2]
        half = (y[..., 2] - self.height(centre)).abs().clamp_max(FURTHEST)
        halvings = torch.log2(half / CLOSE).ceil().clamp(0.0, HALVINGS)
        z, _ = halved_blocks(energy, centre, half, halvings, SEARCHED)
        best = energy(z).argmin(-1)[..., None, None].expand(*z.shape[:-2], 1, 2)
        z = z.gather(-2, best).squeeze(-2)

        def single(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self._half_square(z, y)

        gradient = torch.func.vmap(torch.func.grad(single))
        hessian = torch.func.vmap(torch.func.hessian(single))
        slope = gradient(z, y)
        for _ in range(STEPS):
            bend = hessian(z, y)
            a, b, c = bend[:, 0, 0], bend[:, 0, 1], bend[:, 1, 1]
            step = torch.stack([c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], -1)
            moved = z - step / (a * c - b * b).clamp_min(1e-12).unsqueeze(-1)
            changed = gradient(moved, y)
            better = (changed.norm(dim=-1) < slope.norm(dim=-1)).unsqueeze(-1)
            if not bool(better.any()):
                break
            z, slope = torch.where(better, moved, z), torch.where(better, changed, slope)
        return self.points(z)

    def answers(self) -> np.ndarray:
        """32 by 32 points, evenly within 4 standard deviations of the wider law round its mean."""
        unit = (torch.arange(SIDE, dtype=torch.float64, device="cpu") + 0.5) * (2 / SIDE) - 1
        mean = torch.tensor(MEANS[0], dtype=torch.float64, device="cpu")
        return self.points(mean + COVERED * DEVIATIONS[0] * torch.cartesian_prod(unit, unit)).numpy()

    def entropy(self, eps: float) -> Approximate:
        """To 1e-6, over a lattice of z and Gauss-Hermite nodes of the normal coordinate, where that is small.

        Raises:
            NoExactReference: thicker than .05.
        """
        if eps > THIN:
            raise NoExactReference(
                f"manifold: the entropy of a polynomial surface thicker than {THIN} is an integral over R^3 of a "
                "density that is itself one over the plane, too dear to refine to a stated tolerance: use "
                "reference.sampled_entropy()"
            )
        return refined(
            lambda nodes: self._over_the_normal(eps, nodes), 2, tolerance=1e-6, doublings=3, of_integrand=OF_DENSITY
        )

    def _over_the_normal(self, eps: float, resolution: int) -> float:
        z, log_cell = _whole_lattice(1.0 / resolution, SHALLOW, torch.device("cpu"))
        node, weight = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(resolution + 5))
        points, jacobian = torch.func.vmap(self._off), torch.func.vmap(torch.func.jacfwd(self._off))
        total = 0.0
        for out, share in zip(node * eps, weight * eps * torch.exp(0.5 * node.square()), strict=True):
            for part in z.split(BLOCK):
                place = torch.cat([part, out.expand(len(part), 1)], -1)
                log_p = self.log_density(points(place), eps)
                volume = torch.linalg.det(jacobian(place)).abs()
                total -= float(share * (volume * log_p.exp()) @ log_p)
        return total * math.exp(log_cell)

    def _off(self, place: torch.Tensor) -> torch.Tensor:
        """The point (3,) at `place` (3,): z, and how far along the normal."""
        slope = torch.func.grad(self.height)(place[:2])
        normal = torch.cat([-slope, torch.ones_like(slope[:1])])
        return self.points(place[:2]) + place[2] * normal / normal.norm()

    def _half_square(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Half the squared distance of y (..., 3) to the surface at z (..., k, 2) or, where as many, (..., 2)."""
        y = y.unsqueeze(-2) if z.ndim > y.ndim else y
        across = (z[..., 0] - y[..., 0]).square() + (z[..., 1] - y[..., 1]).square()
        return 0.5 * (across + (self.height(z) - y[..., 2]).square())

    def _height_on(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """f at all pairs of coordinates (..., i) and (..., j): (..., i, j)."""
        powers = []
        for part in (_bounded(first), _bounded(second)):
            each = [torch.exp(-DAMPING * part.square())]
            for _ in range(DEGREE):
                each.append(each[-1] * part)
            powers.append(torch.stack(each, -1))
        return powers[0] @ torch.from_numpy(self.coefficients).to(first) @ powers[1].transpose(-1, -2)

    def _local_blocks(self, y: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Middles (..., ROOT², 2) of square blocks of z wherever the integrand counts, and their side (...).

        With z normal round `centre` given the first two coordinates of y, z counts no further off than the square root
        of the squared height of y over the surface there and REACH² of the noise.
        """
        variance = DEVIATIONS[0] ** 2
        mean = torch.tensor(MEANS[0], dtype=y.dtype, device="cpu").to(y.device)
        centre = (variance * y[..., :2] + eps**2 * mean) / (variance + eps**2)
        least = REACH * eps
        half = torch.hypot(y[..., 2] - self.height(centre), torch.full_like(y[..., 2], least)).clamp_max(FURTHEST)
        # Near the surface the whole root is kept, and is no larger than what noise there can reach.
        halvings = torch.log2(half / least).sub(0.1).ceil().clamp_min(0.0)

        def energy(z: torch.Tensor) -> torch.Tensor:
            across = (z[..., 0] - mean[0]).square() + (z[..., 1] - mean[1]).square()
            return self._half_square(z, y) + 0.5 * eps**2 / variance * across

        return halved_blocks(energy, centre, least * torch.exp2(halvings), halvings, ROOT)


class _Local(torch.autograd.Function):
    """`_local_blocks`, a constant to derivatives; under `vmap` it sees values, and halves no more than they need."""

    @staticmethod
    def forward(surface: PolynomialSurface, y: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
        return surface._local_blocks(y, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], surface: Any, y: torch.Tensor, eps: float) -> tuple[Any, Any]:
        return _Local.apply(surface, y.movedim(in_dims[1], 0), eps), (0, 0)


def _bounded(z: torch.Tensor) -> torch.Tensor:
    """z, but no further out than where f is 0, so that its powers do not overflow."""
    return z.clamp(-60.0, 60.0)


def log_law(z: torch.Tensor) -> torch.Tensor:
    """ln of the density of z (..., 2) in nats."""
    parts = []
    for weight, mean, deviation in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True):
        square = (z[..., 0] - mean[0]).square() + (z[..., 1] - mean[1]).square()
        parts.append(math.log(weight / (2 * math.pi * deviation**2)) - 0.5 * square / deviation**2)
    return torch.logaddexp(*parts)


def _whole_lattice(spacing: float, depth: float, device: torch.device) -> tuple[torch.Tensor, float]:
    """Nodes (k, 2) wherever the law is more than exp(-depth) of its wider part's largest, and ln of the cell's area."""
    side = math.ceil(math.sqrt(2 * depth) * DEVIATIONS[0] / spacing)
    axis = spacing * torch.arange(-side, side + 1, dtype=torch.float64, device=device)
    offset = torch.cartesian_prod(axis, axis)
    offset = offset[offset.norm(dim=-1) <= side * spacing]
    return offset + torch.tensor(MEANS[0], dtype=torch.float64, device=device), 2 * math.log(spacing)


def _log_law_on(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """`log_law` at all pairs of coordinates (..., i) and (..., j), (..., i, j), by the ratio of its two parts."""
    (wide, narrow), (far, near) = DEVIATIONS, MEANS
    ratio, log_wide = [], []
    for k, z in enumerate((first, second)):
        log_wide.append(-0.5 * ((z - far[k]) / wide).square())
        ratio.append(torch.exp(-0.5 * ((z - near[k]) / narrow).square() - log_wide[-1]))
    height = WEIGHTS[1] / WEIGHTS[0] * (wide / narrow) ** 2
    mixed = torch.log1p(height * ratio[0].unsqueeze(-1) * ratio[1].unsqueeze(-2))
    constant = math.log(WEIGHTS[0] / (2 * math.pi * wide**2))
    return mixed + log_wide[0].unsqueeze(-1) + log_wide[1].unsqueeze(-2) + constant


__all__ = ["PolynomialSurface", "log_law"]
