"""What a criterion's own test finds, and how often, at so many seeds of such a scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .comparisons import bounds_of
from .effects import MEDIAN, effect_test
from .power import (
    POWER,
    bounded_power,
    detectable_bounded,
    detectable_mean,
    detectable_share,
    mean_power,
    one_sided_level,
    sign_power,
)
from .statistics import ALPHA, MIN_SEEDS

if TYPE_CHECKING:
    from .comparisons import Cell
    from .effects import EffectTest


def stated_effects(criterion: Any) -> tuple[tuple[float, ...], str]:
    """The effect that matters and whence: what the file states of it."""
    for name in ("smallest_effect", "law"):
        if getattr(criterion, name, None) is not None:
            return (getattr(criterion, name),), name
    return (), ""


def scatter_of(cell: Cell, test: EffectTest) -> float:
    """The standard deviation over the seeds of a cell of means, of logarithms where the test takes these; else NaN.

    Read off the interval: of its halves the narrower is Student's, whatever Hall's transformation makes of the other.
    """
    from scipy import special

    if cell.seeds < 2 or not _is_mean(test):
        return math.nan
    value, low, high = (_on_scale(test, number) for number in (cell.estimate, cell.low, cell.high))
    half = min(value - low, high - value)
    return float(half * math.sqrt(cell.seeds) / special.stdtrit(cell.seeds - 1, 1 - ALPHA / 2))


def detectable(criterion: Any, cell: Cell, comparisons: int) -> str:
    """What seeds that scatter as those of a cell find, in words: for a verdict that they do not decide.

    "" where nothing is known of it. With the power for the effect that matters, where the criterion states one.

    Args:
        comparisons: in the cell's family of tests under Holm's correction.
    """
    question = Question(criterion, cell.seeds, one_sided_level(comparisons), POWER)
    scatter = scatter_of(cell, question.test)
    of_means = _is_mean(question.test)
    if cell.seeds < MIN_SEEDS or (of_means and not scatter > 0):
        return ""
    said, power = question.detectable(scatter)[1], POWER
    if of_means and question.is_band:
        over, under = (_on_scale(question.test, bound or 0.0) for bound in bounds_of(criterion))
        half = (under - over) / 2 / scatter
        said, power = "an effect in the middle of its bounds", mean_power(cell.seeds, question.level, half, half)
    found = f"{cell.seeds} seeds of this scatter find {said} with probability {power:.2g}"
    matters = [(effect, question.power(effect, scatter)) for effect in stated_effects(criterion)[0]]
    return found + "".join(f", and {effect:g} with {power:.2g}" for effect, power in matters if not math.isnan(power))


def test_of(criterion: Any) -> EffectTest:
    return effect_test(criterion.kind, criterion.metric, getattr(criterion, "statistic", None))


def _is_mean(test: EffectTest) -> bool:
    return test is not MEDIAN and test.bounds is None


def _on_scale(test: EffectTest, number: float) -> float:
    """A number as the test takes it: its logarithm where it takes these."""
    if not test.positive or math.isnan(number):
        return number
    return math.log(number) if number > 0 else -math.inf


@dataclass(frozen=True)
class Question:
    """One test of a criterion at so many seeds: the level of each one-sided part, and how often it is to decide."""

    criterion: Any
    seeds: int
    level: float
    target: float

    @property
    def test(self) -> EffectTest:
        return test_of(self.criterion)

    @property
    def is_band(self) -> bool:
        return None not in bounds_of(self.criterion)

    def detectable(self, scatter: float) -> tuple[float, str]:
        """The number of `Planned.detectable`, and what it says at a scatter, or at none that is known."""
        if _is_mean(self.test):
            found = detectable_mean(self.seeds, self.level, self.target, self.is_band)
            if math.isnan(scatter):
                size = f"{found:.3g} standard deviations{' of logarithms' * self.test.positive}"
            elif self.test.positive:
                size = f"a factor of {math.exp(found * scatter):.3g}"
            else:
                size = f"{found * scatter:.2g}"
            return found, f"an effect {size} from {'both bounds' if self.is_band else 'its bound'}"
        if self.test is MEDIAN:
            # A median between bounds has to be found by two tests.
            found = detectable_share(self.seeds, self.level, 1 - (1 - self.target) / (1 + self.is_band))
            return found, "nothing" if math.isnan(found) else f"{found:.2f} of all seeds beyond its bound"
        if self.is_band:
            return math.nan, "what is not known of means that lie between bounds"
        share, is_above = self._shares()[0], bounds_of(self.criterion)[0] is not None
        found = detectable_bounded(self.seeds, self.level, share if is_above else 1 - share, self.target)
        low, high = self.test.bounds or (0.0, 1.0)
        mean = low + (high - low) * (found if is_above else 1 - found)
        return mean, "nothing" if math.isnan(mean) else f"a mean of {mean:.3g}"

    def power(self, effect: float, scatter: float) -> float:
        """How often it is decided on which side of the bounds an effect lies; NaN where that is not known."""
        over, under = self._distances(effect)
        nearest, inside = min(over, under), min(over, under) > 0
        # Beyond a band means beyond either of its bounds, hence Bonferroni.
        level = self.level if inside or not self.is_band else self.level / 2
        if nearest == 0 or math.isnan(over + under):
            return math.nan
        if self.test.bounds is not None:
            bound, mean = self._shares(effect)
            sides = (bound, mean) if mean > bound else (1 - bound, 1 - mean)
            return math.nan if self.is_band else bounded_power(self.seeds, level, *sides)
        if math.isnan(scatter):
            return math.nan
        if self.test is MEDIAN:
            apart = [over, under] if inside else [abs(nearest)]
            return 1 - sum(1 - sign_power(self.seeds, level, _normal(each / scatter)) for each in apart)
        other = max(over, under) if inside else math.inf
        return mean_power(self.seeds, level, abs(nearest) / scatter, other / scatter)

    def _distances(self, effect: float) -> tuple[float, float]:
        """How far an effect lies above the one bound and below the other, on the scale of the test."""
        above, below = bounds_of(self.criterion)
        value = _on_scale(self.test, effect)
        over = math.inf if above is None else value - _on_scale(self.test, above)
        return over, math.inf if below is None else _on_scale(self.test, below) - value

    def _shares(self, *effects: float) -> list[float]:
        """The criterion's one bound, and effects, from 0 to 1 between the ends of a mean that has some."""
        low, high = self.test.bounds or (0.0, 1.0)
        bounds = [bound for bound in bounds_of(self.criterion) if bound is not None]
        return [(number - low) / (high - low) for number in (bounds[0], *effects)]

    def most_scatter(self, effect: float) -> float:
        """The largest scatter at which it is decided so often where an effect lies; NaN of what is no mean."""
        from scipy import optimize

        nearest = abs(min(self._distances(effect)))
        if not _is_mean(self.test) or not nearest > 0:
            return math.nan
        if math.isinf(nearest):
            return math.inf
        # Nearest to a bound the effect is found as of two bounds as near, or as of one alone, or between.
        low = 0.5 * nearest / detectable_mean(self.seeds, self.level / 2, self.target, within=True)
        high = 2.0 * nearest / detectable_mean(self.seeds, self.level, self.target)
        return float(optimize.brentq(lambda scatter: self.power(effect, scatter) - self.target, low, high))


def _normal(z: float) -> float:
    from scipy import special

    return float(special.ndtr(z))
