"""Sensitivity: whether criteria are decided the same at another network or another size of data than the scale's own.

What an entry of the study's `sensitivity` asks again is run and decided as the study itself is, under its own name
among the budgets of the results. Where it comes out on the other side, the verdict holds in a part only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.errors import invalid
from ..core.options import from_table
from ..core.registry import METHODS
from .comparisons import in_range
from .consistency import PRIMARY_BUDGET
from .gates import Gated, at_gates_again, missed
from .registered import look_up
from .schema import Study
from .verdicts import OUTCOMES, Verdict, decided, side_of

if TYPE_CHECKING:
    import pandas as pd

    from .criteria import Criterion, Sensitivity

#: What a verdict says where none of its trials has a record.
NOT_RUN = "not run"
#: What the scale's own network and budget are called beside those of an entry.
OWN = "as the scale has it"
#: The principle of methods that train nothing.
UNTRAINED = "exact"


# ---- what is run


def looks_at(criterion: Criterion, arm: str, task: str, setting: float) -> bool:
    """Whether a cell of the grid is one of those that a criterion looks at."""
    if task not in criterion.tasks or arm not in (*criterion.arms, *criterion.against):
        return False
    if criterion.range is not None:
        return in_range(setting, criterion.range)
    return not criterion.at or any(math.isclose(setting, value) for value in criterion.at)


def varied(study: Study, scale: str, entry: Sensitivity) -> Study:
    """The study whose scale has the network and the budget of an entry, with the trained arms and the tasks of its
    criteria alone.

    Raises:
        UnknownName: an option that neither `Network` nor `Budget` has, with the nearest.
        ValueError: a bad value of one, or a criterion of arms that train nothing.
    """
    from ..energies.mlp import Network

    where = f"{study.where}: sensitivity.{entry.name}"
    from_table(Network, entry.network, f"{where}.network")
    from_table(Budget, entry.budget, f"{where}.budget")
    criteria, own = study.asked_again(entry), study.at(scale)
    methods = {arm.name: look_up(METHODS, arm.method, f"{study.where}: arms.{arm.name}.method") for arm in study.arms}
    trained = {name for name, method in methods.items() if method.principle != UNTRAINED}
    for criterion in criteria:
        arms = (*criterion.arms, *criterion.against)
        if not trained.intersection(arms):
            why = f"{', '.join(arms)} train nothing, so that no network and no budget enters"
            raise invalid(f"{where}.criteria", criterion.id, f"a criterion of arms that are trained: {why}")
    asked = trained.intersection(arm for each in criteria for arm in (*each.arms, *each.against))
    tasks = {task for criterion in criteria for task in criterion.tasks}
    common = {} if isinstance(own.network, str) else own.network
    changes = {
        # An energy of the user's own is no table that an option could be replaced in.
        "network": {**common, **entry.network} if entry.network else own.network,
        "budget": {**own.budget, **entry.budget},
        "budgets": {},
    }
    parts = {
        "scales": {scale: own.model_copy(update=changes)},
        "tasks": tuple(grid for grid in study.tasks if grid.name in tasks),
        "arms": tuple(arm for arm in study.arms if arm.name in asked),
        "ladders": (),
        "sensitivity": (),
    }
    return study.model_copy(update=parts)


def check_differs(study: Study, entry: Sensitivity, conditions: Sequence[Any], own: set[str]) -> None:
    """Raise a `ValueError` for a criterion of an entry whose trials are those that the scale runs anyway.

    Args:
        conditions: of the entry, each with its labels. own: `identity` of each condition of the scale.
    """
    for criterion in study.asked_again(entry):
        cells = [each for each in conditions if looks_at(criterion, *place_of(each.labels))]
        if cells and all(each.identity in own for each in cells):
            field = f"{study.where}: sensitivity.{entry.name}.criteria"
            arms = ", ".join(dict.fromkeys(each.labels["arm"] for each in cells))
            why = f"with it {arms} would be the models that the scale trains anyway"
            raise invalid(field, criterion.id, f"a criterion of arms that it changes: {why}")


def place_of(labels: Any) -> tuple[str, str, float]:
    """Arm, task and setting of a condition's labels."""
    return str(labels["arm"]), str(labels["task"]), float(labels["setting"])


# ---- what is decided


