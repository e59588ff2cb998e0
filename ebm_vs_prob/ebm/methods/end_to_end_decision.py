"""Decisions trained by what they cost, with no law of the answers in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.spaces import Box, Labels
from ...core.tensors import power
from ...models.building import build_graph_energy, build_head
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import steps_of, train
from ...training.method import EnergyOptions, Method, MethodOptions
from ..decision_energies import AmountDecision, DecisionEnergy, DecisionModel, LabelDecisionModel, SoftmaxDecision
from ..objectives.decision import annealed_cost, cost_sensitive_hinge


class EndToEndDecisionOptions(EnergyOptions):
    objective: Annotated[
        Literal["expected_cost", "hinge"],
        Field(description="mean cost of the decisions; or its cost-sensitive hinge, where decisions are finitely many"),
    ] = "expected_cost"
    temperature: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=1e-6, le=1e6, description="T of the first step, in units of cost; chances are exp(-E / T) over Z"),
    ] = 1.0
    final_temperature: Annotated[
        float, PER_REPLICATE, Field(ge=1e-6, le=1e6, description="T of the last step; it falls geometrically")
    ] = 0.03


@METHODS.register
class EndToEndDecision(Method):
    """min_θ mean of c(d_θ(x), y) over the data: the decision is trained for its own cost (Elmachtoub et al. 2023).

    Finitely many decisions have an energy each, E(x, d), and are taken with the chances q = exp(-E / T) / Z, which give
    the mean cost a slope. Alone it would soon settle on one decision for all x, so that it is annealed: what is
    minimised is E c - T H(q), H the entropy, T falling step by step (Rose 1998). At any T its minimum over all
    functions is E(x, d) = the expected cost of d, and where that is not among those of the network, a small T minds
    which decision is best and not how much the others cost. After training the decision of least energy is taken.

    An amount is one network's output, and its cost is taken as it is; of `PinballCost` that is quantile regression
    (Koenker and Bassett 1978). A law of y is fitted nowhere: one that no parameter gives right does no harm, and costs
    that change need a new training. What it stands against is any density, which decides through `Task.decisions`:
    estimate, then optimise. In the paper's terms this is sample average approximation over a class of decisions; their
    integrated estimation trains a law by the cost of the decisions it leads to.

    Read as an energy of y, the model says what y costs its decision; of an amount exp(-beta E) is the asymmetric
    Laplace density. An energy of the user's own is one of decisions that are labels.
    """

    name = "end_to_end_decision"
    family = "ebm"
    principle = "decision"
    normalised = False
    summary = "decisions trained by their cost, without a law of the answers (Elmachtoub et al. 2023)"
    references = ("elmachtoub2023estimate", "rose1998deterministic", "koenker1978regression", "lee2004multicategory")
    cited_with: ClassVar = {
        "rose1998deterministic": ("objective", ("expected_cost",)),
        "lee2004multicategory": ("objective", ("hinge",)),
    }
    Options: ClassVar[type[MethodOptions]] = EndToEndDecisionOptions
    y_spaces = (Box, Labels)

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        return reason or (None if task.decisions is not None else "nothing is to be decided, and no decision costs")

    @classmethod
    def build(cls, setting: Setting) -> DecisionModel | LabelDecisionModel:
        energy = cls._energy(setting).to(device=setting.device, dtype=setting.dtype)
        discrete = isinstance(setting.tasks[0].y_space, Labels)
        return (LabelDecisionModel if discrete else DecisionModel)(cls, setting, energy)

    @classmethod
    def _energy(cls, setting: Setting) -> DecisionEnergy:
        own, tasks = setting.options, setting.tasks
        spaces = {task.decisions.space for task in tasks if task.decisions is not None}
        if len(spaces) != 1:
            raise invalid("task.decisions.space", spaces, "one space: replicates share shapes")
        (space,) = spaces
        if isinstance(space, Labels):
            return SoftmaxDecision(tasks, build_graph_energy(setting, space), own.temperature)
        if own.objective == "hinge":
            raise invalid("objective", own.objective, f"'expected_cost' on {tasks[0].name}: it decides on an amount")
        return AmountDecision(tasks, build_head(setting, space.dim))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy: Any = model.module

        def expected_cost(batch: Batch) -> torch.Tensor:
            return cast("torch.Tensor", energy(batch.x, batch.y)).mean(-1)

        if isinstance(energy, AmountDecision):
            return train(model, expected_cost)

        def annealed(batch: Batch) -> torch.Tensor:
            energies = energy.energies(batch.x)
            costs = energy.costs(batch.x, batch.y).to(energies)
            return annealed_cost(energies, costs, energy.temperature.reshape(-1, 1, 1)).mean(-1)

        def hinge(batch: Batch) -> torch.Tensor:
            energies = energy.energies(batch.x)
            return cost_sensitive_hinge(energies, energy.costs(batch.x, batch.y).to(energies)).mean(-1)

        if model.setting.options.objective == "hinge":
            return train(model, hinge)
        return train(model, annealed, after_step=_annealing(model))


def _annealing(model: Model) -> Callable[[int], None]:
    """What sets the temperature of the next step."""
    held, options, steps = cast("SoftmaxDecision", model.module).temperature, model.setting.options, steps_of(model)
    first, last = (each.to(held) for each in (options.temperature, options.final_temperature))

    def after_step(taken: int) -> None:
        share = torch.full_like(first, min(taken, steps - 1) / max(steps - 1, 1))
        held.copy_(first * power(last / first, share))

    return after_step
