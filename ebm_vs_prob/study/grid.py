"""From a study file to its grid: every (arm, task, thickness, budget, seed) with the trial that fills the place.

A trial is one model: its key is the SHA-256 of its canonical specification (task with version and options, method with
version and options, network, budget, evaluation, seed, dtype). The name of the arm is not in it: two arms that ask for
the same model share one trial, and both show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.errors import invalid, unknown
from ..core.registry import METHODS, TASKS
from ..core.spaces import Box
from .consistency import PRIMARY_BUDGET
from .keys import canonical, canonical_json, digest
from .schema import Arm, Scale, Study, TaskGrid, from_table

if TYPE_CHECKING:
    from ..energies.mlp import Network
    from ..metrics import Evaluation
    from ..tasks.base import Task
    from ..training.method import Method


@dataclass(frozen=True)
class Trial:
    """One model to be trained and measured."""

    key: str
    specification: dict[str, Any]

    @classmethod
    def of(cls, specification: dict[str, Any]) -> Trial:
        """The trial of a specification, with its key."""
        return cls(digest(specification), canonical(specification))

    @property
    def seed(self) -> int:
        return int(self.specification["seed"])

    @property
    def thickness(self) -> float:
        return float(self.specification["task"]["options"]["thickness"])


@dataclass(frozen=True)
class Place:
    """One place of a study's grid and the trial that fills it: the descriptive columns of the results table."""

    trial: str
    task: str
    arm: str
    method: str
    family: str
    principle: str
    normalised: bool
    smoothing: float | None
    thickness: float
    seed: int
    budget: str
    steps: int


@dataclass(frozen=True)
class Draft:
    """A place with what batching needs: `group` is all that trials trained together have in common."""

    place: Place
    trial: Trial
    group: str
    batchable: bool
    widths: tuple[int, ...]
    batch_size: int
    multiply_adds: float


def expand(study: Study, scale_name: str) -> tuple[list[Draft], list[dict[str, str]]]:
    """Every place of the grid at a scale, and the combinations that a method declines with its reason.

    Raises:
        UnknownName: an unknown task, method or option, with the nearest valid one.
        ValueError: a bad value, with file, field and what is valid.
    """
    scale = study.at(scale_name)
    network, evaluation, budgets = _shared(study, scale_name, scale)
    drafts: list[Draft] = []
    skipped: list[dict[str, str]] = []
    for arm, grid in _combinations(study):
        method = _look_up(METHODS, arm.method, f"{study.where}: arms.{arm.name}.method")
        tasks = _tasks(study, grid)
        reason = method.why_not(tasks[0])
        if reason is not None:
            if arm.tasks is not None:
                raise invalid(f"{study.where}: arms.{arm.name}.tasks", grid.name, f"a task it applies to: {reason}")
            skipped.append({"arm": arm.name, "task": grid.name, "reason": reason})
            continue
        for task in tasks:
            options = _options(study, arm, method, task)
            for budget_name, budget in budgets.items():
                specification = {
                    "task": task.specification(),
                    "method": {
                        "name": method.name,
                        "version": method.version,
                        "options": options.model_dump(mode="json"),
                    },
                    "network": network.model_dump(mode="json"),
                    "budget": budget.model_dump(mode="json"),
                    "evaluation": evaluation.model_dump(mode="json"),
                    "dtype": scale.dtype,
                }
                for seed in scale.all_seeds:
                    trial = Trial.of({**specification, "seed": seed})
                    drafts.append(
                        Draft(
                            place=_place(trial, arm, method, options, task, budget_name, budget),
                            trial=trial,
                            group=_group(task, method, trial, method.step_evaluations(options, task)),
                            batchable=method.batchable,
                            widths=_widths(task, network),
                            batch_size=budget.batch_size,
                            multiply_adds=_multiply_adds(method, options, task, _widths(task, network), budget),
                        )
                    )
    return drafts, skipped


