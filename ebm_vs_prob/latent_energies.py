"""Energies with a latent variable, which both families shape: decoders, and the free energy that minimises z or not.

E(x, y, z) scores an answer together with what is not observed of it; the model answers by
F_beta(x, y) = -1/beta ln (1/|Z| sum over z of exp(-beta E)), the minimum over z at beta = inf (LeCun et al. 2006, on
architectures with latent variables). If z explains every y, F is flat and the model has collapsed: its dimension, the
number of its values, noise on it or an L1 cost keep it from that (LeCun and Canziani, NYU Deep Learning 2020, weeks 7
to 9).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn

from .energies import Network, ReplicatedMLP, box_dims, distinct
from .errors import check_search, invalid
from .free_energies import free_energy
from .latent_inference import JointEnergy, LatentAnswers, lowest, search_latent

if TYPE_CHECKING:
    from .method import Setting

DecoderName = Literal["mlp", "angle"]
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


class AngleDecoder(Decoder):
    """g(x, z) = (f_1(x) cos z, f_2(x) sin z): an ellipse for each x, as in Canziani, NYU Deep Learning 2020, week 15.

    f is the shared trunk on x; without x it is a learned pair, which starts at (1, 1).
    """

    periodic = True

    def __init__(self, seeds: Sequence[int], x_dim: int, network: Network) -> None:
        super().__init__(torch.zeros(len(seeds)))
        self.num_replicates = len(seeds)
        self.axes: nn.Parameter | None = None
        self.trunk: ReplicatedMLP | None = None
        if x_dim:
            self.trunk = ReplicatedMLP(seeds, (x_dim, *network.hidden, 2), network.activation)
        else:
            self.axes = nn.Parameter(torch.ones(len(seeds), 2))

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

    @torch.no_grad()
    def nearest(
        self, x: torch.Tensor, y: torch.Tensor, nodes: torch.Tensor, max_steps: int, tolerance: float
    ) -> LatentAnswers:
        """The angle of lowest energy, within ±π, by Newton's method from the best of nodes (m, 1).

        Shapes are those of `infer_latent`. A step is -E' / |E''|, of two nodes at most; where it does not lower the
        energy it is halved.

        Raises:
            ValueError: a bad count or tolerance.
        """
        check_search(max_steps, tolerance)
        axes, longest = self.semi_axes(x), 4 * math.pi / len(nodes)
        # By coordinates: sums over a dimension of two would take most of the time.
        (a, b), (p, q) = axes.unbind(-1), y.unbind(-1)
        grid = nodes.reshape(*[1] * (y.ndim - 1), -1)
        misfits = p.unsqueeze(-1) - a.unsqueeze(-1) * grid.cos(), q.unsqueeze(-1) - b.unsqueeze(-1) * grid.sin()
        squares = misfits[0].square() + misfits[1].square()
        where = lowest(squares)
        best, z = squares.gather(-1, where.unsqueeze(-1)).squeeze(-1), nodes[where, 0]
        share, converged = torch.ones_like(best), torch.zeros_like(where, dtype=torch.bool)
        cosine, sine = z.cos(), z.sin()
        for _ in range(max_steps):
            right, up = p - a * cosine, q - b * sine
            slope = a * sine * right - b * cosine * up
            bend = a * cosine * right + b * sine * up + (a * sine).square() + (b * cosine).square()
            step = (slope / bend.abs().clamp_min(torch.finfo(bend.dtype).tiny)).clamp(-longest, longest) * share
            moved = z - step
            trial = moved.cos(), moved.sin()
            energy = (p - a * trial[0]).square() + (q - b * trial[1]).square()
            # One that has converged stays, so that no point depends on how long the others search.
            lower = (energy < best) & ~converged
            z, best = torch.where(lower, moved, z), torch.where(lower, energy, best)
            cosine, sine = torch.where(lower, trial[0], cosine), torch.where(lower, trial[1], sine)
            share = torch.where(lower, 1.0, share / 2)
            converged = converged | (step.abs() < tolerance)
            if bool(converged.all()):
                break
        z = (z + math.pi).remainder(2 * math.pi) - math.pi
        energy = 0.5 * ((p - a * z.cos()).square() + (q - b * z.sin()).square())
        return LatentAnswers(z.unsqueeze(-1), energy, converged & energy.isfinite())


def build_decoder(
    setting: Setting, name: DecoderName, latent_dim: int = 1, cost: torch.Tensor | None = None
) -> Decoder:
    """The decoder of that name for a setting whose network is the package's own, in float32 on the CPU.

    Raises:
        ValueError: spaces that are no boxes, an energy of the user's own, or an angle decoder where y is not in R^2.
    """
    x_dim, y_dim = box_dims(setting)
    if not isinstance(setting.network, Network):
        raise invalid("energy", setting.network, "None: this decoder is made of a Network")
    if name == "angle":
        if y_dim != 2:
            raise invalid("decoder", name, f"'mlp' on {setting.tasks[0].name}: an angle decodes to two numbers")
        return AngleDecoder(setting.seeds, x_dim, setting.network)
    limit = torch.zeros(len(setting.seeds)) if cost is None else cost
    return MLPDecoder(setting.seeds, x_dim, y_dim, latent_dim, setting.network, limit)


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

    def energies(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E at every node, (R, *n, m)."""
        nodes = self.nodes.reshape(*[1] * (y.ndim - 1), *self.nodes.shape)
        energy: torch.Tensor = self.energy(x.unsqueeze(-2), y.unsqueeze(-2), nodes)
        return energy

    def infer_latent(
        self, x: torch.Tensor, y: torch.Tensor, max_steps: int = 200, tolerance: float = 1e-6
    ) -> LatentAnswers:
        """The z of lowest energy from the best node on: by descent (`search_latent`), of an angle by Newton's method.

        Raises:
            ValueError: a bad count or tolerance.
        """
        if isinstance(self.energy, AngleDecoder):
            return self.energy.nearest(x, y, self.nodes, max_steps, tolerance)
        return search_latent(cast("JointEnergy", self.energy), x, y, self.nodes, self.bounds, max_steps, tolerance)

    def minimiser(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The z of F_inf, (R, *n, dz), without gradient: the best node, or what descent makes of it."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        given = x.detach().expand(*shape, -1), y.detach().expand(*shape, -1)
        if self.refine:
            return self.infer_latent(*given, max_steps=self.refine).z
        with torch.no_grad():
            return self.nodes[self.energies(*given).argmin(-1)]

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
