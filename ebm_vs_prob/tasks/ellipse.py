"""One ellipse, blurred: the answers of the NYU course's practicum on latent-variable energies, unconditional.

Canziani, NYU Deep Learning 2020, practicum 15: semi-axes 2 and 1.5, published with thickness 1/20. The course's 24
points at equal angles are here draws at uniform angles.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ..core.approximate import Approximate
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference

if TYPE_CHECKING:
    import torch

#: Published semi-axes of the ellipse, and of the horn at x = 0.
AXES = (2.0, 1.5)
PUBLISHED_THICKNESS = 0.05


class EllipsesOptions(TaskOptions):
    """Options of `horn`, and those that `ellipse` shares with it."""

    thickness: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0.0, le=1e6, description="standard deviation of the isotropic noise; published: .05"),
    ] = PUBLISHED_THICKNESS


class EllipseOptions(EllipsesOptions):
    """Options of `ellipse`."""

    semi_major: Annotated[float, Field(gt=0, le=1e3, description="semi-axis along the first coordinate")] = AXES[0]
    semi_minor: Annotated[float, Field(gt=0, le=1e3, description="semi-axis along the second one, no longer")] = AXES[1]

    @model_validator(mode="after")
    def _axes_are_ordered(self) -> Self:
        if self.semi_minor > self.semi_major:
            raise ValueError(f"a semi_minor <= semi_major = {self.semi_major}")
        return self


class EllipsesReference(DensityReference):
    """Exact truth where the answers to each x are an ellipse at whose angles y is uniform.

    Args:
        task: has `axes(x)`, the semi-axes (..., 2) of x (..., dx), and `draw(x, rng)`, a y (n, 2) for each x (n, dx).
    """

    num_answers = 512

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats, (n,) float64, for x (n, dx) and y (n, 2), by quadrature to 1e-8.

        Raises:
            NoExactReference: at thickness 0.
            ValueError: shapes that do not fit, or non-finite values.
        """
        from .geometry.ellipses import log_density_in_blocks

        x, y = check_pairs(self.task, x, y)
        return log_density_in_blocks(self.task.axes(x), y, self.noise)

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., dx) and y (..., 2), unchecked."""
        from .geometry.ellipses import log_density

        return log_density(self.task.axes(x.double()), y.double(), self.noise)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 2) to the ellipse of x (n, dx), (n,) float64, to rounding error."""
        from .geometry.ellipses import distance

        x, y = check_pairs(self.task, x, y)
        return distance(self.task.axes(x), y)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """512 points at equal angles, (n, 512, 2) float64."""
        import torch

        check_inputs(self.task, x)
        step = 2 * math.pi / self.num_answers
        angle = (torch.arange(self.num_answers, dtype=torch.float64, device=x.device) + 0.5) * step - math.pi
        return self.task.axes(x.double()).unsqueeze(-2) * torch.stack([angle.cos(), angle.sin()], -1)

    def cusps(self, x: torch.Tensor) -> torch.Tensor:
        """Centres of the circles that fit the two ends of the long axis, (n, 2, 2) float64: its evolute's cusps there.

        At ±(a² - b²) / a on the axis of length a > b half the squared distance grows as ⅛ (a² - b²) t⁴ with the angle.
        """
        import torch

        check_inputs(self.task, x)
        squares = self.task.axes(x).square()
        apart = squares - squares.flip(-1)
        place = torch.where(apart > 0, apart / squares.sqrt(), 0.0)
        return torch.stack([place, -place], -2)


class EllipseReference(EllipsesReference):
    """Exact truth of the ellipse, the law of its angle included."""

    task: Ellipse

    def entropy(self) -> Approximate:
        """h(Y) in nats, to 1e-8, by quadrature.

        Raises:
            NoExactReference: at thickness 0.
        """
        from .geometry.ellipses import entropy

        return entropy(*self.task.semi_axes, self.noise)

    def angle(self, y: torch.Tensor) -> torch.Tensor:
        """The angle t of (a cos t, b sin t) in the direction of y (..., 2): (...) float64 in (-π, π] radians."""
        import torch

        y, (a, b) = y.double(), self.task.semi_axes
        angle = torch.atan2(y[..., 1] / b, y[..., 0] / a)
        return torch.where(angle <= -math.pi, math.pi, angle)

    @cached_property
    def _series(self) -> np.ndarray:
        from .geometry.ellipses import direction_series

        return direction_series(*self.task.semi_axes, self.task.thickness)

    def angle_cdf(self, angle: torch.Tensor) -> torch.Tensor:
        """P(angle(Y) <= angle), float64, for angles in [-π, π]: uniform at thickness 0, a Fourier series beyond."""
        import torch

        angle = angle.double()
        order = 2.0 * torch.arange(1, len(self._series) + 1, dtype=torch.float64, device=angle.device)
        coefficient = torch.from_numpy(self._series).to(angle) / order
        series = (torch.sin(angle.unsqueeze(-1) * order) * coefficient).sum(-1)
        return (0.5 + (angle + series) / (2.0 * math.pi)).clamp(0.0, 1.0)


@TASKS.register
class Ellipse(Task):
    """y = (a cos t, b sin t) + thickness * n, t uniform; semi-axes 2 and 1.5 as published, or others."""

    name = "ellipse"
    summary = "uniform angle on an ellipse in the plane; unconditional"
    truth = "log-density and entropy by quadrature, angle and its law"
    references = ("canziani2020practicum",)
    Options = EllipseOptions
    options: EllipseOptions
    x_space: Box
    y_space: Box
    reference: EllipseReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.semi_axes = (self.options.semi_major, self.options.semi_minor)
        extent = max(2.0 * self.semi_axes[0], self.semi_axes[0] + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 0)
        self.y_space = Box((-extent, extent), 2)
        self.z_space = Box((-math.pi, math.pi), 1)
        self.manifold_dim = 1
        self.reference = EllipseReference(self)

    @property
    def intrinsic_coordinate(self) -> str:
        return "angle"

    def axes(self, x: torch.Tensor) -> torch.Tensor:
        """Semi-axes (..., 2) float64 of x (..., 0): the same for all."""
        import torch

        return torch.tensor(self.semi_axes, dtype=torch.float64, device=x.device).expand(*x.shape[:-1], 2)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.empty((n, 0))
        y, angle = self.draw(x, rng)
        return x, y, angle[:, None]

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 0) from `rng` alone: y (n, 2) and its angle (n,), float64."""
        return blurred(np.broadcast_to(self.semi_axes, (len(x), 2)), self.thickness, rng)


def blurred(axes: np.ndarray, thickness: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point on each ellipse of semi-axes (n, 2) at a uniform angle, with noise: y (n, 2) and the angle (n,)."""
    angle = rng.uniform(-np.pi, np.pi, len(axes))
    noise = rng.standard_normal((len(axes), 2))
    return axes * np.stack([np.cos(angle), np.sin(angle)], axis=-1) + thickness * noise, angle
