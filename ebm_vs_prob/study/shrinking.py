"""A study made smaller for a look: fewer seeds, steps, arms, tasks or settings. It is another scale, never for citing.

A shrunk run has a scale of its own, `quick-shrunk-1a2b3c4d`, named by what is run. So its plan and table lie apart from
those of the study, its reports say that it is shrunk, and the other commands take that scale by its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.budget import Budget
from ..core.errors import UnknownName, invalid, unknown
from ..core.options import from_table
from .criteria import Criterion
from .keys import digest
from .plugins import import_plugins
from .scales import SHRUNK
from .schema import Study
from .store import Store
from .tuning import provisional, with_values


def shrunk(
    study: Study,
    scale: str,
    seeds: int | None = None,
    steps: int | None = None,
    arms: Sequence[str] = (),
    tasks: Sequence[str] = (),
    at: Sequence[float] = (),
) -> tuple[Study, str]:
    """The study with less to run, and the name of the scale at which it has less; what is not given stays whole.

    Criteria and gates keep what is left of them; one that speaks of something that is left out is left out with it.
    Nothing is tuned, no ladder is climbed and nothing is asked again elsewhere: an arm that would be tuned has the
    middle of the values to be tried.

    Args:
        seeds: the first so many. steps: of each training. at: settings of whatever each task varies along.

    Raises:
        UnknownName: an arm or a task that the study does not have.
        ValueError: more seeds or steps than the scale has, a setting of no task, or nothing that would be left.
    """
    own = study.at(scale)
    if not (seeds or steps or arms or tasks or at):
        return study, scale
    where = f"{study.where}: scales.{scale}"
    _check_fewer(f"{where}: seeds", seeds, own.seeds)
    whole = Budget(**own.budget)
    if whole.multiply_adds is None:  # which stands in place of steps
        _check_fewer(f"{where}: steps", steps, whole.steps)
    kept_arms = _chosen(f"arm of {study.where}:", arms, [arm.name for arm in study.arms])
    kept_tasks = _chosen(f"task of {study.where}:", tasks, [grid.name for grid in study.tasks])
    held = _untuned(study).held_at(scale)
    _check_settings(where, held, kept_tasks, at)
    grids = []
    for grid in held.tasks:
        if grid.name not in kept_tasks:
            continue
        along = {axis: tuple(value for value in values if _among(value, at)) for axis, values in grid.along.items()}
        if all(along.values()):
            grids.append(grid.model_copy(update={"along": along}))
    names = [grid.name for grid in grids]
    left_arms = []
    for arm in held.arms:
        own_tasks = None if arm.tasks is None else tuple(task for task in arm.tasks if task in names)
        if arm.name in kept_arms and own_tasks != ():
            left_arms.append(arm.model_copy(update={"tasks": own_tasks}))
    if not left_arms:
        raise invalid(f"{where}: arms", ", ".join(kept_arms), f"one that runs on {', '.join(names)}")
    arm_names = [arm.name for arm in left_arms]
    smaller = held.model_copy(
        update={
            "ladders": (),
            "sensitivity": (),
            "tasks": tuple(grids),
            "arms": tuple(left_arms),
            "criteria": tuple(filter(None, (_left(each, held, arm_names, names, at) for each in held.criteria))),
            "gates": tuple(
                gate.model_copy(
                    update={
                        "arms": tuple(arm for arm in gate.arms if arm in arm_names),
                        "tasks": tuple(task for task in gate.tasks if task in names),
                    }
                )
                for gate in held.gates
                if not (gate.arms and not set(gate.arms) & set(arm_names))
                and not (gate.tasks and not set(gate.tasks) & set(names))
                and (gate.at is None or _among(gate.at, at))
            ),
        }
    )
    budget = own.budget if steps is None else {**own.budget, "steps": steps, "multiply_adds": None}
    budgets = own.budgets if steps is None else {}  # which may set steps of their own, and decide nothing
    less = own.model_copy(update={"seeds": seeds or own.seeds, "budget": budget, "budgets": budgets, "within": {}})
    name = f"{scale[:40]}{SHRUNK}{_digest(smaller, less)[:8]}"
    return smaller.model_copy(update={"scales": {name: less}}), name


def opened(study: Study, scale: str, store: Store) -> Study:
    """The study as it is at a scale of its file, or as it was shrunk to one of a run in the store.

    Raises:
        UnknownName: neither its file nor the store has the scale.
        DamagedRecord: the store's plan of that run is not what was written.
    """
    if scale in study.scales or SHRUNK not in scale:
        study.at(scale)
        return study
    try:
        plan = store.plan(study.name, scale)
    except UnknownName:
        known = sorted(path.name for path in store.study_folder(study.name, scale).parent.glob(f"*{SHRUNK}*"))
        raise unknown(f"scale of {study.where}:", scale, [*study.scales, *known]) from None
    found = from_table(Study, plan["file"], study.where)
    return found.read_from(study.path, study.given) if study.path else found


def _untuned(study: Study) -> Study:
    if study.tuning is None:
        return study
    import_plugins(study.imports, study.where, study.folder)
    return with_values(study, provisional(study)).model_copy(update={"tuning": None})


def _digest(study: Study, scale: Any) -> str:
    whole = study.model_dump(mode="json", by_alias=True)
    return digest({**whole, "scales": {"": scale.model_dump(mode="json")}})


def _check_fewer(field: str, asked: int | None, has: int) -> None:
    if asked is not None and not 1 <= asked <= has:
        raise invalid(field, asked, f"at most {has}: a run is shrunk and never grown")


def _chosen(kind: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise unknown(kind, name, list(known))
    return [name for name in known if not asked or name in asked]


def _check_settings(where: str, study: Study, tasks: Sequence[str], at: Sequence[float]) -> None:
    settings = [value for grid in study.tasks if grid.name in tasks for value in grid.settings]
    for value in at:
        if not any(math.isclose(value, other) for other in settings):
            listed = ", ".join(f"{other:g}" for other in dict.fromkeys(settings))
            raise invalid(f"{where}: at", value, f"one that its tasks list: {listed or 'none'}")


def _among(value: float, at: Sequence[float]) -> bool:
    return not at or any(math.isclose(value, other) for other in at)


def _left(
    criterion: Criterion, study: Study, arms: Sequence[str], tasks: Sequence[str], at: Sequence[float]
) -> Criterion | None:
    """What is left of a criterion, or None where it would no longer be one."""
    kept = {
        "arms": tuple(arm for arm in criterion.arms if arm in arms),
        "against": tuple(arm for arm in criterion.against if arm in arms),
        "tasks": tuple(task for task in criterion.tasks if task in tasks),
        "at": tuple(value for value in criterion.at if _among(value, at)),
    }
    if any(getattr(criterion, field) and not left for field, left in kept.items()):
        return None
    if criterion.range is not None:
        low, high = criterion.range
        for task in kept["tasks"]:
            inside = [value for value in study.grid(str(task)).settings if low <= value <= high and _among(value, at)]
            if len(inside) < 2:
                return None
    return criterion.model_copy(update=kept)
