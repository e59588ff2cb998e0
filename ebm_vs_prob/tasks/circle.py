"""The von Mises circle: one closed curve in R^D, blurred; its density, entropy and angle are known exactly.

Loaiza-Ganem, Ross, Cresswell and Caterini (TMLR 2022) use the noise-free circle as the plainest case of manifold
overfitting. With isotropic Gaussian noise the angle integrates out of the density in closed form.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.seeding import check_seed, numpy_generator
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .geometry.planar import log_ring
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Below this thickness, and above this concentration, the Bessel functions of `angle_cdf` leave the range of AMOS, and
#: the angle of either is Gaussian.
_GAUSSIAN_ANGLE_BELOW, _GAUSSIAN_ANGLE_ABOVE = 5e-5, 1e8
#: An angle that deviates less is a Gaussian one to 1e-9, and its series has too many terms.
_NARROW = 1e-4
#: Terms of the series of all angles that are held at once.
_HELD = 1 << 22


class CircleOptions(TaskOptions):
    """Options of `circle`."""

    ambient_dim: Annotated[int, Field(ge=2, le=1024, description="dimension D of y")] = 2
    concentration: Annotated[float, Field(ge=0.0, description="von Mises concentration; 0 is uniform")] = 1.0
    rotation: Annotated[
        int | None, Field(ge=0, lt=2**63, description="seed of a random rotation of R^D; None leaves the axes")
    ] = None


class CircleReference(DensityReference):
    """Exact truth of the circle."""

    num_answers = 512

    def __init__(self, task: Circle) -> None:
        super().__init__(task)
        self._concentration = task.options.concentration
        self._dim = task.options.ambient_dim

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y) in nats for x (..., 0) and y (..., D), unchecked; smooth in y everywhere, the origin included."""
        import torch

        eps = self.noise
        planar, normal = self._split(y)
        density = log_ring(planar, eps, self._concentration)
        density = density - 0.5 * (normal / eps).square().sum(-1) - (self._dim - 2) * self._normal_constant
        return density.expand(torch.broadcast_shapes(x.shape[:-1], density.shape))

    @property
    def _normal_constant(self) -> float:
        """ln of the normaliser of one coordinate of noise."""
        return math.log(self._thickness) + 0.5 * math.log(2.0 * math.pi)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, D) to the circle, (n,) float64."""
        import torch

        planar, normal = self._split(check_pairs(self.task, x, y)[1])
        return torch.hypot(planar.norm(dim=-1) - 1.0, normal.norm(dim=-1))

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """512 points at equal angles, (n, 512, D) float64; one storage serves every x, so do not write to it."""
        import torch

        check_inputs(self.task, x)
        angles = (torch.arange(self.num_answers, dtype=torch.float64, device="cpu") + 0.5) * (
            2 * math.pi / self.num_answers
        ) - math.pi
        return torch.from_numpy(self.task.embed(angles.numpy())).to(x.device).expand(x.shape[0], -1, -1)

    def conditional_mean(self, x: torch.Tensor) -> torch.Tensor:
        """E[y] for each x (n, 0), (n, D) float64: at angle 0, I_1(κ)/I_0(κ) from the centre (Mardia and Jupp 2000)."""
        import torch
        from scipy.special import i0e, i1e

        check_inputs(self.task, x)
        length = float(i1e(self._concentration) / i0e(self._concentration))
        mean = length * torch.from_numpy(self.task.embed(np.zeros(1)))
        return mean.to(x.device).expand(len(x), -1)

    def entropy(self) -> Approximate:
        """h(Y) in nats, to 1e-8: quadrature in polar coordinates, and ½ ln(2πe ε²) for each further dimension.

        Raises:
            NoExactReference: at thickness 0.
        """
        eps = self.noise
        plane = refined(lambda num_nodes: _planar_entropy(num_nodes, eps, self._concentration), start=64)
        return plane + (self._dim - 2) * (self._normal_constant + 0.5)

    def angle(self, y: torch.Tensor) -> torch.Tensor:
        """Angle of y (..., D) in the plane of the circle, (...) float64 in (-π, π] radians."""
        import torch

        planar, _ = self._split(y)
        angle = torch.atan2(planar[..., 1], planar[..., 0])
        return torch.where(angle <= -math.pi, math.pi, angle)

    def angle_cdf(self, angle: torch.Tensor) -> torch.Tensor:
        """P(angle(Y) <= angle), float64, for angles in [-π, π]: von Mises at thickness 0, blurred by the noise beyond.

        Fourier series: the k-th moment of the von Mises law is I_k(κ)/I_0(κ) and that of the direction of (1, 0) + ε n
        is sqrt(πz/2) e^{-z} [I_{(k-1)/2}(z) + I_{(k+1)/2}(z)] with z = 1/(4ε²) (Mardia and Jupp, Directional
        Statistics, 2000, section 3.5). Below ε = 5e-5 the latter is taken as exp(-k²ε²/2), less than ε² from it, above
        κ = 1e8 the former as exp(-k²/2κ), and an angle that deviates less than 1e-4 as a normal one, to 1e-9.
        """
        import torch
        from scipy.special import ive

        kappa, eps = self._concentration, self._thickness
        deviation = math.hypot(kappa**-0.5 if kappa > 0.0 else math.inf, eps)
        angle = angle.double()
        if deviation < _NARROW:
            return torch.special.ndtr(angle / deviation)
        order = np.arange(1, int(9.0 / deviation) + 40)  # beyond, the moments are below 1e-16
        moment = ive(order, kappa) / ive(0, kappa) if kappa < _GAUSSIAN_ANGLE_ABOVE else np.exp(-0.5 * order**2 / kappa)
        if eps < _GAUSSIAN_ANGLE_BELOW:
            moment = moment * np.exp(-0.5 * (order * eps) ** 2)
        else:
            z = 0.25 / eps**2
            moment = moment * np.sqrt(0.5 * np.pi * z) * (ive((order - 1) / 2, z) + ive((order + 1) / 2, z))
        coefficient = torch.from_numpy(moment / (np.pi * order)).to(angle)
        orders = torch.from_numpy(order.astype(np.float64)).to(angle)
        parts = angle.flatten().split(max(1, _HELD // len(order)))
        series = torch.cat([(torch.sin(part.unsqueeze(-1) * orders) * coefficient).sum(-1) for part in parts])
        return (0.5 + angle / (2.0 * math.pi) + series.reshape(angle.shape)).clamp(0.0, 1.0)

    def _split(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """y in float64, turned back: its two coordinates in the plane of the circle and the D - 2 normal to it."""
        import torch

        y = y.double()
        if self.task.rotation is not None:
            y = y @ torch.from_numpy(self.task.rotation).to(y.device)
        return y[..., :2], y[..., 2:]


@TASKS.register
class Circle(Task):
    """Von Mises angle on the unit circle in the first two coordinates of R^D (or in a random plane), with noise."""

    name = "circle"
    summary = "von Mises angle on the unit circle in R^D; unconditional"
    truth = "log-density in closed form, entropy by quadrature, angle and its law"
    references = ("loaizaganem2022diagnosing",)
    Options = CircleOptions
    options: CircleOptions
    reference: CircleReference
    x_space: Box
    y_space: Box

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        extent = max(3.0, 1.0 + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 0)
        self.y_space = Box((-extent, extent), self.options.ambient_dim)
        self.z_space = Box((-math.pi, math.pi), 1)
        self.manifold_dim = 1
        self.rotation = _rotation(self.options.ambient_dim, self.options.rotation)
        self.reference = CircleReference(self)

    @property
    def intrinsic_coordinate(self) -> str:
        return "angle"

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.empty((n, 0))
        y, angle = self.draw(x, rng)
        return x, y, angle[:, None]

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 0) from `rng` alone: y (n, D) and its latent angle (n,), float64."""
        angle = rng.vonmises(0.0, self.options.concentration, len(x))
        noise = rng.standard_normal((len(x), self.options.ambient_dim))
        return self.embed(angle) + self.thickness * noise, angle

    def embed(self, angle: np.ndarray) -> np.ndarray:
        """The noise-free points (n, D) at the angles (n,) in radians."""
        points = np.zeros((angle.shape[0], self.options.ambient_dim))
        points[:, 0], points[:, 1] = np.cos(angle), np.sin(angle)
        return points if self.rotation is None else points @ self.rotation.T


