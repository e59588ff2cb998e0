# ruff: noqa: RUF001
"""What no criterion tests and is shown all the same: fitted slopes of every arm, and those of the exact model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.statistics import log_slope, mean_estimate
from ..study.task_grids import THICKNESS
from .inputs import Inputs
from .style import in_words, metric_look, with_interval

if TYPE_CHECKING:
    import pandas as pd

#: Metrics whose slope in ln thickness is shown for every arm, beside the few that criteria test.
_SLOPES = ("curvature_p95", "gradient_norm_p95", "sharpness_curvature", "sharpness_gradient", "weight_norm")


def slopes_table(inputs: Inputs) -> pd.DataFrame:
    """Fitted slopes in ln ε, over all ε > 0, of every arm. Exploratory: nothing is tested."""
    import pandas as pd

    rows = []
    for task in inputs.tasks:
        eps = [e for e in inputs.settings(task) if e > 0]
        if len(eps) < 2 or inputs.axis(task) != THICKNESS:
            continue
        here = inputs.primary[(inputs.primary["task"] == task) & inputs.primary["metric"].isin(_SLOPES)]
        wide = here.pivot_table(index=["arm", "metric", "seed"], columns="setting", values="value").reindex(columns=eps)
        curves = {key: group.to_numpy(dtype=float) for key, group in wide.groupby(level=["arm", "metric"])}
        for look in inputs.looks().values():
            row = {"task": task, "arm": look.label}
            for name in _SLOPES:
                seeds = curves.get((look.name, name), np.empty((0, len(eps))))
                slope = mean_estimate([log_slope(eps, seed) for seed in seeds])
                row[metric_look(name).label] = with_interval(slope.value, slope.low, slope.high)
            if any(value != "–" for value in list(row.values())[2:]):
                rows.append(row)
    return pd.DataFrame(rows)


def observations(inputs: Inputs, slopes: pd.DataFrame) -> list[str]:
    """Observations that no criterion tests, with their numbers: what the exact model itself does as the data thin."""
    exact = {arm.name for arm in inputs.study.arms if arm.method == "exact"}
    labels = {look.label for look in inputs.looks().values() if look.name in exact}
    meaning = {
        "sharpness_curvature": "Near 0 it means that dividing by the range of the energy removes the sharpening of the "
        "truth itself: a flat learned energy is then no evidence of one smoother than the truth.",
        "curvature_p95": "Theory says −2.",
    }
    notes = []
    for metric, means in meaning.items():
        column = metric_look(metric).label
        for _, row in slopes[slopes["arm"].isin(labels)].iterrows() if column in slopes else ():
            if row[column] != "–":
                notes.append(
                    f"{row['arm']} on {row['task']}: slope of {in_words(metric)} in ln ε {row[column]}. {means}"
                )
    return notes
