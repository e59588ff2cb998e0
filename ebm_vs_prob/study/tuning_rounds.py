"""The trials of a tuning, and the choice that they make.

An arm is judged by its own validation objective, over seeds that the study does not use: one number for each value,
over all seeds, tasks and settings of the tuning. An optimum at an edge is not known to be one, so values are tried
beyond it; where it still lies at one it is refused, unless the values there are a plateau.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import invalid
from ..core.options import from_table
from ..core.registry import METHODS
from ..metrics.catalogue import METRICS
from .registered import task_of, whole
from .scales import TUNING
from .schema import Study
from .tuning import Choice, scored, tuned_arms, tuning_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: How often values are tried beyond an edge at which the optimum lies.
MOST_WIDENED = 2


def round_name(scale: str, number: int) -> str:
    """What the scale of a round of tuning is called in a store."""
    return f"{scale}{TUNING}{number}"


def _label(arm: str, value: float) -> str:
    """What an arm with a value is called among the trials of a tuning: no arm of a file has such a name."""
    return f"{arm}@{value!r}"


def candidates(study: Study, scale: str, tried: Mapping[str, Iterable[float]], number: int = 1) -> tuple[Study, str]:
    """The trials of a round of tuning as a study of its own, and the name of its one scale.

    Args:
        tried: values by arm.

    Raises:
        ValueError: a task that is named has held-out rows that the study itself measures on; or none is left, of the
            study or of an arm.
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
    for arm in held.arms:
        if tried.get(arm.name) and not any(arm.tasks is None or grid.name in arm.tasks for grid in grids):
            valid = f"among them a task that {scale} has and {arm.name} runs on"
            raise invalid(f"{study.where}: tuning.tasks", ", ".join(_tasks(study)), valid)
    own = held.at(scale)
    changes = {
        "seeds": tuning.seeds,
        "first_seed": tuning.first_seed,
        # Arms are those that the scale has, under the names of their values.
        "arms": (),
        "tasks": (),
        "within": {},
        "evaluation": {**own.evaluation, "metrics": sorted(set(tuned_arms(held).values()))},
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
        "sensitivity": (),
    }
    return held.model_copy(update=parts), name


def first_round(study: Study, scale: str) -> tuple[Study, str]:
    """`candidates` of every arm that is tuned, at the values of the file."""
    return candidates(study, scale, dict.fromkeys(tuned_arms(study.held_at(scale)), tuning_of(study).tried))


def _tasks(study: Study) -> list[str]:
    """Tasks that arms are tuned on: those that the file names, or all that draw new held-out data for each seed."""
    from ..tasks.reference import HasHeldOut

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
    found = {arm: Tried(metric) for arm, metric in tuned_arms(study.held_at(scale)).items()}
    waiting: dict[str, tuple[float, ...]] = dict.fromkeys(found, tuning_of(study).tried)
    for number in range(1, MOST_WIDENED + 2):
        table = completed(*candidates(study, scale, waiting, number))
        _check_complete(study, table)
        for arm, values in waiting.items():
            for value in values:
                found[arm].add(value, table[table["arm"] == _label(arm, value)])
            if not any(score is not None for score in found[arm].scores):
                raise _without_score(study, arm, found[arm].metric, table[table["arm"].str.startswith(f"{arm}@")])
        wider = {arm: tried.beyond() for arm, tried in found.items() if tried.is_at_edge}
        waiting = {arm: (value,) for arm, value in wider.items() if _is_valid(study, arm, value)}
        if not waiting:
            break
    option = tuning_of(study).option
    made = []
    for arm, tried in found.items():
        chosen = tried.chosen()
        if chosen is None:
            raise _at_an_edge(study, arm, tried)
        made.append(Choice(arm, option, tried.metric, tried.better, tried.values, tried.scores, chosen))
    return tuple(made)


