"""What a model's decisions lose against the Bayes decisions, of tasks where something is to be decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.spaces import Box
from ..gibbs.normalizers import Quadrature
from ..gibbs.trust import doubts_asked_for
from ..models.capabilities import Decides
from ..models.energy_model import EnergyModel
from ..tasks.decisions import DecisionReference
from .measurement import Group, Measurement, mean, named, noted
from .observation import Observation, as_numpy

#: Answers (n, M, *event) at each x of a replicate, and their probabilities (n, M).
Law = tuple[torch.Tensor, torch.Tensor]
#: Points in a cell of the quadrature, among which a quantile is interpolated.
MIDPOINTS = 128


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
    tasks = tuple(task.with_costs_switched() for task in observed.tasks)
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
    with torch.no_grad(), doubts_asked_for():
        x, laws = _laws_on_line(observed) if isinstance(tasks[0].y_space, Box) else _laws_of_labels(observed)
    values = np.full(x.shape[:2], np.nan)
    for r, (task, (y, weights)) in enumerate(zip(tasks, laws, strict=True)):
        assert task.decisions is not None
        assert isinstance(task.reference, DecisionReference)
        if bool(weights.isfinite().all()):
            decided = task.decisions.best(x[r], y, weights)
            values[r] = as_numpy(task.reference.regret(x[r], decided))
    return noted({name: mean(values)}, observed.partition_note)


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


def _laws_of_labels(observed: Observation) -> tuple[torch.Tensor, list[Law]]:
    """Held-out x (R, N, dx), and of each replicate every label with its probabilities."""
    x = observed.test[0]
    labels = observed.tasks[0].y_space.every_answer()
    log_prob = observed.model.gibbs(x).log_prob(labels[:, None, None].to(observed.model.setting.device))
    chances = log_prob.movedim(0, -1).double().exp().cpu()
    return x, [(labels.expand(own.shape), own) for own in chances]


def _laws_on_line(observed: Observation) -> tuple[torch.Tensor, list[Law]]:
    """The first held-out x (R, n, dx), and of each replicate points of a quadrature with their shares of its mass.

    A Gauss rule knows its integral better than where between its nodes a quantile lies: the cells that it settled on
    are filled with midpoints, each of which stands for its own width.
    """
    if observed.box.dim > 1:
        raise NotMeasured(f"decisions are taken by quadrature on a line, and y has {observed.box.dim} dimensions")
    x = observed.test[0][:, : observed.evaluation.partitions]
    target = observed.model.gibbs(x).target
    cells = Quadrature().cells(target)
    steps = (2.0 * torch.arange(MIDPOINTS, dtype=torch.float64, device=cells.centers.device) + 1.0) / MIDPOINTS - 1.0
    shape = (*x.shape[:2], -1)
    y = (cells.centers + cells.half_width.unsqueeze(-1) * steps).flatten(1).reshape(*shape, 1)
    log_density = target.log_density(y.to(target.dtype)).double()
    log_width = cells.half_width.log().repeat_interleave(MIDPOINTS, -1).reshape(shape)
    laws = []
    for points, mass, width in zip(y.cpu(), (log_density + log_width).cpu(), log_width.cpu(), strict=True):
        # Points without width pad a replicate to the neediest of its batch; summed along, they would change its bits.
        own = (width > -math.inf).any(0)
        laws.append((points[:, own], mass[:, own].softmax(-1)))
    return x, laws


GROUPS = (Group(named("regret"), regret), Group(named("regret_switched"), regret_switched))
