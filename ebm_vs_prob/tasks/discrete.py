"""What tasks with discrete answers share: a posterior whose every sum is exact, and all that follows from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ..core.errors import NoExactReference, invalid
from ..core.memory import once
from ..core.options import PER_REPLICATE
from ..core.seeding import numpy_generator
from ..core.spaces import Discrete
from .base import Task, TaskOptions, check_inputs
from .reference import Reference

if TYPE_CHECKING:
    import torch

    from ..core.automata import Automaton
    from ..core.discrete_energies import DiscreteEnergy


class DiscreteOptions(TaskOptions):
    """Options of a task with discrete answers: its noise is on x, and is why an x has more than one possible answer."""

    thickness: Annotated[
        float, PER_REPLICATE, Field(gt=0.0, le=1e6, description="standard deviation of the isotropic noise on x")
    ] = 0.5


class DiscreteReference(Reference):
    """Exact truth of discrete answers whose joint energy -ln p(x, y) over y is a factor graph's or an automaton's."""

    def __init__(self, task: Task) -> None:
        assert isinstance(task.y_space, Discrete)
        self.task = task
        self._space = task.y_space

    @property
    def graph_kind(self) -> str:
        """Of which kind the task's graphs are, where its options say that: graphs of one kind are inferred together."""
        return ""

    @abstractmethod
    def graph(self, x: torch.Tensor) -> DiscreteEnergy:
        """-ln p(x, y) in nats as a function of y, up to a function of x, for x (..., dx): of batch (...)."""

    def automaton(self, x: torch.Tensor) -> Automaton:
        """The same as an automaton, of a task whose graphs are of several kinds: those of replicates are stacked.

        Raises:
            NoExactReference: the task's graphs are of one kind.
        """
        raise NoExactReference(f"{self.task.name}: its exact energies are of one kind, and no automata")

    @property
    def rows_at_once(self) -> int | None:
        """Rows of x whose sums are taken at once, so that they fit into memory; None for all of them."""
        return None

    def in_blocks(self, compute: Callable[..., torch.Tensor], *parts: torch.Tensor) -> torch.Tensor:
        """compute(*parts), rows of x and what belongs to each, (n, ...) all, `rows_at_once` of them at a time."""
        import torch

        rows = self.rows_at_once
        if rows is None:
            return compute(*parts)
        return torch.cat([compute(*block) for block in zip(*(part.split(rows) for part in parts), strict=True)])

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln P(y | x) in nats, (n,) float64, for x (n, dx) and y (n,) labels or (n, T) symbols.

        Raises:
            ValueError: shapes that do not fit the task's spaces, non-finite x, or symbols that do not exist.
        """
        self._check(x, y)
        return self.log_density(x, y)

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for any broadcasting leading dimensions, unchecked."""
        graph = self.graph(x.double())
        log_partition = graph.log_answers - graph.free_energy(1.0)
        return -graph.energy(self._space.to_variables(y)) - log_partition

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Hamming distance of y (n, ...) from the Bayes answer at x (n, dx): symbols that differ, (n,) float64."""
        self._check(x, y)
        variables = self._space.to_variables(y)
        return (variables != self._best(x.double())).double().sum(-1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The Bayes answer, the most probable y of each x (n, dx): (n, 1) labels or (n, 1, T) symbols, int64."""
        check_inputs(self.task, x)
        return self._space.from_variables(self._best(x.double())).unsqueeze(1)

    def _best(self, x: torch.Tensor) -> torch.Tensor:
        return once(self.task, "Bayes answers", x, compute=lambda: self.in_blocks(self.bayes, x))

    def bayes(self, x: torch.Tensor) -> torch.Tensor:
        """The most probable answer as symbols, (..., T) int64, for x (..., dx) float64, unchecked."""
        return self.graph(x).min_sum()[0]

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x (n, dx), on a stream of their own: (n, num_samples, ...) int64."""
        import torch

        check_inputs(self.task, x, num_samples)
        rng = numpy_generator(seed, "reference", self.task.name)

        def draws(x: torch.Tensor) -> torch.Tensor:
            graph = self.graph(x)
            # The rows of x come first, so that the draws for one do not depend on how many follow.
            uniform = torch.from_numpy(rng.random((len(x), num_samples, graph.num_variables, graph.num_values)))
            return graph.sample(1.0, uniform.movedim(0, 1).to(x.device)).movedim(0, 1)

        return self._space.from_variables(self.in_blocks(draws, x.double()))

    def _check(self, x: torch.Tensor, y: torch.Tensor) -> None:
        check_inputs(self.task, x)
        self._space.check("y", y)
        if y.shape != (len(x), *self._space.event_shape):
            raise invalid("shapes of x, y", (tuple(x.shape), tuple(y.shape)), "(n, dx) and one answer for each of n")
