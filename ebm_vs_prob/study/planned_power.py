"""The power of a study's primary criteria at the seeds that are planned.

It is that of seeds none of which fails. A criterion has as many tests as comparisons and settings, and all of them must
decide; whatever ties them together, they do so at least as often as one less the sum of what each misses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .comparisons import GROWTHS, asked_of, contrasts
from .power import POWER, one_sided_level
from .power_of_a_criterion import Question, scatter_of, stated_effects, test_of
from .statistics import MIN_SEEDS

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
        effects, source = stated_effects(criterion)
        if not effects and compared.get(criterion.id) == comparisons:
            effects, source = tuple(predicted[criterion.id]), "predicted"
        scatter, scatter_from = criterion.scatter or math.nan, "stated"
        if math.isnan(scatter):
            scatter, scatter_from = (known or {}).get(criterion.id, math.nan), known_from
        settings = 1
        if criterion.kind not in (*GROWTHS, "share"):
            settings = len(criterion.at) or max(len(own.grid(task).settings) or 1 for task in criterion.tasks)
        tests = comparisons * settings
        question = Question(criterion, seeds, one_sided_level(comparisons), 1 - (1 - POWER) / tests)
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


def scatters(criteria: Iterable[Criterion], verdicts: Iterable[Any]) -> dict[str, float]:
    """Of criteria by name the largest scatter of their cells in earlier verdicts, where every comparison has one."""
    told = [v for v in verdicts if v.scope == "comparison"]
    cells = {(v.criterion, v.kind, v.metric, v.task, v.arm, v.against): v.cells for v in told}
    found = {}
    for criterion in criteria:
        same = criterion.id, criterion.kind, criterion.metric
        own = [cells.get((*same, *which), ()) for which in contrasts(criterion)]
        each = [scatter_of(cell, test_of(criterion)) for some in own for cell in some]
        if all(own) and all(value > 0 for value in each):
            found[criterion.id] = max(each)
    return found
