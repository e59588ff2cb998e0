"""Systems that were trained apart, each on a view of its own, and are put together by a rule of fusion."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field

from ..comparison.fusion import Fused, fit_fusion
from ..core.errors import invalid
from ..core.factor_graphs import FactorGraph
from ..core.registry import METHODS
from ..core.spaces import Box, Labels
from ..energies.graphs import ChainEnergy, GraphEnergy
from ..energies.mlp import Network
from ..models.graph_model import NormalisedGraphModel
from ..models.model import Model
from ..models.record import Training
from ..models.setting import Setting, stacked_pairs
from ..tasks.base import Task
from ..training.batches import Batch
from ..training.loop import train
from ..training.method import Method, MethodOptions

Rule = Literal["raw", "rescaled", "temperature", "isotonic", "temperature_over_prior", "isotonic_over_prior", "stacked"]


class FusedViewsOptions(MethodOptions):
    rule: Annotated[Rule, Field(description="of fusion, fitted to validation data: see `comparison.fusion`")] = (
        "stacked"
    )
    objective: Annotated[
        Literal["likelihood", "hinge"], Field(description="what each system is trained by, on its own view")
    ] = "likelihood"
    first_unit: Annotated[
        float, Field(gt=0, le=1e6, description="of the first system's scores: 1 over the beta of its likelihood")
    ] = 1.0
    second_unit: Annotated[float, Field(gt=0, le=1e6, description="of the second system's scores")] = 1.0
    calibration_examples: Annotated[
        int, Field(ge=2, le=10**7, description="validation pairs that the rule is fitted to")
    ] = 2000


class FusedEnergy(GraphEnergy):
    """R energies of classes, one system a view; once a rule is fitted, -ln of what they say together.

    Args:
        seeds: one a replicate. views: entries of x, each seen by one system. space: of the classes. network: of each.
    """

    def __init__(self, seeds: tuple[int, ...], views: int, space: Labels, network: Network) -> None:
        super().__init__()
        self.space = space
        self.systems = torch.nn.ModuleList([ChainEnergy(seeds, 1, space, network) for _ in range(views)])
        self.num_replicates = len(seeds)
        self.fused: tuple[Fused | None, ...] = (None,) * self.num_replicates

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of all classes under all systems."""
        return float(sum(cast("ChainEnergy", system).multiply_adds for system in self.systems))

    def energies(self, x: torch.Tensor) -> torch.Tensor:
        """Of every class under each system, (views, R, *n, K)."""
        parts = [cast("ChainEnergy", system).graph(x[..., [v]]).unary for v, system in enumerate(self.systems)]
        return torch.stack([part[..., 0, :] for part in parts])

    def scores(self, x: torch.Tensor) -> np.ndarray:
        """Minus the energies, (views, R, *n, K) float64."""
        return cast("np.ndarray", -self.energies(x).detach().double().cpu().numpy())

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """-ln of the fused probabilities at x (R or 1, *n, views): a graph of one variable, of batch (R, *n)."""
        scores = self.scores(x)
        lead, count = scores.shape[2:-1], scores.shape[-1]
        found = np.full(scores.shape[1:], np.nan)
        for r, fused in enumerate(self.fused):
            if fused is not None:
                found[r] = -fused(scores[:, r].reshape(len(scores), -1, count)).reshape(*lead, count)
        energies = torch.from_numpy(found).to(x)
        return FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, count, count))


class FusedModel(NormalisedGraphModel):
    """R distributions over classes, each made of the scores of systems that never saw one another's view."""

    module: FusedEnergy

    def finished(self, training: Training) -> FusedModel:
        """The model with its rules fitted to validation pairs, which follow from the seeds: nothing of them is kept."""
        model = super().finished(training)
        options: tuple[Any, ...] = self.setting.options.replicates
        x, y = stacked_pairs(self.setting, max(own.calibration_examples for own in options), "validation")
        with torch.no_grad():
            scores, labels = self.module.scores(x), y.cpu().numpy()
        self.module.fused = tuple(
            fit_fusion(own.rule, scores[:, r, : own.calibration_examples], labels[r, : own.calibration_examples])
            if status.ok
            else None
            for r, (own, status) in enumerate(zip(options, training.status, strict=True))
        )
        return model


@METHODS.register
class FusedViews(Method):
    """One classifier for each entry of x, trained on it alone, and their scores put together afterwards.

    A system's score of a class is minus its energy. Trained by likelihood at inverse temperature 1 / unit it is the
    log-probability in a unit of its own, as energies of systems that different people made are; by the hinge it is a
    margin and no probability. The rule sees scores and labels of validation data, and no x. The systems share one
    loop and one optimiser, which is element by element, so that none learns anything of the other.
    """

    name = "fused_views"
    version = 2
    family = "control"
    principle = "likelihood"
    normalised = True
    summary = "one classifier a view, trained apart, their scores fused by a rule (Hinton 2002, Wolpert 1992)"
    references = ("hinton2002training", "wolpert1992stacked", "zadrozny2002transforming", "guo2017calibration")
    cited_with: ClassVar = {
        "wolpert1992stacked": ("rule", ("stacked",)),
        "zadrozny2002transforming": ("rule", ("isotonic", "isotonic_over_prior")),
        "guo2017calibration": ("rule", ("temperature", "temperature_over_prior")),
    }
    Options: ClassVar[type[MethodOptions]] = FusedViewsOptions
    y_spaces = (Labels,)

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is None and isinstance(task.x_space, Box) and task.x_space.dim != 2:
            return f"x has {task.x_space.dim} entries, and two systems see one each"
        return reason

    @classmethod
    def build(cls, setting: Setting) -> FusedModel:
        task = setting.tasks[0]
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, "None: each view has a Network of its own")
        assert isinstance(task.x_space, Box)
        assert isinstance(task.y_space, Labels)
        energy = FusedEnergy(setting.seeds, task.x_space.dim, task.y_space, setting.network)
        return FusedModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, options = cast("FusedEnergy", model.module), model.setting.options
        by_hinge = options.objective == "hinge"
        units = (options.first_unit, options.second_unit)

        def loss(batch: Batch) -> torch.Tensor:
            total: Any = 0.0
            for energies, unit in zip(energy.energies(batch.x), units, strict=True):
                if by_hinge:
                    right = energies.gather(-1, batch.y.unsqueeze(-1))
                    other = energies.scatter(-1, batch.y.unsqueeze(-1), math.inf).amin(-1, keepdim=True)
                    each = (1.0 + right - other).clamp_min(0.0)
                else:
                    log_chance = (-energies / unit).log_softmax(-1)
                    each = -log_chance.gather(-1, batch.y.unsqueeze(-1))
                total = total + each.squeeze(-1).mean(-1)
            return cast("torch.Tensor", total)

        return train(model, loss)
