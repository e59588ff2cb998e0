"""Classes of unequal weight that overlap in the plane: the discrete control, where the best decision is known.

Claim C16's plain half: with a few labels to tell apart a normaliser is a sum of a few terms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task
from .discrete import DiscreteOptions, DiscreteReference
from .quadrature import refined

if TYPE_CHECKING:
    import torch

    from ..core.factor_graphs import FactorGraph

#: Standard deviations of noise within which quadratures look; what lies beyond weighs less than 1e-22.
REACH = 10.0


class GaussianClassesOptions(DiscreteOptions):
    classes: Annotated[int, Field(ge=2, le=12, description="number of classes")] = 4


class GaussianClassesReference(DiscreteReference):
    """Exact truth of the classes: x given y is Gaussian, so the posterior is a softmax of linear functions of x."""

    def __init__(self, task: GaussianClasses) -> None:
        super().__init__(task)
        self._means, self._weights, self._thickness = task.means, task.weights, task.thickness

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """-ln w_k + |x - m_k|² / (2 ε²) of each class k, for x (..., 2): a graph of one variable."""
        import torch

        from ..core.factor_graphs import FactorGraph

        means, weights = (torch.from_numpy(part).to(x) for part in (self._means, self._weights))
        squared = (x.unsqueeze(-2) - means).square().sum(-1)
        energies = 0.5 * squared / self._thickness**2 - weights.log()
        count = len(self._weights)
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, count, count))

    def entropy(self) -> Approximate:
        """H(Y | X) in nats, to 1e-8, by quadrature over the noise round each mean."""
        return refined(self._entropy, start=16)

    def _entropy(self, resolution: int) -> float:
        """In each direction of the noise, `resolution` panels of 8 Gauss-Legendre nodes over 10 deviations."""
        import torch

        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
        half = REACH / resolution
        edges = torch.linspace(-REACH, REACH, resolution + 1, dtype=torch.float64, device="cpu")[:-1, None]
        noise = (edges + half * (1.0 + nodes)).flatten()
        mass = (half * weights).repeat(resolution) * torch.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        plane = self._thickness * torch.cartesian_prod(noise, noise)
        total = 0.0
        for label, (mean, weight) in enumerate(zip(torch.from_numpy(self._means), self._weights, strict=True)):
            surprise = -self.log_density(
                mean + plane, torch.full((len(plane),), label, dtype=torch.int64, device="cpu")
            )
            total += float(weight) * float(mass @ surprise.reshape(len(mass), len(mass)) @ mass)
        return total

    def bayes_error(self) -> float:
        """The chance that the Bayes answer is wrong, to 1e-10: no decision from x alone errs less often.

        The class k is decided where its posterior exceeds every other's, which are half-planes of the noise. Along the
        ray of the mean the noise is integrated numerically; across it, they leave an interval of known mass.
        """
        return max(0.0, 1.0 - sum(float(w) * self._decided(k) for k, w in enumerate(self._weights)))

    def _decided(self, k: int) -> float:
        """P(the Bayes answer is k | y = k)."""
        from scipy.integrate import quad
        from scipy.special import ndtr

        eps, others = self._thickness, np.delete(np.arange(len(self._weights)), k)
        along, across = self._means[k], self._means[k][::-1] * (-1.0, 1.0)
        # With x = m_k + ε (u along + v across), j stays below k while a_j u + b_j v <= c_j.
        towards = (self._means[others] - self._means[k]) / eps
        a, b = towards @ along, towards @ across
        c = np.log(self._weights[k] / self._weights[others]) - towards @ along / eps
        c += 0.5 * ((self._means[others] ** 2).sum(1) - (self._means[k] ** 2).sum()) / eps**2
        opposite = np.abs(b) < 1e-9 / eps
        low = max([-REACH, *(c[opposite] / a[opposite])])  # a < 0: the mean that is opposite lies inwards

        def slice_mass(u: float) -> float:
            bounds = (c - a * u)[~opposite] / b[~opposite]
            upper, lower = bounds[b[~opposite] > 0], bounds[b[~opposite] < 0]
            mass = ndtr(min(upper, default=np.inf)) - ndtr(max(lower, default=-np.inf))
            return max(float(mass), 0.0) * math.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)

        if low >= REACH:
            return 0.0
        return float(quad(slice_mass, low, REACH, epsabs=1e-11, epsrel=1e-10, limit=500)[0])


@TASKS.register
class GaussianClasses(Task):
    """y one of K classes, class k with weight proportional to k + 1; x its mean, on the unit circle, with noise."""

    name = "gaussian_classes"
    summary = "one of K classes of unequal weight; x is its mean in the plane, blurred"
    truth = "posterior in closed form, entropy and Bayes error by quadrature"
    Options = GaussianClassesOptions
    options: GaussianClassesOptions
    x_space: Box
    y_space: Labels
    reference: GaussianClassesReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        count = self.options.classes
        angles = 2.0 * np.pi * np.arange(count) / count
        self.means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.weights = np.arange(1.0, count + 1.0) / (0.5 * count * (count + 1))
        extent = max(7.0, 1.0 + 6.0 * self.thickness)
        self.x_space = Box((-extent, extent), 2)
        self.y_space = Labels(count)
        self.z_space = None
        self.manifold_dim = None
        self.reference = GaussianClassesReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.choice(len(self.weights), size=n, p=self.weights)
        x = self.means[y] + self.thickness * rng.standard_normal((n, 2))
        return x, y, np.empty((n, 0))