def _planar_entropy(num_nodes: int, eps: float, kappa: float) -> float:
    """Entropy in D = 2: Gauss-Legendre nodes over the radius, trapezoids over the angle, in which the density is even.

    Nodes cover 12 standard deviations of radius and 14 of angle; beyond them lies less than 1e-30 of the mass.
    """
    import torch

    low, high = max(0.0, 1.0 - 12.0 * eps), 1.0 + 12.0 * eps
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    radius = low + (high - low) * (nodes + 1.0) / 2.0
    widest = min(math.pi, 14.0 * math.sqrt(eps**2 + 1.0 / kappa)) if kappa > 0.0 else math.pi
    angle = np.linspace(0.0, widest, num_nodes + 1)
    angle_weights = np.full(num_nodes + 1, 2.0 * widest / num_nodes)
    angle_weights[[0, -1]] /= 2.0
    weight = np.outer(radius * weights * (high - low) / 2.0, angle_weights)
    points = np.stack([np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle))], axis=-1)
    log_density = log_ring(torch.from_numpy(points), eps, kappa).numpy()
    return float(-(weight * np.exp(log_density) * log_density).sum())


def _rotation(dim: int, seed: int | None) -> np.ndarray | None:
    """A Haar-random rotation of R^dim, or None without a seed."""
    if seed is None:
        return None
    from scipy.stats import special_ortho_group

    matrix: np.ndarray = special_ortho_group.rvs(dim, random_state=numpy_generator(check_seed(seed), "rotation", dim))
    return matrix