class Tried:
    """The values of one arm that were tried, and their scores by a metric.

    A score is a mean over all trials of a value, geometric where the metric spans decades; None where one has none. A
    mean of log scores is the logarithm of a geometric mean of likelihoods, so both are over tasks and settings alike.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.better = METRICS[metric].better
        self._of_trials: dict[float, NDArray[np.float64] | None] = {}

    def add(self, value: float, rows: pd.DataFrame) -> None:
        """A value with its trials, of which each has the metric or none does."""
        places = ["task", "setting", "seed"]
        own = rows[rows["metric"] == self.metric].sort_values(places)["value"].to_numpy(dtype=np.float64)
        if METRICS[self.metric].scale == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                own = np.log(own)
        whole = len(own) and len(own) == len(rows.drop_duplicates(places)) and bool(np.isfinite(own).all())
        self._of_trials[value] = own if whole else None

    @property
    def values(self) -> tuple[float, ...]:
        """All of them, ascending."""
        return tuple(sorted(self._of_trials))

    @property
    def scores(self) -> tuple[float | None, ...]:
        """Their scores."""
        means = [None if own is None else float(own.mean()) for own in map(self._of_trials.get, self.values)]
        in_logs = METRICS[self.metric].scale == "log"
        return tuple(math.exp(mean) if mean is not None and in_logs else mean for mean in means)

    @property
    def _best(self) -> int:
        return best_of(self.scores, self.better)

    @property
    def is_at_edge(self) -> bool:
        """Whether the best has a neighbour on one side only."""
        return self._best in (0, len(self.values) - 1)

    @property
    def _neighbour(self) -> float:
        """The value beside an edge."""
        return self.values[1 if self._best == 0 else -2]

    def beyond(self) -> float:
        """The next value to try beyond an edge, as far from it as that is from its neighbour, in ratio."""
        edge = self.values[self._best]
        exact = edge * edge / self._neighbour
        rounded = float(f"{exact:.3g}")
        return rounded if rounded != edge and (rounded < edge) == (exact < edge) else exact

    def chosen(self) -> float | None:
        """The best value; None where it lies at an edge.

        One that is better than the value beside it by less than the standard error of their difference, trial by trial,
        lies on a plateau, whose end is no optimum: there it is the value beside it.
        """
        if not self.is_at_edge:
            return self.values[self._best]
        best, beside = (self._of_trials[value] for value in (self.values[self._best], self._neighbour))
        if best is None or beside is None or len(best) < 2:
            return None
        apart = best - beside
        return self._neighbour if abs(apart.mean()) <= apart.std(ddof=1) / math.sqrt(len(apart)) else None


def _check_complete(study: Study, table: pd.DataFrame) -> None:
    """A trial that failed by itself is a result; one that was stopped from outside is none, and the next run has it."""
    stopped = table[table["batch"] == ""]
    if len(stopped):
        arm, reason = stopped[["arm", "reason"]].iloc[0]
        raise RuntimeError(
            f"{study.where}: tuning: {len(stopped)} trials were stopped and nothing is chosen without them; "
            f"run again. The first, {arm}: {reason or 'no reason is known'}"
        )


def _without_score(study: Study, arm: str, metric: str, rows: pd.DataFrame) -> ValueError:
    notes = [*rows.loc[rows["metric"] == metric, "note"], *rows.loc[rows["status"] != "done", "reason"]]
    why = next((text for text in notes if isinstance(text, str) and text), "it runs on no task of the tuning")
    return ValueError(
        f"{study.where}: tuning: {arm} has no {metric} in all trials of any value: {why}; name another "
        f"arms.{arm}.validation or other tuning.tasks, or give the arm its {tuning_of(study).option}"
    )


def best_of(scores: Sequence[float | None], better: str) -> int:
    """The place of the best score; of equal ones the middle one, so that what makes no difference is no edge.

    At least one is not None.
    """
    sign = -1.0 if better == "higher" else 1.0
    losses = [math.inf if score is None else sign * score for score in scores]
    least = [place for place, loss in enumerate(losses) if loss == min(losses)]
    return least[len(least) // 2]


def _is_valid(study: Study, arm: str, value: float) -> bool:
    own, option = study.arm(arm), tuning_of(study).option
    options = {**own.options, option: whole(value)}
    try:
        from_table(METHODS.get(own.method).Options, options, "")
    except ValueError:
        return False
    return True


def _at_an_edge(study: Study, arm: str, tried: Tried) -> ValueError:
    tuning = tuning_of(study)
    return invalid(
        f"{study.where}: tuning.values.{tuning.option}",
        tuning.tried,
        f"values with the optimum of {arm} between them: {tried.metric}, of which {tried.better} is better, is "
        f"best at an edge ({scored(tried.values, tried.scores)}), and {tried.beyond():g} beyond it is not tried",
    )
