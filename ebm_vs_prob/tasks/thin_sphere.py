"""The unit sphere in R^D, blurred: an answer set of any dimension whose density is known exactly at any thickness.

A uniform point on the sphere plus isotropic Gaussian noise is a uniform mixture of von Mises-Fisher laws of the
direction (Mardia and Jupp, Directional Statistics, 2000, section 9.3.2), so the density depends on the radius alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.seeding import numpy_generator
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .geometry.spheres import log_area, radial_nodes
from .quadrature import refined

if TYPE_CHECKING:
    import torch


class ThinSphereOptions(TaskOptions):
    """Options of `thin_sphere`."""

    ambient_dim: Annotated[int, Field(ge=2, le=64, description="dimension D of y")] = 3


class ThinSphereReference(DensityReference):
    """Exact truth of the sphere."""

    num_answers = 1024

    def __init__(self, task: ThinSphere) -> None:
        super().__init__(task)
        self._dim = task.options.ambient_dim

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y) in nats for x (..., 0) and y (..., D), unchecked; smooth in y everywhere, the origin included."""
        import torch

        density = self._of_squared_radius(y.double().square().sum(-1))
        return density.expand(torch.broadcast_shapes(x.shape[:-1], density.shape))

    def _of_squared_radius(self, square: torch.Tensor) -> torch.Tensor:
        """ln p at squared radii, float64.

        With k = r / eps² the mean over the sphere is exp(g(k) + k), g the logarithm of a scaled Bessel function. Near
        the shell k and (r² + 1) / (2 eps²) nearly cancel, which is done on paper; near the origin, where r is not
        smooth in y, the mean is a series in k².
        """
        import torch

        from .geometry.bessel import log_hypergeometric, log_scaled_bessel

        eps = self.noise
        order, variance = self._dim / 2 - 1, eps**2
        argument = square / variance**2
        near = argument < 1.0
        # Each branch gets arguments at which it is regular, so that neither puts a NaN into the other's derivatives.
        radius = torch.where(near, variance**2, square).sqrt()
        away = log_scaled_bessel(order, (radius / variance).clamp_min(1.0)) - (radius - 1).square() / (2 * variance)
        central = log_hypergeometric(order, torch.where(near, argument, 0.0)) - (square + 1) / (2 * variance)
        return torch.where(near, central, away) - self._dim / 2 * math.log(2 * math.pi * variance)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, D) to the sphere, (n,) float64."""
        return (check_pairs(self.task, x, y)[1].norm(dim=-1) - 1).abs()

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """1024 points of the sphere, (n, 1024, D) float64: at equal angles in the plane, random but fixed beyond.

        One storage serves every x, so do not write to it.
        """
        import torch

        check_inputs(self.task, x)
        if self._dim == 2:
            angle = (np.arange(self.num_answers) + 0.5) * (2 * np.pi / self.num_answers)
            points = np.stack([np.cos(angle), np.sin(angle)], -1)
        else:
            points = _directions(numpy_generator(0, "answers", self.task.name), self.num_answers, self._dim)
        return torch.from_numpy(points).to(x.device).expand(x.shape[0], -1, -1)

    def entropy(self) -> Approximate:
        """h(Y) in nats, to 1e-8: quadrature over the radius, whose spread about its own centre is eps at most.

        Raises:
            NoExactReference: at thickness 0.
        """
        import torch

        dim, eps = self._dim, self.noise

        def quadrature(num_nodes: int) -> float:
            radius, weight = radial_nodes(math.sqrt(1 + (dim - 1) * eps**2), eps, num_nodes)
            log_density = self._of_squared_radius(torch.from_numpy(radius).square()).numpy()
            mass = weight * np.exp(log_area(dim) + (dim - 1) * np.log(radius) + log_density)
            return float(-mass @ log_density)

        return refined(quadrature, start=64, tolerance=1e-9)


@TASKS.register
class ThinSphere(Task):
    """A uniform point on the unit sphere of R^D, with noise; its latent is that point."""

    name = "thin_sphere"
    summary = "uniform on the unit sphere in R^D, blurred; unconditional"
    truth = "log-density in closed form, entropy by quadrature"
    references = ("mardia2000directional",)
    Options = ThinSphereOptions
    options: ThinSphereOptions
    reference: ThinSphereReference
    x_space: Box
    y_space: Box

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        extent = max(3.0, 1.0 + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 0)
        self.y_space = Box((-extent, extent), self.options.ambient_dim)
        self.z_space = Box((-1.0, 1.0), self.options.ambient_dim)
        self.manifold_dim = self.options.ambient_dim - 1
        self.reference = ThinSphereReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.empty((n, 0))
        return x, *self.draw(x, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 0) from `rng` alone: y (n, D) and its point of the sphere (n, D), float64."""
        direction = _directions(rng, len(x), self.options.ambient_dim)
        return direction + self.thickness * rng.standard_normal(direction.shape), direction


def _directions(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """n points (n, dim), uniform on the unit sphere."""
    points = rng.standard_normal((n, dim))
    return points / np.linalg.norm(points, axis=1, keepdims=True)
