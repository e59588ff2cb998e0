"""Latent variables of an energy: minimised, or left as a free energy, with z limited in what it can explain.

E(x, y, z) scores an answer together with what is not observed of it; the model answers by
F_beta(x, y) = -1/beta ln (1/|Z| sum over z of exp(-beta E)), the minimum over z at beta = inf (LeCun et al. 2006, eq.
20). If z explains every y, F is flat and the model has collapsed: its dimension, the number of its values, noise on it
or an L1 cost keep it from that (LeCun and Canziani, NYU Deep Learning 2020, weeks 7 to 9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..descent import descend
from ..energies import Network, ReplicatedMLP, distinct
from ..errors import check_count, invalid
from ..free_energies import free_energy

#: E(x, y, z) for broadcasting (..., dx), (..., dy), (..., dz) -> (...).
JointEnergy = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LatentAnswers:
    """The z of lowest energy at each (x, y): z (..., dz), or (...) int64 for discrete z; F_inf (...); `converged`."""

    z: torch.Tensor
    free_energy: torch.Tensor
    converged: torch.Tensor


class _InLatent(nn.Module):
    """E(x, y, .) as a replicated energy of z, for descent: its `x` is (x, y) side by side."""

    def __init__(self, energy: JointEnergy, replicates: int, x_dim: int) -> None:
        super().__init__()
        self.energy = (energy,)  # held outside the module tree: its parameters are not ours
        self.num_replicates = replicates
        self.x_dim = x_dim

    def forward(self, xy: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.energy[0](xy[..., : self.x_dim], xy[..., self.x_dim :], z)


def infer_latent(
    energy: JointEnergy,
    x: torch.Tensor,
    y: torch.Tensor,
    starts: torch.Tensor,
    bounds: tuple[float, float],
    max_steps: int = 200,
    tolerance: float = 1e-6,
) -> LatentAnswers:
    """argmin over z of E(x, y, z) and F_inf(x, y): the start of lowest energy, refined by line search.

    Args:
        energy: any callable E(x, y, z) -> (...) that broadcasts (..., dx), (..., dy) and (..., dz).
        x: (R or 1, *n, dx) or (n, dx). y: likewise (R, *n, dy) or (n, dy).
        starts: candidates of z, (m, dz); a fine grid finds the basin, the descent its floor.
        bounds: the interval of every entry of z.
        max_steps, tolerance: of the descent; `tolerance` in units of z.

    Returns:
        z (R, *n, dz) or (n, dz), F_inf and `converged` of the same leading shape, without gradient.

    Raises:
        ValueError: shapes that do not fit, or bad bounds.
    """
    if starts.ndim != 2 or not starts.shape[0]:
        raise invalid("starts.shape", tuple(starts.shape), "(m, dz) with m >= 1")
    if not bounds[0] < bounds[1]:
        raise invalid("bounds", bounds, "(low, high) with low < high")
    single = y.ndim == 2
    x, y = (value.unsqueeze(0) if single else value for value in (x, y))
    with torch.no_grad():
        candidates = starts.to(y).reshape(*[1] * (y.ndim - 1), *starts.shape)
        energies = energy(x.unsqueeze(-2), y.unsqueeze(-2), candidates)
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], energies.shape[:-1])
        z = starts.to(y)[energies.nan_to_num(math.inf).argmin(-1).expand(shape)]
    given = torch.cat([x.expand(*shape, -1), y.expand(*shape, -1)], -1)
    module = _InLatent(energy, shape[0], x.shape[-1])
    found = descend(module, given, z, bounds, max_steps=max_steps, tolerance=tolerance)
    answers = (found.y, found.energy, found.converged)
    return LatentAnswers(*(value.squeeze(0) if single else value for value in answers))


def latent_nodes(count: int, dim: int, bounds: tuple[float, float]) -> torch.Tensor:
    """`count` values of z in a box, (count, dim) float64: midpoints of a grid on a line, else a Sobol set."""
    check_count("nodes", count)
    low, high = bounds
    if dim == 1:
        unit = (torch.arange(count, dtype=torch.float64) + 0.5).unsqueeze(1) / count
    else:
        unit = torch.quasirandom.SobolEngine(dim, scramble=False).draw(count, dtype=torch.float64) + 0.5 / count
    return low + (high - low) * unit


class Decoder(nn.Module):
    """R energies E(x, y, z) = ½ |y - g(x, z)|² + cost |z|_1, g the shared trunk with z beside x.

    `cost` (R,) is what limits z by L1; energies are in units of y squared.
    """

    cost: torch.Tensor

    def __init__(self, seeds: Any, x_dim: int, y_dim: int, latent_dim: int, network: Network, cost: torch.Tensor):
        super().__init__()
        self.x_dim, self.latent_dim = x_dim, latent_dim
        self.trunk = ReplicatedMLP(seeds, (x_dim + latent_dim, *network.hidden, y_dim), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.register_buffer("cost", cost)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one (x, y, z)."""
        return self.trunk.multiply_adds + self.trunk.sizes[-1]

    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """g(x, z): (R or 1, *n, dx) and (R or 1, *n, dz) -> (R, *n, dy)."""
        x = distinct(x)
        inputs = torch.broadcast_shapes(x.shape[:-1], z.shape[:-1])
        return self.trunk(torch.cat([x.expand(*inputs, -1), z.expand(*inputs, -1)], -1))

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), *(v.shape[:-1] for v in (x, y, z)))
        energy = 0.5 * (y - self.decode(x, z)).square().sum(-1)
        cost = self.cost.reshape(-1, *[1] * (z.ndim - 2)) * z.abs().sum(-1)
        return (energy + cost).expand(shape)


class JoinedEnergy(nn.Module):
    """A user's R energies E(x, y, z), stacked by `replicated` as energies of (x, (y, z))."""

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

    Args:
        energy: R joint energies, with `num_replicates` and `multiply_adds`.
        nodes: values of z, (m, dz).
        beta: (R,), in the inverse unit of the energy; inf for the minimum.
        bounds: of z.
        refine: steps of descent on z from the best node, at beta = inf. The gradient in parameters and y is then that
            of E at the minimiser (the envelope theorem), and so is the Hessian, which leaves out how z follows y. The
            search cannot run inside a `torch.func` transform.
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
        self.minimises = bool((beta == math.inf).all())

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one free energy of one (x, y), as if each had an x of its own; a descent's step is three."""
        return cast("float", self.energy.multiply_adds) * (len(self.nodes) + 3 * self.refine)

    def energies(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E at every node, (R, *n, m)."""
        nodes = self.nodes.reshape(*[1] * (y.ndim - 1), *self.nodes.shape)
        energy: torch.Tensor = self.energy(x.unsqueeze(-2), y.unsqueeze(-2), nodes)
        return energy

    def infer_latent(
        self, x: torch.Tensor, y: torch.Tensor, max_steps: int = 200, tolerance: float = 1e-6
    ) -> LatentAnswers:
        """The z of lowest energy from the best node on; see `infer_latent`."""
        return infer_latent(cast("JointEnergy", self.energy), x, y, self.nodes, self.bounds, max_steps, tolerance)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.minimises and self.refine:
            shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
            given = x.detach().expand(*shape, -1), y.detach().expand(*shape, -1)
            z = self.infer_latent(*given, max_steps=self.refine).z
            energy: torch.Tensor = self.energy(x, y, z)
            return energy.expand(shape)
        energies = self.energies(x, y)
        if self.minimises:
            return energies.amin(-1)
        return free_energy(energies, self.beta.reshape(-1, *[1] * (energies.ndim - 2)), -1)
