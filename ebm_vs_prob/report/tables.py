# ruff: noqa: RUF001
"""Tables of a report: one a task with each row's budget, cost and failures; metrics, criteria, failures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..study.statistics import interquartile_mean
from ..study.task_grids import UNKNOWN_NOISE
from ..study.verdicts import Verdict
from .escaping import to_csv_frame
from .inputs import Inputs
from .latex import label_of, to_latex
from .style import (
    in_order,
    in_words,
    p_value,
    place,
    plain,
    quantity,
    span,
    summarise,
    unit_of,
    value_at,
    with_interval,
)
from .words import bound_text

if TYPE_CHECKING:
    import pandas as pd

#: Metrics of the tables on the page beside those that criteria speak of, with short titles; the CSV files have all.
HEADLINES = {
    "answer_distance_median": "answers: distance",
    "sample_distance_median": "samples: distance",
    "tube_mass": "tube mass",
    "sublevel_precision": "sublevel precision",
    "sublevel_coverage": "sublevel coverage",
    "angle_kuiper": "Kuiper",
    "likelihood_gap": "likelihood gap",
    "gibbs_gap": "Gibbs gap",
    "gibbs_gap_unit_beta": "Gibbs gap, β = 1",
    "gibbs_log_score": "Gibbs log score",
    "gibbs_log_score_unit_beta": "Gibbs log score, β = 1",
    "sharpness_curvature": "curvature, scale-free",
    "curvature_p95": "curvature, raw",
    "resolution": "resolution",
    "descent_success_line_search": "success by line search",
    "best_sample_success": "success of the best sample",
    "critical_step": "critical step",
    "weight_norm": "weight norm",
    "error_rate": "error rate",
    "excess_error": "excess error",
    "expected_calibration_error": "calibration error",
    "energy_score": "energy score",
    "precision": "precision",
    "recall": "recall",
    "consistency": "consistency",
    "singletons": "singletons",
}
#: What uniform points have of a success.
CHANCE = "chance_success"
_COST = {"multiply_adds": "multiply-adds", "energy_evaluations": "energy evaluations", "seconds": "seconds"}


def every_metric(inputs: Inputs, task: str) -> pd.DataFrame:
    """Numbers of one task: a row for each budget, arm, setting and metric, with interval and seeds. For machines."""
    import pandas as pd

    rows = []
    table = inputs.results[(inputs.results["task"] == task) & inputs.results["metric"].notna()]
    place = {name: i for i, name in enumerate(in_order(table["metric"].unique()))}
    # An arm has one family and a metric one unit, so that grouping by them too splits nothing.
    keys = ["budget", "arm", "family", "setting", "metric", "unit"]
    for (budget, arm, family, eps, metric, unit), values in table.groupby(keys, dropna=False)["value"]:
        estimate = summarise(values, str(metric))
        rows.append(
            {
                "task": task, "budget": budget, "arm": arm, "family": family, inputs.axis(task): eps,
                "metric": metric, "unit": unit, "estimate": estimate.value, "low": estimate.low,
                "high": estimate.high, "level": estimate.level, "interquartile_mean": interquartile_mean(values),
                "median": float(np.nanmedian(values)) if estimate.n else math.nan,
                "n": estimate.n, "without_value": inputs.num_seeds - estimate.n,
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    order = {arm.name: i for i, arm in enumerate(inputs.study.arms)}
    placed = frame.assign(
        _arm=frame["arm"].map(order),
        _metric=frame["metric"].map(place),
        _place=frame[inputs.axis(task)].map({at: i for i, at in enumerate(inputs.settings(task))}),
    )
    index = placed.sort_values(["budget", "_arm", "_place", "_metric"]).index
    return frame.loc[index].reset_index(drop=True)


def heading(name: str) -> str:
    """The title of a metric's column, with its unit; short for headlines."""
    unit, title = unit_of(name), HEADLINES.get(name) or in_words(name)
    return f"{title} ({unit})" if unit else title


def asked_metrics(inputs: Inputs, task: str) -> list[str]:
    """Metrics that criteria speak of on a task, those of primary criteria first."""
    asked = [c for c in inputs.study.criteria if task in c.tasks]
    primary = list(inputs.study.primary_criteria.values())
    return list(dict.fromkeys(c.metric for c in sorted(asked, key=lambda c: c not in primary)))


def column_metrics(inputs: Inputs, task: str) -> list[str]:
    """Metrics that have a column in a task's table: what criteria speak of, then headlines; all that have a value.

    Behind the first success stands what chance has of it.
    """
    here = inputs.results[inputs.results["task"] == task]
    measured = set(here.loc[here["value"].notna(), "metric"])
    asked = asked_metrics(inputs, task)
    # Where there is a truth, the gap to it says it better than a score.
    headlines = [n for n in HEADLINES if not ("gibbs_gap" in measured and n.startswith("gibbs_log_score"))]
    names = [name for name in dict.fromkeys([*asked, *headlines]) if name in measured and name != CHANCE]
    first = next((place for place, name in enumerate(names) if name.partition("_success")[1]), None)
    if first is not None and CHANCE in measured:
        names.insert(first + 1, CHANCE)
    return names


def seed_table(inputs: Inputs, task: str) -> pd.DataFrame:
    """Every number of every seed of a task: a row a trial, a column a metric. For machines."""
    here = inputs.results[inputs.results["task"] == task]
    known = here[here["metric"].notna()]
    if known.empty:
        return known.reindex(columns=["budget", "arm", "family", "setting", "seed"])
    keys = ["budget", "arm", "family", "setting", "seed"]
    wide = known.pivot_table(index=keys, columns="metric", values="value", sort=False, dropna=False, observed=True)
    wide = wide[in_order(wide.columns)].dropna(how="all").reset_index()
    wide.columns.name = None
    return wide.rename(columns={"setting": inputs.axis(task)})


