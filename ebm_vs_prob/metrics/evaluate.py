"""`evaluate`: every metric of a model against its tasks, as a tidy table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import NoExactReference, NotNormalised, invalid
from ..core.memory import remembering
from ..core.process_state import default_state
from .catalogue import describe
from .options import Evaluation

if TYPE_CHECKING:
    from types import ModuleType

    import pandas as pd

    from ..core.spaces import Space
    from ..models.model import Model
    from ..tasks.base import Task
    from .measurement import Measurement
    from .observation import Observation

COLUMNS = ("replicate", "metric", "value", "error", "unit", "n")


@default_state()
def evaluate(
    model: Model,
    task: Task | Sequence[Task],
    evaluation: Evaluation | None = None,
    observed: Observation | None = None,
    only: Collection[str] | None = None,
) -> pd.DataFrame:
    """Measure a model against the truth of its task: one row for each replicate and metric.

    Args:
        model: R replicates.
        task: one, or a list with one per replicate, of the spaces that the model was fitted to.
        evaluation: how much to look at; `Evaluation()` by default.
        observed: what a caller keeps of the same model, tasks and evaluation, to infer and sample once.
        only: metrics that are wanted, by default those of the evaluation; what is measured together comes together.

    Returns:
        A table with columns replicate (int), metric, value (float), error (standard error; NaN where the value is
        exact), unit and n (cases behind the value). What cannot be had is NaN with n = 0, its reason in
        `table.attrs["notes"]`, a dict from metric to text. A replicate whose training failed is NaN throughout.

    Raises:
        ValueError: tasks that do not fit the model.
    """
    import numpy as np
    import pandas as pd

    tasks = checked_tasks(model, task)
    if observed is None:
        from .observation import Observation

        observed = Observation(model, tasks, evaluation or Evaluation())
    with remembering():
        measured, notes = _measure(observed, only)
    failed = np.array([not status.ok for status in model.status])
    failures = "; ".join(
        f"replicate {r}: training: step {status.step}: {status.reason}"
        for r, status in enumerate(model.status)
        if not status.ok
    )
    rows: list[dict[str, Any]] = []
    for name, values in measured.items():
        known = np.isfinite(values.value) & ~failed
        if failures:
            notes[name] = "; ".join(filter(None, [notes.get(name, ""), failures]))
        strange = np.flatnonzero(~known & ~failed)
        if strange.size and name not in notes:
            notes[name] = "not finite in replicates " + ", ".join(f"{r} ({tasks[r]!r})" for r in strange)
        unit = describe(name).unit
        for r in range(model.num_replicates):
            rows.append(_row(r, name, values, unit, bool(known[r])))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("replicate", kind="stable", ignore_index=True)
    table.attrs["notes"] = notes
    return table


def checked_tasks(model: Model, task: Task | Sequence[Task]) -> tuple[Task, ...]:
    """One task a replicate, with the spaces of the model's.

    Raises:
        ValueError: another number of tasks, or other spaces.
    """
    from ..tasks.base import Task

    count = model.num_replicates
    tasks = (task,) * count if isinstance(task, Task) else tuple(task)
    if len(tasks) != count:
        raise invalid("task", f"{len(tasks)} tasks", f"one task, or {count}, one for each replicate")
    own = model.tasks[0]
    for item in tasks:
        if (item.x_space, item.y_space) != (own.x_space, own.y_space):
            raise invalid("task", item, f"tasks with the spaces of {own!r}, which the model was fitted to")
    return tasks


def _measure(observed: Observation, only: Collection[str] | None) -> tuple[dict[str, Measurement], dict[str, str]]:
    import numpy as np

    from ..core.errors import NotMeasured
    from . import cost
    from .measurement import Measurement

    model, evaluation = observed.model, observed.evaluation
    nothing = np.full(model.num_replicates, np.nan)
    measured: dict[str, Measurement] = {}
    notes: dict[str, str] = {}
    if only is None and evaluation.metrics:
        only = (*evaluation.metrics, *(name for group in cost.GROUPS for name in group.names(evaluation)))
    for group in (group for home in _homes(observed.tasks[0].y_space) for group in home.GROUPS):
        names = group.names(evaluation)
        if only is not None and not any(name in only for name in names):
            continue
        try:
            found = group.measure(observed)
        except (NoExactReference, NotNormalised, NotMeasured) as error:
            found = {
                name: Measurement(nothing, nothing, np.zeros(nothing.shape, dtype=int), str(error)) for name in names
            }
        for name in names:
            measured[name] = found[name]
            if found[name].note:
                notes[name] = found[name].note
    return measured, notes


def _homes(space: Space) -> tuple[ModuleType, ...]:
    """The modules whose metrics are of answers in that space."""
    from ..core.spaces import Discrete
    from . import (
        angles,
        answer_cost,
        branches,
        cost,
        decisions,
        dimension,
        distances,
        episodes,
        free_energies,
        held_out_sets,
        inference,
        input_temperature,
        latents,
        lengths,
        likelihood,
        posteriors,
        regret,
        segmentations,
        sharpness,
        smoothing,
        squared_error,
        sublevel,
        traces,
        two_samples,
    )

    if isinstance(space, Discrete):
        return likelihood, input_temperature, decisions, lengths, segmentations, regret, cost, answer_cost
    return (
        likelihood,
        smoothing,
        squared_error,
        regret,
        distances,
        latents,
        free_energies,
        sublevel,
        angles,
        two_samples,
        branches,
        inference,
        episodes,
        sharpness,
        dimension,
        traces,
        posteriors,
        cost,
        held_out_sets,
    )


def _row(replicate: int, name: str, values: Measurement, unit: str, known: bool) -> dict[str, Any]:
    return {
        "replicate": replicate,
        "metric": name,
        "value": float(values.value[replicate]) if known else float("nan"),
        "error": float(values.error[replicate]) if known else float("nan"),
        "unit": unit,
        "n": int(values.n[replicate]) if known else 0,
    }
