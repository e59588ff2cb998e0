"""Steering round an obstacle: a driver passes it left with probability .8 and right with .2; the mean hits it.

The lecture's case for energies as decisions (LeCun, NYU Deep Learning 2020, week 7): a car goes left or right, and only
which of the two is better matters. The answer is a wheel angle, two branches blurred by noise, or the label of the side
on which that angle passes; either way the chances of the sides, the best decision and what others lose are exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .decisions import CostMatrix, DecisionReference, check_decisions
from .density_reference import DensityReference, no_density
from .discrete import DiscreteReference
from .quadrature import refined

if TYPE_CHECKING:
    import torch

    from ..core.factor_graphs import FactorGraph

#: Labels of the sides and of the decisions; the last exists where abstention has a cost.
LEFT, RIGHT, ABSTAIN = 0, 1, 2
#: Standard deviation of the noise with which the driver sees the offset, as a length of x's first coordinate.
PERCEPTION = 0.25
#: No noise-free wheel angle is beyond this, and none closer to the obstacle's bearing than that, in radians.
EXTENT, MIN_GAP = 0.983, 0.297

Cost = Annotated[float, PER_REPLICATE, Field(ge=0.0, le=1e6)]


class SteeringOptions(TaskOptions):
    thickness: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=1e6, description="standard deviation of the wheel angle, in radians")
    ] = 0.05
    answer: Annotated[
        Literal["discrete", "continuous"], Field(description="y is the side of passing, or the wheel angle")
    ] = "discrete"
    share: Annotated[float, PER_REPLICATE, Field(gt=0.0, lt=1.0, description="of drivers on the preferred side")] = 0.8
    preferred: Annotated[
        Literal["left", "roomier"], Field(description="the side that is preferred: left always, or where there is room")
    ] = "left"
    cost_of_left: Annotated[Cost, Field(description="of deciding left where the driver passes right")] = 1.0
    cost_of_right: Annotated[Cost, Field(description="of deciding right where the driver passes left")] = 1.0
    abstention: Annotated[
        Annotated[float, Field(ge=0.0, le=1e6)] | None, Field(description="cost of a third decision; None without it")
    ] = None


def geometry(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise-free wheel angles to the left and right of the obstacle (..., 2), and its bearing (...), in radians.

    The obstacle is x₀/2 left of the lane's middle and 2 + x₁ ahead, in units of the room that passing it takes.
    """
    import torch

    offset, ahead = 0.5 * x[..., 0], 2.0 + x[..., 1]
    return torch.atan(torch.stack([offset + 1.0, offset - 1.0], -1) / ahead.unsqueeze(-1)), torch.atan(offset / ahead)


class _Drivers:
    """The law of the driver's choice, of the wheel angle and of the side, for both kinds of answer."""

    def __init__(self, options: SteeringOptions) -> None:
        self.options = options

    def choices(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities that the driver chooses left and right, (..., 2)."""
        import torch

        share = torch.full(x.shape[:-1], self.options.share, dtype=x.dtype, device=x.device)
        if self.options.preferred == "roomier":
            # The driver sees x₀ with Gaussian noise and prefers left where the obstacle seems to stand on the right.
            room = torch.special.ndtr(-x[..., 0] / PERCEPTION)
            share = share * room + (1.0 - share) * (1.0 - room)
        return torch.stack([share, 1.0 - share], -1)

    def sides(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities that the wheel angle passes left and right of the obstacle, (..., 2)."""
        import torch

        angles, bearing = geometry(x)
        gap = angles - bearing.unsqueeze(-1)
        eps = self.options.thickness
        kept = torch.special.ndtr(gap / eps) if eps > 0 else (gap > 0).to(x)
        other = torch.special.ndtr(-gap / eps) if eps > 0 else (gap < 0).to(x)
        choices = self.choices(x)
        return torch.stack([(choices * kept).sum(-1), (choices * other).sum(-1)], -1)


class _SteeringDecisions(DecisionReference):
    """Expected costs, Bayes decision and regret from the exact chances of the sides."""

    _drivers: _Drivers

    def sides(self, x: torch.Tensor) -> torch.Tensor:
        """P(the car passes left | x) and P(right | x) for x (n, 2): (n, 2) float64."""
        check_inputs(self.task, x)
        return self._drivers.sides(x.double())

    def cost(self, x: torch.Tensor, decision: torch.Tensor) -> torch.Tensor:
        costs = self._costs(x)
        check_decisions(self.task.decisions, x, decision)
        return costs.gather(-1, decision.unsqueeze(-1)).squeeze(-1)

    def decision(self, x: torch.Tensor) -> torch.Tensor:
        """The Bayes decision at x (n, 2), (n,) int64; of equally good ones the first of left, right, abstain."""
        return self._costs(x).argmin(-1)

    def _costs(self, x: torch.Tensor) -> torch.Tensor:
        decisions: CostMatrix = self.task.decisions
        return decisions.expected(self.sides(x))


class SteeringSideReference(_SteeringDecisions, DiscreteReference):
    """Exact truth of the side of passing."""

    def __init__(self, task: Steering) -> None:
        super().__init__(task)
        self._drivers = _Drivers(task.options)

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """-ln P(side | x) of both sides, for x (..., 2): a graph of one variable."""
        from ..core.factor_graphs import FactorGraph

        energies = -self._drivers.sides(x).log()
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, 2, 2))

    def entropy(self) -> Approximate:
        """H(Y | X) in nats, to 1e-8, by quadrature over x."""
        import torch

        def mean(resolution: int) -> float:
            x, weights = _nodes(resolution)
            return float(weights @ torch.special.entr(self._drivers.sides(x)).sum(-1))

        return refined(mean, start=16, tolerance=1e-9)


