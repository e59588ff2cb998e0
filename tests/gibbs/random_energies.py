"""Random energies whose partition functions are known: mixtures, walls, steps and shells in one to six dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import erf, gammaln

LOW, HIGH = -8.0, 8.0
KINDS = ("mixture", "wall", "step", "shell")


@dataclass(frozen=True)
class RandomEnergy:
    """E(x, y) over [-8, 8]^dim and its ln Z at beta = 1."""

    kind: str
    dim: int
    energy: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    log_z: float


def random_energies(count: int, seed: int = 0, dims: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Iterator[RandomEnergy]:
    """`count` energies, kinds and dimensions by turns; shells begin at two dimensions."""
    makers = {"mixture": _mixture, "wall": _wall, "step": _step, "shell": _shell}
    for index in range(count):
        kind, dim = KINDS[index % len(KINDS)], dims[index // len(KINDS) % len(dims)]
        kind = "mixture" if kind == "shell" and dim == 1 else kind
        energy, log_z = makers[kind](np.random.default_rng([seed, index]), dim)
        yield RandomEnergy(kind, dim, energy, log_z)


Made = tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], float]


def _mixture(rng: np.random.Generator, dim: int) -> Made:
    """Gaussians of shares, places and widths (.03 to 1, log-uniform) of their own; masses within the box by erf."""
    modes = int(rng.integers(1, 5))
    shares, places = rng.dirichlet(np.full(modes, 2.0)), rng.uniform(-6, 6, (modes, dim))
    widths = np.exp(rng.uniform(math.log(0.03), 0.0, modes))
    inside = 0.5 * (erf((HIGH - places) / widths[:, None] / 2**0.5) - erf((LOW - places) / widths[:, None] / 2**0.5))
    log_z = math.log(float(shares @ inside.prod(1)))
    log_heights = torch.tensor(np.log(shares) - dim * np.log(widths * (2 * math.pi) ** 0.5))
    at, width = torch.tensor(places), torch.tensor(widths)

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        squares = (y.unsqueeze(-2) - at).square().sum(-1) / width.square()
        return -(log_heights - squares / 2).logsumexp(-1)

    return energy, log_z


def _rectangle(rng: np.random.Generator, dim: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    low = rng.uniform(-6, 4, dim)
    sides = rng.uniform(0.5, 3.0, dim)
    return torch.tensor(low), torch.tensor(low + sides), float(np.log(sides).sum())


def _wall(rng: np.random.Generator, dim: int) -> Made:
    """0 within a rectangle, infinite outside."""
    low, high, log_volume = _rectangle(rng, dim)

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(((y > low) & (y < high)).all(-1), 0.0, math.inf).double()

    return energy, log_volume


def _step(rng: np.random.Generator, dim: int) -> Made:
    """-height within a rectangle, 0 outside."""
    low, high, log_volume = _rectangle(rng, dim)
    height = float(rng.uniform(1, 6))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(((y > low) & (y < high)).all(-1), -height, 0.0).double()

    return energy, float(np.logaddexp(dim * math.log(HIGH - LOW), log_volume + math.log(math.expm1(height))))


def _shell(rng: np.random.Generator, dim: int) -> Made:
    """(|y - c| - r)² / (2 t²): the sphere's surface times a radial integral, all of it within the box."""
    center, radius = torch.tensor(rng.uniform(-3, 3, dim)), float(rng.uniform(1, 3))
    thickness = float(np.exp(rng.uniform(math.log(0.02), math.log(0.2))))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    reach = min(10 * thickness, radius)
    r = radius + reach * nodes
    radial = float(reach * weights @ (r ** (dim - 1) * np.exp(-0.5 * ((r - radius) / thickness) ** 2)))
    log_surface = math.log(2) + dim / 2 * math.log(math.pi) - float(gammaln(dim / 2))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * (((y - center).norm(dim=-1) - radius) / thickness).square()

    return energy, log_surface + math.log(radial)
