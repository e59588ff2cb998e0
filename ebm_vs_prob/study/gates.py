"""Which arms have trained: a verdict on a method is not one on a model that its budget left halfway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .comparisons import series
from .effects import effect_test
from .schema import THICKNESS

if TYPE_CHECKING:
    import pandas as pd


def untrained(study: Any, results: pd.DataFrame, seeds: range) -> dict[tuple[str, str], str]:
    """Of (task, arm), why it counts as untrained: its value at a gate's setting, over seeds, is not what that asks.

    An arm without the metric, as a regression has no density, passes no gate and fails none; one that has it for some
    seeds, and for less than half of them, has not trained.

    Args:
        study: has `gates`.
        results: of one budget.
    """
    found: dict[tuple[str, str], str] = {}
    for gate in study.gates:
        rows = results[results["metric"] == gate.metric]
        for task, arm in rows[["task", "arm"]].drop_duplicates().itertuples(index=False, name=None):
            if (gate.tasks and task not in gate.tasks) or (gate.arms and arm not in gate.arms):
                continue
            own = rows[(rows["task"] == task) & (rows["arm"] == arm)]
            axis, setting = _easiest(own) if gate.at is None else (str(own["axis"].iloc[0]), gate.at)
            values = series(own, gate.metric, setting, seeds)
            known = values[np.isfinite(values)]
            if 0 < 2 * len(known) < len(seeds):
                found[task, arm] = f"{gate.metric} is finite for {len(known)} of {len(seeds)} seeds"
                continue
            value = effect_test("value", gate.metric).estimate(known).value
            above = -np.inf if gate.above is None else gate.above
            below = np.inf if gate.below is None else gate.below
            if np.isfinite(value) and not above <= value <= below:
                asked = f"at least {above:g}" if value < above else f"at most {below:g}"
                found[task, arm] = f"{gate.metric} {value:.3g} at {axis} {setting:g}, and its gate is {asked}"
    return found


def _easiest(rows: pd.DataFrame) -> tuple[str, float]:
    """Along thickness the thickest, along anything else the first setting of the results."""
    axis, settings = str(rows["axis"].iloc[0]), rows["setting"].astype(float)
    return axis, float(settings.max() if axis == THICKNESS else settings.iloc[0])
