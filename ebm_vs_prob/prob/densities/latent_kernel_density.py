"""An autoencoder and a kernel density of its codes, as one density of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn

from ...core.seeding import stream
from ...energies.decoders import MLPDecoder
from ...energies.evaluation import distinct
from ...energies.mlp import Network, ReplicatedMLP
from ...energies.products import row_matmul
from ...models.data_kernel import squared_distances
from ..latents.grid import in_blocks
from .conditioned import Remembered
from .gaussian_kernels import KernelDensityEnergy


class TwoStepEnergy(nn.Module):
    """R energies E(x, y) = -ln ∫ p(z | x) N(y; g(x, z), sigma² I) dz in nats, the integral a sum over a grid of z.

    The weights of the grid sum to 1, so that whatever the grid the density is normalised; where neighbouring nodes are
    decoded farther apart than sigma it is not that of the integral (`unresolved`).

    Args:
        seeds, x_dim, y_dim, latent_dim, network: of encoder and decoder, each of the trunk's widths.
        examples: N, codes of each replicate. nodes: values of z along each axis of the grid.
    """

    codes: KernelDensityEnergy
    sigma: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self, seeds: Sequence[int], x_dim: int, y_dim: int, latent_dim: int, network: Network, examples: int, nodes: int
    ) -> None:
        super().__init__()
        self.num_replicates, self.latent_dim, self.nodes = len(seeds), latent_dim, nodes
        own = [stream(seed, "encoder") for seed in seeds]
        self.encoder = ReplicatedMLP(own, (x_dim + y_dim, *network.hidden, latent_dim), network.activation)
        self.decoder = MLPDecoder(
            seeds, x_dim, y_dim, latent_dim, network, torch.zeros(len(seeds), dtype=torch.float32, device="cpu")
        )
        one = torch.ones(len(seeds), dtype=torch.float32, device="cpu")
        shape = (len(seeds), examples)
        self.codes = KernelDensityEnergy(
            torch.zeros(*shape, x_dim, dtype=torch.float32, device="cpu"),
            torch.zeros(*shape, latent_dim, dtype=torch.float32, device="cpu"),
            one,
            one.clone(),
        )
        self.register_buffer("sigma", one.clone())
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(len(seeds), latent_dim, dtype=torch.float32, device="cpu"))
        self._given: Remembered[tuple[torch.Tensor, torch.Tensor]] = Remembered(self._components)
        self._kernels: torch.Tensor | None = None

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one y coded and decoded, as in training; a density decodes every node once for each x."""
        return self.encoder.multiply_adds + self.decoder.multiply_adds

    def encode(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """z of x (R or 1, *n, dx) and y (R or 1, *n, dy): (R, *n, dz)."""
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return self.encoder(torch.cat([x.expand(*shape, -1), y.expand(*shape, -1)], -1))

    def reconstruct(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """g(x, f(x, y)), (R, *n, dy)."""
        return self.decoder.decode(x, self.encode(x, y))

    def settled(self) -> None:
        """Say that parameters, codes or sigma have changed."""
        self._given.forget()
        self._kernels = None

    @property
    def grid(self) -> torch.Tensor:
        """The nodes of z, (R, nodes^dz, dz), in the order of `torch.cartesian_prod`."""
        unit = (torch.arange(self.nodes, device=self.low.device, dtype=torch.float32) + 0.5) / self.nodes
        each = torch.cartesian_prod(*[unit.to(self.low)] * self.latent_dim).reshape(-1, self.latent_dim)
        return self.low.unsqueeze(1) + (self.high - self.low).unsqueeze(1) * each

    @torch.no_grad()
    def unresolved(self, x: torch.Tensor) -> torch.Tensor:
        """The share of p(z | x) on steps of the grid that are decoded longer than sigma, (R, *n), at x (R, *n, dx).

        A sum of Gaussians one deviation apart is their integral to 1e-8; two apart, to 2 %.
        """
        log_weights, centers = self._given(distinct(x))
        shape = (*centers.shape[:-2], *[self.nodes] * self.latent_dim)
        places, mass = centers.reshape(*shape, -1), log_weights.exp().reshape(shape)
        coarse = torch.zeros_like(mass, dtype=torch.bool)
        limit = self.sigma.reshape(-1, *[1] * (mass.ndim - 1))
        for axis in range(-self.latent_dim, 0):
            long = places.diff(dim=axis - 1).norm(dim=-1) > limit
            pad = torch.zeros_like(long.narrow(axis, 0, 1))
            coarse |= torch.cat([long, pad], axis) | torch.cat([pad, long], axis)
        return torch.where(coarse, mass, 0.0).flatten(-self.latent_dim).sum(-1)

    def _components(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln of the weights (R, *n, J) and centres g(x, z_j) (R, *n, J, dy) at distinct x (R or 1, *n, dx)."""
        grid = self.grid
        if self._kernels is None:
            squared = squared_distances(self.codes.y, grid) / self.codes.width.reshape(-1, 1, 1) ** 2
            self._kernels = (-0.5 * squared).exp()
        weights = self.codes.log_weights(x).exp()
        density = row_matmul(weights, self._kernels)
        log_weights = density.clamp_min(torch.finfo(density.dtype).tiny).log()
        log_weights = log_weights - log_weights.logsumexp(-1, keepdim=True)
        nodes = grid.reshape(len(grid), *[1] * (x.ndim - 2), *grid.shape[1:])
        return log_weights, self.decoder.decode(x.unsqueeze(-2), nodes)

    def _parts(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """ln of each node's part in the density (R, *n, J), the centres, and whether points of one x share them."""
        log_weights, centers = self._given(distinct(x))
        shared = centers.shape[-3] == 1
        if shared:
            centers = centers.squeeze(-3)
            squared = squared_distances(y, centers)
        else:
            squared = squared_distances(y.unsqueeze(-2), centers).squeeze(-2)
        sigma = self.sigma.reshape(-1, *[1] * (squared.ndim - 1))
        constant = y.shape[-1] * (sigma.log() + 0.5 * math.log(2 * math.pi))
        return log_weights - 0.5 * squared / sigma**2 - constant, centers, shared

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def energy(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
            return (-self._parts(x, y)[0].logsumexp(-1),)

        return in_blocks(energy, x, y, self.num_replicates, self._values(y))[0]

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy): y less the mean of the decoded nodes, by their shares in the density."""

        def both(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            log_parts, centers, shared = self._parts(x, y)
            shares = log_parts.softmax(-1)
            mean = shares @ centers if shared else (shares.unsqueeze(-2) @ centers).squeeze(-2)
            return -log_parts.logsumexp(-1), (y - mean) / self.sigma.reshape(-1, *[1] * (mean.ndim - 1)) ** 2

        return in_blocks(both, x, y, self.num_replicates, self._values(y))

    def _values(self, y: torch.Tensor) -> int:
        """What a point is compared with, for the size of a block: nodes, and their places where each x has its own."""
        return self.nodes**self.latent_dim * max(1, y.shape[-1] // 2)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.settled()
        return super()._apply(*args, **kwargs)
