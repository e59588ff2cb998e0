"""Which arms have trained: a verdict on a method is not one on a model that its budget left halfway."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .comparisons import series
from .effects import effect_test
from .task_grids import THICKNESS, place_on

if TYPE_CHECKING:
    import pandas as pd

    from .criteria import Gate

Outcome = Literal["passed", "missed", "no value", "not asked"]


@dataclass(frozen=True)
class Gated:
    """One arm on one task at one gate.

    `value` is over the `seeds` that have one, NaN where none does: then the gate is neither passed nor missed, and
    `reason` says what is known of it. Of a gate that is missed it says why the arm counts as untrained. It is "not
    asked" of results that lack its setting.
    """

    metric: str
    task: str
    arm: str
    axis: str
    setting: float
    value: float
    seeds: int
    asked: str
    outcome: Outcome
    reason: str = ""

    @property
    def place(self) -> str:
        """Where it is held, in words."""
        return place_on(self.axis, self.setting)


def untrained(study: Any, results: pd.DataFrame, seeds: range) -> dict[tuple[str, str], str]:
    """Of (task, arm), why it counts as untrained: its value at a gate's setting, over seeds, is not what that asks.

    Args:
        study: has `gates`.
        results: of one budget.
    """
    return missed(at_gates(study, results, seeds))


def missed(gates: Iterable[Gated]) -> dict[tuple[str, str], str]:
    """Of (task, arm) that missed one of these gates, why it counts as untrained."""
    return {(gated.task, gated.arm): gated.reason for gated in gates if gated.outcome == "missed"}


def at_gates(study: Any, results: pd.DataFrame, seeds: range) -> list[Gated]:
    """Every arm at every gate that holds it, on each task that it has results of.

    An arm without the metric, as a regression has no density, passes no gate and fails none, and is listed where a gate
    names it; one that has it for some seeds, and for less than half of them, has not trained.

    Args:
        study: has `gates`.
        results: of one budget.
    """
    return [gated for _, gated in _at_gates(study, results, results, seeds)]


def at_gates_again(study: Any, results: pd.DataFrame, again: pd.DataFrame, seeds: range) -> list[Gated]:
    """Every arm at every gate by results of a part of the grid, at the setting where the whole has that gate.

    Args:
        study: has `gates`.
        results: of the whole grid, at one budget. again: of the part.
    """
    found = []
    for gate, gated in _at_gates(study, results, again, seeds):
        own = again[(again["task"] == gated.task) & (again["arm"] == gated.arm)]
        if np.isclose(own["setting"].astype(float), gated.setting, equal_nan=True).any():
            found.append(_at(gate, gated.task, gated.arm, own, (gated.axis, gated.setting), seeds))
        else:
            found.append(replace(gated, value=math.nan, seeds=0, outcome="not asked", reason="it was not run there"))
    return found


def _at_gates(study: Any, results: pd.DataFrame, among: pd.DataFrame, seeds: range) -> Iterator[tuple[Gate, Gated]]:
    """Gates with what the arms that are among some results reached at them, by all results."""
    places = among[["task", "arm"]].drop_duplicates()
    for gate in study.gates:
        for task, arm in places.itertuples(index=False, name=None):
            own = results[(results["task"] == task) & (results["arm"] == arm)]
            if own.empty or (gate.tasks and task not in gate.tasks) or (gate.arms and arm not in gate.arms):
                continue
            place = _easiest(own) if gate.at is None else (str(own["axis"].iloc[0]), gate.at)
            gated = _at(gate, task, arm, own, place, seeds)
            if gated.outcome != "no value" or gate.arms:
                yield gate, gated


def _at(gate: Gate, task: str, arm: str, own: pd.DataFrame, place: tuple[str, float], seeds: range) -> Gated:
    axis, setting = place
    values = series(own, gate.metric, setting, seeds)
    known = values[np.isfinite(values)]
    value = float(effect_test("value", gate.metric).estimate(known).value)
    outcome: Outcome = "passed"
    reason = ""
    if 0 < 2 * len(known) < len(seeds):
        outcome, reason = "missed", f"{gate.metric} is finite for {len(known)} of {len(seeds)} seeds"
    elif not np.isfinite(value):
        outcome, reason = "no value", _why_none(own, gate.metric)
    elif (gate.above is not None and value < gate.above) or (gate.below is not None and value > gate.below):
        outcome = "missed"
        side = (
            f"at least {gate.above:g}" if gate.above is not None and value < gate.above else f"at most {gate.below:g}"
        )
        reason = f"{gate.metric} {value:.3g} at {place_on(axis, setting)}, and its gate is {side}"
    return Gated(gate.metric, task, arm, axis, setting, value, len(known), asked_of(gate), outcome, reason)


def asked_of(gate: Gate) -> str:
    """What a gate asks for, in words."""
    sides = ((gate.above, "at least"), (gate.below, "at most"))
    return " and ".join(f"{side} {bound:g}" for bound, side in sides if bound is not None)


def _why_none(own: pd.DataFrame, metric: str) -> str:
    """What the results say of a metric that an arm lacks."""
    notes = own.loc[own["metric"] == metric, "note"].fillna("")
    failed = own.loc[own["status"] != "done", "reason"].fillna("")
    return next((text for text in [*notes, *failed] if text), "the arm has no such metric")


def _easiest(rows: pd.DataFrame) -> tuple[str, float]:
    """Along thickness the thickest, along anything else the first setting of the results."""
    axis, settings = str(rows["axis"].iloc[0]), rows["setting"].astype(float)
    return axis, float(settings.max() if axis == THICKNESS else settings.iloc[0])
