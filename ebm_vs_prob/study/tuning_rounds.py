"""The trials of a tuning, and the choice that they make.

An arm is judged by its own validation objective, over seeds that the study does not use: one number for each value,
over all seeds, tasks and settings of the tuning. An optimum at an edge is not known to be one, so values are tried
beyond it; where it still lies at one it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import invalid
from ..core.registry import METHODS
from ..metrics.catalogue import METRICS
from .registered import task_of, whole
from .schema import Study
from .tuning import Choice, scored, tuned_arms, tuning_of
from .values import from_table

if TYPE_CHECKING:
    import pandas as pd

#: How often values are tried beyond an edge at which the optimum lies.
MOST_WIDENED = 2


def round_name(scale: str, number: int) -> str:
    """What the scale of a round of tuning is called in a store: no scale of a file has such a name."""
    return f"{scale}.tuning-{number}"


def _label(arm: str, value: float) -> str:
    """What an arm with a value is called among the trials of a tuning: no arm of a file has such a name."""
    return f"{arm}@{value!r}"


def candidates(study: Study, scale: str, tried: Mapping[str, Iterable[float]], number: int = 1) -> tuple[Study, str]:
    """The trials of a round of tuning as a study of its own, and the name of its one scale.

    Args:
        tried: values by arm.

    Raises:
        ValueError: a task that is named has held-out rows that the study itself measures on; or none is left.
    """
    tuning, name = tuning_of(study), round_name(scale, number)
    held = study.held_at(scale)
    grids = [
        grid.model_copy(update={"along": {axis: tuning.along.get(axis, own) for axis, own in grid.along.items()}})
        for grid in held.tasks
        if grid.name in _tasks(study)
    ]
    arms = [
        arm.model_copy(
            update={
                "name": _label(arm.name, value),
                "options": {**arm.options, tuning.option: whole(value)},
                "tasks": None if arm.tasks is None else tuple(t for t in arm.tasks if t in _tasks(study)),
            }
        )
        for arm in held.arms
        for value in tried.get(arm.name, ())
    ]
    own = held.at(scale)
    changes = {
        "seeds": tuning.seeds,
        "first_seed": tuning.first_seed,
        "within": {},
        "budget": {**own.budget, **tuning.budget},
        "budgets": {},
    }
    parts = {
        "scales": {name: own.model_copy(update=changes)},
        "tasks": tuple(grids),
        "arms": tuple(arms),
        "tuning": None,
        "criteria": (),
        "gates": (),
        "ladders": (),
    }
    return held.model_copy(update=parts), name


def first_round(study: Study, scale: str) -> tuple[Study, str]:
    """`candidates` of every arm that is tuned, at the values of the file."""
    return candidates(study, scale, dict.fromkeys(tuned_arms(study), tuning_of(study).tried))


def _tasks(study: Study) -> list[str]:
    """Tasks that arms are tuned on: those that the file names, or all that draw new held-out data for each seed."""
    from ..tasks.base import HasHeldOut

    fixed = [grid.name for grid in study.tasks if isinstance(task_of(study, grid.name).reference, HasHeldOut)]
    named = tuning_of(study).tasks
    for task in named:
        if task in fixed:
            valid = "a task whose held-out data each seed draws anew: these rows are those that the study measures on"
            raise invalid(f"{study.where}: tuning.tasks", task, valid)
    chosen = list(named) or [grid.name for grid in study.tasks if grid.name not in fixed]
    if not chosen:
        valid = "a study with a task whose held-out data are drawn anew for each seed: give the arms the option"
        raise invalid(f"{study.where}: tuning.tasks", ", ".join(fixed), valid)
    return chosen


def tune(study: Study, scale: str, completed: Callable[[Study, str], pd.DataFrame]) -> tuple[Choice, ...]:
    """Choose the option of every arm that leaves it open.

    Args:
        completed: runs the trials of a study at a scale that are not stored yet, and returns the table of all.

    Raises:
        ValueError: an arm whose optimum lies at an edge however far values were tried, or that has no score, with the
            values and scores.
        RuntimeError: trials that were stopped from outside.
    """
    option, metrics = tuning_of(study).option, tuned_arms(study)
    open_arms: dict[str, tuple[float, ...]] = dict.fromkeys(metrics, tuning_of(study).tried)
    scores: dict[str, dict[float, float | None]] = {arm: {} for arm in metrics}
    for number in range(1, MOST_WIDENED + 2):
        table = completed(*candidates(study, scale, open_arms, number))
        _check_complete(study, table)
        for arm, values in open_arms.items():
            for value in values:
                rows = table[table["arm"] == _label(arm, value)]
                scores[arm][value] = _score(rows, metrics[arm])
            _check_scores(study, arm, metrics[arm], scores[arm], table)
        wider = {arm: beyond(own, METRICS[metrics[arm]].better) for arm, own in scores.items()}
        open_arms = {arm: (value,) for arm, value in wider.items() if value is not None}
        if not open_arms:
            break
        for arm, (value,) in open_arms.items():
            if number > MOST_WIDENED or not _is_valid(study, arm, value):
                raise _at_an_edge(study, arm, metrics[arm], scores[arm], value)
    made = []
    for arm, own in scores.items():
        values = tuple(sorted(own))
        better = METRICS[metrics[arm]].better
        best = values[best_of([own[value] for value in values], better)]
        made.append(Choice(arm, option, metrics[arm], better, values, tuple(own[value] for value in values), best))
    return tuple(made)


def _check_complete(study: Study, table: pd.DataFrame) -> None:
    """A trial that failed by itself is a result; one that was stopped from outside is none, and the next run has it."""
    stopped = table[table["batch"] == ""]
    if len(stopped):
        arm, reason = stopped[["arm", "reason"]].iloc[0]
        raise RuntimeError(
            f"{study.where}: tuning: {len(stopped)} trials were stopped and nothing is chosen without them; "
            f"run again. The first, {arm}: {reason or 'no reason is known'}"
        )


def _score(rows: pd.DataFrame, metric: str) -> float | None:
    """The mean of a metric over all trials of a value, geometric where it spans decades; None where one has none.

    A mean of log scores is the logarithm of a geometric mean of likelihoods, so both are over tasks and settings alike.
    """
    values = rows.loc[rows["metric"] == metric, "value"].to_numpy(dtype=np.float64)
    if len(values) != len(rows.drop_duplicates(["task", "setting", "seed"])) or not np.isfinite(values).all():
        return None
    if METRICS[metric].scale != "log":
        return float(values.mean())
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean()))


def _check_scores(
    study: Study, arm: str, metric: str, scores: Mapping[float, float | None], table: pd.DataFrame
) -> None:
    if any(score is not None for score in scores.values()):
        return
    rows = table[table["arm"].isin([_label(arm, value) for value in scores])]
    notes = [*rows.loc[rows["metric"] == metric, "note"], *rows.loc[rows["status"] != "done", "reason"]]
    why = next((text for text in notes if isinstance(text, str) and text), "it runs on no task of the tuning")
    raise ValueError(
        f"{study.where}: tuning: {arm} has no {metric} at any of {', '.join(f'{value:g}' for value in scores)}: {why}; "
        f"name another arms.{arm}.validation, other tuning.tasks, or give the arm its {tuning_of(study).option}"
    )


def best_of(scores: Sequence[float | None], better: str) -> int:
    """The place of the best score; of equal ones the middle one, so that what makes no difference is no edge.

    At least one is not None.
    """
    sign = -1.0 if better == "higher" else 1.0
    losses = [math.inf if score is None else sign * score for score in scores]
    least = [place for place, loss in enumerate(losses) if loss == min(losses)]
    return least[len(least) // 2]


def beyond(scores: Mapping[float, float | None], better: str) -> float | None:
    """The next value to try where the best lies at an edge, as far beyond it as that from its neighbour, in ratio.

    None where the best has a neighbour on either side.
    """
    values = sorted(scores)
    place = best_of([scores[value] for value in values], better)
    if 0 < place < len(values) - 1:
        return None
    edge, neighbour = (values[0], values[1]) if place == 0 else (values[-1], values[-2])
    exact = edge * edge / neighbour
    rounded = float(f"{exact:.3g}")
    return rounded if (rounded < edge) == (exact < edge) and rounded != edge else exact


def _is_valid(study: Study, arm: str, value: float) -> bool:
    own, option = study.arm(arm), tuning_of(study).option
    options = {**own.options, option: whole(value)}
    try:
        from_table(METHODS.get(own.method).Options, options, "")
    except ValueError:
        return False
    return True


def _at_an_edge(study: Study, arm: str, metric: str, scores: Mapping[float, float | None], value: float) -> ValueError:
    tuning, values = tuning_of(study), sorted(scores)
    listed = scored(values, [scores[each] for each in values])
    return invalid(
        f"{study.where}: tuning.values.{tuning.option}",
        tuning.tried,
        f"values with the optimum of {arm} between them: {metric}, of which {METRICS[metric].better} is better, is at "
        f"its best at an edge ({listed}); {value:g} is not tried",
    )
