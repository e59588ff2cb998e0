"""Intervals and tests over seeds: of means, medians and bounded means, growth, Holm's correction.

A seed is the unit of replication: every function takes one number a seed. SciPy does the work; what is written here is
what a verdict adds to it: the seeds that failed, and seeds that all agree.
"""

from __future__ import annotations

import math
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

#: By how much of itself the skewness of so many numbers is taken to fall short of its law's: over their count. Chosen
#: by simulation, 100,000 samples each: with it a log-normal(0, 1) law is decided wrongly, on both sides together, in
#: 5.0, 4.0 and 4.3 cases of a hundred at 10, 20 and 30 seeds, where the sample's own skewness gives 8.2, 6.6 and 6.1.
INFLATION = 10.0

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
    """Mean of the finite values with the interval of `mean_p_value`; NaN bounds with fewer than two."""
    from scipy import special

    sample = _finite(values)
    if sample.size < 2:
        return replace(no_estimate(level, sample.size), value=float(sample.mean()) if sample.size else float("nan"))
    quantile = special.stdtrit(sample.size - 1, (1 + level) / 2)
    mean, error = sample.mean(), sample.std(ddof=1) / np.sqrt(sample.size)
    above, below = Bend.of(sample).critical(quantile)
    low, high = mean - error * float(above), mean - error * float(below)
    return Estimate(float(mean), float(low), float(high), level, sample.size)


