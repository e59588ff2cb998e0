# ruff: noqa: RUF001
"""How a report looks: colours and markers of the arms, labels of metrics, numbers with uncertainties."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.catalogue import METRICS, Metric
from ..study.effects import effect_test
from ..study.statistics import Estimate, mean_estimate
from ..study.task_grids import THICKNESS, UNKNOWN_NOISE, place_on

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Text and axes of a figure that is a file of its own; in the page it follows the light or dark scheme.
INK = "#1b1f24"

#: How each outcome is marked: a sign in text, one of Vega's symbols in figures, so that no colour has to be seen.
SIGNS = {"supported": "✓", "refuted": "✗", "qualified": "◐", "undecided": "?", "untrained": "○"}
OUTCOME_SHAPES = {
    "supported": "circle",
    "refuted": "cross",
    "qualified": "diamond",
    "undecided": "square",
    "untrained": "triangle-down",
}
OUTCOME_COLOURS = {
    "supported": "#1b8a5a",
    "refuted": "#c43c2f",
    "qualified": "#b87a00",
    "undecided": "#7d8590",
    "untrained": "#7d8590",
}

#: Okabe and Ito's palette, which stays apart under colour blindness: blues for ebm, reds for prob, greys for control.
#: Where it has no more, other lightnesses of the same.
FAMILY_COLOURS = {
    "ebm": ("#0072b2", "#56b4e9", "#009e73", "#3f6fb5", "#1c3f5f", "#4fc3a1", "#8c9eff", "#005f56"),
    "prob": ("#d55e00", "#e69f00", "#cc79a7", "#a8431a", "#7b2d5b", "#f2b48a", "#b58900", "#ff6f61"),
    "control": ("#6b7280", "#9aa0a8", "#7d6f64", "#b0a08f"),
}
#: Names of Vega's symbols, told apart without colour.
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "triangle-left")


@dataclass(frozen=True)
class Look:
    """How one arm is drawn."""

    name: str
    label: str
    family: str
    colour: str
    shape: str


def looks(arms: Iterable[Any], results: pd.DataFrame) -> dict[str, Look]:
    """A look for each arm, in the study's order: the colour says the family, the shape the arm.

    Labels are unique, because figures know arms by them: an arm whose label another has is told by its name too.
    """
    family_of = results.drop_duplicates("arm").set_index("arm")["family"].to_dict()
    arms = list(arms)
    labelled = Counter(arm.label or arm.name for arm in arms)
    used = dict.fromkeys(FAMILY_COLOURS, 0)
    found: dict[str, Look] = {}
    for index, arm in enumerate(arms):
        family = str(family_of.get(arm.name, "control"))
        family = family if family in FAMILY_COLOURS else "control"
        colour = FAMILY_COLOURS[family][used[family] % len(FAMILY_COLOURS[family])]
        used[family] += 1
        label = arm.label or arm.name
        label = label if labelled[label] == 1 else f"{label} ({arm.name})"
        found[arm.name] = Look(arm.name, label, family, colour, SHAPES[index % len(SHAPES)])
    return found


#: Titles of the groups of metrics, in the order of the page.
GROUPS = {
    "answers": "Answers and samples",
    "density": "Density and coverage",
    "sharpness": "Sharpness",
    "descent": "Descent and the best of several",
    "decisions": "Decisions",
    "digits": "Conditional generation",
    "other": "Other measures",
    "cost": "Cost",
}

_NAMES = ("Gibbs", "Kuiper", "R-hat")


def metric_look(name: str) -> Metric:
    """A metric as it is shown; one that is not known is shown under its own name."""
    return METRICS.get(name, Metric(name, name.replace("_", " "), "", "other", "linear", "none", ""))


def in_words(name: str) -> str:
    """A metric's label inside a sentence: its first letter small, but for an abbreviation or a name."""
    label = metric_look(name).label
    first = label.split(" ", 1)[0]
    return label if first.isupper() or first.split("'")[0] in _NAMES else label[:1].lower() + label[1:]


#: Where a label says at its end which number of many it is, what stands before it in a sentence.
_FIRST = {"median": "median ", "largest": "largest ", "smallest": "smallest ", "95 %": "95 % quantile of the "}
#: What ends the noun that a label begins with.
_AFTER_NOUN = r",| (?:against|and|at|beyond|by|computed|in|inside|left|near|of|on|once|that|to|told|with)\b"


def noun(metric: str) -> tuple[str, bool]:
    """A metric as the subject of a sentence, and whether it is plural: `share of wrong answers`, no."""
    said = in_words(metric)
    head, _, last = said.rpartition(", ")
    if head:
        said = f"{_FIRST[last]}{head}" if last in _FIRST else f"{head}{' at' if last[0] == 'β' else ''} {last}"
    word = re.split(_AFTER_NOUN, in_words(metric))[0].split(" ")[-1]
    plural = word.endswith("s") and not word.endswith(("ss", "us"))
    counted = {"share": "share of ", "count": "number of "}.get(metric_look(metric).unit, "") if plural else ""
    return counted + said, plural and not counted