def _shared(study: Study, name: str, scale: Scale) -> tuple[Network, Evaluation, dict[str, Budget]]:
    from ..energies.mlp import Network
    from ..metrics import Evaluation

    where = f"{study.where}: scales.{name}"
    network = from_table(Network, scale.network, f"{where}.network")
    from_table(Evaluation, study.evaluation, f"{study.where}: evaluation")
    evaluation = from_table(Evaluation, {**study.evaluation, **scale.evaluation}, f"{where}.evaluation")
    budgets = {PRIMARY_BUDGET: from_table(Budget, scale.budget, f"{where}.budget")}
    for other, table in scale.budgets.items():
        budgets[other] = from_table(Budget, {**scale.budget, **table}, f"{where}.budgets.{other}")
    return network, evaluation, budgets


def _combinations(study: Study) -> Iterator[tuple[Arm, TaskGrid]]:
    for arm in study.arms:
        for grid in study.tasks:
            if arm.tasks is None or grid.name in arm.tasks:
                yield arm, grid


def _look_up(registry: Any, name: str, where: str) -> Any:
    names = [entry.name for entry in registry.entries()]
    if name not in names:
        raise unknown(f"{registry.kind} at {where}:", name, names)
    return registry.get(name)


def _tasks(study: Study, grid: TaskGrid) -> list[Task]:
    kind = _look_up(TASKS, grid.name, f"{study.where}: tasks.name")
    options = from_table(kind.Options, grid.options, f"{study.where}: tasks.{grid.name}.options").model_dump()
    task: Task = kind(**options)
    return [task] if grid.thickness is None else [task.with_thickness(value) for value in grid.thickness]


def _options(study: Study, arm: Arm, method: type[Method], task: Task) -> Any:
    table = dict(arm.options)
    if arm.scale == "thickness":
        if "scale" in table:
            field = f"{study.where}: arms.{arm.name}.options.scale"
            raise invalid(field, table["scale"], 'nothing, where the arm says scale = "thickness"')
        table["scale"] = max(task.thickness, arm.scale_floor)
    return from_table(method.Options, table, f"{study.where}: arms.{arm.name}.options")


def _place(
    trial: Trial, arm: Arm, method: type[Method], options: Any, task: Task, budget_name: str, budget: Budget
) -> Place:
    return Place(
        trial=trial.key,
        task=task.name,
        arm=arm.name,
        method=method.name,
        family=method.family,
        principle=method.principle,
        normalised=method.normalised,
        smoothing=method.smoothing(options),
        thickness=task.thickness,
        seed=trial.seed,
        budget=budget_name,
        steps=budget.steps,
    )


def _group(task: Task, method: type[Method], trial: Trial, evaluations: float) -> str:
    """What trials of one batch have in common, as canonical JSON: all but seed and per-replicate options.

    The cost of a step too: a batch takes one number of steps, also where a budget of multiply-adds sets it.
    """
    common = {key: value for key, value in trial.specification.items() if key != "seed"}
    common["evaluations"] = evaluations
    for part, schema in (("task", type(task).Options), ("method", method.Options)):
        shared = {
            name: value
            for name, value in trial.specification[part]["options"].items()
            if name not in schema.per_replicate_fields() or (name == "thickness" and not method.groups_thickness)
        }
        common[part] = {**trial.specification[part], "options": shared}
    return canonical_json(common)


def _widths(task: Task, network: Network) -> tuple[int, ...]:
    spaces = (task.x_space, task.y_space)
    return (sum(space.dim for space in spaces if isinstance(space, Box)), *network.hidden, 1)


def _multiply_adds(method: type[Method], options: Any, task: Task, widths: tuple[int, ...], budget: Budget) -> float:
    """Estimated cost of one trial's training, from shapes: evaluations an example times the trunk's multiply-adds."""
    if method.principle == "exact":
        return 0.0
    if budget.multiply_adds is not None:
        return budget.multiply_adds
    forward = sum(before * after for before, after in pairwise(widths))
    return method.step_evaluations(options, task) * forward * budget.batch_size * budget.steps