def for_files(inputs: Inputs, task: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers as its file has it: where noise is not known, no 0 stands for it."""
    axis = inputs.axis(task)
    return frame.assign(**{axis: value_at(axis, 0.0)}) if axis == UNKNOWN_NOISE and axis in frame else frame


def task_table(inputs: Inputs, task: str) -> pd.DataFrame:
    """Rows for people: each arm at each setting and budget, what it may spend, what it spent, how often it failed."""
    import pandas as pd

    here = inputs.results[inputs.results["task"] == task]
    present = column_metrics(inputs, task)
    grouped = dict(list(here.groupby(["budget", "arm", "setting"], dropna=False)))
    rows = []
    for look in inputs.looks().values():
        for budget in here["budget"].drop_duplicates():
            for eps in inputs.settings(task):
                group = grouped.get((budget, look.name, eps))
                if group is not None:
                    rows.append(
                        _task_row(inputs, group, look.label, look.family, inputs.headed(task, eps), budget, present)
                    )
    return pd.DataFrame(rows)


def _task_row(
    inputs: Inputs, group: pd.DataFrame, label: str, family: str, at: tuple[str, str], budget: str, present: list[str]
) -> dict[str, str]:
    trials = group.drop_duplicates("seed")
    count = {status: int((trials["status"] == status).sum()) for status in ("done", "failed")}
    steps = trials["steps"].dropna()
    values_of = dict(iter(group.groupby("metric")["value"]))
    none = group["value"].iloc[:0]

    def shown(name: str) -> str:
        values = values_of.get(name, none)
        estimate = summarise(values, name)
        text = with_interval(estimate.value, estimate.low, estimate.high)
        # A mean over the seeds that have a value is not one over those that are done.
        return f"{text} ({estimate.n} of {count['done']})" if 0 < estimate.n < count["done"] else text

    def spent(name: str) -> str:
        values = values_of.get(name, none).dropna()
        return plain(float(values.mean()), 2) if len(values) else "–"

    principle, normalised = trials["principle"].iloc[0], bool(trials["normalised"].iloc[0])
    smoothing = trials["smoothing"].iloc[0]
    return {
        "arm": label,
        at[0]: at[1],
        "family": family,
        "principle": f"{principle}{', normalised' if normalised else ''}",
        "smoothing": plain(float(smoothing), 2) if smoothing is not None else "–",
        "seeds done": f"{count['done']} of {inputs.num_seeds}",
        "failed": str(count["failed"]),
        **{heading(name): shown(name) for name in present},
        "budget": budget.replace("_", " "),
        "steps": str(int(steps.max())) if len(steps) and principle != "exact" else "–",
        **{title: spent(name) for name, title in _COST.items() if name not in present},
    }


def criteria_table(verdicts: list[Verdict], labels: dict[str, str]) -> pd.DataFrame:
    """Every comparison of every criterion with its numbers."""
    import pandas as pd

    rows = []
    for verdict in (v for v in verdicts if v.scope == "comparison"):
        for cell in verdict.cells:
            rows.append(
                {
                    "criterion": verdict.criterion,
                    "role": "primary" if verdict.primary else "secondary",
                    "task": verdict.task,
                    "arm": labels.get(verdict.arm, verdict.arm),
                    "against": labels.get(verdict.against, verdict.against) or "–",
                    "quantity": quantity(verdict.kind, verdict.metric, verdict.axis),
                    "at": span(verdict.axis, cell.at) or "–",
                    "estimate [95 %]": with_interval(cell.estimate, cell.low, cell.high),
                    "asked": bound_text(verdict),
                    "law": "–" if verdict.law is None else f"{verdict.law:g}".replace("-", "−"),
                    "seeds": f"{cell.seeds} of {cell.seeds + cell.failed}",
                    "p": p_value(cell.p) if cell.seeds else "–",
                    "p, Holm": p_value(verdict.adjusted_p),
                    "verdict": verdict.verdict,
                    "why": verdict.reason,
                }
            )
    return pd.DataFrame(rows)


def failures_table(inputs: Inputs) -> pd.DataFrame:
    """Every trial that did not finish, gathered by reason."""
    import pandas as pd

    table = inputs.results[inputs.results["status"] != "done"].drop_duplicates(
        ["budget", "task", "arm", "setting", "seed"]
    )
    labels = {look.name: look.label for look in inputs.looks().values()}
    rows = []
    keys = ["task", "arm", "axis", "setting", "budget", "status", "reason"]
    for (task, arm, axis, at, budget, status, reason), group in table.groupby(keys, dropna=False, sort=False):
        rows.append(
            {
                "task": task,
                "arm": labels.get(str(arm), str(arm)),
                "at": place(str(axis), float(str(at)), " "),
                "budget": str(budget).replace("_", " "),
                "state": status,
                "seeds": ", ".join(str(int(seed)) for seed in sorted(group["seed"])),
                "reason": reason if isinstance(reason, str) and reason else "–",
            }
        )
    return pd.DataFrame(rows)


def write_tables(
    tables: dict[str, tuple[pd.DataFrame, pd.DataFrame, str]],
    numbers: dict[str, pd.DataFrame],
    folder: Path,
    study: str,
) -> None:
    """Each table as CSV and, with its columns for a paper, as LaTeX; and the numbers of every metric as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (frame, paper, caption) in tables.items():
        to_csv_frame(frame).to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.tex").write_text(to_latex(paper, caption, label_of(study, name)), encoding="utf-8")
    for name, frame in numbers.items():
        to_csv_frame(frame).to_csv(folder / f"{name}.csv", index=False, float_format="%.8g")
