"""Intervals and tests over seeds: t intervals, exact median intervals, slopes in ln thickness, Holm's correction.

A seed is the unit of replication: every function takes one number a seed. SciPy does the work; what is written here is
what a verdict adds to it: the seeds that failed, and seeds that all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..core.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Fewer seeds than this give no verdict but `undecided`.
MIN_SEEDS = 10
#: Family-wise error rate of a study's criteria; the intervals have level 1 - ALPHA.
ALPHA = 0.05

Side = Literal["less", "greater"]


@dataclass(frozen=True)
class Estimate:
    """A number over seeds with a two-sided interval of the given level; `low` and `high` NaN where there is none."""

    value: float
    low: float
    high: float
    level: float
    n: int


def no_estimate(level: float = 1 - ALPHA, n: int = 0) -> Estimate:
    """What there is to say where nothing can be estimated."""
    nan = float("nan")
    return Estimate(nan, nan, nan, level, n)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def mean_estimate(values: ArrayLike, level: float = 1 - ALPHA) -> Estimate:
    """Mean with Student's t interval, over the finite values; NaN bounds with fewer than two."""
    from scipy import special

    sample = _finite(values)
    if sample.size < 2:
        return replace(no_estimate(level, sample.size), value=float(sample.mean()) if sample.size else float("nan"))
    quantile = special.stdtrit(sample.size - 1, (1 + level) / 2)
    mean, half = sample.mean(), quantile * sample.std(ddof=1) / np.sqrt(sample.size)
    return Estimate(float(mean), float(mean - half), float(mean + half), level, sample.size)


def geometric_estimate(values: ArrayLike, level: float = 1 - ALPHA) -> Estimate:
    """Geometric mean: the t interval of the logarithms, mapped back. Values that are not positive give NaN."""
    sample = _finite(values)
    if not sample.size or np.any(sample <= 0):
        return no_estimate(level, sample.size)
    log = mean_estimate(np.log(sample), level)
    return Estimate(float(np.exp(log.value)), float(np.exp(log.low)), float(np.exp(log.high)), level, log.n)


def median_estimate(values: ArrayLike, level: float = 1 - ALPHA) -> Estimate:
    """Median with the exact order-statistic interval (Conover 1999, section 3.2), of at least the given level.

    NaN bounds where so few values have no interval of that level (fewer than 6 at .95). Infinities are ranks: kept.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64).ravel()
    sample = sample[~np.isnan(sample)]
    if not sample.size:
        return no_estimate(level)
    interval = stats.quantile_test(sample, p=0.5).confidence_interval(level)
    return Estimate(float(np.median(sample)), float(interval.low), float(interval.high), level, sample.size)


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of the finite values (Agarwal et al. 2021, NeurIPS, "Statistical precipice")."""
    from scipy import stats

    sample = _finite(values)
    return float(stats.trim_mean(sample, 0.25)) if sample.size else float("nan")


def mean_p_value(values: ArrayLike, threshold: float, side: Side) -> float:
    """One-sided p of Student's t test that the mean lies on `side` of the threshold.

    Seeds that all agree to the last bit have no standard error; there the sign test decides.
    """
    from scipy import stats

    sample = _finite(values)
    if sample.size < 2:
        return 1.0
    if np.ptp(sample) <= 1e-12 * max(1.0, float(np.abs(sample).max())):
        return sign_p_value(sample, 0, threshold, side)
    return float(stats.ttest_1samp(sample, threshold, alternative=side).pvalue)


def sign_p_value(values: ArrayLike, failed: int, threshold: float, side: Side) -> float:
    """One-sided p of the sign test that the median lies on `side` of the threshold; ties and failures do not."""
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64).ravel()
    sample = sample[~np.isnan(sample)]
    hits = int((sample > threshold).sum() if side == "greater" else (sample < threshold).sum())
    seeds = sample.size + failed
    return float(stats.binomtest(hits, seeds, 0.5, alternative="greater").pvalue) if seeds else 1.0


def two_sided(p_one: float, p_other: float) -> float:
    """The p of a decision in either direction: a 1 - alpha interval lies beyond the threshold just when p <= alpha."""
    return min(1.0, 2 * min(p_one, p_other))


def log_slope(thickness: ArrayLike, values: ArrayLike) -> float:
    """Least-squares slope of ln value in ln thickness of one seed; NaN where a value is missing or not positive.

    Raises:
        ValueError: fewer than two distinct thicknesses, or one that is not positive.
    """
    from scipy import stats

    eps, value = np.asarray(thickness, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if np.any(eps <= 0) or np.unique(eps).size < 2:
        raise invalid("thickness", eps.tolist(), "at least two distinct positive values for a slope")
    if not np.all(np.isfinite(value) & (value > 0)):
        return float("nan")
    return float(stats.linregress(np.log(eps), np.log(value)).slope)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979, Scandinavian Journal of Statistics 6), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    if np.any(~((p >= 0) & (p <= 1))):
        raise invalid("p_values", p.tolist(), "numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return [float(v) for v in adjusted]
