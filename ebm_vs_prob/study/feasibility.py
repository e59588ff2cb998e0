"""Whether a criterion can be passed, and can be failed, by what is known before anything is trained.

Known are the task's own log-density, its density as a landscape, an energy that is constant, the law that the criterion
declares, and how bad its metric can be at all. A criterion that all of them pass decides nothing when a
method passes it, and one that all of them fail cannot be passed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.caches import remembered
from ..metrics.catalogue import METRICS
from .comparisons import GROWTHS, bounds_of, contrasts, in_range
from .criteria import Criterion
from .effects import EFFECTS, effect_test, least_p_value
from .provenance import package_digest
from .registered import task_of, tasks_at
from .scales import DEMONSTRATION
from .schema import Study
from .statistics import ALPHA, Side
from .values import from_table

if TYPE_CHECKING:
    import pandas as pd

#: Models that need no training, as options of the method `exact`.
KNOWN: Mapping[str, dict[str, Any]] = {
    "exact": {},
    "exact density": {"potential": "density"},
    "constant energy": {"potential": "constant"},
}


#: How much is looked at, where a study looks at more: known models are far from bounds or bounds are badly set.
ENOUGH = {"test_examples": 256, "inputs": 8, "starts": 8, "samples": 256}
#: What passes a band that lies between known models.
BETWEEN = "what lies between them"


@dataclass(frozen=True)
class Held:
    """A criterion on one task, held against what is known.

    `effects` are what the criterion bounds, one number a setting (one for a slope), by the names of what stands for
    its arm and the other's; NaN where there is none. `passed` and `failed` are the names of what passes at every
    setting, and of what does not.
    """

    criterion: str
    task: str
    effects: dict[str, tuple[float, ...]]
    passed: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is wrong with the criterion; "" where nothing is, or where nothing is known."""
        if self.passed and self.failed:
            return ""
        names = self.passed or self.failed
        if not any(name.partition(" against ")[0] in KNOWN for name in names):
            return ""
        return "cannot be failed by anything known" if self.passed else "cannot be passed by anything known"

    def as_row(self, most: int = 2) -> dict[str, str]:
        """One row of a table for people, with the numbers of at most so many that pass, and that do not."""
        passed, failed = self._listed(self.passed, most), self._listed(self.failed, most)
        return {"criterion": self.criterion, "task": self.task, "passed by": passed, "failed by": failed}

    def _listed(self, names: tuple[str, ...], most: int) -> str:
        shown = [
            f"{name} {', '.join(f'{value:.3g}' for value in self.effects.get(name, ()))}".strip()
            for name in names[:most]
        ]
        more = [f"{len(names) - most} more"] if len(names) > most else []
        return "; ".join(shown + more) or "none"


def check_feasible(study: Study, scale: str) -> list[Held]:
    """Every criterion of a scale on each of its tasks, held against what is known.

    Raises:
        ValueError: the first that cannot be passed or cannot be failed, with the numbers; or whose claim the scale's
            seeds cannot decide, however they come out. The scale for a first look may have too few.
    """
    if scale != DEMONSTRATION:
        _check_seeds(study, study.at(scale).seeds)
    found = feasibility(study, scale)
    for held in found:
        if held.problem:
            row = held.as_row(most=6)
            raise ValueError(
                f"{study.where}: criteria.{held.criterion}: on {held.task} it {held.problem}: "
                f"passed by {row['passed by']}; failed by {row['failed by']}"
            )
    return found


def _check_seeds(study: Study, seeds: int) -> None:
    """Each primary criterion is decided by so many seeds that all come out at their best."""
    for criterion in study.primary_criteria.values():
        comparisons = len(contrasts(criterion))
        sides: tuple[tuple[float | None, Side], ...] = ((criterion.above, "greater"), (criterion.below, "less"))
        for bound, side in sides:
            if bound is None:
                continue
            p = least_p_value(criterion.kind, criterion.metric, criterion.statistic, seeds, bound, side)
            if comparisons * p > ALPHA:
                valid = f"more seeds, a bound further from the end of the range, or statistic = {'median'!r}"
                raise ValueError(
                    f"{study.where}: criteria.{criterion.id}: {seeds} seeds cannot decide it: where all come out at "
                    f"their best p is {min(1.0, comparisons * p):.2g} over {comparisons} comparisons: expected {valid}"
                )


def feasibility(study: Study, scale: str) -> list[Held]:
    """As `check_feasible`, whatever comes out. What the known models come to is remembered between calls."""
    study = study.held_at(scale)
    wanted: dict[str, tuple[set[str], set[float]]] = {}
    for criterion in study.criteria:
        for task in criterion.tasks:
            metrics, settings = wanted.setdefault(task, (set(), set()))
            metrics.add(criterion.metric)
            settings.update(_settings(study, criterion, task))
    tables = {task: _known(study, scale, task, *asked) for task, asked in wanted.items()}
    return [
        _told(study, criterion, tables) if criterion.kind == "share" else _held(study, criterion, task, tables[task])
        for criterion in study.criteria
        for task in (criterion.tasks[:1] if criterion.kind == "share" else criterion.tasks)
    ]


def _settings(study: Study, criterion: Criterion, task: str) -> list[float]:
    """Those at which a criterion is taken; none where the task varies along nothing."""
    if criterion.range is not None:
        return [value for value in study.grid(task).settings if in_range(value, criterion.range)]
    return list(criterion.at)


