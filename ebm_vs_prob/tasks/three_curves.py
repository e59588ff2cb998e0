"""Three curves y = f_k(x), blurred in y: one x has three answers and their mean is none of them.

The picture of figures 2 and 3 of the lecture (LeCun, NYU Deep Learning 2020, week 7): a dependence of y on x that is
not a function. Given x, y is a mixture of three Gaussians, so density, entropy and answers are exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, check_inputs, check_pairs
from .density_reference import DensityReference, no_density
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Share of each curve.
WEIGHTS = (0.5, 0.3, 0.2)
#: No two curves come closer than this in y, for any x in [-1, 1].
MIN_GAP = 0.57
#: No curve leaves [-EXTENT, EXTENT].
EXTENT = 1.1


def curves(x: torch.Tensor) -> torch.Tensor:
    """f_1, f_2, f_3 at x: (..., 1) -> (..., 3)."""
    import torch

    high = 0.85 + 0.25 * torch.sin(math.pi * x)
    middle = 0.2 * torch.sin(math.pi * x - 1.0)
    low = -0.9 - 0.2 * torch.cos(2.0 * math.pi * x)
    return torch.cat([high, middle, low], dim=-1)


class ThreeCurvesReference(DensityReference):
    """Exact truth of the three curves."""

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 1) and y (..., 1), unchecked."""
        import torch

        standard = (y.double() - curves(x.double())) / self.noise
        log_weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=standard.device).log()
        log_normalizer = math.log(self._thickness) + 0.5 * math.log(2.0 * math.pi)
        return torch.logsumexp(log_weights - 0.5 * standard**2, dim=-1) - log_normalizer

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 1) to the nearest of the three values at x (n, 1), (n,) float64."""
        x, y = check_pairs(self.task, x, y)
        return (y - curves(x)).abs().amin(-1)

    def conditional_mean(self, x: torch.Tensor) -> torch.Tensor:
        """E[y | x] of x (n, 1), (n, 1) float64: the mean of the three values by their weights."""
        import torch

        check_inputs(self.task, x)
        weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=x.device)
        return (curves(x.double()) * weights).sum(-1, keepdim=True)

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The curve that is nearest to y (n, 1) at x (n, 1), (n,) int64."""
        x, y = check_pairs(self.task, x, y)
        return (y - curves(x)).abs().argmin(-1)

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch = k | x), (n, 3) float64: `WEIGHTS`, and what noise carries past the middle between curves."""
        import torch

        check_inputs(self.task, x)
        values = curves(x.double())
        weights = values.new_tensor(WEIGHTS)
        if self._thickness == 0.0:
            return weights.expand(len(x), -1)
        middles = (values[:, :-1] + values[:, 1:]) / 2
        above = torch.special.ndtr((values.unsqueeze(-2) - middles.unsqueeze(-1)) / self._thickness) @ weights
        edges = torch.zeros_like(values[:, :1])
        return torch.cat([edges, above, edges + 1.0], dim=-1).diff(dim=-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The three values at each x: (n, 3, 1) float64, in the order of `WEIGHTS`."""
        check_inputs(self.task, x)
        return curves(x.double()).unsqueeze(-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8, by quadrature over x and, round each curve, over the noise.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self._thickness == 0.0:
            raise no_density("three_curves")
        return refined(self._entropy, start=16)

    def _entropy(self, resolution: int) -> float:
        """`resolution` Gauss-Legendre nodes for x; for each curve's noise as many panels of 8 over 10 deviations."""
        import torch

        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(resolution))
        inner, inner_weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
        edges = torch.linspace(-10.0, 10.0, resolution + 1, dtype=torch.float64, device="cpu")
        half = 10.0 / resolution
        noise = (edges[:-1, None] + half * (1.0 + inner)).reshape(-1)
        noise_weights = (
            (half * inner_weights).repeat(resolution) * torch.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        )
        x = nodes[:, None, None, None]
        y = curves(nodes[:, None])[:, :, None, None] + self._thickness * noise[:, None]
        surprise = -self.log_density(x, y)  # (x, curve, noise)
        mixture = torch.tensor(WEIGHTS, dtype=torch.float64, device="cpu")
        return float(torch.einsum("xkn,x,k,n->", surprise, weights / 2.0, mixture, noise_weights))


@TASKS.register
class ThreeCurves(Task):
    """x uniform in [-1, 1]; y on one of three smooth curves with weights .5, .3, .2, with noise in y only."""

    name = "three_curves"
    summary = "x uniform, y on one of three smooth curves of unequal weight"
    truth = "log-density in closed form, entropy by quadrature, weights of the branches"
    references = ("lecun2020energy",)
    x_space: Box
    y_space: Box
    reference: ThreeCurvesReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        extent = max(3.0, EXTENT + 6.0 * self.thickness)
        self.x_space = Box((-1.0, 1.0), 1)
        self.y_space = Box((-extent, extent), 1)
        self.z_space = Labels(3)
        self.manifold_dim = 0
        self.reference = ThreeCurvesReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-1.0, 1.0, (n, 1))
        y, label = self.draw(x, rng)
        return x, y, label

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 1) from `rng` alone: y (n, 1) float64 and the curve (n,) int64 it lies on."""
        import torch

        label = rng.choice(3, size=(len(x),), p=WEIGHTS)
        noise = rng.standard_normal(x.shape)
        places = curves(torch.tensor(x, dtype=torch.float64, device="cpu")).numpy()
        chosen = np.take_along_axis(places, label[:, None], axis=1)
        return chosen + self.thickness * noise, label
