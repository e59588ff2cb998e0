"""Manifolds of several shapes in R^D with a law that is not uniform, blurred: sphere, subspace, torus, and others.

Brehmer and Cranmer (NeurIPS 2020) learn densities on such manifolds without noise; here the noise has a known
thickness, and the density in R^D is exact. Each shape lies in a small R^m, turned into R^D by m orthonormal axes; the
noise across them factors off.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..core.approximate import Approximate
from ..core.errors import invalid
from ..core.registry import TASKS
from ..core.seeding import check_seed, numpy_generator
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs, check_size
from .density_reference import DensityReference
from .linear_gaussian import orthonormal

if TYPE_CHECKING:
    import torch

    from .geometry.surfaces import Surface

Shape = Literal["sphere", "torus", "swiss_roll", "linear", "klein_bottle", "polynomial"]
#: Of each shape its dimension d, None where it is free, and the dimension m of the space it lies in, less d.
DIMENSIONS: dict[Shape, tuple[int | None, int]] = {
    "sphere": (None, 1),
    "linear": (None, 0),
    "torus": (2, 1),
    "swiss_roll": (2, 1),
    "klein_bottle": (2, 2),
    "polynomial": (2, 1),
}
#: Points handled at once.
BLOCK = 1024


class ManifoldOptions(TaskOptions):
    """Options of `manifold`."""

    shape: Annotated[Shape, Field(description=f"one of {', '.join(DIMENSIONS)}")] = "torus"
    manifold_dim: Annotated[
        int | None,
        Field(ge=1, le=1023, description="dimension d, free for sphere and linear; None is 2"),
    ] = None
    ambient_dim: Annotated[
        int | None,
        Field(ge=2, le=1024, description="dimension D of y, > d; None is the least that holds the shape"),
    ] = None
    concentration: Annotated[
        float,
        Field(
            ge=0.0, le=20.0, description="of the von Mises(-Fisher) law on sphere, torus and klein_bottle; 0 is even"
        ),
    ] = 2.0
    rotation: Annotated[
        int | None, Field(ge=0, lt=2**63, description="seed of a random rotation in R^D; None leaves the axes")
    ] = None

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Self:
        own, codimension = DIMENSIONS[self.shape]
        if own is not None and self.manifold_dim not in (None, own):
            raise ValueError(f"manifold_dim = {own} or None for {self.shape}, not {self.manifold_dim}")
        least = self.intrinsic + max(codimension, 1)
        if self.ambient_dim is not None and self.ambient_dim < least:
            raise ValueError(
                f"ambient_dim >= {least} for {self.shape} of dimension {self.intrinsic}, not {self.ambient_dim}"
            )
        return self

    @property
    def intrinsic(self) -> int:
        """d."""
        return self.manifold_dim or 2

    @property
    def ambient(self) -> int:
        """D."""
        return self.ambient_dim or self.intrinsic + max(DIMENSIONS[self.shape][1], 1)


class ManifoldReference(DensityReference):
    """Exact truth: that of the shape in R^m, and D - m coordinates of noise."""

    task: Manifold

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y) in nats, (n,) float64, for x (n, 0) and y (n, D): in closed form, or by quadrature to 1e-6.

        Raises:
            NoExactReference: at thickness 0.
            ValueError: shapes that do not fit, or non-finite values.
        """
        import torch

        x, y = check_pairs(self.task, x, y)
        return torch.cat([self.log_density(*part) for part in zip(x.split(BLOCK), y.split(BLOCK), strict=True)])

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y) in nats for broadcasting x (..., 0) and y (..., D), unchecked."""
        import torch

        eps = self.noise
        along, normal = self._split(y)
        density = self.task.surface.log_density(along, eps) - 0.5 * (normal / eps).square().sum(-1)
        density = density - self._codimension * self._normal_constant
        return density.expand(torch.broadcast_shapes(x.shape[:-1], density.shape))

    def log_surface_density(self, z: torch.Tensor) -> torch.Tensor:
        """ln of the noise-free density by d-dimensional area at latents z (n, k) of `sample_with_latent`: (n,).

        It is the law of the latents less the logarithm of the area element, in nats, and what is left of ln p on the
        manifold as the thickness goes to 0, the noise of the D - d normal coordinates taken off.
        """
        self.task.z_space.check("z", z)
        return self.task.surface.log_surface_density(z.double())

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, D) to the manifold, (n,) float64, to rounding error."""
        import torch

        def of(part: torch.Tensor) -> torch.Tensor:
            along, normal = self._split(part)
            off = (along - self.task.surface.project(along)).norm(dim=-1)
            return torch.hypot(off, normal.norm(dim=-1))

        return torch.cat([of(part) for part in check_pairs(self.task, x, y)[1].split(BLOCK)])

    def project(self, y: torch.Tensor) -> torch.Tensor:
        """The point of the manifold nearest to each y (n, D), (n, D) float64; one of them where there are several.

        Raises:
            ValueError: y that does not fit the task, or non-finite values.
        """
        import torch

        self.task.y_space.check("y", y)
        check_size(y)
        if y.ndim != 2:
            raise invalid("y.shape", tuple(y.shape), f"(n, {self.task.y_space.dim})")
        parts = [self.task.surface.project(self._split(part)[0]) for part in y.split(BLOCK)]
        return torch.cat(parts) @ torch.from_numpy(self.task.axes).T.to(y.device)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """Points all over the manifold, (n, 512 or 1024, D) float64; one storage serves every x, so do not write to it.

        Even in the coordinates of surfaces and random but fixed on spheres and subspaces of more dimensions; those that
        go on for ever are covered as far as 4 standard deviations.
        """
        import torch

        check_inputs(self.task, x)
        points = self.task.surface.answers() @ self.task.axes.T
        return torch.from_numpy(points).to(x.device).expand(x.shape[0], -1, -1)

    def entropy(self) -> Approximate:
        """h(Y) in nats: that of the shape, to 1e-6, and ½ ln(2πe ε²) for each further dimension.

        Raises:
            NoExactReference: at thickness 0, and for a Klein bottle or polynomial surface thicker than .05.
        """
        eps = self.noise
        return self.task.surface.entropy(eps) + self._codimension * (self._normal_constant + 0.5)

    @property
    def _codimension(self) -> int:
        """D - m."""
        return len(self.task.axes) - self.task.surface.dim

    @property
    def _normal_constant(self) -> float:
        """ln of the normaliser of one coordinate of noise."""
        return math.log(self._thickness) + 0.5 * math.log(2.0 * math.pi)

    def _split(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """y in float64: its coordinates (..., m) in the space of the shape, and what is normal to that (..., D)."""
        import torch

        y = y.double()
        axes = torch.from_numpy(self.task.axes).to(y.device)
        along = y @ axes
        return along, y - along @ axes.T


@TASKS.register
class Manifold(Task):
    """A point of a manifold in R^D, by a law that is not uniform, with noise; its latent are its coordinates there.

    Attributes:
        surface: the manifold in the smallest space R^m that holds it. axes: (D, m), orthonormal, which put it in R^D.
    """

    name = "manifold"
    summary = "sphere, torus, Swiss roll, Klein bottle, polynomial surface or subspace in R^D; unconditional"
    truth = "log-density in closed form or by quadrature, projection, entropy but of the last two surfaces where thick"
    references = ("brehmer2020flows", "mardia2000directional", "wood1994simulation")
    cited_with: ClassVar = {
        "brehmer2020flows": ("shape", ("polynomial",)),
        "mardia2000directional": ("shape", ("sphere", "torus", "klein_bottle")),
        "wood1994simulation": ("shape", ("sphere",)),
    }
    Options = ManifoldOptions
    options: ManifoldOptions
    reference: ManifoldReference
    x_space: Box
    y_space: Box
    z_space: Box

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.options
        self.surface = _surface(own)
        self.axes = np.eye(own.ambient, self.surface.dim)
        if own.rotation is not None:
            rng = numpy_generator(check_seed(own.rotation), "rotation", own.ambient)
            self.axes = orthonormal(rng, own.ambient, self.surface.dim)
        extent = max(3.0, self.surface.extent + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 0)
        self.y_space = Box((-extent, extent), own.ambient)
        self.z_space = self.surface.latents
        self.manifold_dim = own.intrinsic
        self.reference = ManifoldReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.empty((n, 0))
        return x, *self.draw(x, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 0) from `rng` alone: y (n, D) and its latent (n, k), float64."""
        points, latent = self.surface.draw(rng, len(x))
        y = rng.standard_normal((len(x), self.options.ambient))
        y *= self.thickness
        y += points @ self.axes.T
        return y, latent


def _surface(options: ManifoldOptions) -> Surface:
    from .geometry.klein_bottle import KleinBottle
    from .geometry.polynomials import PolynomialSurface
    from .geometry.spirals import SwissRoll
    from .geometry.surfaces import Linear, Sphere
    from .geometry.tubes import Torus

    kappa, dim = options.concentration, options.intrinsic
    match options.shape:
        case "sphere":
            return Sphere(dim, kappa)
        case "linear":
            return Linear(dim)
        case "torus":
            return Torus(kappa)
        case "klein_bottle":
            return KleinBottle(kappa)
        case "swiss_roll":
            return SwissRoll()
        case "polynomial":
            return PolynomialSurface()
