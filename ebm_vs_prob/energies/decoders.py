"""Decoders g(x, z) of a latent variable, which both families shape, and their energies ½ |y - g(x, z)|²."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from .evaluation import distinct
from .mlp import Network, ReplicatedMLP

DecoderName = Literal["mlp", "periodic", "linear", "angle"]
#: Those whose z is an angle.
ANGULAR = ("periodic", "angle")
#: Up to which squares are summed one by one.
FEW_COORDINATES = 8
#: The interval of an angle z; its ends are one point.
FULL_TURN = (-math.pi, math.pi)


class Decoder(nn.Module, ABC):
    """R maps g(x, z) and their energies E(x, y, z) = ½ |y - g(x, z)|² + cost |z|_1, in units of y squared.

    Attributes:
        num_replicates: R.
        cost: (R,), what limits z by L1.
        periodic: whether z is an angle, so that -π and π are one value of it.
    """

    num_replicates: int
    cost: torch.Tensor
    periodic = False

    def __init__(self, cost: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("cost", cost)

    @property
    @abstractmethod
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one (x, y, z)."""

    @abstractmethod
    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """g(x, z): (R or 1, *n, dx) and (R or 1, *n, dz) -> (R, *n, dy)."""

    def decoded(self, x: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """g(x, z) of x (R or 1, n, dx) at every z of nodes (m, dz): (R, n, m, dy), without gradient."""
        with torch.no_grad():
            points = self.decode(x.unsqueeze(2), nodes.reshape(1, 1, *nodes.shape))
        return points.expand(self.num_replicates, x.shape[1], -1, -1)

    def squared_misfits(self, x: torch.Tensor, y: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """|y - g(x, z)|² at every z of nodes (m, dz): (R, *n, m).

        Coordinate by coordinate where there are few: a sum over a dimension of two would take most of the time.
        """
        places = self.decode(x.unsqueeze(-2), nodes.reshape(*[1] * (y.ndim - 1), *nodes.shape))
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        if y.shape[-1] > FEW_COORDINATES:
            return (y.unsqueeze(-2) - places).square().sum(-1).expand(*shape, len(nodes))
        total = torch.zeros((), dtype=places.dtype, device=places.device)
        for own, place in zip(y.unbind(-1), places.unbind(-1), strict=True):
            total = total + (own.unsqueeze(-1) - place).square()
        return total.expand(*shape, len(nodes))

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), *(v.shape[:-1] for v in (x, y, z)))
        energy = 0.5 * (y - self.decode(x, z)).square().sum(-1)
        return (energy + self.latent_cost(z)).expand(shape)

    def latent_cost(self, z: torch.Tensor) -> torch.Tensor:
        """cost |z|_1 of z (R or 1, *n, dz): (R, *n)."""
        return self.cost.reshape(-1, *[1] * (z.ndim - 2)) * z.abs().sum(-1)


class MLPDecoder(Decoder):
    """g is the shared trunk with z beside x."""

    def __init__(
        self, seeds: Sequence[int], x_dim: int, y_dim: int, latent_dim: int, network: Network, cost: torch.Tensor
    ) -> None:
        super().__init__(cost)
        self.trunk = ReplicatedMLP(seeds, (x_dim + latent_dim, *network.hidden, y_dim), network.activation)
        self.num_replicates = self.trunk.num_replicates

    @property
    def multiply_adds(self) -> float:
        return self.trunk.multiply_adds + self.trunk.sizes[-1]

    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        x = distinct(x)
        inputs = torch.broadcast_shapes(x.shape[:-1], z.shape[:-1])
        return self.trunk(torch.cat([x.expand(*inputs, -1), z.expand(*inputs, -1)], -1))


class PeriodicDecoder(MLPDecoder):
    """g is the shared trunk with cos z and sin z beside x: any closed curve for each x."""

    periodic = True

    def __init__(self, seeds: Sequence[int], x_dim: int, y_dim: int, network: Network) -> None:
        nothing = torch.zeros(len(seeds), dtype=torch.float32, device="cpu")
        super().__init__(seeds, x_dim, y_dim, 2, network, nothing)

    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return super().decode(x, torch.cat([z.cos(), z.sin()], -1))


class LinearDecoder(MLPDecoder):
    """g(x, z) = W z + B x + b: the decoder of probabilistic principal component analysis (Tipping and Bishop 1999)."""

    def __init__(self, seeds: Sequence[int], x_dim: int, y_dim: int, latent_dim: int, cost: torch.Tensor) -> None:
        Decoder.__init__(self, cost)
        self.trunk = ReplicatedMLP(seeds, (x_dim + latent_dim, y_dim))
        self.num_replicates = self.trunk.num_replicates


class AngleDecoder(Decoder):
    """g(x, z) = (f_1(x) cos z, f_2(x) sin z): an ellipse for each x, as in Canziani, NYU Deep Learning 2020, week 15.

    f is the shared trunk on x; without x it is a learned pair, which starts at (1, 1).
    """

    periodic = True

    def __init__(self, seeds: Sequence[int], x_dim: int, network: Network) -> None:
        super().__init__(torch.zeros(len(seeds), dtype=torch.float32, device="cpu"))
        self.num_replicates = len(seeds)
        self.axes: nn.Parameter | None = None
        self.trunk: ReplicatedMLP | None = None
        if x_dim:
            self.trunk = ReplicatedMLP(seeds, (x_dim, *network.hidden, 2), network.activation)
        else:
            self.axes = nn.Parameter(torch.ones(len(seeds), 2, dtype=torch.float32, device="cpu"))

    @property
    def multiply_adds(self) -> float:
        return 4.0 + (self.trunk.multiply_adds if self.trunk is not None else 0.0)

    def semi_axes(self, x: torch.Tensor) -> torch.Tensor:
        """f(x) of x (R or 1, *n, dx): (R, *n, 2), of n = 1s without x; either sign gives the same ellipse."""
        if self.trunk is not None:
            return self.trunk(x)
        assert self.axes is not None
        return self.axes.reshape(-1, *[1] * (x.ndim - 2), 2)

    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.semi_axes(x) * torch.cat([z.cos(), z.sin()], -1)
