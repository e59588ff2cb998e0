"""A linear map of a Gaussian latent, blurred: the thin manifold on which everything is known in closed form.

y = W z + B x + ε n with z ~ N(0, I) is probabilistic principal component analysis (Tipping and Bishop 1999,
*Probabilistic principal component analysis*, JRSS B 61, eq. 5-8): its density, the posterior of the latent, the
entropy, the Hessian and the gap of any Gaussian guide need no quadrature, in any dimension.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from ..core.approximate import Approximate
from ..core.errors import invalid
from ..core.registry import TASKS
from ..core.seeding import numpy_generator
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference, no_density

if TYPE_CHECKING:
    import torch

#: Standard deviations of each principal coordinate of z that the answers cover.
COVERED = 4.0
#: Standard deviations of y in the box, and the thickness up to which the box stays the same.
BOXED, THIN = 6.0, 0.3


class LinearGaussianOptions(TaskOptions):
    """Options of `linear_gaussian`."""

    latent_dim: Annotated[
        int, Field(ge=1, le=64, description="dimension d of z and of the subspace, < ambient_dim")
    ] = 1
    ambient_dim: Annotated[int, Field(ge=2, le=1024, description="dimension D of y")] = 2
    input_dim: Annotated[int, Field(ge=0, le=8, description="dimension of x, which moves the subspace by B x")] = 0
    largest: Annotated[float, Field(gt=0, description="largest singular value of W")] = 1.0
    smallest: Annotated[
        float,
        Field(gt=0, description="smallest singular value of W; those between are evenly spaced in their logarithm"),
    ] = 0.5
    rotation: Annotated[int, Field(ge=0, lt=2**63, description="seed of the singular vectors of W, and of B")] = 0

    @model_validator(mode="after")
    def _shapes_are_sound(self) -> Self:
        if self.latent_dim >= self.ambient_dim:
            raise ValueError(f"latent_dim < ambient_dim = {self.ambient_dim}, not {self.latent_dim}")
        if self.input_dim > self.ambient_dim:
            raise ValueError(f"input_dim <= ambient_dim = {self.ambient_dim}, not {self.input_dim}")
        if self.smallest > self.largest:
            raise ValueError(f"smallest <= largest = {self.largest}, not {self.smallest}")
        return self


class LinearGaussianReference(DensityReference):
    """Exact truth, all of it in closed form."""

    def __init__(self, task: LinearGaussian) -> None:
        super().__init__(task)
        self._variance = task.thickness**2
        self._singular = task.singular_values

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        if self._variance == 0.0:
            raise no_density(self.task.name)
        along, normal = self._split(x, y)
        spread = torch.from_numpy(self._singular**2 + self._variance).to(along.device)
        square = (along.square() / spread).sum(-1) + normal.square().sum(-1) / self._variance
        density: torch.Tensor = -0.5 * square - self._half_log_determinant - 0.5 * y.shape[-1] * math.log(2 * math.pi)
        return density.expand(torch.broadcast_shapes(x.shape[:-1], density.shape))

    @property
    def _half_log_determinant(self) -> float:
        """½ ln det(W Wᵀ + ε² I)."""
        options = self.task.options
        normal = (options.ambient_dim - options.latent_dim) * math.log(self._variance)
        return 0.5 * (float(np.log(self._singular**2 + self._variance).sum()) + normal)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, D) to the subspace B x + span(W), (n,) float64."""
        return self._split(*check_pairs(self.task, x, y))[1].norm(dim=-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The subspace of each x as far as 4 standard deviations of each principal coordinate, (n, m, D) float64.

        512 points on a line, 32 by 32 on a plane, and beyond that 1024 points of a Sobol sequence.
        """
        import torch

        check_inputs(self.task, x)
        dim = self.task.options.latent_dim
        if dim <= 2:
            count = (512, 32)[dim - 1]
            axis = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count
            unit = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
        else:
            unit = torch.quasirandom.SobolEngine(dim, scramble=False).draw(1024, dtype=torch.float64) + 0.5 / 1024
        principal = COVERED * (2 * unit - 1) * torch.from_numpy(self._singular)
        points = (principal @ torch.from_numpy(self.task.axes).T).to(x.device)
        return points + (x.double() @ torch.from_numpy(self.task.input_map).T.to(x.device)).unsqueeze(1)

    def entropy(self) -> Approximate:
        """h(Y given X) = ½ ln det(2πe (W Wᵀ + ε² I)) in nats.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self._variance == 0.0:
            raise no_density(self.task.name)
        flat = 0.5 * self.task.options.ambient_dim * math.log(2 * math.pi * math.e)
        return Approximate(self._half_log_determinant + flat)

    def hessian(self) -> torch.Tensor:
        """∂²(-ln p)/∂y² = (W Wᵀ + ε² I)⁻¹, the same at every y: (D, D) float64, largest eigenvalue 1/ε².

        Raises:
            NoExactReference: at thickness 0.
        """
        import torch

        if self._variance == 0.0:
            raise no_density(self.task.name)
        axes = self.task.axes
        along = axes * (1 / (self._singular**2 + self._variance) - 1 / self._variance)
        return torch.from_numpy(along @ axes.T + np.eye(len(axes)) / self._variance)

    def posterior(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (n, d) and covariance (d, d) of z given (x, y), Gaussian (Tipping and Bishop 1999, eq. 7); float64.

        At thickness 0 the covariance is 0.
        """
        import torch

        along, _ = self._split(*check_pairs(self.task, x, y))
        spread = self._singular**2 + self._variance
        turn = torch.from_numpy(self.task.latent_axes).to(along.device)
        mean = (along * torch.from_numpy(self._singular / spread).to(along.device)) @ turn.T
        return mean, (turn * torch.from_numpy(self._variance / spread).to(along.device)) @ turn.T

    def elbo_gap(self, x: torch.Tensor, y: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) - ELBO of the guide N(mean, covariance), its KL divergence to the posterior: (n,) nats.

        Args:
            mean: (n, d). covariance: (d, d) or (n, d, d), positive definite.

        Raises:
            NoExactReference: at thickness 0, where the posterior has no density.
            ValueError: shapes that do not fit.
        """
        import torch

        if self._variance == 0.0:
            raise no_density(self.task.name)
        center, spread = self.posterior(x, y)
        dim = spread.shape[0]
        if mean.shape != center.shape or covariance.shape[-2:] != spread.shape:
            shapes = tuple(mean.shape), tuple(covariance.shape)
            raise invalid("shapes of mean, covariance", shapes, f"({len(center)}, {dim}) and (..., {dim}, {dim})")
        guide = torch.distributions.MultivariateNormal(mean.double(), covariance.double())
        return torch.distributions.kl_divergence(guide, torch.distributions.MultivariateNormal(center, spread))

    def mean_field_gap(self) -> float:
        """ln p(y) - ELBO of the best guide with independent entries, ½ (Σ ln Λ_ii - ln det Λ) nats, at every y.

        Λ = I + WᵀW/ε² is the precision of the posterior; the best such guide has its mean and the variances 1/Λ_ii
        (Bishop 2006, *Pattern recognition and machine learning*, section 10.1.2). The limit as ε → 0 is finite.
        """
        spread, turn = self._singular**2 + self._variance, self.task.latent_axes
        return 0.5 * float(np.log((turn**2) @ spread).sum() - np.log(spread).sum())

    def _split(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """y - B x in float64: its coordinates (..., d) along the subspace, and what is normal to it (..., D)."""
        import torch

        y = y.double()
        if x.shape[-1]:
            y = y - x.double() @ torch.from_numpy(self.task.input_map).T.to(y.device)
        axes = torch.from_numpy(self.task.axes).to(y.device)
        along = y @ axes
        return along, y - along @ axes.T


@TASKS.register
class LinearGaussian(Task):
    """y = W z + B x + ε n: a d-dimensional subspace of R^D, Gaussian along it and across it.

    W = U S Vᵀ has singular values S from `largest` to `smallest`; U, V and the orthonormal columns of B are
    Haar-random, from the seed `rotation`.

    Attributes:
        axes: U, (D, d). singular_values: S, (d,). latent_axes: V, (d, d). weight: W, (D, d). input_map: B, (D, dx).
    """

    name = "linear_gaussian"
    summary = "a Gaussian on a linear subspace of R^D, blurred: everything in closed form"
    truth = "all in closed form: log-density, entropy, Hessian, posterior of the latent, ELBO of any Gaussian guide"
    references = ("tipping1999probabilistic",)
    Options = LinearGaussianOptions
    options: LinearGaussianOptions

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        own = self.options
        dim, ambient = own.latent_dim, own.ambient_dim
        rng = numpy_generator(own.rotation, self.name, dim, ambient)
        self.axes = orthonormal(rng, ambient, dim)
        self.latent_axes = orthonormal(rng, dim, dim)
        self.input_map = orthonormal(rng, ambient, own.input_dim)
        self.singular_values = np.geomspace(own.largest, own.smallest, dim)
        self.weight = (self.axes * self.singular_values) @ self.latent_axes.T
        deviation = math.sqrt(float((self.weight**2).sum(1).max()) + max(self.thickness, THIN) ** 2)
        covered = COVERED * float((np.abs(self.axes) @ self.singular_values).max())
        moved = float(np.abs(self.input_map).sum(1).max()) if own.input_dim else 0.0
        extent = max(BOXED * deviation, covered) + moved
        self.x_space = Box((-1.0, 1.0), own.input_dim)
        self.y_space = Box((-extent, extent), ambient)
        self.z_space = Box((-BOXED, BOXED), dim)
        self.manifold_dim = dim
        self.reference = LinearGaussianReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-1.0, 1.0, (n, self.options.input_dim))
        return x, *self.draw(x, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A y (n, D) and its latent z (n, d) for each x (n, dx), from `rng` alone, float64."""
        z = rng.standard_normal((len(x), self.options.latent_dim))
        noise = rng.standard_normal((len(x), self.options.ambient_dim))
        return z @ self.weight.T + x @ self.input_map.T + self.thickness * noise, z


def orthonormal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) with orthonormal columns, Haar-random: QR with a positive diagonal of R (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    matrix: np.ndarray = q * np.sign(np.diag(r))
    return matrix
