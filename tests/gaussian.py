"""N(0, I) data in d dimensions: the task on which every method declares its optimum."""

from __future__ import annotations

import numpy as np
import torch
from statistical import standard_errors
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.base import Task


class Gaussian(Task):
    """Standard normal y in `dim` dimensions; thickness is ignored."""

    name = "gaussian"
    summary = "standard normal data"
    manifold_dim = None
    dim = 1

    def __init__(self, **options):
        super().__init__(**options)
        self.x_space = evp.Box((-1.0, 1.0), 0)
        self.y_space = evp.Box((-8.0, 8.0), self.dim)
        self.z_space = None

    def _draw(self, n, rng, split):
        return np.zeros((n, 0)), rng.standard_normal((n, self.dim)), np.zeros((n, 0))


def gaussian(dim: int) -> Gaussian:
    return type(f"Gaussian{dim}", (Gaussian,), {"dim": dim})()


class Quadratic(nn.Module):
    """E = ½ a ‖y - b‖², one learned curvature and centre: the exact energy of a Gaussian."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.curvature = nn.Parameter(torch.tensor(0.3))
        self.center = nn.Parameter(torch.full((task.y_space.dim,), 0.2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.curvature * (y - self.center).square().sum(-1)


def mean_curvature(model: evp.Model, dim: int) -> torch.Tensor:
    """tr(∇²E) / d at the origin of every replicate, by central differences of the energy, (R,)."""
    step = 0.05
    offsets = step * torch.cat([torch.eye(dim), -torch.eye(dim), torch.zeros(1, dim)])
    energy = model.energy(torch.zeros(2 * dim + 1, 0), offsets).double()
    return (energy[:, : 2 * dim].sum(1) - 2 * dim * energy[:, -1]) / (dim * step**2)


def curvature_tolerance(dim: int, examples: int, seeds: int, left: float, curvature: float = 1.0) -> float:
    """How far the mean curvature over the seeds may be from the optimum, at a false-alarm rate of 1e-5.

    The inverse variance of n draws in d dimensions has the relative standard error sqrt(2 / (n d)), and its mean over
    the seeds that over the square root of their number. `left` is what an optimiser that stops early may leave besides.
    """
    return standard_errors() * curvature * (2 / (examples * dim * seeds)) ** 0.5 + left
