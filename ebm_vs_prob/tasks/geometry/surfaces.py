"""Manifolds with a law on them, each in the smallest space R^m that holds it, blurred: what they share, and the closed
forms, sphere and linear subspace."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch

from ...core.approximate import Approximate
from ...core.seeding import numpy_generator
from ...core.spaces import Box
from . import von_mises_fisher

#: Singular values of the linear map, evenly spaced in their logarithm, and how many deviations answers and box cover.
LARGEST, SMALLEST, COVERED, BOXED = 1.0, 0.5, 4.0, 6.0
#: Answers of a surface along each of its two coordinates.
SIDE = 32
#: What a log-density that is itself a quadrature may be off by, in nats.
OF_DENSITY = 1e-6


class Surface(ABC):
    """A manifold of dimension `manifold_dim` in R^m with a law on it; tensors are float64.

    Attributes:
        dim: m. manifold_dim: d. extent: largest coordinate of its points, in any rotation. latents: the space of the
        coordinates u on it.
    """

    dim: int
    manifold_dim: int
    extent: float
    latents: Box

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n points (n, m) from its law and their latents u (n, k)."""

    @abstractmethod
    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        """ln of the density at y (..., m) in nats, at noise eps > 0; twice differentiable."""

    @abstractmethod
    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        """ln of the noise-free density by area at u (..., k): that of the coordinates less ln of the area element."""

    @abstractmethod
    def project(self, y: torch.Tensor) -> torch.Tensor:
        """The nearest point of each y (n, m); one of them where there are several."""

    @abstractmethod
    def answers(self) -> np.ndarray:
        """Points all over it, (k, m)."""

    @abstractmethod
    def entropy(self, eps: float) -> Approximate:
        """h in nats at noise eps > 0, in R^m."""


class Sphere(Surface):
    """The unit sphere of dimension d in R^(d+1), von Mises-Fisher round the first axis; u is the point."""

    num_answers = 1024

    def __init__(self, manifold_dim: int, concentration: float) -> None:
        self.dim, self.manifold_dim, self.extent = manifold_dim + 1, manifold_dim, 1.0
        self.latents = Box((-1.0, 1.0), self.dim)
        self._concentration = concentration

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        points = von_mises_fisher.draw(rng, n, self.dim, self._concentration)
        return points, points

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        return von_mises_fisher.log_density(y, eps, self._concentration)

    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        return von_mises_fisher.log_surface_density(latent[..., 0], self.dim, self._concentration)

    def project(self, y: torch.Tensor) -> torch.Tensor:
        radius = y.norm(dim=-1, keepdim=True)
        first = torch.eye(self.dim, dtype=y.dtype, device=y.device)[0]
        return torch.where(radius > 0, y / torch.where(radius > 0, radius, 1.0), first)

    def answers(self) -> np.ndarray:
        """1024 points: at equal angles in the plane, random but fixed and uniform beyond."""
        if self.dim == 2:
            angle = (np.arange(self.num_answers) + 0.5) * (2 * np.pi / self.num_answers)
            return np.stack([np.cos(angle), np.sin(angle)], -1)
        return von_mises_fisher.draw(numpy_generator(0, "answers", "sphere"), self.num_answers, self.dim, 0.0)

    def entropy(self, eps: float) -> Approximate:
        return von_mises_fisher.entropy(self.dim, eps, self._concentration)


class Linear(Surface):
    """All of R^d with a Gaussian law of independent coordinates, whose standard deviations go from 1 to ½; u = y."""

    def __init__(self, manifold_dim: int) -> None:
        self.dim = self.manifold_dim = manifold_dim
        self.extent = BOXED * LARGEST
        self.latents = Box((-self.extent, self.extent), manifold_dim)
        self._deviations = np.geomspace(LARGEST, SMALLEST, manifold_dim)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        points = self._deviations * rng.standard_normal((n, self.dim))
        return points, points

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        variance = torch.from_numpy(self._deviations**2 + eps**2).to(y.device)
        constant = self.dim * math.log(2 * math.pi) + float(variance.log().sum())
        return -0.5 * ((y.square() / variance).sum(-1) + constant)

    def log_surface_density(self, latent: torch.Tensor) -> torch.Tensor:
        return self.log_density(latent, 0.0)

    def project(self, y: torch.Tensor) -> torch.Tensor:
        return y

    def answers(self) -> np.ndarray:
        """Points within 4 standard deviations of each coordinate: 512 on a line, 32 by 32 on a plane, 1024 beyond."""
        if self.dim <= 2:
            axis = (np.arange((512, SIDE)[self.dim - 1]) + 0.5) / (512, SIDE)[self.dim - 1]
            unit = np.stack(np.meshgrid(*[axis] * self.dim, indexing="ij"), -1).reshape(-1, self.dim)
        else:
            unit = numpy_generator(0, "answers", "linear").random((1024, self.dim))
        return COVERED * (2 * unit - 1) * self._deviations

    def entropy(self, eps: float) -> Approximate:
        """½ ln det(2πe (S² + ε² I)), in closed form."""
        return Approximate(0.5 * np.log(2 * math.pi * math.e * (self._deviations**2 + eps**2)).sum())


__all__ = ["Linear", "Sphere", "Surface"]
