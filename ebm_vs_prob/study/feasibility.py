"""Whether a criterion can be passed, and can be failed, by what is known before anything is trained.

Known are the task's own log-density, its density as a landscape, an energy that is constant, the law that the criterion
declares, what is predicted of each of its arms, and how bad its metric can be at all. A criterion that all of them pass
decides nothing when a method passes it, and one that all of them fail cannot be passed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import invalid
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from ..metrics.catalogue import METRICS
from ..tasks.data import Data
from .comparisons import GROWTHS, asked_of, bounds_of, contrasts
from .criteria import Criterion
from .effects import EFFECTS, effect_test, least_p_value
from .known_models import KNOWN, Wanted, extremes, known_values, places_of, settings_of, values_of
from .plugins import import_plugins
from .predictions import Law, Predictions
from .registered import task_of
from .scales import DEMONSTRATION, SHRUNK
from .schema import Study
from .statistics import ALPHA, MIN_SEEDS, Side

if TYPE_CHECKING:
    import pandas as pd

#: Begins what the predicted effects of comparisons are called beside those of known models.
PREDICTED = "predicted: "
#: What passes a band that lies between known models.
BETWEEN = "what lies between them"


@dataclass(frozen=True)
class Held:
    """A criterion on one task, held against what is known.

    `effects` are what the criterion bounds, one number a setting (one for a slope), by the names of what stands for
    its arm and the other's; NaN where there is none. `passed` and `failed` are the names of what passes at every
    setting, and of what does not. `predicted` are the effects of its own comparisons by theory, those that have one.
    `lacking` says why its metric has no value on the task, whatever is trained.
    """

    criterion: str
    task: str
    effects: dict[str, tuple[float, ...]]
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    asked: str = ""
    predicted: dict[str, tuple[float, ...]] = field(default_factory=dict)
    lacking: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with the criterion; "" where nothing is, or where nothing is known."""
        if self.lacking:
            return f"has no value: {self.lacking}"
        if self.passed and self.failed:
            return ""
        names = self.passed or self.failed
        if not any(name.partition(" against ")[0] in KNOWN for name in names):
            return ""
        return "cannot be failed by anything known" if self.passed else "cannot be passed by anything known"

    def as_row(self, most: int = 2) -> dict[str, str]:
        """One row of a table for people, with the numbers of at most so many that pass, and that do not."""
        predicted = [f"{self._told(name)} ({'passes' if name in self.passed else 'fails'})" for name in self.predicted]
        return {
            "criterion": self.criterion,
            "task": self.task,
            "asked": self.asked,
            "predicted": "; ".join(predicted) or "nothing",
            "passed by": self._listed(self.passed, most),
            "failed by": self._listed(self.failed, most),
        }

    def _told(self, name: str) -> str:
        effect = self.effects.get(name, ())
        return f"{name.removeprefix(PREDICTED)} {', '.join(f'{value:.3g}' for value in effect)}".strip()

    def _listed(self, names: tuple[str, ...], most: int) -> str:
        names = tuple(name for name in names if name not in self.predicted)
        shown = [self._told(name) for name in names[:most]]
        more = [f"{len(names) - most} more"] if len(names) > most else []
        return "; ".join(shown + more) or "none"


def check_feasible(study: Study, scale: str) -> list[Held]:
    """Every criterion of a scale on each of its tasks, held against what is known.

    Raises:
        ValueError: the first that cannot be passed or cannot be failed, with the numbers; or whose claim the scale's
            seeds cannot decide, however they come out. The scale for a first look may have too few.
    """
    if scale != DEMONSTRATION and SHRUNK not in scale:
        _check_seeds(study.held_at(scale), scale)
    found = feasibility(study, scale)
    for held in found:
        if held.lacking:
            raise ValueError(f"{study.where}: criteria.{held.criterion}: on {held.task} it {held.problem}")
        if held.problem:
            row = held.as_row(most=6)
            raise ValueError(
                f"{study.where}: criteria.{held.criterion}: on {held.task} it {held.problem}: "
                f"passed by {row['passed by']}; failed by {row['failed by']}"
            )
    return found