def _known(study: Study, scale: str, name: str, metrics: set[str], settings: set[float]) -> pd.DataFrame:
    """Rows of the known models on one task, as results are: arm, setting, seed, metric and value."""
    import pandas as pd

    from ..metrics import Evaluation

    at = sorted(settings, reverse=True)
    tasks = tasks_at(study, name, at) or [task_of(study, name)]
    table = {**study.evaluation, **study.at(scale).evaluation}
    evaluation = from_table(Evaluation, table, f"{study.where}: scales.{scale}.evaluation")
    smaller = {name: min(most, getattr(evaluation, name)) for name, most in ENOUGH.items()}
    evaluation = evaluation.model_copy(update=smaller)
    question = {
        "feasibility": [task.specification() for task in tasks],
        "metrics": sorted(metrics),
        "evaluation": evaluation.model_dump(mode="json"),
        "code": package_digest(),
        "plugins": study.plugins,
    }
    rows = remembered(question, lambda: _measured(tasks, at or [tasks[0].thickness], evaluation, metrics))
    return pd.DataFrame(rows, columns=["arm", "setting", "seed", "metric", "value"])


def _measured(tasks: list[Any], settings: list[float], evaluation: Any, metrics: set[str]) -> list[list[Any]]:
    from ..core.budget import Budget
    from ..metrics import evaluate
    from ..training.fitting import fit
    from .measurement import reproducible

    rows: list[list[Any]] = []
    for arm, options in KNOWN.items():
        try:
            with reproducible("cpu"):
                model = fit("exact", list(tasks), seeds=[0] * len(tasks), budget=Budget(examples=256), **options)
                table = evaluate(model, list(tasks), evaluation, only=metrics)
        except ValueError:  # a task of which no law is known, or discrete answers, on which no landscape lies
            continue
        for row in table.itertuples(index=False):
            if math.isfinite(row.value):  # type: ignore[arg-type]
                setting = float(settings[row.replicate])  # type: ignore[index]
                rows.append([arm, setting, 0, str(row.metric), float(row.value)])  # type: ignore[arg-type]
    return rows


def _told(study: Study, criterion: Criterion, tables: Mapping[str, pd.DataFrame]) -> Held:
    """A share: what it is if every arm is one known model, and if every arm is the one that was told of it."""
    on_one_side: dict[str, float] = {}
    runs = [
        (task, name in criterion.arms)
        for task in criterion.tasks
        for name in criterion.arms + criterion.against
        if study.arm(name).tasks is None or task in (study.arm(name).tasks or ())
    ]
    for known in KNOWN:
        hits = []
        for task, told_above in runs:
            own = tables[task]
            value = own[(own["arm"] == known) & (own["metric"] == criterion.metric)]["value"]
            if len(value):
                hits.append(bool(value.iloc[0] > (criterion.split or 0.0)) == told_above)
        if hits:
            on_one_side[known] = float(np.mean(hits))
    shares = on_one_side | {"as told": 1.0, "none as told": 0.0}
    above, below = bounds_of(criterion)
    passed = [
        name for name, share in shares.items() if (above is None or share > above) and (below is None or share < below)
    ]
    failed = [name for name in shares if name not in passed]
    effects: dict[str, tuple[float, ...]] = {name: (share,) for name, share in shares.items()}
    return Held(criterion.id, ", ".join(criterion.tasks), effects, tuple(passed), tuple(failed))


def _held(study: Study, criterion: Criterion, task: str, table: pd.DataFrame) -> Held:
    settings = _settings(study, criterion, task) or sorted(table["setting"].unique(), reverse=True) or [math.nan]
    values = {name: _values(criterion, table[table["arm"] == name], settings) for name in KNOWN}
    effects: dict[str, tuple[float, ...]] = {}
    if criterion.kind in GROWTHS:
        for name, own in values.items():
            positive = bool(np.isfinite(own).all() and (own > 0).all()) and len(settings) > 1
            effects[name] = (GROWTHS[criterion.kind](settings, own) if positive else math.nan,)
        effects["no change"] = (0.0,)
    else:
        values |= _extremes(criterion.metric, len(settings))
        if criterion.kind == "value":
            effects = {name: tuple(own) for name, own in values.items()}
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                made = {
                    f"{one} against {other}": EFFECTS[criterion.kind](values[one], values[other])
                    for one, other in itertools.permutations(values, 2)
                }
            # A ratio that is not positive has no logarithm, and its seed is not complete.
            positive = effect_test(criterion.kind, criterion.metric, criterion.statistic).positive
            effects = {
                name: tuple(np.where((effect > 0) | (not positive), effect, math.nan)) for name, effect in made.items()
            }
    if criterion.law is not None:
        effects["law"] = (criterion.law,) * (1 if criterion.kind in GROWTHS else len(settings))
    known = {name: effect for name, effect in effects.items() if not np.isnan(effect).any()}
    above, below = bounds_of(criterion)
    over = {name: [above is None or value > above for value in effect] for name, effect in known.items()}
    under = {name: [below is None or value < below for value in effect] for name, effect in known.items()}
    passed = [name for name in known if all(over[name]) and all(under[name])]
    # Of a band that none hits, but on both sides of which some lie, methods between them may.
    if not passed and any(all(each) for each in over.values()) and any(all(each) for each in under.values()):
        passed = [BETWEEN]
    failed = [name for name in known if name not in passed]
    return Held(criterion.id, task, known, tuple(passed), tuple(failed))


def _values(criterion: Criterion, rows: pd.DataFrame, settings: list[float]) -> np.ndarray:
    """The metric of one known model at each setting, NaN where it has none."""
    own = rows[rows["metric"] == criterion.metric]
    found = []
    for value in settings:
        here = own[np.isclose(own["setting"].astype(float), value)]["value"]
        found.append(float(here.iloc[0]) if len(here) else math.nan)
    return np.array(found, dtype=np.float64)


def _extremes(name: str, count: int) -> dict[str, np.ndarray]:
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
