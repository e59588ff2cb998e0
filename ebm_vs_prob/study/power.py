"""How often each test over seeds decides: by how far the effect lies from its bounds, and by how seeds scatter.

Nothing is simulated. The power of tests of means is that of normal seeds, of medians it is exact, and of means between
bounds it is that of seeds that lie at the two ends.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..core.errors import invalid
from .statistics import ALPHA, MIN_SEEDS, Bend

#: With which an effect that matters is to be found.
POWER = 0.8
#: Nodes over the skewness of a sample, on either side of 0, and over its standard deviation.
SKEWNESS_NODES, DEVIATION_NODES = 32, 96
#: Standard deviations of normal values that are covered.
REACH = 8.0


def one_sided_level(comparisons: int) -> float:
    """The level of each one-sided test of so many comparisons, at the first and strictest step of Holm's correction."""
    return 0.5 * ALPHA / comparisons


@lru_cache(maxsize=64)
def _nodes(seeds: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Critical values above and below (skewness,), standard deviations (deviation,), weights (skewness, deviation).

    Of normal values the sample's skewness is independent of its mean and standard deviation (Basu 1955), and follows
    Johnson's S_U law (D'Agostino 1970, Biometrika 57, 679-681); the standard deviation follows the chi law.
    """
    from scipy import special, stats

    if seeds < MIN_SEEDS:
        raise invalid("seeds", seeds, f"at least {MIN_SEEDS}, as every verdict needs")
    n = float(seeds)
    node, weight = np.polynomial.legendre.leggauss(SKEWNESS_NODES)
    # The test has a kink where the skewness is 0.
    z = np.concatenate([(node - 1) / 2, (node + 1) / 2]) * REACH
    skew_weight = np.tile(weight / 2, 2) * REACH * stats.norm.pdf(z)
    kurtosis = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w = math.sqrt(2 * (kurtosis - 1)) - 1
    skewness = math.sqrt(2 / (w - 1)) * np.sinh(z * math.sqrt(0.5 * math.log(w)))
    unbiased = skewness * math.sqrt(6 * (n - 2) / ((n + 1) * (n + 3))) * math.sqrt(n * (n - 1)) / (n - 2)
    above, below = Bend.of_skewness(unbiased, seeds).critical(float(special.stdtrit(seeds - 1, 1 - level)))

    node, weight = np.polynomial.legendre.leggauss(DEVIATION_NODES)
    half = 1.5 * REACH / math.sqrt(2 * (n - 1))
    low, high = max(0.0, 1 - half), 1 + half
    deviation = (low + high) / 2 + (high - low) / 2 * node
    density = stats.chi.pdf(deviation * math.sqrt(n - 1), n - 1) * math.sqrt(n - 1)
    return above, below, deviation, skew_weight[:, None] * (weight * density * (high - low) / 2)


def mean_power(seeds: int, level: float, over: float, under: float = math.inf) -> float:
    """How often Student's test and Hall's both find the mean of normal seeds above one bound, and below another.

    Without Hall's it would be the tail of the noncentral t law (Cohen 1988, section 2.3), or with two bounds that of
    two one-sided tests (Schuirmann 1987).

    Args:
        level: of each one-sided test.
        over: how far the mean lies above the one bound, in standard deviations over seeds.
        under: how far below the other; inf where there is none.

    Raises:
        ValueError: fewer seeds than a verdict needs.
    """
    from scipy import special

    above, below, deviation, weight = _nodes(seeds, level)
    root = math.sqrt(seeds)
    least = special.ndtr(above[:, None] * deviation - over * root)
    most = special.ndtr(below[:, None] * deviation + under * root) if math.isfinite(under) else 1.0
    return float(np.clip((weight * np.maximum(most - least, 0.0)).sum(), 0.0, 1.0))


@lru_cache(maxsize=1024)
def detectable_mean(seeds: int, level: float, power: float = POWER, within: bool = False) -> float:
    """How many standard deviations over seeds a mean lies from its bound that `mean_power` finds so often.

    With `within` from either of two bounds, in the middle of them.
    """
    from scipy import optimize

    def excess(distance: float) -> float:
        return mean_power(seeds, level, distance, distance if within else math.inf) - power

    return float(optimize.brentq(excess, 0.0, 1000.0))


def sign_power(seeds: int, level: float, share: float) -> float:
    """How often the sign test finds that the median lies beyond its bound, where that share of all seeds does; exact.

    `share` is a probability.
    """
    from scipy import stats

    return float(stats.binom.sf(_needed(seeds, level, 0.5) - 1, seeds, share))


def detectable_share(seeds: int, level: float, power: float = POWER) -> float:
    """The share of seeds beyond the bound that `sign_power` finds so often; NaN where no share is."""
    return _probability(seeds, _needed(seeds, level, 0.5), power)


def bounded_power(seeds: int, level: float, bound: float, mean: float) -> float:
    """How often Gaffke's test finds a mean between 0 and 1 above its bound, of seeds that are 0 or 1; exact.

    Of these it is the binomial test.
    """
    from scipy import stats

    return float(stats.binom.sf(_needed(seeds, level, bound) - 1, seeds, mean))


def detectable_bounded(seeds: int, level: float, bound: float, power: float = POWER) -> float:
    """The mean between 0 and 1 that Gaffke's test finds above its bound so often; NaN where none is.

    Of seeds that are 0 or 1, or of seeds all alike where these need a larger one: m is found where the chance that
    m times a Beta(n, 1) variable lies below the bound, (bound / m)^n, is at most the level.
    """
    alike = bound / level ** (1 / seeds)
    found = np.maximum(alike, _probability(seeds, _needed(seeds, level, bound), power))
    return float(found) if found <= 1 else math.nan


def _needed(seeds: int, level: float, share: float) -> int:
    """The fewest hits that a binomial test of the level takes for more than that share; one too many where none is."""
    from scipy import stats

    return int(np.argmax(np.append(stats.binom.sf(np.arange(seeds + 1) - 1, seeds, share) <= level, True)))


def _probability(seeds: int, hits: int, power: float) -> float:
    """The probability of a hit with which so many of the seeds, or more, hit so often (Clopper and Pearson 1934)."""
    from scipy import special

    return math.nan if hits > seeds else float(special.betaincinv(hits, seeds - hits + 1, power))
