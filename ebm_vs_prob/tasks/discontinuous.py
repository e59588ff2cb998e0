"""Steps, and the two-valued circle and hyperbola: dependences of y on x that no continuous function follows.

Florence et al. (CoRL 2021) argue with such functions for implicit models: argmin_y E(x, y) of a continuous E may jump,
and may have several values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .geometry.planar import REACH, panels
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: The step function jumps at these x,
JUMPS = (-0.5, 0.0, 0.4)
#: from one of these values to the next.
LEVELS = (-0.5, 0.7, -0.9, 0.3)
#: y = ± GAP at the waist of the hyperbola y² = x² + GAP².
GAP = 0.5


class DiscontinuousOptions(TaskOptions):
    """Options of `discontinuous`."""

    shape: Annotated[
        Literal["step", "circle", "hyperbola"], Field(description="a function that jumps, or two values for each x")
    ] = "step"
    upper: Annotated[
        float, Field(ge=0.01, le=0.99, description="probability of the upper value, of circle and hyperbola")
    ] = 0.5


class ValuesReference(DensityReference):
    """Exact truth where y is one of the values of x, with noise: a mixture of Gaussians given x."""

    task: Discontinuous

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 1) and y (..., 1), unchecked."""
        import torch

        standard = (y.double() - self.task.values(x.double())) / self.noise
        log_weights = standard.new_tensor(self.task.weights).log()
        log_normalizer = math.log(self._thickness) + 0.5 * math.log(2.0 * math.pi)
        return torch.logsumexp(log_weights - 0.5 * standard**2, dim=-1) - log_normalizer

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance along y from y (n, 1) to the nearest value at x (n, 1), (n,) float64."""
        x, y = check_pairs(self.task, x, y)
        return (y - self.task.values(x)).abs().amin(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The values at each x: (n, 1, 1) of the step, and (n, 2, 1) of the others, the upper one first; float64."""
        check_inputs(self.task, x)
        return self.task.values(x.double()).unsqueeze(-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats: that of the noise where there is one value.

        Raises:
            NoExactReference: at thickness 0.
        """
        return Approximate(math.log(self.noise) + 0.5 * math.log(2.0 * math.pi * math.e))


class TwoValuesReference(ValuesReference):
    """Exact truth of the circle and the hyperbola, whose branches are the upper and the lower value."""

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """0 where y (n, 1) is nearest to the upper value, else 1: (n,) int64."""
        x, y = check_pairs(self.task, x, y)
        return (y - self.task.values(x)).abs().argmin(-1)

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch = k | x), (n, 2) float64, with what noise carries across y = 0."""
        import torch

        check_inputs(self.task, x)
        values = self.task.values(x.double())
        own = values.new_tensor(self.task.weights)
        if self._thickness == 0.0:
            return own.expand(len(x), -1)
        above = torch.special.ndtr(values / self._thickness) @ own
        return torch.stack([above, 1.0 - above], dim=-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8, by quadrature over x and the noise of each value.

        Raises:
            NoExactReference: at thickness 0.
        """
        eps = self.noise
        return refined(lambda resolution: self._entropy(resolution, eps), start=8, tolerance=1e-9)

    def _entropy(self, resolution: int, eps: float) -> float:
        """x = sin t: the circle's values ± cos t are smooth in t, and some eps from each other at the ends alone."""
        import torch

        ends = (-math.pi / 2, math.pi / 2)
        turn, weight = panels(*ends, ends, eps, resolution)
        noise, noise_weight = panels(-REACH, REACH, (), 1.0, resolution)
        noise_weight = noise_weight * np.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        x = torch.from_numpy(np.sin(turn))[:, None, None, None]
        y = self.task.values(x[:, 0, 0])[:, :, None, None] + eps * torch.from_numpy(noise)[:, None]
        surprise = -self.log_density(x, y)  # (x, value, noise)
        total = np.einsum("xkn,x,k,n->", surprise, weight * np.cos(turn) / 2, self.task.weights, noise_weight)
        return float(total)


@TASKS.register
class Discontinuous(Task):
    """x uniform in [-1, 1]; y a step function of x, or one of the two values of a circle or hyperbola, with noise in y.

    The latent is the label of the value: always 0 of the step.
    """

    name = "discontinuous"
    summary = "x uniform, y a step function of x, or on the two-valued circle or hyperbola"
    truth = "log-density in closed form, entropy by quadrature (closed form of the step), weights of the branches"
    references = ("florence2021implicit",)
    Options = DiscontinuousOptions
    options: DiscontinuousOptions
    x_space: Box
    y_space: Box
    reference: ValuesReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        reach = math.hypot(1.0, GAP) if self.options.shape == "hyperbola" else 1.0
        extent = max(3.0, reach + 6.0 * self.thickness)
        single = self.options.shape == "step"
        self.x_space = Box((-1.0, 1.0), 1)
        self.y_space = Box((-extent, extent), 1)
        #: Probability of each value, in the order of `values`.
        self.weights = (1.0,) if single else (self.options.upper, 1.0 - self.options.upper)
        self.z_space = Labels(len(self.weights))
        self.manifold_dim = 0
        self.reference = ValuesReference(self) if single else TwoValuesReference(self)

    def values(self, x: torch.Tensor) -> torch.Tensor:
        """The noise-free values at x: (..., 1) -> (..., 1) of the step and (..., 2) of the others, float64."""
        import torch

        if self.options.shape == "step":
            return x.new_tensor(LEVELS)[(x >= x.new_tensor(JUMPS)).sum(-1, keepdim=True)]
        square = 1.0 - x**2 if self.options.shape == "circle" else x**2 + GAP**2
        height = square.clamp_min(0.0).sqrt()
        return torch.cat([height, -height], dim=-1)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-1.0, 1.0, (n, 1))
        y, label = self.draw(x, rng)
        return x, y, label

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 1) from `rng` alone: y (n, 1) float64 and the label (n,) int64 of its value."""
        import torch

        label = rng.choice(len(self.weights), size=len(x), p=self.weights)
        noise = rng.standard_normal(x.shape)
        places = self.values(torch.tensor(x, dtype=torch.float64, device="cpu")).numpy()
        return np.take_along_axis(places, label[:, None], axis=1) + self.thickness * noise, label
