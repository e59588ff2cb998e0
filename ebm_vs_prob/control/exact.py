"""The task's own law as a method: exact log-density, exact sampler. What every metric has to be won by.

Of discrete answers it is the exact posterior, and its answers are the Bayes answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import nn

from ..core.budget import Cost
from ..core.discrete_energies import DiscreteEnergy
from ..core.errors import NoExactReference, NotNormalised, invalid
from ..core.registry import METHODS
from ..core.seeding import stream
from ..core.spaces import Box, Discrete, Labels, Sequences
from ..core.tensors import stacked_to_most
from ..energies.graphs import GraphEnergy
from ..models.graph_model import NormalisedGraphModel
from ..models.model import Model
from ..models.record import ReplicateStatus, Training
from ..models.setting import Setting, box_dims
from ..tasks.base import Task
from ..tasks.discrete import DiscreteReference
from ..tasks.reference import HasMean
from ..training.method import Method, MethodOptions

Potential = Literal["log_density", "density", "constant", "mean"]


class ExactOptions(MethodOptions):
    """Options of `exact`. Nothing is trained: `learning_rate` has no effect, and `scale` only on the scaled step
    rule."""

    potential: Annotated[
        Potential,
        Field(
            description="energy -ln p; or -p: the lecture's perfect density as a landscape to descend; or constant: an "
            "energy that knows nothing, whose samples are uniform on the box; or mean: ½ ‖y - E[y | x]‖², that of a "
            "regression that made no error"
        ),
    ] = "log_density"


class ExactEnergy(nn.Module):
    """R exact energies, one a task: (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n) float64. The potential says of what.

    Replicates whose task is the same are evaluated together. A replicate whose task has no density (thickness 0) is
    NaN in the company of others that have one; where none has, `forward` raises `NoExactReference`.
    """

    multiply_adds = 0.0

    def __init__(self, tasks: Sequence[Task], potential: Potential) -> None:
        super().__init__()
        self.num_replicates = len(tasks)
        self.potential = potential
        same: dict[str, tuple[Any, list[int]]] = {}
        for replicate, task in enumerate(tasks):
            same.setdefault(repr(task.specification()), (task.reference, []))[1].append(replicate)
        self._groups = list(same.values())

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        replicates = self.num_replicates
        shape = torch.broadcast_shapes((replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        if self.potential == "constant":
            return (0.0 * y.double()).sum(-1).expand(shape)
        rows: list[torch.Tensor | None] = [None] * replicates
        missing: list[NoExactReference] = []
        for reference, members in self._groups:
            try:
                energy = self._energy(reference, _rows(x, members), _rows(y, members))
            except NoExactReference as error:
                missing.append(error)
                energy = y.new_full((1, *[1] * (y.ndim - 2)), torch.nan, dtype=torch.float64)
            for row, member in zip(energy.expand(len(members), *shape[1:]), members, strict=True):
                rows[member] = row
        if len(missing) == len(self._groups):
            raise missing[0]
        return torch.stack([row for row in rows if row is not None])

    def _energy(self, reference: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Energies of one task, broadcasting (..., dx) and (..., dy)."""
        if self.potential == "mean":
            mean = reference.conditional_mean(x.reshape(x.shape[:-1].numel(), -1)).reshape(*x.shape[:-1], -1)
            return 0.5 * (y.double() - mean).square().sum(-1)
        log_density: torch.Tensor = reference.log_density(x, y)
        return -log_density if self.potential == "log_density" else -log_density.exp()


def _rows(value: torch.Tensor, members: list[int]) -> torch.Tensor:
    return value if value.shape[0] == 1 else value[members]


