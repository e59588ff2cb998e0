"""What a criterion compares: one number a seed for each arm, task and thickness, estimated and tested, not decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import invalid, unknown
from .effects import EFFECTS, EffectTest, effect_test
from .statistics import Side, log_slope, sign_p_value, two_sided

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Cell:
    """One test of a comparison: at one thickness, or over a range of them for a slope.

    `p` is two-sided; `holds` says on which side of the bounds the seeds lie, not that it is decided.
    """

    thickness: tuple[float, ...]
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


def compare(
    criterion: Any, rows: pd.DataFrame, arm: str, against: str, seeds: range
) -> tuple[list[Cell], dict[str, float]]:
    """The cells of a comparison and the fixed steps chosen for its arms.

    Args:
        criterion: `kind` is slope, value, difference or ratio.
        rows: results of the arms on one task.
        against: the other arm; empty for a slope or a value.

    Raises:
        UnknownName: the kind of criterion.
        ValueError: two values for one arm, thickness and seed.
    """
    bounds = bounds_of(criterion)
    own, other = rows[rows["arm"] == arm], rows[rows["arm"] == against]
    metric = dict.fromkeys((arm, against), criterion.metric)
    steps: dict[str, float] = {}
    if getattr(criterion, "choose_step_at", None) is not None:
        for name, subset in ((arm, own), (against, other)):
            chosen = choose_step(subset, criterion.metric, criterion.choose_step_at, seeds)
            if chosen is not None:
                metric[name], steps[name] = chosen
    if criterion.kind == "slope":
        return [_slope_cell(criterion, own, metric[arm], seeds, bounds)], steps
    if criterion.kind not in EFFECTS:
        raise unknown("kind of criterion", criterion.kind, ("slope", *EFFECTS))
    test = effect_test(criterion.kind, criterion.metric)
    thicknesses = getattr(criterion, "thickness", None) or sorted(rows["thickness"].unique(), reverse=True)
    cells = []
    for eps in thicknesses or [float("nan")]:
        first, second = series(own, metric[arm], eps, seeds), series(other, metric[against], eps, seeds)
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = EFFECTS[criterion.kind](first, second)
        cells.append(_tested((float(eps),), effect, test, bounds))
    return cells, steps


def choose_step(rows: pd.DataFrame, prefix: str, thickness: float, seeds: range) -> tuple[str, float] | None:
    """The metric and step with the highest mean at a thickness; failed seeds count 0; of equals the largest step."""
    names = [name for name in rows["metric"].dropna().unique() if name.startswith(f"{prefix}@")]
    scored = []
    for name in names:
        values = series(rows, name, thickness, seeds)
        if np.isfinite(values).any():
            scored.append((round(float(np.nan_to_num(values).mean()), 12), float(name.split("@", 1)[1]), name))
    return (max(scored)[2], max(scored)[1]) if scored else None


def series(rows: pd.DataFrame, metric: str, thickness: float, seeds: range) -> NDArray[np.float64]:
    """(len(seeds),) values of a metric at one thickness, NaN for a seed without one."""
    here = rows[(rows["metric"] == metric) & np.isclose(rows["thickness"].astype(float), thickness, equal_nan=True)]
    if here["seed"].duplicated().any():
        raise invalid("results", metric, "one value for each task, arm, thickness and seed: the results of one scale")
    values = here.set_index("seed")["value"].astype(float).reindex(seeds).to_numpy(copy=True)
    return np.where(np.isfinite(values), values, np.nan)


def _slope_cell(
    criterion: Any, rows: pd.DataFrame, metric: str, seeds: range, bounds: tuple[float | None, float | None]
) -> Cell:
    low, high = criterion.range
    eps = sorted({float(e) for e in rows["thickness"].dropna() if e > 0 and low * (1 - 1e-9) <= e <= high * (1 + 1e-9)})
    if len(eps) < 2:
        slopes = np.full(len(seeds), np.nan)
    else:
        table = np.stack([series(rows, metric, e, seeds) for e in eps], axis=1)
        slopes = np.array([log_slope(eps, seed) for seed in table])
    return _tested(tuple(eps), slopes, effect_test("slope", criterion.metric), bounds)


def _tested(
    thickness: tuple[float, ...],
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
    return Cell(thickness, estimate.value, estimate.low, estimate.high, complete.size, failed, p, p_inside <= p_outside)
