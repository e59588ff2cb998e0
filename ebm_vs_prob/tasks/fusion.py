"""Two views of one class: what systems that were trained apart say together, against the posterior of both views.

Given the class, the views are Gaussian and correlated. Where they are not, the posterior is the product of those of the
single views over the prior (Hinton 2002's product of experts, less what both count); where they are, it is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, check_inputs
from .discrete import DiscreteOptions, DiscreteReference
from .quadrature import refined

if TYPE_CHECKING:
    import torch

    from ..core.factor_graphs import FactorGraph

#: Share of each class.
PRIOR = (0.8, 0.15, 0.05)
#: Mean of both views of each class.
MEANS = {
    "complementary": ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)),
    "redundant": ((0.0, 0.0), (1.0, 1.0), (-1.0, -1.0)),
}
#: Standard deviations of noise within which quadratures look; what lies beyond weighs less than 1e-22.
REACH = 10.0


class FusionOptions(DiscreteOptions):
    correlation: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=0.9, description="of the noise of the two views, given the class")
    ] = 0.0
    views: Annotated[
        Literal["complementary", "redundant"],
        Field(description="each view tells one class from the first, or both tell the same"),
    ] = "complementary"
    seen: Annotated[Literal["both", "first", "second"], Field(description="which of the views x is made of")] = "both"


class FusionReference(DiscreteReference):
    """Exact truth of the classes given the views that x is made of."""

    def __init__(self, task: Fusion) -> None:
        super().__init__(task)
        self._means = task.means
        self._factor = task.thickness * np.linalg.cholesky(task.correlations)

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """-ln w_k + (x - m_k)' C⁻¹ (x - m_k) / 2 of each class k, for x (..., 2 or 1): a graph of one variable."""
        from ..core.factor_graphs import FactorGraph

        energies = _energies(x, self._means, self._factor)
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, 3, 3))

    def log_posterior(self, x: torch.Tensor) -> torch.Tensor:
        """ln P(y | x) of every class, for x (n, 2 or 1): (n, 3) float64 nats. Bayes' fusion, where x has both views."""
        check_inputs(self.task, x)
        return (-self.graph(x.double()).unary[..., 0, :]).log_softmax(-1)

    def log_posteriors_of_views(self, x: torch.Tensor) -> torch.Tensor:
        """ln P(y | one view) of every class, for x (n, 2 or 1): (views, n, 3) float64 nats."""
        import torch

        check_inputs(self.task, x)
        each = [
            -_energies(x.double()[:, [v]], self._means[:, [v]], np.array([[self.task.thickness]]))
            for v in range(x.shape[-1])
        ]
        return torch.stack(each).log_softmax(-1)

    def entropy(self) -> Approximate:
        """H(Y | X) in nats, to 1e-8, by quadrature over the noise round each mean."""
        return refined(self._entropy, start=16, tolerance=1e-9)

    def _entropy(self, resolution: int) -> float:
        """In each direction of the noise, `resolution` panels of 8 Gauss-Legendre nodes over 10 deviations."""
        import torch

        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
        half = REACH / resolution
        edges = torch.linspace(-REACH, REACH, resolution + 1, dtype=torch.float64, device="cpu")[:-1, None]
        noise = (edges + half * (1.0 + nodes)).flatten()
        mass = (half * weights).repeat(resolution) * torch.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        count = self._means.shape[1]
        points = torch.cartesian_prod(*[noise] * count).reshape(-1, count) @ torch.from_numpy(self._factor).T
        point_mass = torch.cartesian_prod(*[mass] * count).reshape(-1, count).prod(-1)
        total = 0.0
        for label, (mean, share) in enumerate(zip(torch.from_numpy(self._means), PRIOR, strict=True)):
            surprise = -(-_energies(mean + points, self._means, self._factor)).log_softmax(-1)[:, label]
            total += share * float(point_mass @ surprise)
        return total


def _energies(x: torch.Tensor, means: np.ndarray, factor: np.ndarray) -> torch.Tensor:
    """-ln w_k + |A⁻¹ (x - m_k)|² / 2 of each class, (..., 3), for noise A n with n standard normal."""
    import torch

    whitening, centres = (torch.from_numpy(part).to(x) for part in (np.linalg.inv(factor), means))
    # Entry by entry: a matrix product's last bits depend on how many rows there are.
    away = (x.unsqueeze(-2) - centres).unsqueeze(-2) * whitening
    return 0.5 * away.sum(-1).square().sum(-1) - torch.tensor(PRIOR, dtype=x.dtype, device=x.device).log()


@TASKS.register
class Fusion(Task):
    """y one of three classes with weights .8, .15, .05; x two views of it, whose noise is correlated.

    The same seed draws the same classes and the same noise whichever views are seen, so that systems trained on one
    view each can be put together on the same examples. Noise is isotropic where the correlation is 0.
    """

    name = "fusion"
    summary = "one of three classes of unequal weight; x is two views of it, correlated given the class"
    truth = "posteriors of both views and of each in closed form, entropy by quadrature"
    references = ("hinton2002training",)
    Options = FusionOptions
    options: FusionOptions
    x_space: Box
    y_space: Labels
    reference: FusionReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        rho = self.options.correlation
        self._seen = {"both": [0, 1], "first": [0], "second": [1]}[self.options.seen]
        self.means = np.array(MEANS[self.options.views])[:, self._seen]
        self._whole = np.array([[1.0, rho], [rho, 1.0]])
        self.correlations = self._whole[np.ix_(self._seen, self._seen)]
        extent = max(4.0, 1.0 + 6.0 * self.thickness)
        self.x_space = Box((-extent, extent), len(self._seen))
        self.y_space = Labels(3)
        self.z_space = None
        self.manifold_dim = None
        self.reference = FusionReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.choice(3, size=n, p=PRIOR)
        noise = rng.standard_normal((n, 2)) @ np.linalg.cholesky(self._whole).T
        return self.means[y] + self.thickness * noise[:, self._seen], y, np.empty((n, 0))