class ExactModel(Model):
    """The truth in a Model's clothes: `log_prob` and `sample` are those of `task.reference`, `infer` descends on it.

    Or what knows nothing, where the potential is constant.
    """

    module: ExactEnergy

    @property
    def normalised(self) -> bool:  # type: ignore[override]
        """Whether `log_prob` answers: for the potential `log_density`."""
        return self.module.potential == "log_density"

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats, (R, n) float64.

        Raises:
            NoExactReference: the task has no density.
            NotNormalised: the potential is the density itself, exp of which is no density, or constant, or of the mean.
        """
        if not self.normalised:
            raise NotNormalised(
                f"exact: the potential {self.module.potential!r} is a landscape and no log-density: fit exact with "
                "potential = 'log_density'"
            )
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Exact draws, (R, n, num_samples, dy) float64; at thickness 0 and on real data too. Uniform on the box where
        the potential is constant.

        Raises:
            NotNormalised: the potential is of the mean, which is one answer and no law.
        """
        x = self._placed("x", x)
        if self.module.potential == "mean":
            raise NotNormalised("exact: the potential 'mean' has no distribution to sample: use model.infer(x)")
        if self.module.potential == "constant":
            shape = (x.shape[-2], num_samples)
            drawn = [self.y_box.uniform(shape, own) for own in self._streams(seed)]
            return torch.stack(drawn).to(x.device)
        draws = [
            task.reference.sample(x[r if len(x) > 1 else 0], num_samples, seed=stream(seed, "sample", replicate_seed))
            for r, (task, replicate_seed) in enumerate(zip(self.tasks, self.seeds, strict=True))
        ]
        return torch.stack(draws)

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """The noise-free answers themselves, (R, n, m, dy) float64: what the task's own latent leads to.

        Where an x has fewer than m the first of them stands for the others too.

        Raises:
            ValueError: the potential is constant, or x does not fit.
            NoExactReference: the task's answers are not known.
        """
        if self.module.potential == "constant":
            raise invalid("exact: potential", "constant", "another: what knows nothing decodes nothing")
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        found = stacked_to_most([task.reference.answers(own) for task, own in zip(self.tasks, x, strict=True)], -2)
        return torch.where(found.isnan().any(-1, keepdim=True), found[:, :, :1], found)

    @property
    def sampling_kernel(self) -> str:
        return "exact"


class ExactGraphEnergy(GraphEnergy):
    """R exact energies -ln P(y | x) over discrete answers, up to a function of x, one a task: float64."""

    multiply_adds = 0.0

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.num_replicates = len(tasks)
        self.space = cast("Discrete", tasks[0].y_space)
        self._references = [cast("DiscreteReference", task.reference) for task in tasks]

    def graph(self, x: torch.Tensor) -> DiscreteEnergy:  # type: ignore[override]  # trained energies are factor graphs
        x = x.expand(self.num_replicates, *x.shape[1:])
        given = list(zip(self._references, x, strict=True))
        graphs = [reference.graph(own) for reference, own in given]
        if len({type(graph) for graph in graphs}) > 1:  # some are chains and others remember more
            graphs = [reference.automaton(own) for reference, own in given]
        return type(graphs[0]).stacked(graphs)


@METHODS.register
class Exact(Method):
    """The exact model of the task, float64 whatever dtype was asked for; it learns nothing and costs nothing."""

    name = "exact"
    compilable = False
    family = "control"
    principle = "exact"
    normalised = True
    summary = "the task's own density and sampler: a metric that they do not win is broken"
    Options: ClassVar[type[MethodOptions]] = ExactOptions
    groups_thickness = False
    y_spaces = (Box, Labels, Sequences)

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        return reason or (None if task.has_truth else "the law that made the data is not known, so no model is exact")

    @classmethod
    def batched_by(cls, task: Task) -> str:
        return task.reference.graph_kind if isinstance(task.reference, DiscreteReference) else ""

    @classmethod
    def build(cls, setting: Setting) -> Model:
        if isinstance(setting.tasks[0].y_space, Discrete):
            if setting.options.potential != "log_density":
                raise invalid("exact: potential", setting.options.potential, "'log_density' where answers are discrete")
            return NormalisedGraphModel(cls, replace(setting, dtype=torch.float64), ExactGraphEnergy(setting.tasks))
        box_dims(setting)
        if setting.options.potential == "mean":
            for task in setting.tasks:
                if not isinstance(task.reference, HasMean):
                    raise invalid("exact: potential", "mean", f"another on {task.name}: its mean is not exactly known")
        energy = ExactEnergy(setting.tasks, setting.options.potential)
        return ExactModel(cls, replace(setting, dtype=torch.float64), energy)

    @classmethod
    def train(cls, model: Model) -> Training:
        replicates = model.num_replicates
        nothing = Cost(steps=0, energy_evaluations=0.0, multiply_adds=0.0, seconds=0.0)
        return Training(
            torch.empty(replicates, 0, dtype=torch.float64, device="cpu"),
            (ReplicateStatus(),) * replicates,
            (nothing,) * replicates,
        )
