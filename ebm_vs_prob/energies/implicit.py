"""Manifolds as zero sets: the energy is half the squared norm of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .evaluation import energy_and_gradient
from .mlp import Network, ReplicatedMLP

#: Newton's steps back to the zero set, and what keeps their equations regular, in squares of F's slope.
RETURNS, RIDGE = 2, 1e-4


class ZeroSetEnergy(nn.Module):
    """R energies E(x, y) = ½ ‖F(x, y)‖², F a multilayer perceptron into R^K: 0 where F is, and nowhere below.

    With an energy V along the zero set it is V(x, y) + ½ ‖F(x, y)‖² / τ², τ the thickness round it.

    Args:
        seeds: one a replicate.
        x_dim: width of x. y_dim: width of y. codimension: K.
        network: its hidden layers.
        along: V, a replicated energy, or None.
    """

    thickness: torch.Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        x_dim: int,
        y_dim: int,
        codimension: int,
        network: Network,
        along: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.along = along
        self.register_buffer("thickness", torch.ones(len(seeds), dtype=torch.float32, device="cpu"))
        self.trunk = ReplicatedMLP(seeds, (x_dim + y_dim, *network.hidden, codimension), network.activation)
        self.num_replicates = self.trunk.num_replicates

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example."""
        along = 0.0 if self.along is None else float(self.along.multiply_adds)  # type: ignore[arg-type]
        return self.trunk.multiply_adds + self.trunk.sizes[-1] + along

    def map(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """F(x, y) of x (R or 1, *n, dx) and y (R or 1, *n, dy): (R, *n, K)."""
        lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return self.trunk(torch.cat([x.expand(*lead, -1), y.expand(*lead, -1)], -1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        half = 0.5 * self.map(x, y).square().sum(-1)
        if self.along is None:
            return half
        across: torch.Tensor = self.along(x, y) + half / self.thickness.square().reshape(-1, *[1] * (half.ndim - 1))
        return across

    def jacobian(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """F (R, B, K) and its derivative in y, (R, B, K, dy), without gradient."""
        with torch.enable_grad():
            point = y.detach().clone().requires_grad_()
            value = self.map(x, point)
            rows = [
                torch.autograd.grad(entry.sum(), point, retain_graph=True)[0].detach() for entry in value.unbind(-1)
            ]
        return value.detach(), torch.stack(rows, -2)

    @torch.no_grad()
    def constrained_steps(
        self, x: torch.Tensor, y: torch.Tensor, noise: torch.Tensor, step: torch.Tensor, bounds: tuple[float, float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The points of the zero set near y (R, B, dy), and where constrained Langevin steps lead from them.

        Each step moves along the tangent space, down V and by noise, and returns to F = 0 by Newton's steps across it.

        Args:
            x: (R, B, dx). noise: standard normals (R, steps, B, dy). step: size (R, 1, 1), units of y.
            bounds: of the y-box, which no point leaves.
        """
        assert self.along is not None
        value, jacobian = self.jacobian(x, y)
        start = y
        for _ in range(RETURNS):
            start = (start - _across(jacobian, value)).clamp(*bounds)
            value = self.map(x, start)
        y = start
        for normal in noise.unbind(1):
            _, jacobian = self.jacobian(x, y)
            move = step * normal - 0.5 * step**2 * energy_and_gradient(self.along, x, y)[1]
            y = y + move - _across(jacobian, (jacobian * move.unsqueeze(-2)).sum(-1))
            for _ in range(RETURNS):
                y = (y - _across(jacobian, self.map(x, y))).clamp(*bounds)
        return start, y

    @torch.enable_grad()
    def map_and_products(
        self, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """F (R, B, K) and Jᵀv, J its derivative in y, for directions v (R, B, K): (R, B, dy); both differentiable."""
        point = y.detach().clone().requires_grad_()
        value = self.map(x, point)
        (products,) = torch.autograd.grad(value, point, directions, create_graph=True)
        return value, products


def _across(jacobian: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Jᵀ (J Jᵀ)⁻¹ value, the least move that changes F by a value: J (R, B, K, dy), value (R, B, K) -> (R, B, dy)."""
    square = (jacobian.unsqueeze(-2) * jacobian.unsqueeze(-3)).sum(-1)
    square = square + RIDGE * torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    weight = torch.linalg.solve_ex(square, value.unsqueeze(-1))[0]
    return (jacobian * weight).sum(-2)
