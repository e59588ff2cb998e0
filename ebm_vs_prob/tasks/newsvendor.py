"""The newsvendor: how much to order under asymmetric cost, of a demand that depends on x (Arrow et al. 1951).

The case on which estimating a law first and deciding with its parameters trained for the decision are compared
(Elmachtoub, Lam, Zhang and Zhao 2023, arXiv 2304.06833). Demand is linear in x with Gaussian noise, and on request is
not: then the Gaussian linear model is wrong, and what that costs is known exactly.
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
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .decisions import DecisionReference, PinballCost, check_decisions
from .density_reference import DensityReference
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Demand at x = 0, and what a unit of x adds; of d features each adds 1/√d of that.
BASE, SLOPE = 2.0, 1.0
#: Demand where it has nothing to do with x.
SURGE = 5.0
#: Mean of the exponential part of skewed noise, for a unit of the Gaussian part.
SKEW = 2.0
#: Bisections of the interval in which a quantile lies.
HALVINGS = 64


class NewsvendorOptions(TaskOptions):
    features: Annotated[int, Field(ge=1, le=64, description="numbers in x, on all of which demand depends alike")] = 1
    thickness: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=1e6, description="standard deviation of the Gaussian noise of demand")
    ] = 0.3
    demand: Annotated[
        Literal["gaussian", "skewed", "contaminated"],
        Field(description="noise of demand: Gaussian, skewed, or Gaussian with a share of demands unrelated to x"),
    ] = "gaussian"
    contamination: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=0.5, description="share of unrelated demands, where demand is so")
    ] = 0.1
    underage: Annotated[
        float, PER_REPLICATE, Field(ge=1e-3, le=1e3, description="cost of a unit of demand that is not met")
    ] = 4.0
    overage: Annotated[
        float, PER_REPLICATE, Field(ge=1e-3, le=1e3, description="cost of a unit of order that is not asked for")
    ] = 1.0


class NewsvendorReference(DecisionReference, DensityReference):
    """Exact truth of demand and of orders: distribution functions and their integrals in closed form."""

    task: Newsvendor

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., d) and y (..., 1), unchecked."""
        import torch

        eps, weights = self.noise, self._weights
        standard = (y.double() - _places(x.double())[..., : len(weights)]) / eps
        each = self._log_standard(standard) - math.log(eps)
        return torch.logsumexp(each + torch.tensor(weights, dtype=torch.float64, device=each.device).log(), -1)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 1) to the nearest demand without noise at x (n, d), (n,) float64."""
        x, y = check_pairs(self.task, x, y)
        return (y - _places(x)[..., : len(self._weights)]).abs().amin(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """Demand without noise, and where some is unrelated to x that too: (n, 1 or 2, 1) float64."""
        check_inputs(self.task, x)
        return _places(x.double())[..., : len(self._weights)].unsqueeze(-1)

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-8: closed form of Gaussian demand, quadratures over x and the noise of others.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self.task.options.demand == "gaussian":
            return Approximate(math.log(self.noise) + 0.5 * math.log(2.0 * math.pi * math.e))
        return math.log(self.noise) + refined(self._standard_entropy, start=32, tolerance=1e-9)

    def _standard_entropy(self, resolution: int) -> float:
        """h(Y / ε | X): `resolution` panels of 8 nodes over the noise and, where the law depends on x, nodes of x."""
        import torch

        low, high = self.task.reach
        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
        half = 0.5 * (high - low) / resolution
        edges = torch.linspace(low, high, resolution + 1, dtype=torch.float64, device="cpu")[:-1, None]
        noise = (edges + half * (1.0 + nodes)).flatten()
        mass = (half * weights).repeat(resolution) * self._log_standard(noise).exp()
        if len(self._weights) == 1:
            return -float(mass @ self._log_standard(noise))
        x, x_weights = self._nodes(resolution)
        y = _places(x)[:, :, None, None] + self._thickness * noise[:, None]
        surprise = -self.log_density(x[:, None, None, :], y) - math.log(self._thickness)  # (x, place, noise)
        mixture = torch.tensor(self._weights, dtype=torch.float64, device="cpu")
        return float(torch.einsum("xkn,x,k,n->", surprise, x_weights, mixture, mass))

    def _nodes(self, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (n, d) on the diagonal and their weights: demand depends on the sum of x alone, whose density is of
        Irwin and Hall, a polynomial between integers."""
        import torch
        from scipy.stats import irwinhall

        count = self.task.options.features
        own, weights = np.polynomial.legendre.leggauss(max(resolution // count, 8))
        total = (np.arange(count)[:, None] + 0.5 * (1.0 + own)).ravel()
        share = np.tile(0.5 * weights, count) * irwinhall(count).pdf(total)
        each = torch.from_numpy(2.0 * total / count - 1.0)
        return each.unsqueeze(1).expand(-1, count), torch.from_numpy(share)

    def cumulative(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """P(demand <= y | x) for x (n, d) and y (n, 1): (n,) float64; at thickness 0 too."""
        x, y = check_pairs(self.task, x, y)
        return self._mixed(self._cumulative(self._standard(x, y)))

    def cost(self, x: torch.Tensor, decision: torch.Tensor) -> torch.Tensor:
        """Expected cost of an order d (n, 1) at x (n, d), (n,) float64: underage E(y - d)+ + overage E(d - y)+."""
        check_inputs(self.task, x)
        check_decisions(self.task.decisions, x, decision)
        x, order = x.double(), decision.double()
        if self._thickness == 0.0:
            left_over = self._mixed((order - _places(x)[..., : len(self._weights)]).clamp_min(0.0))
        else:
            left_over = self._thickness * self._mixed(self._integrated(self._standard(x, order)))
        # E(y - d)+ = E y - d + E(d - y)+, and the noise has mean 0.
        short = (self._mixed(_places(x)[..., : len(self._weights)]) - order[..., 0] + left_over).clamp_min(0.0)
        return self.task.decisions.underage * short + self.task.decisions.overage * left_over

    def decision(self, x: torch.Tensor) -> torch.Tensor:
        """The order of least expected cost at x (n, d), (n, 1) float64: the quantile at the critical fractile.

        Found by bisection to rounding error; at thickness 0 too.
        """
        import torch

        check_inputs(self.task, x)
        x = x.double()
        low, high = (
            torch.full((len(x), 1), edge, dtype=torch.float64, device=x.device)
            for edge in self.task.decisions.space.bounds
        )
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            enough = (self._mixed(self._cumulative(self._standard(x, middle))) >= self.task.decisions.fractile)[:, None]
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high

    @property
    def _weights(self) -> tuple[float, ...]:
        share = self.task.options.contamination
        return (1.0 - share, share) if self.task.options.demand == "contaminated" and share > 0 else (1.0,)

    def _mixed(self, each: torch.Tensor) -> torch.Tensor:
        """The mean of what holds of each place (..., places): (...)."""
        return (each * each.new_tensor(self._weights)).sum(-1)

    def _standard(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(y - place) / ε, (..., places), at thickness 0 ±inf on either side of a place."""
        import torch

        away = y - _places(x)[..., : len(self._weights)]
        return away / self._thickness if self._thickness > 0 else torch.where(away >= 0, math.inf, -math.inf).to(y)

    def _log_standard(self, u: torch.Tensor) -> torch.Tensor:
        """ln of the density of the noise over ε."""
        half_log_2pi = 0.5 * math.log(2.0 * math.pi)
        if self.task.options.demand != "skewed":
            return -0.5 * u**2 - half_log_2pi
        # exp(-v/s + 1/(2 s²)) Φ(v - 1/s) / s, of a standard normal and an exponential of mean s together.
        v = u + SKEW
        return -v / SKEW + 0.5 / SKEW**2 + _log_ndtr(v - 1.0 / SKEW) - math.log(SKEW)

    def _cumulative(self, u: torch.Tensor) -> torch.Tensor:
        """Distribution function of the noise over ε."""
        import torch

        if self.task.options.demand != "skewed":
            return torch.special.ndtr(u)
        if self._thickness == 0.0:
            return (u > 0).to(u)
        # The sum of a normal and an exponential of mean s has F' = (Φ - F) / s.
        return (torch.special.ndtr(u + SKEW) - SKEW * self._log_standard(u).exp()).clamp(0.0, 1.0)

    def _integrated(self, u: torch.Tensor) -> torch.Tensor:
        """Integral of that function up to u: E(u - noise/ε)+."""
        import torch

        if self.task.options.demand != "skewed":
            return u * torch.special.ndtr(u) + _normal_density(u)
        v = u + SKEW
        of_normal = v * torch.special.ndtr(v) + _normal_density(v)
        return (of_normal - SKEW * self._cumulative(u)).clamp_min(0.0)


def _related(x: Any) -> Any:
    """Demand without noise at x (..., d), an array or a tensor: (..., 1)."""
    return BASE + SLOPE / math.sqrt(x.shape[-1]) * x.sum(-1)[..., None]


def _places(x: torch.Tensor) -> torch.Tensor:
    """Demand without noise at x (..., d), and where it is unrelated to x: (..., 2)."""
    import torch

    related = _related(x)
    return torch.cat([related, torch.full_like(related, SURGE)], -1)


def _log_ndtr(v: torch.Tensor) -> torch.Tensor:
    """ln Φ(v), as `torch.special.log_ndtr`, which `torch.func.vmap` takes row by row."""
    import torch

    below = v.clamp_max(0.0)
    lower = (0.5 * torch.special.erfcx(-below / math.sqrt(2.0))).log() - 0.5 * below**2
    return torch.where(v < 0.0, lower, torch.special.ndtr(v.clamp_min(0.0)).log())


def _normal_density(u: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = (-0.5 * u**2).exp() / math.sqrt(2.0 * math.pi)
    return result


@TASKS.register
class Newsvendor(Task):
    """x uniform in [-1, 1]^d; demand y = 2 + Σ x / √d + ε n, skewed or at times unrelated to x; orders are decided on.

    With d = 1 the regret of a fit is that of two numbers, and scatters with the training set as a χ² of two degrees of
    freedom; with more features it scatters less.

    Skewed noise is no isotropic Gaussian, and the task then says so by having no `manifold_dim`.
    """

    name = "newsvendor"
    summary = "demand linear in x, with Gaussian, skewed or contaminated noise; an order too small costs more"
    truth = "density, expected costs and regret in closed form, Bayes decision by bisection, entropy by quadrature"
    references = ("elmachtoub2023estimate", "arrow1951optimal")
    opposite_costs = ("underage", "overage")
    Options = NewsvendorOptions
    options: NewsvendorOptions
    x_space: Box
    y_space: Box
    reference: NewsvendorReference
    decisions: PinballCost

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.options
        skewed, contaminated = own.demand == "skewed", own.demand == "contaminated"
        # Where the noise over ε is integrated, and what the box leaves room for.
        self.reach = (-10.0 - SKEW, 10.0 + 30.0 * SKEW) if skewed else (-10.0, 10.0)
        low, high = (-6.0 - SKEW, 6.0 + 18.0 * SKEW) if skewed else (-6.0, 6.0)
        most = SLOPE * math.sqrt(own.features)
        bounds = (
            min(-2.0, BASE - most + low * self.thickness),
            max(16.0 if skewed else 8.0, max(SURGE if contaminated else 0.0, BASE + most) + high * self.thickness),
        )
        self.x_space, self.y_space = Box((-1.0, 1.0), own.features), Box(bounds, 1)
        self.z_space = Labels(2) if contaminated else None
        self.manifold_dim = None if skewed else 0
        self.decisions = PinballCost(own.underage, own.overage, bounds)
        self.reference = NewsvendorReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.uniform(-1.0, 1.0, (n, self.options.features))
        y, unrelated = self.draw(x, rng)
        return x, y, unrelated if self.z_space else np.empty((n, 0))

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A demand (n, 1) float64 for each x (n, d) from `rng` alone; (n,) int64 1 where it is unrelated to x."""
        normal = rng.standard_normal((len(x), 1))
        exponential, chance = rng.exponential(size=(len(x), 1)), rng.random(len(x))
        contaminated = self.options.demand == "contaminated"
        unrelated = (contaminated & (chance < self.options.contamination)).astype(np.int64)
        noise = normal
        if self.options.demand == "skewed":
            noise = normal + SKEW * (exponential - 1.0)
        place = np.where(unrelated[:, None] == 1, SURGE, _related(x))
        return place + self.thickness * noise, unrelated
