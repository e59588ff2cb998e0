"""Manifolds as zero sets: the energy is half the squared norm of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .mlp import Network, ReplicatedMLP


class ZeroSetEnergy(nn.Module):
    """R energies E(x, y) = ½ ‖F(x, y)‖², F a multilayer perceptron into R^K: 0 where F is, and nowhere below.

    Args:
        seeds: one a replicate.
        x_dim: width of x. y_dim: width of y. codimension: K.
        network: its hidden layers.
    """

    def __init__(self, seeds: Sequence[int], x_dim: int, y_dim: int, codimension: int, network: Network) -> None:
        super().__init__()
        self.trunk = ReplicatedMLP(seeds, (x_dim + y_dim, *network.hidden, codimension), network.activation)
        self.num_replicates = self.trunk.num_replicates

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example."""
        return self.trunk.multiply_adds + self.trunk.sizes[-1]

    def map(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """F(x, y) of x (R or 1, *n, dx) and y (R or 1, *n, dy): (R, *n, K)."""
        lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return self.trunk(torch.cat([x.expand(*lead, -1), y.expand(*lead, -1)], -1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.map(x, y).square().sum(-1)

    @torch.enable_grad()
    def map_and_products(
        self, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """F (R, B, K) and Jᵀv, J its derivative in y, for directions v (R, B, K): (R, B, dy); both differentiable."""
        point = y.detach().clone().requires_grad_()
        value = self.map(x, point)
        (products,) = torch.autograd.grad(value, point, directions, create_graph=True)
        return value, products
