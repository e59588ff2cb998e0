"""What a criterion compares: one number a seed for each arm, task and setting, estimated and tested, not decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import invalid, unknown
from .effects import EFFECTS, EffectTest, effect_test
from .statistics import Side, log_slope, rate, sign_p_value, two_sided

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


#: How fast a metric grows with what a task varies along, of one seed, by the kind of a criterion.
GROWTHS = {"slope": log_slope, "rate": rate}


@dataclass(frozen=True)
class Cell:
    """One test of a comparison: at one setting, or over a range of them for a slope or a rate.

    `p` is two-sided; `holds` says on which side of the bounds the seeds lie, not that it is decided.
    """

    at: tuple[float, ...]
    estimate: float
    low: float
    high: float
    seeds: int
    failed: int
    p: float
    holds: bool


def bounds_of(criterion: Any) -> tuple[float | None, float | None]:
    """The effect lies where the criterion says if it is above the first and below the second; None is no bound.

    Raises:
        ValueError: neither is given.
    """
    above, below = getattr(criterion, "above", None), getattr(criterion, "below", None)
    if above is None and below is None:
        raise invalid(f"criterion {criterion.id}: above, below", (above, below), "a number in at least one of them")
    return None if above is None else float(above), None if below is None else float(below)


def asked_of(criterion: Any) -> str:
    """The bounds of a criterion in words: `above 0.23 and below 0.27`."""
    sides = zip(("above", "below"), bounds_of(criterion), strict=True)
    return " and ".join(f"{side} {bound:g}" for side, bound in sides if bound is not None)


def contrasts(criterion: Any) -> list[tuple[str, str, str]]:
    """Task, arm and other arm of each comparison; of a share all tasks and arms make one."""
    if criterion.kind == "share":
        return [(", ".join(criterion.tasks), "all arms", "")]
    return [
        (task, arm, against)
        for task in criterion.tasks
        for arm in criterion.arms
        for against in getattr(criterion, "against", None) or ("",)
    ]


def compare(criterion: Any, rows: pd.DataFrame, arm: str, against: str, seeds: range) -> list[Cell]:
    """The cells of a comparison.

    Args:
        criterion: `kind` is slope, rate, value, difference or ratio; a share is `told_cell`.
        rows: results of the arms on one task.
        against: the other arm; empty where there is none.

    Raises:
        UnknownName: the kind of criterion.
        ValueError: two values for one arm, setting and seed.
    """
    bounds = bounds_of(criterion)
    own, other = rows[rows["arm"] == arm], rows[rows["arm"] == against]
    if criterion.kind in GROWTHS:
        return [_growth_cell(criterion, own, seeds, bounds)]
    if criterion.kind not in EFFECTS:
        raise unknown("kind of criterion", criterion.kind, (*GROWTHS, *EFFECTS))
    test = effect_test(criterion.kind, criterion.metric, getattr(criterion, "statistic", None))
    settings = getattr(criterion, "at", None) or sorted(rows["setting"].unique(), reverse=True)
    cells = []
    for setting in settings or [float("nan")]:
        first, second = (series(of, criterion.metric, setting, seeds) for of in (own, other))
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = EFFECTS[criterion.kind](first, second)
        cells.append(_tested((float(setting),), effect, test, bounds))
    return cells


def series(rows: pd.DataFrame, metric: str, setting: float, seeds: range) -> NDArray[np.float64]:
    """(len(seeds),) values of a metric at one setting, NaN for a seed without one."""
    here = rows[(rows["metric"] == metric) & np.isclose(rows["setting"].astype(float), setting, equal_nan=True)]
    if here["seed"].duplicated().any():
        raise invalid("results", metric, "one value for each task, arm, setting and seed: the results of one scale")
    values = here.set_index("seed")["value"].astype(float).reindex(seeds).to_numpy(copy=True)
    return np.where(np.isfinite(values), values, np.nan)


def told_cell(criterion: Any, rows: pd.DataFrame, seeds: range) -> Cell:
    """The cell of a share: of all (arm, task, setting) with results, those that come out as the criterion tells.

    One number a seed.

    Args:
        rows: results on the tasks of the criterion.
    """
    test = effect_test(criterion.kind, criterion.metric, getattr(criterion, "statistic", None))
    return _tested((float("nan"),), told_shares(criterion, rows, seeds), test, bounds_of(criterion))


def told_shares(criterion: Any, rows: pd.DataFrame, seeds: range) -> NDArray[np.float64]:
    """(len(seeds),) of each seed the share behind `told_cell`; NaN where there are no cells, or one is not run yet.

    What has no value, as that of a failed trial, did not come out as told.
    """
    hits, both = [], [*criterion.arms, *criterion.against]
    for above, arms in ((True, criterion.arms), (False, criterion.against)):
        own = rows[rows["arm"].isin(arms)]
        for _, of in own.groupby(["arm", "task"], sort=True):
            for setting in criterion.at or sorted(of["setting"].unique()):
                values = series(of, criterion.metric, setting, seeds)
                hits.append(values > criterion.split if above else values < criterion.split)
    if not hits:
        return np.full(len(seeds), np.nan)
    waiting = set(rows.loc[(rows["status"] == "pending") & rows["arm"].isin(both), "seed"])
    return np.where(np.isin(list(seeds), list(waiting)), np.nan, np.mean(hits, axis=0))


def _growth_cell(criterion: Any, rows: pd.DataFrame, seeds: range, bounds: tuple[float | None, float | None]) -> Cell:
    settings = sorted({float(at) for at in rows["setting"].dropna() if in_range(at, criterion.range)})
    if len(settings) < 2:
        growth = np.full(len(seeds), np.nan)
    else:
        table = np.stack([series(rows, criterion.metric, at, seeds) for at in settings], axis=1)
        growth = np.array([GROWTHS[criterion.kind](settings, seed) for seed in table])
    return _tested(
        tuple(settings),
        growth,
        effect_test(criterion.kind, criterion.metric, getattr(criterion, "statistic", None)),
        bounds,
    )


def in_range(setting: float, bounds: tuple[float, float]) -> bool:
    """Whether a setting lies in the range of a criterion, its ends included."""
    low, high = bounds
    return low - 1e-9 * abs(low) <= setting <= high + 1e-9 * abs(high)


def _tested(
    at: tuple[float, ...],
    values: NDArray[np.float64],
    test: EffectTest,
    bounds: tuple[float | None, float | None],
) -> Cell:
    """A cell from one number a seed.

    With failed seeds a decision must also survive the sign test in which every failed seed is on the other side, so a
    failure never helps to decide.
    """
    complete = values[(values > 0) & np.isfinite(values) if test.positive else ~np.isnan(values)]
    failed = values.size - complete.size
    estimate = test.estimate(complete)

    def p_value(threshold: float, side: Side) -> float:
        ranked = sign_p_value(complete, failed, threshold, side) if failed else 0.0
        return max(test.p_value(complete, threshold, side), ranked)

    above, below = bounds
    sides: list[tuple[float | None, Side, Side]] = [(above, "greater", "less"), (below, "less", "greater")]
    given = [(threshold, inside, outside) for threshold, inside, outside in sides if threshold is not None]
    # Inside means within every bound; outside means beyond any one of them, hence Bonferroni.
    p_inside = max(p_value(threshold, inside) for threshold, inside, _ in given)
    p_outside = min(1.0, len(given) * min(p_value(threshold, outside) for threshold, _, outside in given))
    p = two_sided(p_inside, p_outside)
    return Cell(at, estimate.value, estimate.low, estimate.high, complete.size, failed, p, p_inside <= p_outside)
