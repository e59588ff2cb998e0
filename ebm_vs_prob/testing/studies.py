"""The rules of a study."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.registry import METHODS, TASKS
from .methods import check_method
from .rules import rule
from .tasks import check_task

if TYPE_CHECKING:
    from ..study.schema import Study

#: Training steps of the trial of each arm, at most: posteriors need some after their burn-in.
STEPS = 64


def check_study(study: Study | str | Path) -> None:
    """Check a study (loaded, a name in `studies/` or the path of a TOML file).

    Rules:
        1. Every scale can be planned: names, options, settings and budgets are valid.
        2. Every criterion of every scale can be passed and can be failed, as far as is known before training.
        3. Tasks and methods of its plugins keep the rules of `check_task` and `check_method`.
        4. One trial of each arm on each task, at its first setting and seed and with `STEPS` steps at most, is done; in
           a store of its own, which is deleted.

    Raises:
        AssertionError: a rule is broken.
    """
    from ..study.feasibility import check_feasible
    from ..study.files import load_study
    from ..study.plan import plan_study
    from ..study.step_times import TYPICAL

    loaded = load_study(study)
    who = f"study {loaded.name!r}"
    for scale in loaded.scales:
        try:
            plan = plan_study(loaded, scale, "cpu", times=TYPICAL)
            check_feasible(loaded, scale)
        except (ValueError, LookupError) as error:
            raise AssertionError(f"{who} at {scale}: {error}") from error
        rule(plan.conditions, who, f"{scale} must have trials, but no arm applies to any task")
    check_entries(loaded.plugins)
    _check_arms(loaded, who)


def check_entries(modules: tuple[str, ...]) -> list[str]:
    """Check every task and method that these modules register; what was checked, in words."""
    checked = []
    for registry, check in ((TASKS, _check_task_of_plugin), (METHODS, check_method)):
        for entry in registered_by(registry, modules):
            check(entry)
            checked.append(f"{registry.kind} {entry.name}")
    return checked


def registered_by(registry: Any, modules: tuple[str, ...]) -> list[Any]:
    """The entries of a registry that come from these modules, or from inside them."""
    tops = {name.partition(".")[0] for name in modules}
    return [entry for entry in registry.entries() if entry.__module__.partition(".")[0] in tops]


def _check_task_of_plugin(task: Any) -> None:
    if task.has_truth:
        check_task(task)


def _check_arms(study: Study, who: str) -> None:
    from ..study.run import run_study
    from ..study.shrinking import shrunk

    scale = next(iter(study.scales))
    every = study.scales[scale].model_copy(update={"arms": (), "tasks": (), "within": {}})
    held = study.model_copy(update={"scales": {**study.scales, scale: every}}).held_at(scale)
    steps = min(STEPS, int(study.at(scale).budget.get("steps", STEPS)))
    first = dict.fromkeys(grid.settings[0] for grid in held.tasks if grid.settings)
    small, name = shrunk(held, scale, seeds=1, steps=steps, at=list(first))
    with tempfile.TemporaryDirectory() as folder:
        results = run_study(small, name, engine="serial", device="cpu", store=folder, progress=False)
    failed = results[results["status"] != "done"].drop_duplicates("trial")
    told = "; ".join(f"{row.arm} on {row.task}: {row.reason}" for row in failed.itertuples())
    rule(failed.empty, who, f"one short trial of each arm must be done: {told}")
