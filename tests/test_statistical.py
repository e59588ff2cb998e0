"""The bounds have the false-alarm rate they are asked for, and see what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statistical import (
    counts_agree,
    follows,
    share_agrees,
    standard_errors,
    variance_agrees,
    variance_bounds,
    within_standard_errors,
)

RATE, ROUNDS = 0.2, 600


def alarms(check):
    """How many of ROUNDS right samples fail at RATE."""
    rng = np.random.default_rng(0)
    return sum(not check(rng) for _ in range(ROUNDS))


def is_the_rate(count, rate=RATE):
    """Judged by the exact binomial law itself, of scipy: a rate half or twice as large is seen with power over .85."""
    return stats.binomtest(count, ROUNDS, rate).pvalue > 1e-5


@pytest.mark.parametrize("comparisons", [1, 5, 100])
def test_standard_errors_are_the_quantiles_of_their_laws(comparisons):
    z, t = standard_errors(comparisons), standard_errors(comparisons, degrees=7)
    assert comparisons * math.erfc(z / math.sqrt(2)) == pytest.approx(1e-5, rel=1e-9)
    assert comparisons * 2 * stats.t(7).sf(t) == pytest.approx(1e-5, rel=1e-9)
    assert t > z
    low, high = variance_bounds(50, comparisons)
    assert comparisons * stats.chi2(50).cdf(50 * low) == pytest.approx(0.5e-5, rel=1e-9)
    assert comparisons * stats.chi2(50).sf(50 * high) == pytest.approx(0.5e-5, rel=1e-9)


@pytest.mark.slow
def test_the_rates_are_those_asked_for():
    """Bonferroni's share for 4 independent comparisons loses a tenth of it at most."""
    assert is_the_rate(alarms(lambda rng: within_standard_errors(rng.normal(size=4), 0.0, 1.0, rate=RATE)))

    def estimated(rng):
        values = rng.normal(3.0, 2.0, size=6)
        return within_standard_errors(values.mean(), 3.0, values.std(ddof=1) / 6**0.5, degrees=5, rate=RATE)

    assert is_the_rate(alarms(estimated))
    assert is_the_rate(alarms(lambda rng: variance_agrees(rng.normal(5.0, 3.0, (9, 4)), 9.0, rate=RATE)))
    assert is_the_rate(alarms(lambda rng: variance_agrees(rng.normal(5.0, 3.0, 9), 9.0, mean=5.0, rate=RATE)))
    assert is_the_rate(alarms(lambda rng: follows(rng.uniform(size=100), "uniform", rate=RATE)))
    assert is_the_rate(alarms(lambda rng: counts_agree(rng.multinomial(2000, [0.2, 0.3, 0.5]), [2, 3, 5], rate=RATE)))


@pytest.mark.parametrize(("n", "share"), [(1, 0.5), (40, 0.02), (1000, 0.3), (7, 0.0), (7, 1.0)])
def test_a_share_is_refused_with_no_more_than_the_rate(n, share):
    refused = [k for k in range(n + 1) if not share_agrees(k, n, share, rate=RATE)]
    assert stats.binom(n, share).pmf(refused).sum() <= RATE
    assert all(share_agrees(k, n, k / n) for k in range(0, n + 1, max(n // 20, 1)))


def test_what_is_wrong_is_seen():
    rng = np.random.default_rng(1)
    assert not within_standard_errors([0.0, 4.6], 0.0, 1.0)
    assert within_standard_errors([0.0, 4.5], 0.0, 1.0)
    assert within_standard_errors([0.0, 4.6], 0.0, 1.0, slack=0.2)
    assert not within_standard_errors(math.nan, 0.0, 1.0)
    assert not variance_agrees(rng.normal(0, 1.1, 10_000))
    assert not variance_agrees(np.full(10, math.nan))
    assert not variance_agrees(rng.normal(0.5, 1.0, 10_000), mean=0.0)
    assert not follows(rng.normal(0.1, 1.0, 10_000), "norm")
    assert not share_agrees(600, 1000, 0.5)
    assert not share_agrees(1, 7, 0.0)
    assert not counts_agree([300, 300, 400], [2, 3, 5])
    assert counts_agree([500, 499, 1, 0, 0], [1, 1, 1e-9, 1e-3, 1e-3])  # the rare ones are one
    assert not counts_agree([500, 450, 50, 0, 0], [1, 1, 1e-9, 1e-3, 1e-3])
