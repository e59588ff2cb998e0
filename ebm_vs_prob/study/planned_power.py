"""The power of a study's criteria: what their own tests find, at the seeds that are planned or that were run.

It is that of seeds none of which fails. A criterion has as many tests as comparisons and settings, and all of them must
decide; whatever ties them together, they do so at least as often as one less the sum of what each misses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .comparisons import GROWTHS, Cell, asked_of, bounds_of, contrasts
from .effects import MEDIAN, EffectTest, effect_test
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
    from .criteria import Criterion
    from .feasibility import Held
    from .schema import Study


@dataclass(frozen=True)
class Planned:
    """The power of a primary criterion at the seeds of a scale.

    Attributes:
        test: what reports call it. asked: the bounds in words.
        seeds, comparisons, settings: so many; each comparison is tested at each setting.
        detectable: what all tests find with probability `POWER`, and `detectable_in_words` what it is: of means the
            standard deviations over seeds (of logarithms where the test takes these) between the effect and its bound,
            or either of two bounds; of medians the share of seeds beyond the bound; of means between bounds the mean.
            NaN where nothing is.
        effects: those that matter, and `source` whence: `smallest_effect`, `law`, or "predicted", one a test.
        scatter: standard deviation over seeds of what is tested, and `scatter_from` whence; NaN where it is not known.
        most_scatter: the largest at which the effects are found with probability `POWER`; NaN of what is no mean.
        power: that all tests find the effects, at least; NaN where they, or the scatter, are not known.
    """

    criterion: str
    asked: str
    test: str
    seeds: int
    comparisons: int
    settings: int
    detectable: float
    detectable_in_words: str
    effects: tuple[float, ...]
    source: str
    scatter: float
    scatter_from: str
    most_scatter: float
    power: float

    def as_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready: null for what is not known or not finite."""

        def finite(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {
            **{name: finite(value) for name, value in asdict(self).items()},
            "effects": [*map(finite, self.effects)],
        }

    def as_row(self) -> dict[str, Any]:
        """One row of a table for people."""
        low, high = min(self.effects, default=math.nan), max(self.effects, default=math.nan)
        span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        return {
            "criterion": self.criterion,
            "asked": self.asked,
            "test": self.test,
            "seeds": self.seeds,
            "tests": f"{self.comparisons} x {self.settings}",
            "found with probability .8": self.detectable_in_words,
            "effect that matters": f"{span} ({self.source})" if self.effects else "not stated",
            "power": self._power_in_words(),
        }

    def _power_in_words(self) -> str:
        if not math.isnan(self.power):
            scatter = "" if math.isnan(self.scatter) else f" at a scatter of {self.scatter:.2g} ({self.scatter_from})"
            return f"{self.power:.2f}{scatter}"
        if not math.isnan(self.most_scatter):
            return f"{POWER:g} at a scatter of {self.most_scatter:.2g}"
        return "not known"


def planned_power(
    study: Study, scale: str, held: Iterable[Held] = (), known: Mapping[str, float] | None = None, known_from: str = ""
) -> list[Planned]:
    """The power of each primary criterion of a study at a scale; none where its seeds are too few for any verdict.

    Args:
        held: what `feasibility` predicts of the arms, for criteria that state no effect and have no law.
        known: scatters by criterion, as `scatters` has them, for criteria that state none; `known_from` says whence.
    """
    seeds, own = study.at(scale).seeds, study.held_at(scale)
    if seeds < MIN_SEEDS:
        return []
    predicted: dict[str, list[float]] = {}
    compared: dict[str, int] = {}
    for each in held:
        compared[each.criterion] = compared.get(each.criterion, 0) + len(each.predicted)
        predicted.setdefault(each.criterion, []).extend(value for effect in each.predicted.values() for value in effect)
    found = []
    for criterion in own.primary_criteria.values():
        comparisons = len(contrasts(criterion))
        effects, source = _effects(criterion)
        if not effects and compared.get(criterion.id) == comparisons:
            effects, source = tuple(predicted[criterion.id]), "predicted"
        scatter, scatter_from = criterion.scatter or math.nan, "stated"
        if math.isnan(scatter):
            scatter, scatter_from = (known or {}).get(criterion.id, math.nan), known_from
        settings = 1
        if criterion.kind not in (*GROWTHS, "share"):
            settings = len(criterion.at) or max(len(own.grid(task).settings) or 1 for task in criterion.tasks)
        tests = comparisons * settings
        question = _Question(criterion, seeds, one_sided_level(comparisons), 1 - (1 - POWER) / tests)
        if question.test.bounds is not None:  # between which the power is that of seeds at the ends
            scatter = math.nan
        detectable, words = question.detectable(scatter)
        powers = [question.power(effect, scatter) for effect in effects] or [math.nan]
        unknown = any(map(math.isnan, powers))
        found.append(
            Planned(
                criterion=criterion.id,
                asked=asked_of(criterion),
                test=question.test.name,
                seeds=seeds,
                comparisons=comparisons,
                settings=settings,
                detectable=detectable,
                detectable_in_words=words,
                effects=effects,
                source=source,
                scatter=scatter,
                scatter_from=scatter_from if not math.isnan(scatter) else "",
                most_scatter=min((question.most_scatter(effect) for effect in effects), default=math.nan),
                power=math.nan if unknown else max(0.0, 1 - tests * (1 - min(powers))),
            )
        )
    return found


def _effects(criterion: Any) -> tuple[tuple[float, ...], str]:
    """The effect that matters and whence: what the file states of it."""
    for name in ("smallest_effect", "law"):
        if getattr(criterion, name, None) is not None:
            return (getattr(criterion, name),), name
    return (), ""


def scatters(criteria: Iterable[Criterion], verdicts: Iterable[Any]) -> dict[str, float]:
    """Of criteria by name the largest scatter of their cells in earlier verdicts, where every comparison has one."""
    told = [v for v in verdicts if v.scope == "comparison"]
    cells = {(v.criterion, v.kind, v.metric, v.task, v.arm, v.against): v.cells for v in told}
    found = {}
    for criterion in criteria:
        same = criterion.id, criterion.kind, criterion.metric
        own = [cells.get((*same, *which), ()) for which in contrasts(criterion)]
        each = [scatter_of(cell, _test(criterion)) for some in own for cell in some]
        if all(own) and all(value > 0 for value in each):
            found[criterion.id] = max(each)
    return found


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
    question = _Question(criterion, cell.seeds, one_sided_level(comparisons), POWER)
    scatter = scatter_of(cell, question.test)
    is_mean = _is_mean(question.test)
    if cell.seeds < MIN_SEEDS or (is_mean and not scatter > 0):
        return ""
    said, power = question.detectable(scatter)[1], POWER
    if is_mean and question.is_band:
        over, under = (_on_scale(question.test, bound or 0.0) for bound in bounds_of(criterion))
        half = (under - over) / 2 / scatter
        said, power = "an effect in the middle of its bounds", mean_power(cell.seeds, question.level, half, half)
    found = f"{cell.seeds} seeds of this scatter find {said} with probability {power:.2g}"
    matters = [(effect, question.power(effect, scatter)) for effect in _effects(criterion)[0]]
    return found + "".join(f", and {effect:g} with {power:.2g}" for effect, power in matters if not math.isnan(power))


def _test(criterion: Any) -> EffectTest:
    return effect_test(criterion.kind, criterion.metric, getattr(criterion, "statistic", None))


def _is_mean(test: EffectTest) -> bool:
    return test is not MEDIAN and test.bounds is None


def _on_scale(test: EffectTest, number: float) -> float:
    """A number as the test takes it: its logarithm where it takes these."""
    if not test.positive or math.isnan(number):
        return number
    return math.log(number) if number > 0 else -math.inf


@dataclass(frozen=True)
class _Question:
    """One test of a criterion at so many seeds: the level of each one-sided part, and how often it is to decide."""

    criterion: Any
    seeds: int
    level: float
    target: float

    @property
    def test(self) -> EffectTest:
        return _test(self.criterion)

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
