"""ln p(y | x) of a decoder with a standard normal latent: p(y | x) = ∫ N(z; 0, I) N(y; g(x, z), σ² I) dz.

By quadrature in one and two latent dimensions, by importance sampling from a guide in any number. Both are
deterministic and differentiable in y, and say how far off they may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...energies.decoders import Decoder
from ...energies.evaluation import distinct
from ...gibbs.normalizers.pareto import log_mean_weight, pareto_k
from ..objectives.bounds import of_particles
from .grid import Found, in_blocks
from .guides import Guide
from .noise import drawn

#: The quadrature covers this many standard deviations of each entry of z to either side.
REACH = 6.0
#: Numbers that a pair of a point and a node costs at once.
PASSES = 16
#: Up to so many dimensions of y distances are sums of squared differences, beyond they come from matrix products, which
#: cancel and are taken in float64.
FEW = 8


@dataclass(frozen=True)
class DecodedNormals:
    """p(y | x) as a mixture of m normals N(g_k, σ² I + A_k A_kᵀ), those of the grid of z: see `decoded_normals`.

    In float64 where y has more than `FEW` dimensions, else in the dtype of the decoder.

    Attributes:
        centers: g, (R, *n, m, dy). columns: B of (σ² I + A Aᵀ)⁻¹ = (I - B Bᵀ) / σ², as many as z has entries, likewise.
        log_weights: ln of the shares and of the normals' constants, (R, *n, m). variance: σ², (R, 1, ..., 1).
        inner: which nodes are not of the margin, (m,) bool.
    """

    centers: torch.Tensor
    columns: list[torch.Tensor]
    log_weights: torch.Tensor
    variance: torch.Tensor
    inner: torch.Tensor

    def log_density(self, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats, (R, *n), for y (R or 1, *n, dy); in y's dtype."""
        return self._log_parts(y).logsumexp(-1).to(y.dtype)

    def inner_and_whole(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same without the margin, and with it."""
        parts = self._log_parts(y)
        return parts[..., self.inner].logsumexp(-1).to(y.dtype), parts.logsumexp(-1).to(y.dtype)

    def _log_parts(self, y: torch.Tensor) -> torch.Tensor:
        square, *along = _products(y.to(self.centers), self.centers, self.columns)
        for product in along:
            square = torch.addcmul(square, product, product, value=-1)
        return torch.addcdiv(self.log_weights, square, self.variance, value=-0.5)


def decoded_normals(
    decoder: Decoder, log_sigma: torch.Tensor, x: torch.Tensor, nodes: int, latent_dim: int, margin: int = 0
) -> DecodedNormals:
    """p(. | x) for x (R or 1, *n, dx), on `nodes` values of z an axis from -6 to 6, and `margin` more beyond each end.

    The prior is, to 1e-8, a mixture of normals one grid spacing h wide: N(0, I) = N(0, (1 - h²) I) * N(0, h² I), the
    first of them as a sum. Each goes through the decoder by the unscented transform (Julier and Uhlmann 1997), with
    the neighbours on the grid for sigma points, so that p is a mixture of normals N(g, σ² I + h² J Jᵀ). Point masses in
    place of normals would floor σ at the distance of decoded nodes; here the error is that of the decoder's curvature
    over h against σ, it falls with the fourth power of h, and there is none where the decoder is linear.

    Args:
        log_sigma: (R,). nodes: an axis, 14 at least, so that h is below 1. latent_dim: 1 or 2.
    """
    spacing = 2 * REACH / (nodes - 1)
    side = nodes + 2 * margin
    axis = torch.arange(-1 - margin, nodes + margin + 1, dtype=x.dtype, device=x.device) * spacing - REACH
    grid = torch.cartesian_prod(*[axis] * latent_dim).reshape(-1, latent_dim)
    places = decoder.decode(x.unsqueeze(-2), grid.reshape(*[1] * (x.ndim - 1), *grid.shape))
    if places.shape[-1] > FEW:
        places, log_sigma, axis = places.double(), log_sigma.double(), axis.double()
    centers, tangents = _unscented(places.unflatten(-2, [side + 2] * latent_dim), latent_dim)
    lead = (-1, *[1] * (x.ndim - 1))
    variance = (2 * log_sigma).exp().reshape(lead)
    columns, log_determinant = _whitened(tangents, variance.unsqueeze(-1))
    z, rest = axis[1:-1], 1 - spacing**2
    log_prior = math.log(spacing) - 0.5 * z.square() / rest - 0.5 * math.log(2 * math.pi * rest)
    log_shares = torch.cartesian_prod(*[log_prior] * latent_dim).reshape(-1, latent_dim).sum(-1)
    dim = centers.shape[-1]
    constant = 0.5 * log_determinant + (dim - latent_dim) * log_sigma.reshape(lead) + 0.5 * dim * math.log(2 * math.pi)
    number = torch.arange(side, device=x.device, dtype=torch.int64)
    within = (number >= margin) & (number < nodes + margin)
    inner = torch.cartesian_prod(*[within] * latent_dim).reshape(-1, latent_dim).all(-1)
    return DecodedNormals(centers, columns, log_shares - constant, variance, inner)


def quadrature(
    decoder: Decoder, log_sigma: torch.Tensor, x: torch.Tensor, y: torch.Tensor, nodes: int, latent_dim: int
) -> torch.Tensor:
    """ln p(y | x) in nats, (R, *n), for x (R or 1, *n, dx) and y (R or 1, *n, dy), by `decoded_normals`.

    Points are taken in blocks that stay in cache, unless a gradient is kept. Without x one mixture serves all.
    """
    return _by_blocks(lambda p, y: (p.log_density(y),), decoder, log_sigma, x, y, nodes, latent_dim, 0)[0]


def quadrature_and_beyond(
    decoder: Decoder,
    log_sigma: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    nodes: int,
    latent_dim: int,
    margin: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, and with `margin` nodes more beyond each end of every axis, (R, *n) each.

    The second is the greater, by what the first leaves out just beyond its border.
    """
    return _by_blocks(DecodedNormals.inner_and_whole, decoder, log_sigma, x, y, nodes, latent_dim, margin)


def _by_blocks(
    read: Callable[[DecodedNormals, torch.Tensor], Found],
    decoder: Decoder,
    log_sigma: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    nodes: int,
    latent_dim: int,
    margin: int,
) -> Found:
    """What `read` says of p(. | x) and y."""
    count = PASSES * (nodes + 2 * margin) ** latent_dim
    if x.shape[-1]:

        def own(x: torch.Tensor, y: torch.Tensor) -> Found:
            return read(decoded_normals(decoder, log_sigma, x, nodes, latent_dim, margin), y)

        return in_blocks(own, x, y, decoder.num_replicates, count)
    shared = decoded_normals(decoder, log_sigma, distinct(x), nodes, latent_dim, margin)
    whole = y.expand(*torch.broadcast_shapes(x.shape[:-1], y.shape[:-1]), -1)
    return in_blocks(lambda _, y: read(shared, y), distinct(x), whole, decoder.num_replicates, count)


def _unscented(places: torch.Tensor, latent_dim: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Means (..., m, dy) of the decoded normals, and their tangents h ∂g/∂z_i, as many, of a grid with a margin."""
    first = -1 - latent_dim

    def moved(steps: tuple[int, ...]) -> torch.Tensor:
        part = places
        for axis, step in enumerate(steps):
            part = part.narrow(first + axis, 1 + step, places.shape[first + axis] - 2)
        return part.flatten(first, -2)

    here = moved((0,) * latent_dim)
    center, tangents = here, []
    for axis in range(latent_dim):
        ahead, behind = (moved(tuple(s * (other == axis) for other in range(latent_dim))) for s in (1, -1))
        center = center + 0.5 * (ahead + behind) - here
        tangents.append(0.5 * (ahead - behind))
    return center, tangents


def _whitened(tangents: list[torch.Tensor], variance: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Columns B of (σ² I + A Aᵀ)⁻¹ = (I - B Bᵀ) / σ² for tangents A, and ln det(σ² I + Aᵀ A), by Cholesky."""
    length = (variance + tangents[0].square().sum(-1, keepdim=True)).sqrt()
    columns, log_determinant = [tangents[0] / length], 2 * length.log()
    if len(tangents) == 2:
        shared = (tangents[0] * tangents[1]).sum(-1, keepdim=True) / length
        rest = (variance + tangents[1].square().sum(-1, keepdim=True) - shared.square()).clamp_min(0.0)
        height = torch.maximum(rest, variance).sqrt()
        columns.append((tangents[1] - shared * columns[0]) / height)
        log_determinant = log_determinant + 2 * height.log()
    return columns, log_determinant.squeeze(-1)


def _products(y: torch.Tensor, centers: torch.Tensor, columns: list[torch.Tensor]) -> list[torch.Tensor]:
    """|y - g|² and (y - g) · b of every column b, each (..., m), for y (..., dy), g and b (..., m, dy)."""
    if y.shape[-1] > FEW:
        square = y.square().sum(-1, keepdim=True) + centers.square().sum(-1) - 2 * _inner(y, centers)
        return [square, *(_inner(y, column) - (column * centers).sum(-1) for column in columns)]
    # Coordinates are added one after the other, because sums over a dimension of two or three take most of the time.
    sums: list[torch.Tensor] = []
    for d in range(y.shape[-1]):
        misfit = y[..., d : d + 1] - centers[..., d]
        factors = [misfit, *(column[..., d] for column in columns)]
        if not sums:
            sums = [misfit * factor for factor in factors]
        else:
            sums = [torch.addcmul(total, misfit, factor) for total, factor in zip(sums, factors, strict=True)]
    return sums


def _inner(y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(..., m) products of y (..., dy) with rows (..., m, dy), in one call where all y share the rows."""
    return y @ rows.squeeze(-3).mT if rows.shape[-3] == 1 else (rows @ y.unsqueeze(-1)).squeeze(-1)


def importance_weights(
    decoder: Decoder,
    guide: Guide,
    log_sigma: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    noise: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln p(y, z_k | x) - ln q(z_k | x, y) and the ln shares of the draws z_k of a guide, both (K, R, *n).

    Args:
        log_sigma: (R,). x, y: (R or 1, *n, dx), (R or 1, *n, dy). noise: standard normals (R, K, dz), which every
            (x, y) shares.
    """
    density: Any = guide.distribution(x, y)
    batch, count = density.batch_shape, noise.shape[1]
    numbers = noise.movedim(1, 0).reshape(count, len(noise), *[1] * (len(batch) - 1), noise.shape[-1])
    many = density.expand(torch.Size((count, *batch)))
    z = drawn(many, numbers.expand(count, *batch, -1))
    decoded = decoder.decode(x.unsqueeze(1), z.movedim(0, 1)).movedim(1, 0)
    scale = log_sigma.reshape(-1, *[1] * (len(batch) - 1))
    square = ((y - decoded) / scale.exp().unsqueeze(-1)).square().sum(-1) + z.square().sum(-1)
    constant = 0.5 * (y.shape[-1] + z.shape[-1]) * math.log(2 * math.pi)
    log_joint = -0.5 * square - y.shape[-1] * scale - constant
    log_weights = log_joint - many.log_prob(z)
    return log_weights, of_particles(guide.log_shares(density), count, log_weights).expand(count, *batch)


def importance_error(log_weights: torch.Tensor, log_shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One standard error (...) of ln Σ_k exp(log_weights + log_shares), (K, ...), and Pareto k (...).

    The error is the delta method's, of independent draws; strata make the estimate no worse than these.
    """
    terms = (log_weights + log_shares).detach().movedim(0, -1)
    error = log_mean_weight(terms)[1]
    return error, pareto_k(terms).to(error)
