"""What a criterion makes of its metric, one number a seed, and how that is estimated and tested.

Both follow from the criterion's kind and from the scale that the metric declares. Student's t test keeps its level for
means of what is roughly normal, which logarithms of distances and curvatures are, and shares of starts are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.catalogue import METRICS, Scale
from .statistics import (
    Estimate,
    Side,
    bounded_estimate,
    bounded_p_value,
    geometric_estimate,
    geometric_p_value,
    mean_estimate,
    mean_p_value,
    median_estimate,
    sign_p_value,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


@dataclass(frozen=True)
class EffectTest:
    """An estimate with its interval, and the one-sided p that belongs to it.

    Attributes:
        name: what reports call it.
        estimate: of complete seeds. p_value: of these, a threshold and a side.
        positive: whether it needs numbers above 0; a seed that has none is not complete.
        bounds: between which its numbers lie, where it makes use of that.
    """

    name: str
    estimate: Callable[[Values], Estimate]
    p_value: Callable[[Values, float, Side], float]
    positive: bool = False
    bounds: tuple[float, float] | None = None


MEAN = EffectTest("mean, Student's t and Hall's", mean_estimate, mean_p_value)
GEOMETRIC = EffectTest(
    "geometric mean, Student's t and Hall's of logarithms", geometric_estimate, geometric_p_value, positive=True
)
MEDIAN = EffectTest(
    "median, sign test", median_estimate, lambda values, bound, side: sign_p_value(values, 0, bound, side)
)


def _bounded(low: float, high: float) -> EffectTest:
    return EffectTest(
        f"mean between {low:g} and {high:g}, Gaffke's test",
        lambda values: bounded_estimate(values, (low, high)),
        lambda values, threshold, side: bounded_p_value(values, (low, high), threshold, side),
        bounds=(low, high),
    )


#: By the kind of a criterion and the scale of its metric. Slopes and rates are of logarithms already.
TESTS: dict[tuple[str, Scale], EffectTest] = {
    **{(kind, scale): MEAN for kind in ("slope", "rate") for scale in ("linear", "log", "share")},
    ("value", "linear"): MEAN,
    ("value", "log"): GEOMETRIC,
    ("value", "share"): _bounded(0.0, 1.0),
    ("difference", "linear"): MEAN,
    # Differences of what spans decades are as skewed as it is, and of either sign.
    ("difference", "log"): MEDIAN,
    ("difference", "share"): _bounded(-1.0, 1.0),
    ("ratio", "linear"): GEOMETRIC,
    ("ratio", "log"): GEOMETRIC,
    ("ratio", "share"): MEDIAN,
    # Of cells that come out as told: over dozens of them a share is near normal, where a share of one cell is not.
    **{("share", scale): MEAN for scale in ("linear", "log", "share")},
}

#: What a criterion of each kind asks of an arm's metric and the other's at one setting.
EFFECTS: dict[str, Callable[[Values, Values], Values]] = {
    "value": lambda own, other: own,
    "difference": lambda own, other: own - other,
    "ratio": lambda own, other: own / other,
}


def effect_test(kind: str, metric: str, statistic: str | None = None) -> EffectTest:
    """How a criterion of that kind on that metric is tested; a metric that the catalogue lacks is linear."""
    if statistic == "median":
        return MEDIAN
    described = METRICS.get(metric)
    return TESTS[kind, described.scale if described else "linear"]


def least_p_value(kind: str, metric: str, statistic: str | None, seeds: int, bound: float, side: Side) -> float:
    """The least two-sided p that so many seeds can give: the values of a share reach its ends at best."""
    test = effect_test(kind, metric, statistic)
    if test is MEDIAN:
        return min(1.0, 2 * 0.5**seeds)
    described = METRICS.get(metric)
    shares = described is not None and described.scale == "share" and kind in EFFECTS
    if not shares or kind == "ratio":
        return 0.0
    end = 1.0 if side == "greater" else (-1.0 if kind == "difference" else 0.0)
    return min(1.0, 2 * test.p_value(np.full(seeds, end), bound, side))