@dataclass(frozen=True)
class Bend:
    """Hall's transformation of Student's t, which takes its skewness away: g(t) = ((1 + a t)^3 - 1) / 3a + a / 2 with
    a = skewness / (3 sqrt n) (Hall 1992, Journal of the Royal Statistical Society B 54, 221-228, eq. 3).

    The skewness is the sample's times `INFLATION`, because few numbers of a skewed law seldom hold its long tail.
    `a` is that of one sample or an array, one a sample.
    """

    a: float | NDArray[np.float64]

    @classmethod
    def of(cls, sample: NDArray[np.float64]) -> Bend:
        """That of a sample (n,), by its skewness."""
        from scipy import stats

        if sample.size < 3 or np.ptp(sample) == 0:
            return cls(0.0)
        return cls.of_skewness(float(stats.skew((sample - sample.mean()) / sample.std(), bias=False)), sample.size)

    @classmethod
    def of_skewness(cls, skewness: float | NDArray[np.float64], count: int) -> Bend:
        """That of samples of `count` numbers with this skewness, without bias (Joanes and Gill 1998, G1)."""
        return cls((1 + INFLATION / count) * skewness / (3 * np.sqrt(count)))

    def __call__(self, t: float) -> float:
        return float(t + self.a * t * t + self.a**2 * t**3 / 3 + self.a / 2)

    def critical(self, quantile: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Above the first, t and g(t) are both above the quantile; below the second, both are below minus it."""
        a = np.asarray(self.a, dtype=np.float64)
        straight = np.abs(a) < 1e-6

        def inverse(g: float) -> NDArray[np.float64]:
            bent: NDArray[np.float64] = (np.cbrt(1 + 3 * a * (g - a / 2)) - 1) / np.where(straight, 1.0, a)
            return np.where(straight, g, bent)

        return np.maximum(quantile, inverse(quantile)), np.minimum(-quantile, inverse(-quantile))


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


def bounded_estimate(values: ArrayLike, bounds: tuple[float, float], level: float = 1 - ALPHA) -> Estimate:
    """Mean of numbers that lie between bounds, with the interval of Gaffke (2005) within them; `bounded_p_value`.

    Of numbers that do not there is no interval.
    """
    from scipy import optimize

    sample = _finite(values)
    if sample.size < 2 or _beyond(sample, bounds):
        return replace(mean_estimate(sample, level), low=math.nan, high=math.nan)
    alpha = (1 - level) / 2

    def end(side: Side, bound: float) -> float:
        def excess(threshold: float) -> float:
            return bounded_p_value(sample, bounds, threshold, side) - alpha

        return bound if excess(bound) >= 0 else float(optimize.brentq(excess, *bounds))

    return Estimate(float(sample.mean()), end("greater", bounds[0]), end("less", bounds[1]), level, sample.size)


def _beyond(sample: NDArray[np.float64], bounds: tuple[float, float]) -> bool:
    """Whether a number lies beyond the bounds, by more than sums of shares round."""
    slack = 1e-9 * (bounds[1] - bounds[0])
    return bool(np.any((sample < bounds[0] - slack) | (sample > bounds[1] + slack)))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of the finite values (Agarwal et al. 2021, NeurIPS, "Statistical precipice")."""
    sample = np.sort(_finite(values))
    cut = sample.size // 4
    return float(sample[cut : sample.size - cut].mean()) if sample.size else float("nan")


def mean_p_value(values: ArrayLike, threshold: float, side: Side) -> float:
    """One-sided p that the mean lies on `side` of the threshold: the larger of Student's t test and Hall's.

    Student's rejects too often towards the short tail of a skewed law: of an exponential one at 10 seeds, whose mean is
    called less than what it is in 9 cases of a hundred where 2.5 are meant, and both together in 2.8. Seeds that all
    agree to the last bit have no standard error; there the sign test decides.
    """
    from scipy import special

    sample = _finite(values)
    if sample.size < 2:
        return 1.0
    if np.ptp(sample) <= 1e-12 * max(1.0, float(np.abs(sample).max())):
        return sign_p_value(sample, 0, threshold, side)
    t = float((sample.mean() - threshold) / (sample.std(ddof=1) / np.sqrt(sample.size)))
    both = (t, Bend.of(sample)(t))
    return float(special.stdtr(sample.size - 1, -min(both) if side == "greater" else max(both)))


def geometric_p_value(values: ArrayLike, threshold: float, side: Side) -> float:
    """One-sided p of Student's t test that the mean logarithm lies on `side` of that of the threshold.

    Values are positive; of a threshold that is not, they are all above.
    """
    if threshold <= 0:
        return sign_p_value(_finite(values), 0, threshold, side)
    return mean_p_value(np.log(_finite(values)), float(np.log(threshold)), side)


def bounded_p_value(values: ArrayLike, bounds: tuple[float, float], threshold: float, side: Side) -> float:
    """One-sided p that the mean of numbers that lie between bounds lies on `side` of the threshold.

    Gaffke (2005), Mathematical Methods of Statistics 14, 451-467: the chance that a mean of the values and of the bound
    on the other side, weighted by a flat Dirichlet draw, does not. Of zeros and ones it is the binomial test, and so
    it keeps its level where a t test does not: where nearly all seeds reach the bound. Over the draws that mean has a
    B-spline as its density, whose knots are the values (Curry and Schoenberg 1966), and it is summed exactly. Of
    numbers that do not lie between the bounds nothing is found: 1.
    """
    from scipy.interpolate import BSpline

    sample = _finite(values)
    if _beyond(sample, bounds):
        return 1.0
    if side == "less":
        return bounded_p_value(-sample, (-bounds[1], -bounds[0]), -threshold, "greater")
    # Knots that differ by less than that are one, for quotients of their differences would overflow.
    unit = 1e-12 * (bounds[1] - bounds[0])
    knots = np.sort(np.round(np.append(sample, bounds[0]) / unit)) * unit
    if threshold < knots[0] or threshold >= knots[-1]:
        return float(threshold >= knots[-1])
    # The integral of a B-spline is the sum of those of one degree more that begin no earlier (de Boor 1978, ch. X).
    n = sample.size
    padded = np.concatenate([np.full(n, knots[0]), knots, np.full(n, knots[-1])])
    weights = np.concatenate([np.zeros(n), np.ones(n)])
    return float(np.clip(BSpline.construct_fast(padded, weights, n)(threshold), 0.0, 1.0))


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


def log_slope(settings: ArrayLike, values: ArrayLike) -> float:
    """Least-squares slope of ln value in ln setting of one seed; NaN where a value is missing or not positive.

    Raises:
        ValueError: fewer than two distinct settings, or one that is not positive.
    """
    at = np.asarray(settings, dtype=np.float64)
    if np.any(at <= 0):
        raise invalid("settings", at.tolist(), "positive values for a slope in their logarithms")
    return rate(np.log(at), values)


def rate(settings: ArrayLike, values: ArrayLike) -> float:
    """Least-squares slope of ln value in the setting of one seed; NaN where a value is missing or not positive.

    Raises:
        ValueError: fewer than two distinct settings.
    """
    from scipy import stats

    at, value = np.asarray(settings, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if np.unique(at).size < 2:
        raise invalid("settings", at.tolist(), "at least two distinct values")
    if not np.all(np.isfinite(value) & (value > 0)):
        return float("nan")
    return float(stats.linregress(at, np.log(value)).slope)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979, Scandinavian Journal of Statistics 6), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    if np.any(~((p >= 0) & (p <= 1))):
        raise invalid("p_values", p.tolist(), "numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return [float(v) for v in adjusted]
