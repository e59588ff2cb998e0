"""A latent variable marginalised over a set of its values, with noise whose width is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from ...energies.decoders import Decoder

#: Pairs of a point and a value of z whose energies are computed at once where no gradient is kept.
BLOCK_PAIRS = 1 << 20

Found = TypeVar("Found", bound=tuple[torch.Tensor, ...])


class LatentVariableEnergy(nn.Module):
    """R energies E(x, y) = -ln p(y | x) in nats, p the mean over nodes z of N(y; g(x, z), sigma² I).

    (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n). It is F_beta / sigma² of the energy ½ |y - g(x, z)|² at
    beta = 1 / sigma², and dy ln(sigma sqrt(2π)), so that it is normalised over all of space.

    Args:
        decoder: g and its energies.
        nodes: values of z, equally likely, (m, dz).
        sigma: (R,), where its learning starts, in the units of y.
    """

    nodes: torch.Tensor

    def __init__(self, decoder: Decoder, nodes: torch.Tensor, sigma: torch.Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.num_replicates = decoder.num_replicates
        self.log_sigma = nn.Parameter(sigma.log())
        self.register_buffer("nodes", nodes)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one density of one (x, y), as if each had an x of its own."""
        return self.decoder.multiply_adds * len(self.nodes)

    @property
    def evaluation_multiply_adds(self) -> float:
        """Multiply-adds of one decoding, of which methods count how many a step takes."""
        return self.decoder.multiply_adds

    @property
    def sigma(self) -> torch.Tensor:
        """Standard deviation of the noise, (R,)."""
        return self.log_sigma.exp()

    def _parts(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln p(y, z | x) at every node (R, *n, m), and the misfit y - g(x, z) over sigma (R, *n, m, dy)."""
        lead = (-1, *[1] * (y.ndim - 1))
        nodes = self.nodes.reshape(*[1] * (y.ndim - 1), *self.nodes.shape)
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        misfit = y.unsqueeze(-2) - self.decoder.decode(x.unsqueeze(-2), nodes)
        misfit = misfit.expand(*shape, -1, -1) / self.sigma.reshape(*lead, 1)
        return -0.5 * misfit.square().sum(-1) - self._constant(y.shape[-1]).reshape(lead), misfit

    def _constant(self, y_dim: int) -> torch.Tensor:
        """ln of what the exponentials are over, (R,)."""
        return y_dim * (self.log_sigma + 0.5 * math.log(2 * math.pi)) + math.log(len(self.nodes))

    def _density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x), (R, *n)."""
        lead = (-1, *[1] * (y.ndim - 2))
        exponent = self.decoder.squared_misfits(x, y, self.nodes) * (-0.5 / self.sigma.square().reshape(*lead, 1))
        return exponent.logsumexp(-1) - self._constant(y.shape[-1]).reshape(lead)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return in_blocks(lambda a, b: (-self._density(a, b),), x, y, self.num_replicates, len(self.nodes))[0]

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy): the pulls of the nodes, by their shares in the density at y."""

        def both(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            log_parts, misfit = self._parts(x, y)
            pull = (log_parts.softmax(-1).unsqueeze(-1) * misfit).sum(-2)
            return -log_parts.logsumexp(-1), pull / self.sigma.reshape(-1, *[1] * (pull.ndim - 1))

        return in_blocks(both, x, y, self.num_replicates, len(self.nodes))


def in_blocks(
    compute: Callable[[torch.Tensor, torch.Tensor], Found],
    x: torch.Tensor,
    y: torch.Tensor,
    replicates: int,
    values: int,
) -> Found:
    """`compute` of blocks of points, each compared with `values` others, so that not all pairs are held at once.

    Where a gradient is kept the points are one block.
    """
    lead = math.prod(torch.broadcast_shapes((replicates, *[1] * (y.ndim - 3)), x.shape[:-2], y.shape[:-2]))
    size = max(1, BLOCK_PAIRS // (lead * values))
    count = max(x.shape[-2], y.shape[-2])
    if torch.is_grad_enabled() or count <= size:
        return compute(x, y)
    xs, ys = (value.split(size, -2) if value.shape[-2] > 1 else (value,) * -(-count // size) for value in (x, y))
    blocks = [compute(*pair) for pair in zip(xs, ys, strict=True)]
    # Energies end in the points' dimension, gradients in that of y after it.
    dims = [-1 if part.ndim == y.ndim - 1 else -2 for part in blocks[0]]
    return tuple(torch.cat(part, dim) for part, dim in zip(zip(*blocks, strict=True), dims, strict=True))  # type: ignore[return-value]
