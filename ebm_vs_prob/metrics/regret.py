"""What a model's decisions lose against the Bayes decisions, of tasks where something is to be decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.spaces import Box
from ..gibbs.trust import doubts_asked_for
from ..models.capabilities import Decides
from ..models.energy_model import EnergyModel
from ..tasks.decisions import DecisionReference
from .laws import decided_by_law
from .measurement import Group, Measurement, mean, named, noted
from .observation import Observation, as_numpy


def regret(observed: Observation) -> dict[str, Measurement]:
    """Mean over held-out x of the expected cost of the model's decision less that of the Bayes decision.

    Both expectations are exact under the truth, so that no y scatters them. The model decides what costs least on
    average under its own law of y, at its beta: by a sum over labels, and by quadrature on a line, where each x has a
    partition function to compute and the first `partitions` of them are used. A model that was trained to decide
    decides, for the costs that it was trained with.
    """
    return _regret("regret", observed, observed.tasks)


def regret_switched(observed: Observation) -> dict[str, Measurement]:
    """`regret` once either mistake has the cost that the other had in training.

    A law of y decides anew. A model that was trained to decide goes on as it was trained: it knows of no other costs.
    """
    tasks = _switched(observed)
    if tasks[0] is None:
        raise NotMeasured(f"{observed.tasks[0].name}: there are no two costs to be switched")
    return _regret("regret_switched", observed, tasks)


def _regret(name: str, observed: Observation, tasks: Sequence[Any]) -> dict[str, Measurement]:
    """Regret under the costs of `tasks`, one a replicate, which are those of training or the same with other costs."""
    model = observed.model
    if tasks[0].decisions is None:
        raise NotMeasured(f"{tasks[0].name}: nothing is to be decided")
    if isinstance(model, Decides):
        return {name: mean(_of_decisions(observed, model, tasks))}
    if not (model.normalised or isinstance(model, EnergyModel)):
        raise NotMeasured(f"{model.method.name} stands for no density")
    x = observed.test[0][:, : observed.evaluation.partitions if isinstance(tasks[0].y_space, Box) else None]
    values = np.full(x.shape[:2], np.nan)
    for r, (task, decided) in enumerate(zip(tasks, _decided(name, observed, x), strict=True)):
        assert isinstance(task.reference, DecisionReference)
        if decided is not None:
            values[r] = as_numpy(task.reference.regret(x[r], decided))
    return noted({name: mean(values)}, observed.partition_note)


def _decided(name: str, observed: Observation, x: torch.Tensor) -> list[torch.Tensor | None]:
    """What each replicate decides at held-out x (R, n, dx) under the costs that the metric of that name asks for.

    A law serves any costs and is dear, so that whatever metric is first asks on behalf of the other.
    """
    known, measured = observed.law_decisions, observed.evaluation.metrics
    if name not in known:
        costs = {"regret": observed.tasks, "regret_switched": _switched(observed)}
        asked = [other for other in costs if other == name or other in (measured or costs)]
        sets = {other: [task.decisions for task in costs[other]] for other in asked if costs[other][0] is not None}
        with torch.no_grad(), doubts_asked_for():
            known.update(zip(sets, decided_by_law(observed.model, x, list(sets.values())), strict=True))
    return known[name]


def _switched(observed: Observation) -> tuple[Any, ...]:
    """The tasks with either mistake at the cost of the other, None where there are no two such costs."""
    return tuple(task.with_costs_switched() for task in observed.tasks)


def _of_decisions(observed: Observation, model: Decides, tasks: Sequence[Any]) -> np.ndarray:
    """What the decisions of a model that has them lose at all held-out x, (R, N); NaN where its training failed."""
    x, own = observed.test[0], observed.model
    if tasks[0].decisions.space != own.tasks[0].decisions.space:
        raise NotMeasured(f"{own.method.name} decides for what it was trained on, {own.tasks[0].decisions.space}")
    decided = model.decide(x).cpu()
    values = np.full(x.shape[:2], np.nan)
    for r, (task, status) in enumerate(zip(tasks, own.status, strict=True)):
        if status.ok:
            values[r] = as_numpy(task.reference.regret(x[r].cpu(), decided[r]))
    return values


GROUPS = (Group(named("regret"), regret), Group(named("regret_switched"), regret_switched))
