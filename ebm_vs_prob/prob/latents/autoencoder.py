"""The variational autoencoder as an energy: decoder, guide and noise in one module, and its Pyro model."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from ...core.replicate_noise import replicate_generators, replicate_noise
from ...core.tensors import inner
from ...energies.decoders import Decoder
from ...gibbs.trust import MAX_PARETO_K
from .grid import Found, in_blocks
from .guides import AmortisedGuide
from .marginal import PASSES, REACH, importance_error, importance_weights, quadrature, quadrature_and_beyond
from .variational import over_particles

#: Latent dimensions up to which the marginal can be taken by quadrature.
MAX_QUADRATURE_LATENT_DIM = 2
#: Least nodes an axis: on half of them the grid's spacing is still below 1.
LEAST_NODES = 2 * math.ceil(2 * REACH + 2)
#: Nats by which a quadrature may differ from that on half its nodes an axis; some ten times its own error.
TOLERATED = 0.1
#: Prior standard deviations beyond either end of the grid that are looked at, and nats that may lie there.
MARGIN, TOLERATED_BEYOND = 2.0, 0.01
COARSE = "latent grid coarser than the learned sigma"
BEYOND = f"posterior of z beyond the border of the latent grid, |z| = {REACH:g}"
HEAVY = f"Pareto k above {MAX_PARETO_K}"


class VariationalAutoencoderEnergy(nn.Module):
    """R energies E(x, y) = -ln p(y | x) in nats, p(y | x) = ∫ N(z; 0, I) N(y; g(x, z), σ² I) dz.

    (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n), deterministic and differentiable in y. By quadrature E is normalised
    over all of space; by importance sampling, whose draws every y shares, exp(-E) is so in expectation over the draws.

    Args:
        decoder: g. guide: q(z | x, y). sigma: (R,), where its learning starts, in the units of y.
        nodes: values of z an axis for quadrature; 0 for importance sampling.
        samples: draws of the guide for importance sampling and for the ELBO.
        particles: draws of a training step. seeds: of the replicates.
    """

    noise: torch.Tensor

    def __init__(
        self,
        decoder: Decoder,
        guide: AmortisedGuide,
        sigma: torch.Tensor,
        nodes: int,
        samples: int,
        particles: int,
        seeds: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.decoder, self.guide = decoder, guide
        self.num_replicates = decoder.num_replicates
        self.latent_dim = guide.latent_dim
        self.nodes, self.particles = nodes, particles
        self.log_sigma = nn.Parameter(sigma.log())
        noise = replicate_noise(replicate_generators(seeds, "importance"), (samples, self.latent_dim))
        self.register_buffer("noise", noise, persistent=False)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one bound of one (x, y): an encoding and as many decodings as particles."""
        return self.guide.multiply_adds + self.particles * self.decoder.multiply_adds

    @property
    def evaluation_multiply_adds(self) -> float:
        """Multiply-adds of an encoding or a decoding, of which methods count one and as many as particles: the mean."""
        return self.multiply_adds / (1 + self.particles)

    @property
    def sigma(self) -> torch.Tensor:
        """Standard deviation of the noise, (R,)."""
        return self.log_sigma.exp()

    def model(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """z ~ N(0, I), y ~ N(g(x, z), σ² I), in Pyro: x (R, B, dx) and y (R, B, dy)."""
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            zero = y.new_zeros(*y.shape[:-1], self.latent_dim)
            z = pyro.sample("z", _normal(zero, y.new_ones(())))
            loc = over_particles(self.decoder.decode, z, x)
            pyro.sample("y", _normal(loc, self.sigma.reshape(-1, 1, 1)), obs=y)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.nodes:
            return -self._by_quadrature(x, y, self.nodes)
        return -self._in_blocks(lambda a, b: (self._by_importance(a, b)[0],), x, y)[0]

    def log_marginal(
        self, x: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """ln p(y | x) of x (R, n, dx) and y (R, n, dy), its error in nats, and for each reason not to trust it, where.

        All (R, n). By quadrature the error is the distance to that on half the nodes an axis, which is some ten times
        what it bounds, and not to be trusted above .1; and what lies within two prior standard deviations beyond the
        border of the grid, not to be trusted above .01: there the grid cuts the posterior of z off, and how much lies
        further out is not known. By importance sampling it is one standard error, not to be trusted where Pareto k
        exceeds .7.
        """
        with torch.no_grad():
            if not self.nodes:
                value, error, heavy = self._in_blocks(self._checked, x, y)
                return value, error, {HEAVY: heavy}
            value, whole = self._and_beyond(x, y, self.nodes)
            # Both grids have their margins, so that they differ by their spacing alone and not at the border.
            moved = (whole - self._and_beyond(x, y, self.nodes // 2)[1]).abs()
            beyond = ~(whole - value <= TOLERATED_BEYOND)
            return value, moved + (whole - value), {BEYOND: beyond, COARSE: ~(moved <= TOLERATED) & ~beyond}

    def _by_quadrature(self, x: torch.Tensor, y: torch.Tensor, nodes: int) -> torch.Tensor:
        return quadrature(self.decoder, self.log_sigma, x, y, nodes, self.latent_dim)

    def _and_beyond(self, x: torch.Tensor, y: torch.Tensor, nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
        margin = math.ceil(MARGIN * (nodes - 1) / (2 * REACH))
        return quadrature_and_beyond(self.decoder, self.log_sigma, x, y, nodes, self.latent_dim, margin)

    def _by_importance(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_weights, log_shares = self.log_weights(x, y)
        return inner(log_weights + log_shares).logsumexp(-1), log_weights, log_shares

    def _checked(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        value, *weights = self._by_importance(x, y)
        error, k = importance_error(*weights)
        return value, error, k > MAX_PARETO_K

    def _in_blocks(self, compute: Callable[..., Found], x: torch.Tensor, y: torch.Tensor) -> Found:
        """`compute` of blocks of points and all draws of the guide, so that these need not be held at once."""
        whole = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        x, y = x.expand(*whole, -1), y.expand(*whole, -1)
        return in_blocks(compute, x, y, self.num_replicates, PASSES * self.noise.shape[1])

    def log_weights(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln p(y, z_k | x) - ln q(z_k | x, y) of the guide's draws, and the ln of their shares: (K, R, *n) each."""
        return importance_weights(self.decoder, self.guide, self.log_sigma, x, y, self.noise)

    @torch.no_grad()
    def elbo(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The ELBO of x (R, n, dx) and y (R, n, dy) in nats, (R, n), over the same draws of the guide for every y."""

        def mean(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
            log_weights, log_shares = self.log_weights(x, y)
            return (inner(log_shares.exp() * log_weights).sum(-1),)

        return self._in_blocks(mean, x, y)[0]


def _normal(loc: torch.Tensor, scale: torch.Tensor) -> dist.Independent:
    return dist.Independent(dist.Normal(loc, scale, validate_args=False), 1, validate_args=False)