def decided_again(study: Any, results: pd.DataFrame, seeds: range) -> list[Verdict]:
    """The comparisons of every entry's criteria by its own results; those of one of which nothing was run `undecided`.

    Tests are as at the scale's own, and Holm's correction is over the comparisons of one entry: those of each claim's
    primary criterion, and all that are secondary. A gate holds there if its cell is one that the entry runs; of any
    other the verdict says that it was not asked.

    Args:
        study: has `sensitivity`, `asked_again`, `gates` and `primary_criteria`.
        results: of all budgets.
    """
    whole = results[results["budget"] == PRIMARY_BUDGET]
    found = []
    for entry in study.sensitivity:
        criteria = study.asked_again(entry)
        arms = {arm for criterion in criteria for arm in (*criterion.arms, *criterion.against)}
        own = results["budget"] == entry.name
        # What trains nothing is the same there, and was not run again.
        fixed = (results["principle"] == UNTRAINED) & results["arm"].isin(arms)
        rows = results[own | (fixed & (results["budget"] == PRIMARY_BUDGET))]
        gates = at_gates_again(study, whole, rows, seeds)
        part = SimpleNamespace(criteria=criteria, primary_criteria=study.primary_criteria)
        was_run = bool((results.loc[own, "status"] != "pending").any())
        for verdict in decided(part, rows, seeds, missed(gates)):
            again = replace(verdict, scope="variant", variant=entry.name)
            if not was_run:
                again = replace(again, verdict="undecided", reason=NOT_RUN)
            found.append(_with_gates(again, gates) if was_run else again)
    return found


def _with_gates(verdict: Verdict, gates: Sequence[Gated]) -> Verdict:
    """The verdict, whose reason says which gates of its arms were not asked."""
    unasked = dict.fromkeys(
        f"{gated.metric} at {gated.place}"
        for gated in gates
        if gated.outcome == "not asked" and gated.task == verdict.task and gated.arm in (verdict.arm, verdict.against)
    )
    return replace(verdict, reason=f"{verdict.reason}; gate not asked: {', '.join(unasked)}") if unasked else verdict


def opposing(verdict: Verdict, again: Iterable[Verdict]) -> list[Verdict]:
    """Those of a comparison's verdicts elsewhere that decide the other side of it, all of it or a part."""
    other = {"supported": "refuted", "refuted": "supported"}.get(verdict.verdict)
    same = [each for each in again if each.compared == verdict.compared]
    return [each for each in same if other is not None and each.verdict in (other, "qualified")]


def qualified_by(verdict: Verdict, again: Iterable[Verdict]) -> Verdict:
    """A comparison, `qualified` where it comes out on the other side elsewhere; any other as it is."""
    others = opposing(verdict, again)
    if not others:
        return verdict
    holds = verdict.verdict == "supported"
    parts = [each.fails_in if holds else each.holds_in for each in others]
    far = tuple(
        " at ".join([called(each.variant), *([", ".join(part)] if part else [])])
        for each, part in zip(others, parts, strict=True)
    )
    told = [f"{each.verdict} with {called(each.variant)}: {_numbers(each)}" for each in others]
    holds_in, fails_in = ((OWN,), far) if holds else (far, (OWN,))
    reason = "; ".join([verdict.reason, *told])
    return replace(verdict, verdict="qualified", reason=reason, holds_in=holds_in, fails_in=fails_in)


def outcomes_again(before: Sequence[Verdict], again: Sequence[Verdict]) -> str:
    """What came out of a claim's comparisons at each entry, in words; "" where they are not asked again.

    Args:
        before: at the scale's own network and budget. again: at every entry.
    """
    said = []
    for name in dict.fromkeys(each.variant for each in again):
        here = [each for each in again if each.variant == name]
        counts = [(sum(each.verdict == outcome for each in here), outcome) for outcome in OUTCOMES]
        counted = ", ".join(f"{count} {outcome}" for count, outcome in counts if count)
        others = [each for verdict in before for each in opposing(verdict, here)]
        told = "; ".join(f"{each.label}: {_numbers(each)}" for each in others)
        found = NOT_RUN if all(each.reason == NOT_RUN for each in here) else counted
        said.append(f"with {called(name)}: {found}{f' ({told})' if told else ''}")
    return "; ".join(said)


def called(name: str) -> str:
    """An entry's name in a sentence."""
    return name.replace("_", " ")


def _numbers(verdict: Verdict) -> str:
    """Effect, interval and the side of the bound on which they lie, by parts where that is not one."""
    sides = [(True, verdict.holds_in), (False, verdict.fails_in)]
    if verdict.verdict == "qualified":
        where = "; ".join(f"{side_of(verdict, holds)} at {', '.join(part)}" for holds, part in sides)
    else:
        where = side_of(verdict, verdict.verdict == "supported")
    return f"{verdict.estimate:.3g} [{verdict.low:.3g}, {verdict.high:.3g}], {where}"
