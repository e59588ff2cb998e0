"""An ellipse for each x, which grows and turns over: the conditional data of the NYU course's practicum.

Canziani, NYU Deep Learning 2020, practicum 15: y = (ρ_1(x) cos t, ρ_2(x) sin t) + noise of standard deviation 1/20,
with ρ(x) = (αx + β(1 - x), βx + α(1 - x)) exp(2x), α = 1.5, β = 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.spaces import Box
from .base import Split, Task
from .ellipse import AXES, EllipsesOptions, EllipsesReference, blurred
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Growth of the semi-axes from x = 0 to x = 1, as a logarithm.
GROWTH = 2.0


class HornReference(EllipsesReference):
    """Exact truth of the horn."""

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8: Gauss-Legendre nodes of x, quadrature at each.

        Raises:
            NoExactReference: at thickness 0.
        """
        from .geometry.ellipses import entropy

        eps = self.noise

        def over_x(nodes: int) -> float:
            node, weight = np.polynomial.legendre.leggauss(nodes)
            ellipses = zip(*_axes(0.5 * (1.0 + node)), (0.5 * weight).tolist(), strict=True)
            return sum((share * entropy(float(a), float(b), eps) for a, b, share in ellipses), Approximate(0.0))

        return refined(over_x, start=6, tolerance=3e-9)


def _axes(x: Any) -> tuple[Any, Any]:
    """Semi-axes at x, an array or a tensor."""
    long, short = AXES
    growth = math.e ** (GROWTH * x)
    return (short * x + long * (1 - x)) * growth, (long * x + short * (1 - x)) * growth


@TASKS.register
class Horn(Task):
    """x uniform in [0, 1]; y on an ellipse of semi-axes (2, 1.5) at x = 0 and (1.5, 2) e² at x = 1, t uniform."""

    name = "horn"
    summary = "x uniform, y at a uniform angle on an ellipse that grows and turns over with x"
    truth = "log-density and entropy by quadrature"
    references = ("canziani2020practicum",)
    Options = EllipsesOptions
    x_space: Box
    y_space: Box
    reference: HornReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        extent = max(16.0, AXES[0] * math.exp(GROWTH) + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 1)
        self.y_space = Box((-extent, extent), 2)
        self.z_space = Box((-math.pi, math.pi), 1)
        self.manifold_dim = 1
        self.reference = HornReference(self)

    def axes(self, x: torch.Tensor) -> torch.Tensor:
        """Semi-axes (..., 2) float64 at x (..., 1)."""
        import torch

        return torch.cat(_axes(x.double()), dim=-1)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(0.0, 1.0, (n, 1))
        y, angle = self.draw(x, rng)
        return x, y, angle[:, None]

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 1) from `rng` alone: y (n, 2) and its angle (n,), float64."""
        return blurred(np.concatenate(_axes(x), axis=-1), self.thickness, rng)
