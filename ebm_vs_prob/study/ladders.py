"""Budget ladders: whether a criterion's effect is the same at the scale's budget and at a fraction of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.errors import invalid
from .comparisons import Cell, compare, in_range
from .consistency import PRIMARY_BUDGET
from .statistics import MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

    from .criteria import Criterion, Ladder
    from .schema import Study

#: From one rung to the next the budget grows so many times.
FACTOR = 4

#: What is said beside a verdict whose effect is another at a quarter of the budget.
UNSTABLE = "at this budget"


@dataclass(frozen=True)
class Rung:
    """The effect at one budget: its name among the results, the steps of training, and the comparison's cell."""

    budget: str
    steps: int
    cell: Cell


@dataclass(frozen=True)
class Climb:
    """One comparison of a criterion at the rungs of a ladder, the smallest budget first.

    `stable` says whether the effects at the last two are the same; `reason` why not.
    """

    criterion: str
    kind: str
    metric: str
    task: str
    axis: str
    arm: str
    against: str
    rungs: tuple[Rung, ...]
    stable: bool
    reason: str


def name_of(rung: int) -> str:
    """What the budget is called that is so many factors below the scale's own."""
    return PRIMARY_BUDGET if rung == 0 else f"{PRIMARY_BUDGET}/{FACTOR**rung}"


def rungs_of(study: Study, arm: str, task: str, setting: float) -> int:
    """How many budgets below the scale's own a place of the grid is run at."""
    rungs = [0]
    for ladder in study.ladders:
        criterion = study.criterion(ladder.criterion)
        own = task == (ladder.task or criterion.tasks[0]) and arm in (*criterion.arms, *criterion.against)
        if own and _in_cell(ladder, criterion, setting):
            rungs.append(ladder.rungs - 1)
    return max(rungs)


def _in_cell(ladder: Ladder, criterion: Criterion, setting: float) -> bool:
    if criterion.range is not None:
        return in_range(setting, criterion.range)
    return not criterion.at or math.isclose(setting, _at(ladder, criterion)[0])


def _at(ladder: Ladder, criterion: Any) -> tuple[float, ...]:
    """The one setting of a cell; none where its task varies along nothing, or the effect is a slope."""
    return (ladder.at,) if ladder.at is not None else tuple(criterion.at or ())[:1]


def shrunk(budget: Budget, rung: int, where: str) -> Budget:
    """The budget so many factors below.

    Raises:
        ValueError: it has no step left.
    """
    factor = FACTOR**rung
    if budget.steps < factor:
        raise invalid(f"{where}: budget: steps", budget.steps, f"{factor} or more, for the rungs of its ladders")
    work = None if budget.multiply_adds is None else budget.multiply_adds / factor
    return budget.model_copy(update={"steps": budget.steps // factor, "multiply_adds": work})


def budgets_at(budgets: Mapping[str, Budget], rungs: int, where: str) -> dict[str, Budget]:
    """A scale's budgets by name, and so many below its own."""
    own = budgets[PRIMARY_BUDGET]
    return {**budgets, **{name_of(rung): shrunk(own, rung, where) for rung in range(1, rungs + 1)}}


def climbed(study: Any, results: pd.DataFrame, seeds: range) -> list[Climb]:
    """Every comparison of every ladder's criterion in its cell, at each of its budgets.

    Args:
        study: has `ladders` and `criteria`.
        results: of all budgets.
    """
    criteria = {criterion.id: criterion for criterion in study.criteria}
    return [
        _climb(ladder, criteria[ladder.criterion], arm, against, results, seeds)
        for ladder in study.ladders
        for arm in criteria[ladder.criterion].arms
        for against in criteria[ladder.criterion].against or ("",)
    ]


def _climb(ladder: Ladder, criterion: Any, arm: str, against: str, results: pd.DataFrame, seeds: range) -> Climb:
    task = ladder.task or criterion.tasks[0]
    rows = results[(results["task"] == task) & results["arm"].isin([arm, against])]
    names = ("id", "kind", "metric", "range", "above", "below")
    statistic = getattr(criterion, "statistic", None)
    cell = SimpleNamespace(
        **{name: getattr(criterion, name) for name in names}, at=_at(ladder, criterion), statistic=statistic
    )
    rungs = []
    for rung in reversed(range(ladder.rungs)):
        here = rows[rows["budget"] == name_of(rung)]
        steps = int(here["steps"].max()) if len(here) else 0
        rungs.append(Rung(name_of(rung), steps, compare(cell, here, arm, against, seeds)[0]))
    reason = _why_unstable(rungs[-2].cell, rungs[-1].cell, ladder.tolerance)
    axis = str(rows["axis"].iloc[0]) if len(rows) else ""
    return Climb(
        criterion.id, criterion.kind, criterion.metric, task, axis, arm, against, tuple(rungs), not reason, reason
    )


def _why_unstable(quarter: Cell, whole: Cell, tolerance: float | None) -> str:
    """Why two effects are not the same; "" where their intervals overlap or they lie within the tolerance."""
    fewest = min(quarter.seeds, whole.seeds)
    if fewest < MIN_SEEDS:
        return f"{fewest} complete seeds, and it takes {MIN_SEEDS} to say"
    apart = abs(whole.estimate - quarter.estimate)
    overlap = max(quarter.low, whole.low) <= min(quarter.high, whole.high)
    if overlap or (tolerance is not None and apart <= tolerance):
        return ""
    return f"the effects at the last two budgets are {apart:.3g} apart, and their intervals do not overlap"


def unstable(climbs: list[Climb]) -> set[str]:
    """Criteria of which an effect is another at a quarter of the budget, or cannot be said to be the same."""
    return {climb.criterion for climb in climbs if not climb.stable}
