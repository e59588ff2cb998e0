"""Toy 1 of Gustafsson et al. 2020: two branches of Gaussian noise left of 0, skewed log-normal noise right of it.

Of "How to train your energy-based model for regression" (BMVC 2020) and its published code. The density is a mixture of
two Gaussians or a shifted log-normal, so everything is in closed form.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Shares of the branches sin x and -sin x where x < 0.
WEIGHTS = (0.8, 0.2)
#: Log-normal scale for a unit of thickness: the published .25 at the published .075.
LOG_SCALE = 0.25 / 0.075


class Gustafsson1dOptions(TaskOptions):
    thickness: Annotated[
        float,
        PER_REPLICATE,
        Field(
            ge=0.0, le=0.15, description="noise where x < 0, and .3 of the log-normal scale elsewhere; published: .075"
        ),
    ] = 0.075


class Gustafsson1dReference(DensityReference):
    """Exact truth of the toy."""

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 1) and y (..., 1), unchecked."""
        import torch

        eps = self.noise
        scale = LOG_SCALE * eps
        x, y = x.double()[..., 0], y.double()[..., 0]
        half_log_2pi = 0.5 * math.log(2.0 * math.pi)
        parts = [
            math.log(weight) - 0.5 * ((y - sign * x.sin()) / eps) ** 2
            for weight, sign in zip(WEIGHTS, (1.0, -1.0), strict=True)
        ]
        branches = torch.logaddexp(*parts) - math.log(eps) - half_log_2pi
        # Where the logarithm does not exist it is not evaluated, lest its gradient be NaN where it is not chosen.
        inside = y > -1.0
        log_y = torch.where(inside, 1.0 + y, 1.0).log()
        skewed = -0.5 * (log_y / scale) ** 2 - log_y - math.log(scale) - half_log_2pi
        return torch.where(x < 0.0, branches, torch.where(inside, skewed, -math.inf))

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 1) to the nearest noise-free answer at x (n, 1), (n,) float64."""
        x, y = check_pairs(self.task, x, y)
        return (y - _answers(x)).abs().amin(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """sin x and -sin x where x < 0, and 0, the median, twice where it is not: (n, 2, 1) float64."""
        check_inputs(self.task, x)
        return _answers(x.double()).unsqueeze(-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8: closed form where x >= 0, quadrature over x and the noise where x < 0.

        Raises:
            NoExactReference: at thickness 0.
        """
        scale = LOG_SCALE * self.noise
        skewed = math.log(scale) + 0.5 * math.log(2.0 * math.pi * math.e)
        return 0.5 * skewed + 0.5 * refined(self._branch_entropy, start=16, tolerance=1e-9)

    def _branch_entropy(self, resolution: int) -> float:
        """h(Y | X, X < 0): panels of 16 nodes for x, finer where the branches part, and for the noise."""
        import torch

        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(16))

        def panels(edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            half = 0.5 * edges.diff()[:, None]
            return (edges[:-1, None] + half * (1.0 + nodes)).reshape(-1), (half * weights).reshape(-1)

        # The branches part within some eps of x = 0: panels narrow towards it.
        x, x_weight = panels(-3.0 * torch.linspace(1.0, 0.0, resolution + 1, dtype=torch.float64, device="cpu") ** 4)
        noise, noise_weight = panels(
            torch.linspace(-10.0, 10.0, resolution // 2 + 1, dtype=torch.float64, device="cpu")
        )
        noise_weight = noise_weight * torch.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        center = _answers(x[:, None])  # (x, branch)
        y = center[:, :, None, None] + self._thickness * noise[:, None]
        surprise = -self.log_density(x[:, None, None, None], y)  # (x, branch, noise)
        mixture = torch.tensor(WEIGHTS, dtype=torch.float64, device="cpu")
        return float(torch.einsum("xkn,x,k,n->", surprise, x_weight / 3.0, mixture, noise_weight))


def _answers(x: torch.Tensor) -> torch.Tensor:
    """Noise-free answers (..., 2) of x (..., 1)."""
    import torch

    branch = torch.where(x < 0.0, x.sin(), 0.0)
    return torch.cat([branch, -branch], dim=-1)


@TASKS.register
class Gustafsson1d(Task):
    """x uniform in [-3, 3]; left of 0 y = ±sin x + eps n, right of it y = exp(LOG_SCALE eps n) - 1, n standard normal.

    At the default eps = .075 this is the published toy. The noise right of 0 is Gaussian to first order in eps only, so
    thickness is no additive noise there, and the task says so by having no `manifold_dim`.
    """

    name = "gustafsson_1d"
    summary = "two branches of unequal weight left of 0, skewed noise right of it"
    truth = "log-density in closed form, entropy by quadrature"
    references = ("gustafsson2020how",)
    Options = Gustafsson1dOptions
    x_space: Box
    y_space: Box
    reference: Gustafsson1dReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The published grid of y; six deviations of the log-normal where they reach further.
        extent = max(3.0, math.exp(6.0 * LOG_SCALE * self.thickness) - 1.0)
        self.x_space = Box((-3.0, 3.0), 1)
        self.y_space = Box((-extent, extent), 1)
        self.z_space = Labels(2)
        self.manifold_dim = None
        self.reference = Gustafsson1dReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-3.0, 3.0, (n, 1))
        y, label = self.draw(x, rng)
        return x, y, label

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 1) from `rng` alone: y (n, 1) float64 and its branch (n,) int64, 0 where x >= 0."""
        left = x[:, 0] < 0.0
        label = np.where(left, rng.choice(2, size=len(x), p=WEIGHTS), 0)
        noise = rng.standard_normal(len(x))
        branch = np.where(label == 0, 1.0, -1.0) * np.sin(x[:, 0]) + self.thickness * noise
        return np.where(left, branch, np.expm1(LOG_SCALE * self.thickness * noise))[:, None], label
