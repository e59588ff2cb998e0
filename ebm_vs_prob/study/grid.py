"""From a study file to its grid: every (arm, task, setting, budget), and the trial of each at every seed.

A trial is one model: its key is the SHA-256 of its canonical specification (task with version and options, method with
version and options, network, budget, evaluation, seed, dtype). The name of the arm is not in it: two arms that ask for
the same model share one trial, and both show it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.errors import invalid
from ..core.options import from_table
from ..core.registry import METHODS
from . import cost
from .arms import Arm
from .consistency import PRIMARY_BUDGET
from .documents import Labels
from .keys import canonical, canonical_json, digest
from .ladders import budgets_at, rungs_of
from .own_energies import equivalent_widths
from .registered import blamed, look_up, tasks_of
from .scales import Scale
from .schema import Study
from .sensitivity import check_differs, looks_at, place_of, varied
from .task_grids import UNKNOWN_NOISE, TaskGrid

if TYPE_CHECKING:
    from ..energies.mlp import Network
    from ..metrics import Evaluation
    from ..tasks.base import Task
    from ..training.method import Method

#: Conditions that a study may have; each is checked when it is planned.
MOST_CONDITIONS = 20_000


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


@dataclass(frozen=True)
class Condition:
    """One combination of arm, task, setting and budget, whose trials differ in their seeds only.

    `specification` is that of its trials but for the seed, canonical. `group` is all that trials trained together have
    in common, `program` what those have whose steps are the same operations, so that one compilation serves them all.
    `steps`, `evaluations` of the energy an example in a step, and `multiply_adds` are those of a trial's training,
    counted from shapes; all are 0 where nothing is trained by steps. What a minibatch shares counts once among the
    evaluations, which tell the time, and for each example among the multiply-adds, which budgets are in.
    """

    labels: Labels
    specification: dict[str, Any]
    seeds: range
    group: str
    program: str
    batchable: bool
    compilable: bool
    widths: tuple[int, ...]
    steps: int
    evaluations: float
    multiply_adds: float

    @cached_property
    def identity(self) -> str:
        """Equal where the trials are the same."""
        return canonical_json(self.specification)

    def keys(self) -> Iterator[str]:
        """The keys of its trials, in the order of the seeds: each that of `Trial.of`, at a fraction of the cost."""
        members = [
            (name, f"{canonical_json(name)}:{canonical_json(value)}") for name, value in self.specification.items()
        ]
        before = "".join(f"{member}," for name, member in members if name < "seed")
        after = "".join(f",{member}" for name, member in members if name > "seed")
        started, rest = hashlib.sha256(f'{{{before}"seed":'.encode()), f"{after}}}".encode()
        for seed in self.seeds:
            whole = started.copy()
            whole.update(b"%d%b" % (seed, rest))
            yield whole.hexdigest()

    def trials(self) -> Iterator[Trial]:
        """Its trials, in the order of the seeds."""
        for key, seed in zip(self.keys(), self.seeds, strict=True):
            yield Trial(key, {**self.specification, "seed": seed})


def expand(study: Study, scale_name: str) -> tuple[list[Condition], list[dict[str, str]]]:
    """Every condition of the grid at a scale, and the combinations that a method declines with its reason.

    After the grid's own come the cells that the study asks again at another network or budget, under its name.

    Raises:
        UnknownName: an unknown task, method or option, with the nearest valid one.
        ValueError: a bad value, with file, field and what is valid; a trial that asks for absurd work or memory.
    """
    conditions, skipped = _expand(study, scale_name)
    own = {condition.identity for condition in conditions}
    for entry in study.sensitivity:
        criteria = study.asked_again(entry)
        again = [
            replace(condition, labels={**condition.labels, "budget": entry.name})
            for condition in _expand(varied(study, scale_name, entry), scale_name)[0]
            if any(looks_at(criterion, *place_of(condition.labels)) for criterion in criteria)
        ]
        check_differs(study, entry, again, own)
        conditions += again
    return conditions, skipped


def _expand(study: Study, scale_name: str) -> tuple[list[Condition], list[dict[str, str]]]:
    scale = study.at(scale_name)
    evaluation, budgets = _shared(study, scale_name, scale)
    _check_count(study, len(budgets))
    place = f"{study.where}: scales.{scale_name}"
    tasks_by_name = {grid.name: tasks_of(study, grid) for grid in study.tasks}
    conditions: list[Condition] = []
    skipped: list[dict[str, str]] = []
    for arm, grid in _combinations(study):
        method = look_up(METHODS, arm.method, f"{study.where}: arms.{arm.name}.method")
        tasks = tasks_by_name[grid.name]
        first = arm_options(study, arm, method, tasks[0])
        with blamed(f"{study.where}: arms.{arm.name}"):
            reason = method.why_not_with(first, tasks[0])
        if reason is not None:
            if arm.tasks is not None:
                raise invalid(f"{study.where}: arms.{arm.name}.tasks", grid.name, f"a task it applies to: {reason}")
            skipped.append({"arm": arm.name, "task": grid.name, "reason": reason})
            continue
        trunk = trunk_of(study, scale_name, arm)
        is_own = isinstance(trunk, str)
        for setting, task in zip(grid.settings or (tasks[0].thickness,), tasks, strict=True):
            options = arm_options(study, arm, method, task)
            layers = _widths(trunk, method, options, task, f"{study.where}: arms.{arm.name}")
            answers = 1 if isinstance(trunk, str) else cost.answers_asked(task, trunk)
            with blamed(f"{study.where}: arms.{arm.name}"):
                evaluations = answers * method.step_evaluations(options, task)
                asked = {
                    "task": task.specification(),
                    "method": {
                        "name": method.name,
                        "version": method.version,
                        "options": options.model_dump(mode="json"),
                    },
                    "network": trunk if isinstance(trunk, str) else trunk.model_dump(mode="json"),
                    "evaluation": evaluation.model_dump(mode="json"),
                    "dtype": "float64" if task.thickness < scale.float64_below else scale.dtype,
                }
            rungs = rungs_of(study, arm.name, grid.name, setting)
            for name, budget in budgets_at(budgets, rungs, place).items():
                with blamed(f"{study.where}: arms.{arm.name}"):
                    specification = canonical({**asked, "budget": budget.model_dump(mode="json")})
                    steps, work = cost.steps_and_multiply_adds(method, options, task, layers, budget, answers)
                    program = _program(task, method, specification, evaluations)
                    own_thickness = "" if method.groups_thickness else canonical_json(task.thickness)
                    apart = f"{own_thickness}{method.batched_by(task)}"
                where = f"{place}: {arm.name} on {grid.name} with {name}"
                cost.check_affordable(where, layers, evaluations, work, budget, evaluation)
                conditions.append(
                    Condition(
                        labels=_labels(study.where, arm, method, options, grid, setting, task, name, budget),
                        specification=specification,
                        seeds=scale.all_seeds,
                        group=f"{program}{apart}{task.x_space!r}{task.y_space!r}",
                        program=program,
                        # What a user's module computes in company, or compiled, need not be what it computes alone.
                        batchable=method.batchable and not is_own,
                        compilable=method.compilable_with(options) and not is_own,
                        widths=layers,
                        steps=steps,
                        evaluations=evaluations * _examples(task, trunk, budget) / budget.batch_size if steps else 0.0,
                        multiply_adds=work,
                    )
                )
    return conditions, skipped


def _check_count(study: Study, budgets: int) -> None:
    count = budgets * sum(len(grid.settings or (0,)) for _, grid in _combinations(study))
    if count > MOST_CONDITIONS:
        field = f"{study.where}: arms x tasks x settings x budgets"
        raise invalid(field, count, f"at most {MOST_CONDITIONS}")


def _shared(study: Study, name: str, scale: Scale) -> tuple[Evaluation, dict[str, Budget]]:
    from ..metrics import Evaluation

    where = f"{study.where}: scales.{name}"
    from_table(Evaluation, study.evaluation, f"{study.where}: evaluation")
    evaluation = from_table(Evaluation, {**study.evaluation, **scale.evaluation}, f"{where}.evaluation")
    held = study.held_at(name)
    if evaluation.metrics:
        asked = [*(criterion.metric for criterion in held.criteria), *(gate.metric for gate in held.gates)]
        for metric in (metric for metric in asked if metric not in evaluation.metrics):
            valid = f"{metric} too, which a criterion or a gate asks for"
            raise invalid(f"{where}.evaluation.metrics", ", ".join(evaluation.metrics), valid)
    budgets = {PRIMARY_BUDGET: from_table(Budget, scale.budget, f"{where}.budget")}
    for other, table in scale.budgets.items():
        budgets[other] = from_table(Budget, {**scale.budget, **table}, f"{where}.budgets.{other}")
    return evaluation, budgets


def trunk_of(study: Study, scale: str, arm: Arm) -> Network | str:
    """What an arm trains: the package's own network, or the name of an energy of the user's."""
    from ..energies.mlp import Network

    common = study.at(scale).network
    shared = {} if isinstance(common, str) else common
    from_table(Network, shared, f"{study.where}: scales.{scale}.network")
    if isinstance(arm.network, str) or (isinstance(common, str) and not arm.network):
        return str(arm.network or common)
    return from_table(Network, {**shared, **arm.network}, f"{study.where}: arms.{arm.name}.network")


def _widths(trunk: Network | str, method: type[Method], options: Any, task: Task, where: str) -> tuple[int, ...]:
    if isinstance(trunk, str):
        return equivalent_widths(trunk, method, options, task, where)
    with blamed(where):
        return cost.widths(task, trunk)


def _examples(task: Task, trunk: Network | str, budget: Budget) -> int:
    return budget.batch_size if isinstance(trunk, str) else cost.examples_asked(task, trunk, budget.batch_size)


def _combinations(study: Study) -> Iterator[tuple[Arm, TaskGrid]]:
    for arm in study.arms:
        for grid in study.tasks:
            if arm.tasks is None or grid.name in arm.tasks:
                yield arm, grid


def arm_options(study: Study, arm: Arm, method: type[Method], task: Task) -> Any:
    table = dict(arm.options)
    if arm.scale == "thickness":
        if "scale" in table:
            field = f"{study.where}: arms.{arm.name}.options.scale"
            raise invalid(field, table["scale"], 'nothing, where the arm says scale = "thickness"')
        table["scale"] = max(task.thickness, arm.scale_floor)
    return from_table(method.Options, table, f"{study.where}: arms.{arm.name}.options")


def _labels(
    where: str,
    arm: Arm,
    method: type[Method],
    options: Any,
    grid: TaskGrid,
    setting: float,
    task: Task,
    budget_name: str,
    budget: Budget,
) -> Labels:
    with blamed(f"{where}: arms.{arm.name}"):
        smoothing = method.smoothing(options)
    return Labels(
        task=grid.name,
        arm=arm.name,
        method=method.name,
        family=method.family,
        principle=method.principle,
        normalised=method.normalised,
        smoothing=smoothing,
        axis=grid.axis if grid.along or task.noise_known else UNKNOWN_NOISE,
        setting=setting,
        thickness=task.thickness,
        budget=budget_name,
        steps=budget.steps,
    )


def _program(task: Task, method: type[Method], specification: dict[str, Any], evaluations: float) -> str:
    """What trials have in common whose steps are the same operations, as canonical JSON: all but the seed and
    per-replicate options.

    The cost of a step too: a batch takes one number of steps, also where a budget of multiply-adds sets it.
    """
    common = {**specification, "evaluations": evaluations}
    for part, schema in (("task", type(task).Options), ("method", method.Options)):
        shared = {
            name: value
            for name, value in specification[part]["options"].items()
            if name not in schema.per_replicate_fields()
        }
        common[part] = {**specification[part], "options": shared}
    return canonical_json(common)
