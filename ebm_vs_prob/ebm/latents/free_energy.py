"""Energies with a latent variable, and the free energy that minimises it or not.

E(x, y, z) scores an answer together with what is not observed of it; the model answers by
F_beta(x, y) = -1/beta ln (1/|Z| sum over z of exp(-beta E)), the minimum over z at beta = inf (LeCun et al. 2006, on
architectures with latent variables). If z explains every y, F is flat and the model has collapsed: its dimension, the
number of its values, noise on it or an L1 cost keep it from that (LeCun and Canziani, NYU Deep Learning 2020, weeks 7
to 9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from ...core.free_energies import free_energy
from ...descent.angle import best_latent
from ...descent.answers import LATENT_SEARCH, LatentAnswers, Search
from ...energies.decoders import Decoder


class JoinedEnergy(nn.Module):
    """A user's R energies E(x, y, z), stacked by `replicated` as energies of (x, (y, z))."""

    periodic = False

    def __init__(self, stacked: nn.Module) -> None:
        super().__init__()
        self.stacked = stacked
        self.num_replicates = cast("int", stacked.num_replicates)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one (x, y, z)."""
        return cast("float", self.stacked.multiply_adds)

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        shape = torch.broadcast_shapes(*(value.shape[:-1] for value in (x, y, z)))
        energy: torch.Tensor = self.stacked(x, torch.cat([y.expand(*shape, -1), z.expand(*shape, -1)], -1))
        return energy


class FreeEnergy(nn.Module):
    """F_beta(x, y) of a joint energy over a set of z: (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n).

    At beta = inf the gradient in parameters and y is that of E at the minimiser (the envelope theorem), and so is the
    Hessian, which leaves out how z follows y.

    Args:
        energy: R joint energies, with `num_replicates` and `multiply_adds`.
        nodes: values of z, (m, dz).
        beta: (R,), in the inverse unit of the energy; inf for the minimum, of the replicates that have it.
        bounds: of z; a full turn of an angle, whose search goes round.
        refine: steps on z from the best node, at beta = inf: of descent, or of Newton's method where z is an angle. The
            search cannot run inside a `torch.func` transform; `energy_and_gradient` can be differentiated in the
            parameters without one.
    """

    nodes: torch.Tensor
    beta: torch.Tensor

    def __init__(
        self, energy: nn.Module, nodes: torch.Tensor, beta: torch.Tensor, bounds: tuple[float, float], refine: int = 0
    ) -> None:
        super().__init__()
        self.energy = energy
        self.num_replicates = cast("int", energy.num_replicates)
        self.bounds, self.refine = bounds, refine
        self.register_buffer("nodes", nodes)
        self.register_buffer("beta", beta)
        cold = beta == math.inf
        self.minimises, self.averages = bool(cold.any()), not bool(cold.all())

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one free energy of one (x, y), each with an x of its own; a step on z is three energies.

        Steps are taken at beta = inf only, and there the one energy at the minimiser is left out of the count.
        """
        steps = self.refine if self.minimises else 0
        return cast("float", self.energy.multiply_adds) * (len(self.nodes) + 3 * steps)

    @property
    def evaluation_multiply_adds(self) -> float:
        """Multiply-adds of one joint energy, of which methods count how many a step takes."""
        return cast("float", self.energy.multiply_adds)

    def energies(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E at every node, (R, *n, m)."""
        if isinstance(self.energy, Decoder):
            cost = self.energy.latent_cost(self.nodes.unsqueeze(0)).reshape(-1, *[1] * (y.ndim - 2), len(self.nodes))
            return 0.5 * self.energy.squared_misfits(x, y, self.nodes) + cost
        nodes = self.nodes.reshape(*[1] * (y.ndim - 1), *self.nodes.shape)
        energy: torch.Tensor = self.energy(x.unsqueeze(-2), y.unsqueeze(-2), nodes)
        return energy

    def infer_latent(self, x: torch.Tensor, y: torch.Tensor, search: Search = LATENT_SEARCH) -> LatentAnswers:
        """The z of lowest energy from the best node on: by descent (`search_latent`), of an angle by Newton's method,
        which takes the count and the tolerance of `search`.
        """
        return best_latent(self.energy, x, y, self.nodes, self.bounds, search)

    def minimiser(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The z of F_inf, (R, *n, dz), without gradient: the best node, or what descent makes of it."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        x, y = x.detach(), y.detach()
        if self.refine:
            given = x.expand(*shape, -1), y.expand(*shape, -1)
            return self.infer_latent(*given, replace(LATENT_SEARCH, max_steps=self.refine)).z
        with torch.no_grad():  # x is not expanded, so that its nodes are decoded once for all points that share it
            return self.nodes[self.energies(x, y).argmin(-1).expand(shape)]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not self.minimises:
            return self.averaged(x, y)
        z = self.minimiser(x, y)
        energy: torch.Tensor = self.energy(x, y, z)
        return self.at_own_beta(energy.expand(z.shape[:-1]), x, y)

    def averaged(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """F_beta over the nodes as they are, (R, *n)."""
        energies = self.energies(x, y)
        return free_energy(energies, self.beta.reshape(-1, *[1] * (energies.ndim - 2)), -1)

    def at_own_beta(self, minimum: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`minimum` (R, *n) in the replicates whose beta is inf, F_beta over the nodes in the others."""
        return torch.where(self._cold(minimum.ndim), minimum, self.averaged(x, y)) if self.averages else minimum

    def _cold(self, ndim: int) -> torch.Tensor:
        return (self.beta == math.inf).reshape(-1, *[1] * (ndim - 1))

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """F (R, *n) and dF/dy (R, *n, dy); z is searched outside the derivative."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        points = y.expand(*shape, -1)
        if not self.minimises:
            return _with_gradient(lambda point: self.averaged(x, point), points)
        z = self.minimiser(x, y)
        if isinstance(self.energy, Decoder):
            gradient = (y - self.energy.decode(x, z)).expand(*shape, -1)
            value = 0.5 * gradient.square().sum(-1) + self.energy.latent_cost(z)
        else:
            value, gradient = _with_gradient(lambda point: self.energy(x, point, z).expand(shape), points)
        if not self.averages:
            return value, gradient
        mean, slope = _with_gradient(lambda point: self.averaged(x, point), points)
        cold = self._cold(value.ndim)
        return torch.where(cold, value, mean), torch.where(cold.unsqueeze(-1), gradient, slope)


def _with_gradient(
    energy: Callable[[torch.Tensor], torch.Tensor], points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies (R, *n) of points (R, *n, dy), each of its own, and their gradients."""

    def total(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = energy(point)
        return value.sum(), value

    gradient, value = torch.func.grad(total, has_aux=True)(points)
    return value, gradient
