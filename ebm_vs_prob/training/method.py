"""The contract of a method: a named way to turn (task, network, budget) into a Model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from ..core.options import PER_REPLICATE, Options
from ..core.programs import NotCompiled
from ..core.spaces import Box, Space
from ..models.setting import Setting
from .notices import warn_once

if TYPE_CHECKING:
    from ..models.model import Model
    from ..models.record import Training
    from ..tasks.base import Task
    from .batches import Loss, Noise

Family = Literal["ebm", "prob", "control"]
Principle = Literal["likelihood", "score", "contrastive", "margin", "regularised", "regression", "decision", "exact"]


#: Between these and their negatives, 0 apart, lies a number that becomes a tensor: beyond, its square times a few
#: hundred is no number of single precision.
LEAST, LARGEST = 1e-15, 1e15


class MethodOptions(Options):
    """Options every trained method has.

    A number that may differ between replicates is 0, infinite where its field says so, or of a size that single
    precision computes with, unless its field sets a largest of its own.
    """

    learning_rate: Annotated[float, PER_REPLICATE, Field(gt=0, le=1e30, description="Adam's peak step size")] = 1e-2
    scale: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="length unit of the method's widths; the thickness, if aware"),
    ] = 1.0

    @field_validator("*", mode="after")
    @classmethod
    def _is_computed_with(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name in cls.per_replicate_fields() and isinstance(value, float):
            rules = cls.model_fields[info.field_name].metadata
            largest = next((rule.le for rule in rules if getattr(rule, "le", None) is not None), LARGEST)
            size = abs(value)
            if size not in (0.0, float("inf")) and not LEAST <= size <= largest:
                raise ValueError(f"a size from {LEAST:g} to {largest:g}")
        return value

    @classmethod
    def check_method(cls, method: type[Method]) -> None:
        """Raise a `ValueError` where a method that has these options would not heed them; asked as it is defined."""


class EnergyOptions(MethodOptions):
    """Options of a method that trains an unnormalised energy."""

    gibbs_beta: Annotated[
        float | None,
        Field(
            gt=0,
            description="inverse temperature at which the trained energy is read as a density and drawn from; "
            "fitted on validation data where not given",
        ),
    ] = None


@dataclass(frozen=True)
class GaussianOptimum:
    """What a method declares of its optimum on N(0, I) data: the curvature of its energy, or only its sign (None).

    The curvature is a function of a replicate's options, and None for options under which only the sign is known.
    Estimates that converge as a minibatch grows, such as log Z by importance sampling, are taken in that limit.
    """

    curvature: Callable[[Any], float | None] | None

    def of(self, options: Any) -> float | None:
        """The curvature under the options of a replicate, or None where only its sign is known."""
        return None if self.curvature is None else self.curvature(options)


class Method(ABC):
    """A way to turn a task into a Model. One file, one decorator: see CONTRIBUTING.md.

    Class attributes declare what the method is, because verdicts contrast those attributes and not the family.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    principle: ClassVar[Principle]
    normalised: ClassVar[bool]
    summary: ClassVar[str]
    twin: ClassVar[str | None] = None  # the method of the other family that learns from the same objective, or nearly
    references: ClassVar[tuple[str, ...]] = ()  # papers: keys of references.bib or of `bibliography`
    bibliography: ClassVar[str] = ""  # BibTeX of papers that references.bib lacks
    # Of those papers that only some values of an option rest on: the option and these; none: all but its default.
    cited_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {}
    version: ClassVar[int] = 1  # raised when the same options would give another model
    batchable: ClassVar[bool] = True  # False: one replicate at a time
    compilable: ClassVar[bool] = True  # False: its training is no repetition of one step
    groups_thickness: ClassVar[bool] = True  # False: its quadrature grows as the data thin, so one batch a thickness
    Options: ClassVar[type[MethodOptions]] = MethodOptions
    gaussian_optimum: ClassVar[GaussianOptimum | None] = None
    y_spaces: ClassVar[tuple[type[Space], ...]] = (Box,)  # the kinds of answers that it can give

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.Options.check_method(cls)

    @classmethod
    def batched_by(cls, task: Task) -> str:
        """What tasks of one batch have in common besides their spaces; "" where that is nothing.

        For what would else compute more in some company than alone, where what is computed is measured.
        """
        return ""

    @classmethod
    @abstractmethod
    def build(cls, setting: Setting) -> Model:
        """The untrained Model of R replicates, initialised from their seeds."""

    @classmethod
    @abstractmethod
    def train(cls, model: Model) -> Training:
        """Train `model.module` in place within `model.setting.budget`; `training.train` suits most methods."""

    @classmethod
    def fit(cls, setting: Setting) -> Model:
        """Build, train and freeze; on a CPU a lone replicate of the package's networks trains beside a copy of itself.

        A batched product of one replicate with one output column takes a matrix-vector kernel, which rounds otherwise
        than the batched kernel; from two replicates on, each slice has the same bits in any company.

        Where steps are to be compiled and cannot be, the training is the one that does not ask for it, from its start;
        that is said once in a process.
        """
        if setting.compile and not cls.compilable:
            warn_once(f"{cls.name} is not compiled: its training is no repetition of one step")
        # A loss may be written otherwise for a compiler, and its first step is taken before one is tried.
        with suppress(NotCompiled):
            return cls._fitted(setting)
        return cls._fitted(replace(setting, compile=False))

    @classmethod
    def _fitted(cls, setting: Setting) -> Model:
        from ..energies.mlp import Network

        own_network = isinstance(setting.network, Network) and setting.device == "cpu"
        if setting.num_replicates > 1 or not own_network or not cls.batchable or cls.principle == "exact":
            model = cls.build(setting)
            return model.finished(cls.train(model))
        pair = cls.build(setting.twice())
        training = cls.train(pair).first_of_two()
        model = cls.build(setting)
        shapes = {name: value.shape for name, value in model.module.state_dict().items()}
        first = {name: value[tuple(map(slice, shapes[name]))] for name, value in pair.module.state_dict().items()}
        model.module.load_state_dict(first)
        return model.finished(training)

    @classmethod
    def compilable_with(cls, options: Any) -> bool:
        """`compilable` under a replicate's options, where some ask for what decides by values of tensors."""
        return cls.compilable

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        """Energy evaluations that one example costs in one training step: a forward pass 1, each backward pass 2."""
        return 3.0

    @classmethod
    def evaluations_a_dimension(cls, options: Any) -> float:
        """What an objective that differentiates along every axis of y adds to `energy_evaluations` for each of them."""
        return 0.0

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        """All that one example costs in one training step on a task, regularisers included."""
        y_dim = getattr(task.y_space, "dim", 0)
        own = cls.energy_evaluations(options) + y_dim * cls.evaluations_a_dimension(options)
        return own + cls.regulariser_evaluations(options)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        """Multiply-adds that one example costs in one training step beside energies: densities of a proposal's kernels,
        distances to answers. What is done once, before the first step, is not counted."""
        return 0.0

    @classmethod
    def step_multiply_adds(cls, options: Any, task: Task, batch_size: int, per_evaluation: float) -> float:
        """All multiply-adds of one training step of one replicate.

        Args:
            per_evaluation: of one energy evaluation.
        """
        energies = cls.step_evaluations(options, task) * per_evaluation
        return batch_size * (energies + cls.other_multiply_adds(options, task, batch_size))

    @classmethod
    def regulariser_evaluations(cls, options: Any) -> float:
        """Energy evaluations that the regularisers among the options add to an example's step."""
        return 0.0

    @classmethod
    def regularise(cls, model: Model, loss: Loss, noise: Mapping[str, Noise]) -> tuple[Loss, Mapping[str, Noise]]:
        """The loss with the regularisers that the model's options ask for, and the noise it then needs."""
        return loss, noise

    @classmethod
    def smoothing(cls, options: Any) -> float:
        """Standard deviation of the noise the method adds to the data, in the task's units; 0 for raw data."""
        return 0.0

    @classmethod
    def in_nats(cls, options: Any) -> bool:
        """Whether E at its best is minus a log-density and a constant, so that its scale means something."""
        return cls.principle in ("likelihood", "score", "contrastive")

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        """Why the method does not apply to the task, or None where it does. An override asks here first."""
        if isinstance(task.y_space, cls.y_spaces):
            return None
        return f"its answers are {task.y_space.kind}, and {cls.name} gives {' or '.join(s.kind for s in cls.y_spaces)}"

    @classmethod
    def why_not_with(cls, options: Any, task: Task) -> str | None:
        """`why_not` under a replicate's options, where what applies depends on them; `why_not` is of the defaults."""
        return cls.why_not(task)
