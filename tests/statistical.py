"""Bounds for tests of random quantities, each computed from the false-alarm rate it is to have.

A test that is right fails with probability at most `FALSE_ALARM` over its random numbers. A test that compares many
things says how many (`comparisons`), and each gets its share of the rate (Bonferroni), so that the rate is the whole
test's. An array counts as as many comparisons as it has entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

FALSE_ALARM = 1e-5
#: Expected counts below which Pearson's statistic has not its law so far out in the tail.
RARE = 20.0


def level(comparisons: int = 1, rate: float = FALSE_ALARM) -> float:
    """The p-value below which one of `comparisons` tests fails."""
    return rate / comparisons


def standard_errors(comparisons: int = 1, degrees: float = math.inf, rate: float = FALSE_ALARM) -> float:
    """How many standard errors a right estimate stays within on both sides, 4.42 for one comparison.

    `degrees` are those of freedom of a standard error that is itself estimated from normal values (Student's t): the
    number of values less one.
    """
    return float(stats.t(degrees).isf(level(comparisons, rate) / 2))


def within_standard_errors(
    estimate: ArrayLike,
    truth: ArrayLike,
    se: ArrayLike,
    comparisons: int = 1,
    degrees: float = math.inf,
    slack: ArrayLike = 0.0,
    rate: float = FALSE_ALARM,
) -> bool:
    """Whether every estimate with a normal error of standard error `se` agrees with the truth.

    `slack` is a bias that the estimate may have besides, in its own units.
    """
    off = np.abs(np.asarray(estimate, dtype=float) - np.asarray(truth, dtype=float))
    reach = standard_errors(comparisons * max(off.size, 1), degrees, rate) * np.asarray(se, dtype=float)
    return bool((off <= reach + np.asarray(slack, dtype=float)).all())


def variance_bounds(degrees: float, comparisons: int = 1, rate: float = FALSE_ALARM) -> tuple[float, float]:
    """Between which the ratio of a sample variance to the truth lies; chi-square, exact for normal values.

    `degrees` is the number of values where their mean is known, and one less where it is estimated.
    """
    tail = level(comparisons, rate) / 2
    law = stats.chi2(degrees)
    return float(law.ppf(tail)) / degrees, float(law.isf(tail)) / degrees


def variance_agrees(
    values: ArrayLike, truth: float = 1.0, mean: float | None = None, comparisons: int = 1, rate: float = FALSE_ALARM
) -> bool:
    """Whether independent normal values along the first axis have the variance, about `mean` where it is known."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    found = values.var(0, ddof=1) if mean is None else np.square(values - mean).mean(0)
    low, high = variance_bounds(n - 1 if mean is None else n, comparisons * found.size, rate)
    return bool(((found >= low * truth) & (found <= high * truth)).all())


def share_agrees(
    count: ArrayLike, n: ArrayLike, share: ArrayLike, comparisons: int = 1, rate: float = FALSE_ALARM
) -> bool:
    """Whether every count of successes among n independent trials has its binomial law; exact."""
    count, n, share = np.broadcast_arrays(count, n, share)
    law, tail = stats.binom(n, share), level(comparisons * count.size, rate) / 2
    return bool(((law.cdf(count) > tail) & (law.sf(count - 1) > tail)).all())


def counts_agree(counts: ArrayLike, shares: ArrayLike, comparisons: int = 1, rate: float = FALSE_ALARM) -> bool:
    """Whether counts of kinds have their multinomial law; Pearson's chi-square.

    Kinds that are expected fewer than `RARE` times are counted as one: its law is that of large counts.
    """
    counts, shares = np.asarray(counts, dtype=float), np.asarray(shares, dtype=float)
    expected = counts.sum() * shares / shares.sum()
    rare = expected < RARE
    if rare.any():
        counts, expected = (np.append(each[~rare], each[rare].sum()) for each in (counts, expected))
    return bool(stats.chisquare(counts, expected).pvalue > level(comparisons, rate))


def follows(
    values: ArrayLike, cdf: str | Callable[[np.ndarray], np.ndarray], comparisons: int = 1, rate: float = FALSE_ALARM
) -> bool:
    """Whether independent values have the distribution function; Kolmogorov-Smirnov, exact below 1e4 values."""
    return bool(stats.kstest(np.asarray(values, dtype=float).ravel(), cdf).pvalue > level(comparisons, rate))
