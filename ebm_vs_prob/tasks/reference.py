"""The contract of a task's exact truth: what every reference answers, and what only some know beside it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..core.approximate import Approximate
from ..core.errors import invalid

if TYPE_CHECKING:
    import torch


class Reference(ABC):
    """Exact truth of a task. What is not exact is not here: `NoExactReference` says why, nothing is approximated.

    Discrete answers are int64, (n,) labels or (n, T) symbols in place of (n, dy): see `tasks.discrete`.

    Attributes:
        task: whose truth it is.
    """

    task: Any

    @abstractmethod
    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats, float64, shape (n,), for x (n, dx) and y (n, dy); differentiable in y.

        Raises:
            NoExactReference: at thickness 0, where y has no density, and where the task has none.
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for any broadcasting leading dimensions, (..., dx) and (..., dy) -> (...), values unchecked.

        References with a closed form override it with pure tensor code, twice differentiable and fit for `torch.func`
        transforms, which cannot pass through a check of values.
        """
        import torch

        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        flat = [value.expand(*shape, value.shape[-1]).reshape(shape.numel(), value.shape[-1]) for value in (x, y)]
        return self.log_prob(flat[0], flat[1]).reshape(shape)

    @abstractmethod
    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Euclidean distance from y to the noise-free answer set of x, in the task's units, float64, shape (n,)."""

    @abstractmethod
    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The noise-free answer set of each x, densely parametrised: (n, m, dy) float64.

        Where sets differ in size the rows left over are NaN.
        """

    @abstractmethod
    def entropy(self) -> Approximate:
        """h(Y | X) in nats: the mean of -log_prob under the task, and what the value may be off by as its `error`.

        0 of a closed form; of a quadrature how far its last doubling moved it, with what its integrand may be off by.

        Raises:
            NoExactReference: it is not exactly known: `sampled_entropy` may still tell.
        """

    def sampled_entropy(self, num_samples: int = 4096, seed: int = 0) -> Approximate:
        """h(Y | X) in nats as the mean of -log_prob over held-out pairs, and its standard error as its `error`.

        It is had wherever there is a log-density, where `entropy` is too dear to integrate as well.

        Raises:
            NoExactReference: the task has no density.
            ValueError: fewer samples than 2, or a bad seed.
        """
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 2:
            raise invalid("num_samples", num_samples, "an integer >= 2")
        surprise = -self.log_prob(*self.task.sample(num_samples, seed=seed, split="test"))
        return Approximate(float(surprise.mean()), float(surprise.std()) / math.sqrt(num_samples))

    @abstractmethod
    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x: (n, num_samples, dy) float64."""


@runtime_checkable
class HasBranches(Protocol):
    """A reference whose answer set falls into K branches of known weight, as `three_curves` has three curves."""

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The branch of x (n, dx) that is nearest to y (n, dy): (n,) int64 in 0 .. K-1."""
        ...

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch(x, Y) = k | x), the noise of Y included: (n, K) float64, exact."""
        ...


@runtime_checkable
class HasMean(Protocol):
    """A reference whose conditional mean is known: what regression by least squares finds, be it an answer or none."""

    def conditional_mean(self, x: torch.Tensor) -> torch.Tensor:
        """E[y | x] of x (n, dx), (n, dy) float64, exact."""
        ...


@runtime_checkable
class HasHeldOut(Protocol):
    """A reference of real data, whose law nobody knows: samples are held against held-out answers."""

    def held_out(self, x: torch.Tensor) -> torch.Tensor:
        """The held-out answers of each x (n, dx): as `Reference.answers`."""
        ...
