"""The contract of a task: data and spaces. Its exact truth has a contract of its own, `reference`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ..core.errors import invalid
from ..core.options import PER_REPLICATE, Options, validated
from ..core.process_state import holds
from ..core.seeding import numpy_generator
from ..core.spaces import Box, Space

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..core.strips import StripShape
    from .decisions import Decisions
    from .reference import Reference

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
#: The least thickness that is not 0, and the largest entry of an answer in size: eighth powers of them are numbers.
LEAST_THICKNESS, LARGEST_ANSWER = 1e-12, 1e38


class TaskOptions(Options):
    """Options every continuous task has."""

    thickness: Annotated[
        float, PER_REPLICATE, Field(ge=0.0, le=1e6, description="standard deviation of the isotropic noise")
    ] = 0.01

    @field_validator("thickness")
    @classmethod
    def _not_lost_in_rounding(cls, value: float) -> float:
        if 0.0 < value < LEAST_THICKNESS:
            raise ValueError(f"0, or a thickness >= {LEAST_THICKNESS:g}, whose powers are numbers, not {value:g}")
        return value


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
    # Of those papers that only some values of an option rest on: the option and these; none: all but its default.
    cited_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {}
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


def check_pairs(task: Task, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y as float64, after checking that they are (n, dx) and (n, dy), finite and equally many."""
    assert isinstance(task.x_space, Box)
    assert isinstance(task.y_space, Box)
    task.x_space.check("x", x)
    task.y_space.check("y", y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise invalid("shapes of x, y", (tuple(x.shape), tuple(y.shape)), "(n, dx) and (n, dy) with one n")
    check_size(y)
    return x.double(), y.double()


def check_size(y: torch.Tensor) -> None:
    """Raise a `ValueError` where an answer is so large that powers of it overflow."""
    if not holds(lambda: (y.detach().abs() <= LARGEST_ANSWER).all()):
        raise invalid("y", "entries whose powers overflow", f"numbers up to {LARGEST_ANSWER:g} in size")


def check_inputs(task: Task, x: torch.Tensor, num_samples: int = 1) -> None:
    """Raise a `ValueError` unless x is (n, dx) and finite and `num_samples` an integer >= 1."""
    assert isinstance(task.x_space, Box)
    task.x_space.check("x", x)
    if x.ndim != 2:
        raise invalid("x.shape", tuple(x.shape), f"(n, {task.x_space.dim})")
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise invalid("num_samples", num_samples, "an integer >= 1")