class SteeringAngleReference(_SteeringDecisions, DensityReference):
    """Exact truth of the wheel angle."""

    def __init__(self, task: Steering) -> None:
        super().__init__(task)
        self._drivers = _Drivers(task.options)

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 2) and y (..., 1), unchecked."""

        x = x.double()
        return self._log_mixture(x, (y.double() - geometry(x)[0]) / self.noise)

    def _log_mixture(self, x: torch.Tensor, standard: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) where y is so many deviations (..., 2) from the two angles."""
        import torch

        log_normalizer = math.log(self.noise) + 0.5 * math.log(2.0 * math.pi)
        return torch.logsumexp(self._drivers.choices(x).log() - 0.5 * standard**2, dim=-1) - log_normalizer

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 1) to the nearer of the two wheel angles at x (n, 2), (n,) float64, in radians."""
        x, y = check_pairs(self.task, x, y)
        return (y - geometry(x)[0]).abs().amin(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The wheel angles to the left and to the right at each x: (n, 2, 1) float64."""
        check_inputs(self.task, x)
        return geometry(x.double())[0].unsqueeze(-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8, by quadrature over x and, round each branch, over the noise.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self._thickness == 0.0:
            raise no_density("steering")
        return refined(self._entropy, start=16, tolerance=1e-9)

    def _entropy(self, resolution: int) -> float:
        """`resolution` nodes for x₀ and half as many for x₁; so many panels of 8 for each branch's noise."""
        import torch

        x, weights = _nodes(resolution)
        inner, inner_weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
        panels = resolution // 2
        half = 10.0 / panels  # of 10 deviations to either side
        edges = torch.linspace(-10.0, 10.0, panels + 1, dtype=torch.float64, device="cpu")[:-1, None]
        noise = (edges + half * (1.0 + inner)).flatten()
        mass = (half * inner_weights).repeat(panels) * torch.exp(-0.5 * noise**2) / math.sqrt(2.0 * math.pi)
        # From differences of angles: a y of angle and noise would be rounded by many deviations where noise is small.
        angles = geometry(x)[0]
        apart = (angles[:, :, None, None] - angles[:, None, None, :]) / self.noise
        surprise = -self._log_mixture(x[:, None, None], noise[:, None] + apart)  # (x, branch, noise)
        return float(torch.einsum("xkn,x,xk,n->", surprise, weights, self._drivers.choices(x), mass))


def _nodes(resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre nodes of x, `resolution` along x₀ and half as many along x₁, and their weights, which sum to 1."""
    import torch

    rules = [
        [torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(n)] for n in (resolution, resolution // 2)
    ]
    (first, first_weights), (second, second_weights) = rules
    return torch.cartesian_prod(first, second), torch.outer(first_weights, second_weights).flatten() / 4.0


@TASKS.register
class Steering(Task):
    """x where an obstacle stands; y the wheel angle of a driver who passes it left or right, or which of the two.

    A side is that of the noisy wheel angle, so that angle and side have one law and one best decision. The decisions
    are sides too, or to abstain where that has a cost.
    """

    name = "steering"
    summary = "an obstacle is passed left or right (.8, .2); y the side, or the wheel angle; a decision has a cost"
    truth = "posterior, density, expected costs, Bayes decision and regret in closed form, entropy by quadrature"
    references = ("lecun2020energy", "chow1970optimum")
    cited_with: ClassVar = {"chow1970optimum": ("abstention", ())}
    opposite_costs = ("cost_of_left", "cost_of_right")
    Options = SteeringOptions
    options: SteeringOptions
    x_space: Box
    decisions: CostMatrix

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.options
        discrete = own.answer == "discrete"
        extent = max(3.0, EXTENT + 6.0 * self.thickness)
        self.x_space = Box((-1.0, 1.0), 2)
        self.y_space = Labels(2) if discrete else Box((-extent, extent), 1)
        self.z_space = None if discrete else Labels(2)
        self.manifold_dim = None if discrete else 0
        costs = [(0.0, own.cost_of_left), (own.cost_of_right, 0.0)]
        if own.abstention is not None:
            costs.append((own.abstention, own.abstention))
        self.decisions = CostMatrix(costs, None if discrete else self.side)
        self.reference = SteeringSideReference(self) if discrete else SteeringAngleReference(self)
        self._drivers = _Drivers(own)

    @staticmethod
    def side(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Whether a wheel angle (..., 1) passes the obstacle of x (..., 2) on the left, 0, or the right, 1: int64."""
        return (angle[..., 0] < geometry(x.double())[1]).long()

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-1.0, 1.0, (n, 2))
        angle, choice = self.draw(x, rng)
        if self.options.answer == "continuous":
            return x, angle, choice
        import torch

        return x, self.side(torch.from_numpy(x), torch.from_numpy(angle)).numpy(), np.empty((n, 0))

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A wheel angle (n, 1) float64 for each x (n, 2) from `rng` alone, and the driver's choice (n,) int64."""
        import torch

        given = torch.tensor(x, dtype=torch.float64, device="cpu")
        left = self._drivers.choices(given)[:, LEFT].numpy()
        choice = (rng.random(len(x)) >= left).astype(np.int64)
        angles = geometry(given)[0].numpy()
        return angles[np.arange(len(x)), choice, None] + self.thickness * rng.standard_normal((len(x), 1)), choice
