"""The contract of a task: data, spaces and exact truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field

from ..core.errors import NoExactReference, invalid
from ..core.options import PER_REPLICATE, Options, validated
from ..core.seeding import numpy_generator
from ..core.spaces import Box, Space

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..core.strips import StripShape
    from .decisions import Decisions

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class TaskOptions(Options):
    """Options every continuous task has."""

    thickness: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=1e6, description="standard deviation of the isotropic noise")
    ] = 0.01


class Reference(ABC):
    """Exact truth of a task. What is not exact is not here: `NoExactReference` says why, nothing is approximated.

    Discrete answers are int64, (n,) labels or (n, T) symbols in place of (n, dy): see `tasks.discrete`.
    """

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
    def entropy(self) -> float:
        """h(Y | X) in nats: the mean of -log_prob under the task."""

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


class DensityReference(Reference):
    """What references of real answers have in common: they check their input and hand it on to `log_density`.

    Args:
        task: whose spaces the input must fit.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self._thickness = float(task.thickness)

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.log_density(*check_pairs(self.task, x, y))

    @abstractmethod
    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for broadcasting (..., dx) and (..., dy), unchecked; `Reference.log_density` has more."""

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x by the task's own `draw`: (n, num_samples, dy) float64.

        Each row of x has a stream of its own, so its draws do not depend on which others are asked.

        Raises:
            ValueError: x that does not fit the task, a count below 1 or a bad seed.
        """
        import numpy as np
        import torch

        check_inputs(self.task, x, num_samples)
        drawn = np.empty((len(x), num_samples, *self.task.y_space.event_shape))
        for row, given in enumerate(x.detach().double().cpu().numpy()):
            repeated = np.broadcast_to(given, (num_samples, len(given)))
            drawn[row] = self.task.draw(repeated, numpy_generator(seed, "reference", self.task.name, row))[0]
        return torch.from_numpy(drawn).to(x.device)

    @property
    def noise(self) -> float:
        """The thickness, where there is any.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self._thickness == 0.0:
            raise no_density(self.task.name)
        return self._thickness


class Task(ABC):
    """Data and exact truth. Subclasses set the class attributes, the spaces and `_draw`.

    Thickness is isotropic Gaussian observation noise, y = m(u) + thickness * n, drawn from the same standard normals at
    every thickness, so that two thicknesses at one seed differ by scale alone.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raised when the data or the truth change, so that stored trials are not mistaken
    summary: ClassVar[str]
    truth: ClassVar[str] = ""  # what is exactly known of it, and how
    has_truth: ClassVar[bool] = True  # False where all that is known are rows, so that no model can be exact
    noise_known: ClassVar[bool] = True  # False where data come with a noise of their own and `thickness` is always 0
    references: ClassVar[tuple[str, ...]] = ()  # papers: keys of references.bib or of `bibliography`
    bibliography: ClassVar[str] = ""  # BibTeX of papers that references.bib lacks
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    splits: ClassVar[tuple[Split, ...]] = SPLITS
    opposite_costs: ClassVar[tuple[str, str] | None] = None  # the options that hold the costs of either mistake

    x_space: Space
    y_space: Space
    z_space: Space | None
    manifold_dim: int | None  # dimension d of the answer set of one x; None where there is no manifold
    reference: Reference
    strip: StripShape | None = None  # where y is read off segments of x, whose columns follow one another in it
    decisions: Decisions | None = None  # where something is to be decided; `reference` is a `DecisionReference` too

    def __init__(self, **options: Any) -> None:
        self.options = validated(type(self).Options, options, type(self).name)

    @property
    def thickness(self) -> float:
        """Standard deviation of the observation noise, in the task's units."""
        return self.options.thickness

    @property
    def intrinsic_coordinate(self) -> str | None:
        """Name of the exact one-dimensional coordinate along the manifold (`angle`), or None."""
        return None

    @property
    def log_unit(self) -> float:
        """ln of the volume of the task's unit of y in that of the data's origin: log-densities are reported in the
        latter, ln q - `log_unit`. 0 where both are one."""
        return 0.0

    @property
    def test_rows(self) -> int | None:
        """How many test pairs there are to be looked at without seeing one twice; None where each draw is new."""
        return None

    def with_thickness(self, thickness: float) -> Task:
        """The same task at another thickness."""
        return type(self)(**{**self.options.model_dump(), "thickness": thickness})

    def with_costs_switched(self) -> Task | None:
        """The same task, either mistake at the cost of the other; None where there are no two such costs."""
        if self.opposite_costs is None:
            return None
        one, other = self.opposite_costs
        own = self.options.model_dump()
        return type(self)(**{**own, one: own[other], other: own[one]})

    def specification(self) -> dict[str, Any]:
        """Name, version and every option, canonical and JSON-ready: what a trial's key hashes."""
        return {"name": self.name, "version": self.version, "options": self.options.model_dump(mode="json")}

    def sample(self, n: int, seed: int = 0, split: Split = "train") -> tuple[torch.Tensor, torch.Tensor]:
        """`n` pairs (x, y) as float64 tensors (n, dx) and (n, dy); x has width 0 for an unconditional task.

        Discrete y are int64, (n,) labels or (n, T) symbols.

        The same seed gives the same pairs; splits are disjoint streams, or disjoint parts of a finite data set.

        Raises:
            ValueError: n < 1, a bad seed or an unknown split.
        """
        x, y, _ = self.sample_with_latent(n, seed, split)
        return x, y

    def sample_with_latent(
        self, n: int, seed: int = 0, split: Split = "train"
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `sample`, with the latent z that made each y, (n, dz) or (n,) labels; width 0 where there is none."""
        import torch

        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise invalid("n", n, "an integer >= 1")
        if split not in self.splits:
            raise invalid("split", split, f"one of {', '.join(self.splits)}")
        x, y, z = self._draw(n, numpy_generator(seed, "data", self.name, split), split)
        return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(z)

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """n draws of (x, y, z) as float64 (int64 for labels) arrays from `rng` alone."""

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.model_dump().items())
        return f"{self.name}({options})"


def no_density(task: str) -> NoExactReference:
    """The error for a density asked for at thickness 0."""
    return NoExactReference(
        f"{task}: thickness = 0 leaves y on a set of measure zero, so it has no density and no entropy: "
        "use thickness > 0, or reference.distance"
    )


def check_pairs(task: Task, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y as float64, after checking that they are (n, dx) and (n, dy), finite and equally many."""
    assert isinstance(task.x_space, Box)
    assert isinstance(task.y_space, Box)
    task.x_space.check("x", x)
    task.y_space.check("y", y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise invalid("shapes of x, y", (tuple(x.shape), tuple(y.shape)), "(n, dx) and (n, dy) with one n")
    return x.double(), y.double()


def check_inputs(task: Task, x: torch.Tensor, num_samples: int = 1) -> None:
    """Raise a `ValueError` unless x is (n, dx) and finite and `num_samples` an integer >= 1."""
    assert isinstance(task.x_space, Box)
    task.x_space.check("x", x)
    if x.ndim != 2:
        raise invalid("x.shape", tuple(x.shape), f"(n, {task.x_space.dim})")
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise invalid("num_samples", num_samples, "an integer >= 1")


def refined(rule: Callable[[int], float], start: int, tolerance: float = 1e-10, doublings: int = 5) -> float:
    """The value of a quadrature rule, its number of nodes doubled until the value stays within `tolerance`.

    Raises:
        ArithmeticError: it still moves at the last doubling; no inexact value is returned.
    """
    value = rule(start)
    for doubling in range(1, doublings + 1):
        previous, value = value, rule(start * 2**doubling)
        if abs(value - previous) <= tolerance:
            return value
    raise ArithmeticError(
        f"quadrature moved by {abs(value - previous):.1e} at its last doubling: expected {tolerance:.0e}"
    )