def unit_of(name: str, units: pd.Series | None = None) -> str:
    """The unit of a metric as it was measured, else as the catalogue has it; "" of what has none."""
    known = [] if units is None else [str(unit) for unit in units.dropna().unique()]
    unit = known[0] if known and known[0] not in ("", "1") else metric_look(name).unit
    return "" if unit in ("", "1", "count") else unit.replace("^2", "²")


def symbol(axis: str) -> str:
    """What an option that tasks vary along is called in tables and figures."""
    return "ε" if axis == THICKNESS else axis.replace("_", " ")


def value_at(axis: str, setting: float) -> str:
    """A setting under the name of what varies: `0.1`, or `unknown`."""
    return "unknown" if axis == UNKNOWN_NOISE else f"{setting:g}"


def place(axis: str, setting: float, between: str = " = ") -> str:
    """A setting with the name of what varies: `ε = 0.1`, or `unknown noise`."""
    return place_on(axis, setting) if axis == UNKNOWN_NOISE else f"{symbol(axis)}{between}{value_at(axis, setting)}"


def span(axis: str, settings: Sequence[float]) -> str:
    """One setting or the ends of several with the name of what varies: `ε 0.01 to 0.3`; "" where there is none."""
    if len(settings) > 1:
        return f"{symbol(axis)} {min(settings):g} to {max(settings):g}"
    return place(axis, settings[0], " ") if len(settings) and math.isfinite(settings[0]) else ""


def quantity(kind: str, metric: str, axis: str = THICKNESS) -> str:
    """What a criterion of a kind is about: `ratio of the median distance of answers`; a value is the metric itself."""
    of = {
        "slope": f"slope in ln {symbol(axis)} of the ",
        "rate": f"growth by {symbol(axis)} of ln of the ",
        "value": "",
        "difference": "difference in the ",
        "ratio": "ratio of the ",
        "share": "share of cases that come out as told in the ",
    }
    return of[kind] + noun(metric)[0]


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics in the order of the catalogue, unknown ones last."""
    place = {name: index for index, name in enumerate(METRICS)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def summarise(values: ArrayLike, name: str) -> Estimate:
    """The interval over seeds that is shown for a metric: that of a criterion on its value.

    Where what is positive by right is not, as a distance of 0, it is the arithmetic mean's.
    """
    return _summary(np.asarray(values, dtype=np.float64).tobytes(), name)


@lru_cache(maxsize=20_000)
def _summary(values: bytes, name: str) -> Estimate:
    """Tables for people, for machines and figures ask for the same interval."""
    known = np.frombuffer(values, dtype=np.float64)
    estimate = effect_test("value", name).estimate(known[np.isfinite(known)])
    return estimate if math.isfinite(estimate.value) else mean_estimate(known)


def minus(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def plain(value: float, digits: int = 3) -> str:
    """A number in few digits: 1.23, 0.0123, 1.2×10⁵."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    # The exponent is that of the rounded number: in three digits 9.9999e-6 is 1×10⁻⁵.
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if -4 <= exponent < 5:
        return minus(f"{value:.{max(0, digits - 1 - exponent)}f}")
    mantissa = minus(mantissa.rstrip("0").rstrip("."))
    return f"{mantissa}×10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def digits(value: float) -> float | None:
    """Five digits, which no screen shows more than; None of what is not finite."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def places(half_width: float) -> int:
    """Decimals that show two significant digits of an uncertainty."""
    return max(0, 1 - math.floor(math.log10(half_width))) if half_width > 0 else 3


def interval(low: float, high: float) -> str:
    """`[low, high]` with as many decimals as its width warrants; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    if max(abs(low), abs(high)) >= 1e4 or 0 < max(abs(low), abs(high)) < 1e-3:
        return f"[{plain(low)}, {plain(high)}]"
    decimals = min(places((high - low) / 2), 4)
    return minus(f"[{low:.{decimals}f}, {high:.{decimals}f}]")


def with_interval(value: float, low: float, high: float) -> str:
    """`value [low, high]` in matching decimals."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return plain(value)
    if max(abs(low), abs(high)) >= 1e4 or 0 < max(abs(low), abs(high)) < 1e-3:
        return f"{plain(value)} {interval(low, high)}"
    decimals = min(places((high - low) / 2), 4)
    return f"{minus(f'{value:.{decimals}f}')} {interval(low, high)}"


def p_value(p: float) -> str:
    """A p-value as it is printed."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