def _check_seeds(study: Study, scale: str) -> None:
    """Each primary criterion is decided by so many seeds that all come out at their best."""
    seeds = study.at(scale).seeds
    if seeds < MIN_SEEDS and study.primary_criteria:
        raise invalid(
            f"{study.where}: scales.{scale}.seeds", seeds, f"at least {MIN_SEEDS}, without which no verdict is given"
        )
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
    import_plugins(study.imports, study.where, study.folder)
    study = study.held_at(scale)
    predictions = Predictions(study, scale)
    lacking = {(c.metric, task): _lacking(study, c.metric, task) for c in study.criteria for task in c.tasks}
    wanted: dict[str, dict[Law, Wanted]] = {}
    for criterion in study.criteria:
        for task in criterion.tasks:
            settings = settings_of(study, criterion, task)
            asked = wanted.setdefault(task, {})
            for known in KNOWN.values():
                asked.setdefault(known, Wanted()).add(criterion.metric, settings)
            for arm in () if criterion.kind == "share" else (*criterion.arms, *criterion.against):
                for setting in places_of(settings):
                    law = predictions.law(arm, task, setting)
                    if law is not None:
                        asked.setdefault(law, Wanted()).add(criterion.metric, [] if setting is None else [setting])
    tables = {task: known_values(study, scale, task, asked) for task, asked in wanted.items()}
    held = [
        _told(study, criterion, tables)
        if criterion.kind == "share"
        else _held(study, criterion, task, tables[task], predictions)
        for criterion in study.criteria
        for task in (criterion.tasks[:1] if criterion.kind == "share" else criterion.tasks)
    ]
    absent = [
        Held(criterion.id, task, {}, (), (), asked_of(criterion), lacking=lacking[criterion.metric, task])
        for criterion in study.criteria
        for task in criterion.tasks
        if lacking[criterion.metric, task]
    ]
    without = {(each.criterion, each.task) for each in absent}
    return [*absent, *(each for each in held if (each.criterion, each.task) not in without)]


def _lacking(study: Study, metric: str, name: str) -> str:
    """Why a metric has no value on a task of one's own rows; "" where it may have one, and of any other task."""
    if metric not in METRICS or not issubclass(TASKS.get(study.grid(name).kind), Data):
        return ""
    described, task = METRICS[metric], task_of(study, name)
    if described.on_rows == "no":
        return f"{metric} takes the law of the data, and of rows of one's own nothing is known but these"
    if described.on_rows == "manifold":
        return f"{metric} takes the manifold of the answers, which no study file gives of rows of one's own"
    if described.on_rows == "without x" and isinstance(task.x_space, Box) and task.x_space.dim:
        return f"{metric} is of rows without an x, and these have one"
    if described.group == "decisions" and not isinstance(task.y_space, Labels):
        return f"{metric} is of labels, and the answers here are real numbers"
    return ""


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
    where = ", ".join(criterion.tasks)
    return Held(criterion.id, where, effects, tuple(passed), tuple(failed), asked_of(criterion))


def _held(study: Study, criterion: Criterion, task: str, table: pd.DataFrame, predictions: Predictions) -> Held:
    asked = settings_of(study, criterion, task)
    settings = asked or sorted(table["setting"].unique(), reverse=True) or [math.nan]
    values = {name: values_of(criterion, table, [name] * len(settings), settings) for name in KNOWN}
    if criterion.kind not in GROWTHS:
        values |= extremes(criterion.metric, len(settings))
    pairs = [(name, "") for name in values] if not criterion.against else list(itertools.permutations(values, 2))
    effects = _effects(criterion, settings, values, pairs)
    laws = {
        arm: [predictions.law(arm, task, setting) for setting in places_of(asked)]
        for arm in (*criterion.arms, *criterion.against)
    }
    predicted = _predicted(criterion, task, table, settings, laws)
    effects |= predicted
    if criterion.kind in GROWTHS:
        effects["no change"] = (0.0,)
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
    shown = {name: effect for name, effect in predicted.items() if name in known}
    return Held(criterion.id, task, known, tuple(passed), tuple(failed), asked_of(criterion), shown)


def _effects(
    criterion: Criterion, settings: list[float], values: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]
) -> dict[str, tuple[float, ...]]:
    """What the criterion makes of the values of pairs, one number a setting, or one in all; the other may be ""."""
    found: dict[str, tuple[float, ...]] = {}
    positive = effect_test(criterion.kind, criterion.metric, criterion.statistic).positive
    for one, other in pairs:
        own = values[one]
        if criterion.kind in GROWTHS:
            grows = bool(np.isfinite(own).all() and (own > 0).all()) and len(settings) > 1
            found[one] = (GROWTHS[criterion.kind](settings, own) if grows else math.nan,)
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = EFFECTS[criterion.kind](own, values[other] if other else own)
        # A ratio that is not positive has no logarithm, and its seed is not complete.
        is_known = (effect > 0) | (criterion.kind == "value" or not positive)
        found[f"{one} against {other}" if other else one] = tuple(np.where(is_known, effect, math.nan))
    return found


def _predicted(
    criterion: Criterion,
    task: str,
    table: pd.DataFrame,
    settings: list[float],
    laws: Mapping[str, list[Law | None]],
) -> dict[str, tuple[float, ...]]:
    """The effects of the criterion's own comparisons by theory, by their names, from the laws of its arms."""
    values = {
        arm: values_of(criterion, table, ["" if law is None else law.name for law in own], settings)
        for arm, own in laws.items()
    }
    pairs = [(arm, against) for place, arm, against in contrasts(criterion) if place == task]
    effects = _effects(criterion, settings, values, pairs)
    return {f"{PREDICTED}{name}": effect for name, effect in effects.items()}
