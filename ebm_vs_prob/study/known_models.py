"""What models that need no training come to by the metrics of a study: known ones, and laws that are predicted of arms.

Known are the task's own log-density, its density as a landscape, and an energy that is constant. They are measured as
trained models are, and what they come to is remembered between calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.caches import remembered
from ..core.memory import Memory, remembering
from ..core.options import from_table
from ..metrics.catalogue import METRICS
from .comparisons import in_range
from .criteria import Criterion
from .predictions import Law
from .provenance import package_digest
from .registered import task_of, tasks_at
from .schema import Study

if TYPE_CHECKING:
    import pandas as pd

#: Models that need no training and stand for any arm, by name.
KNOWN = {law.name: law for law in (Law(), Law("density"), Law("constant"))}
#: How much is looked at, where a study looks at more: known models are far from bounds or bounds are badly set.
ENOUGH = {"test_examples": 256, "inputs": 8, "starts": 8, "samples": 256}


@dataclass
class Wanted:
    """Metrics that are asked of a law on a task, and settings; none of these where the task varies along nothing."""

    metrics: set[str] = field(default_factory=set)
    settings: set[float] = field(default_factory=set)

    def add(self, metric: str, settings: Iterable[float]) -> None:
        self.metrics.add(metric)
        self.settings.update(settings)


def settings_of(study: Study, criterion: Criterion, task: str) -> list[float]:
    """Those at which a criterion is taken; none where the task varies along nothing."""
    if criterion.range is not None:
        return [value for value in study.grid(task).settings if in_range(value, criterion.range)]
    return list(criterion.at)


def places_of(settings: list[float]) -> list[float | None]:
    """Settings, or the one place of a task that varies along nothing."""
    return [*settings] if settings else [None]


def known_values(study: Study, scale: str, name: str, asked: Mapping[Law, Wanted]) -> pd.DataFrame:
    """Rows of laws on one task, as results are: arm, setting, seed, metric and value."""
    import pandas as pd

    from ..metrics import Evaluation

    table = {**study.evaluation, **study.at(scale).evaluation}
    evaluation = from_table(Evaluation, table, f"{study.where}: scales.{scale}.evaluation")
    smaller = {name: min(most, getattr(evaluation, name)) for name, most in ENOUGH.items()}
    evaluation = evaluation.model_copy(update=smaller)
    rows: list[list[Any]] = []
    memory = Memory()
    for law, wanted in asked.items():
        at = sorted(wanted.settings, reverse=True)
        tasks = tasks_at(study, name, at) or [task_of(study, name)]
        question = {
            "feasibility": [task.specification() for task in tasks],
            "law": [law.potential, law.sigma],
            "metrics": sorted(wanted.metrics),
            "evaluation": evaluation.model_dump(mode="json"),
            "code": package_digest(),
            "plugins": study.plugins,
        }
        measured = partial(_measured, law, tasks, at or [tasks[0].thickness], evaluation, wanted.metrics)
        with remembering(memory):
            rows += remembered(question, measured)
    return pd.DataFrame(rows, columns=["arm", "setting", "seed", "metric", "value"])


def _measured(
    law: Law, tasks: list[Any], settings: list[float], evaluation: Any, metrics: Iterable[str]
) -> list[list[Any]]:
    from ..metrics import evaluate
    from .measurement import reproducible

    try:
        with reproducible("cpu"):
            table = evaluate(law.fitted(tasks), tasks, evaluation, only=set(metrics))
    except ValueError:  # a task of which no law is known, or discrete answers, on which no landscape lies
        return []
    return [
        [law.name, float(settings[row.replicate]), 0, str(row.metric), float(row.value)]  # type: ignore[arg-type,index]
        for row in table.itertuples(index=False)
        if math.isfinite(row.value)  # type: ignore[arg-type]
    ]


def values_of(criterion: Criterion, table: pd.DataFrame, names: list[str], settings: list[float]) -> np.ndarray:
    """The metric at each setting of the law that is named for it, NaN where there is none."""
    own = table[table["metric"] == criterion.metric]
    found = []
    for name, value in zip(names, settings, strict=True):
        here = own[(own["arm"] == name) & np.isclose(own["setting"].astype(float), value)]["value"]
        found.append(float(here.iloc[0]) if len(here) else math.nan)
    return np.array(found, dtype=np.float64)


def extremes(name: str, count: int) -> dict[str, np.ndarray]:
    """How bad a metric can be; both ends of its range where neither is bad, or where the truth is not the best: at
    descent a smooth energy may be."""
    metric = METRICS[name]
    low, high = {"share": (0.0, 1.0), "log": (0.0, math.inf), "linear": (-math.inf, math.inf)}[metric.scale]
    ends = {"least": low, "most": high}
    if metric.better == "lower" and metric.group != "descent":
        del ends["least"]
    elif metric.better == "higher" and metric.group != "descent":
        del ends["most"]
    return {f"{end} of all": np.full(count, value) for end, value in ends.items()}
