"""The short trainings that a method's rules are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task
    from ..training.method import Method


def applicable_task(method: type[Method]) -> Task:
    """The first of the package's plain tasks that a method applies to.

    Raises:
        AssertionError: it applies to none.
    """
    from ..tasks import get_task

    reasons = []
    for task in (
        get_task("circle", thickness=0.1),
        get_task("three_curves", thickness=0.1),
        get_task("digits"),
        get_task("gaussian_classes"),
        get_task("labelled_chain", length=3),
        get_task("newsvendor"),
        get_task("segmentation", length=2, narrowest=3, widest=5),
        get_task("ellipse", thickness=0.1),
    ):
        reason = method.why_not(task)
        if reason is None:
            return task
        reasons.append(f"{task.name}: {reason}")
    raise AssertionError(
        f"{method.name}: applies to none of the package's tasks, so give check_method one ({'; '.join(reasons)})"
    )


#: Steps of the trainings that are looked at.
SHORT_STEPS = 25


def short_fit(method: type[Method], task: Task, seeds: list[int], **options: Any) -> Model:
    from ..core.budget import Budget
    from ..energies.mlp import Network
    from ..training.fitting import fit

    budget = Budget(steps=SHORT_STEPS, batch_size=16, examples=64)
    return fit(method, task, seeds=seeds, budget=budget, network=Network(hidden=(8, 8)), **options)
