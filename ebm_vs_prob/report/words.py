# ruff: noqa: RUF001
"""What verdicts say in plain sentences: quantity, arm, task, effect with interval, what was asked, what theory says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..study.claims import CLAIMS
from ..study.sensitivity import called
from ..study.task_grids import THICKNESS, UNKNOWN_NOISE
from ..study.verdicts import NO_VALUE, Outcome, Verdict
from .intervals import at_setting, weakest_cell
from .style import interval, minus, noun, p_value, plain, symbol, unit_of

#: How the sentence of a comparison ends, by its outcome.
_ENDS = {
    "supported": "reached",
    "refuted": "not so, the whole interval lies beyond",
    "qualified": "reached in a part",
    "undecided": "not decided at this budget",
    "untrained": "an arm is untrained, which decides nothing",
}


@dataclass(frozen=True)
class Said:
    """A comparison in words: what was found, what was asked and whether it is so; its number alone, as on a badge."""

    found: str
    asked: str
    number: str
    verdict: str

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.found}; {self.asked}."


def bound_text(verdict: Verdict) -> str:
    """What the criterion asks for, in words, with its unit where it is no slope and no ratio."""
    asked = [
        f"{side} {value:g}" for side, value in (("above", verdict.above), ("below", verdict.below)) if value is not None
    ]
    unit = _unit(verdict) if verdict.kind in ("value", "difference") else ""
    return minus(" and ".join(asked)) + unit


def claim_in_words(claim: str, parts: Sequence[Verdict]) -> str:
    """The register's words for a claim of the lecture, for any other those of its primary criterion; "" of neither."""
    deciding = [part.statement for part in parts if part.primary and part.statement.strip()]
    return CLAIMS.get(claim) or "; ".join(dict.fromkeys(deciding))


def named(text: str, labels: Mapping[str, str]) -> str:
    """A part's name with the labels of its arms."""
    return re.sub(r"[\w-]+", lambda match: labels.get(match[0], match[0]), text)


def _unit(verdict: Verdict) -> str:
    unit = unit_of(verdict.metric) if verdict.unit in ("", "1") else verdict.unit.replace("^2", "²")
    return "" if unit in ("", "1", "share", "count", "cost") else f" {unit}"


def _in_unit(verdict: Verdict, number: str) -> str:
    """A number of the metric itself, or a difference of two, with its unit, unless the metric's own name says it."""
    unit = unit_of(verdict.metric) if verdict.unit in ("", "1") else verdict.unit
    if unit == "share" and not noun(verdict.metric)[0].startswith("share of "):
        return f"a share of {number}"
    return f"{number}{_unit(verdict)}"


def effect(verdict: Verdict, labels: Mapping[str, str]) -> str:
    """Arms, task, quantity and effect with its interval: `for “A” on circle, the curvature grows as ε^−1.9 [−2, −1.8]`.

    Labels of arms have quotation marks, because they are names with commas in them.
    """
    arm, other = (f"“{labels.get(name, name)}”" for name in (verdict.arm, verdict.against))
    (metric, plural), at = noun(verdict.metric), symbol(verdict.axis)
    setting = at_setting(verdict, weakest_cell(verdict))
    beside = "of" if verdict.axis == UNKNOWN_NOISE else "at"
    where = f"on {verdict.task}{f' {beside} {setting}' if setting else ''}"
    if math.isnan(verdict.estimate):
        return f"for {arm}{f' against {other}' if verdict.against else ''} {where}, the {metric} has no estimate"
    value, span = plain(verdict.estimate), interval(verdict.low, verdict.high)
    if verdict.kind == "share":
        return f"of all cases {where}, a share of {value} {span} comes out as told in the {metric}"
    subject, be = f"for {arm} {where}, the {metric}", "are" if plural else "is"
    if verdict.kind == "slope":
        verb = "grow" if (verdict.estimate < 0) == (verdict.axis == THICKNESS) else "fall"
        return f"{subject} {verb}{'' if plural else 's'} as {at}^{value} {span}"
    if verdict.kind == "rate":
        return f"for {arm} {where}, the logarithm of the {metric} changes by {value} {span} for each unit of {at}"
    if verdict.kind == "difference":
        side = "above" if verdict.estimate >= 0 else "below"
        apart = _in_unit(verdict, plain(abs(verdict.estimate)))
        return f"{subject} {be} {apart} {side} that for {other} (difference {span})"
    if verdict.kind == "ratio":
        return f"{subject} {be} {value} times that for {other} {span}"
    return f"{subject} {be} {_in_unit(verdict, value)} {span}"


def _asked(verdict: Verdict) -> str:
    of = {
        "slope": "an exponent",
        "rate": "a rate",
        "ratio": "a ratio",
        "difference": "a difference",
        "share": "a share",
    }
    law = "" if verdict.law is None else f" (law {minus(f'{verdict.law:g}')})"
    return f"asked for {of.get(verdict.kind, 'a value')} {bound_text(verdict)}{law}"


def _number(verdict: Verdict) -> str:
    """The number of a comparison with its name and unit, short."""
    metric, _ = noun(verdict.metric)
    if math.isnan(verdict.estimate):
        return f"{metric}: no estimate"
    value = plain(verdict.estimate)
    return {
        "slope": f"{metric} ∝ {symbol(verdict.axis)}^{value}",
        "rate": f"ln {metric}: {value} by {symbol(verdict.axis)}",
        "difference": f"{metric}: {_in_unit(verdict, ('+' if verdict.estimate > 0 else '') + value)}",
        "ratio": f"{metric}: ×{value}",
        "share": f"cases as told, {metric}: {value}",
    }.get(verdict.kind, f"{metric}: {_in_unit(verdict, value)}")


def say(verdict: Verdict, labels: Mapping[str, str]) -> Said:
    """A comparison in words, after the network or the budget that it is at where that is not the scale's own."""
    found = f"with {called(verdict.variant)}, {effect(verdict, labels)}" if verdict.variant else effect(verdict, labels)
    # More training would not decide what has no value.
    end = "not decided" if verdict.reason.startswith(NO_VALUE) else _ENDS[verdict.verdict]
    asked = f"{_asked(verdict)}: {end}"
    return Said(f"{found[:1].upper()}{found[1:]}", asked, _number(verdict), verdict.verdict)


def nearness(part: Verdict) -> float:
    """How near a comparison came to deciding otherwise: its p; what was not tested is nearest."""
    return math.inf if math.isnan(part.p) else part.p


def nearest(parts: Sequence[Verdict]) -> Verdict:
    """Of some comparisons the weakest link: the one with the largest p, one that was not tested before all others."""
    return max(parts, key=nearness)


def claim_says(
    claim: Verdict, parts: Sequence[Verdict], labels: Mapping[str, str], again: Sequence[Verdict] = ()
) -> list[Said]:
    """A claim in a sentence, the weakest link among what decided it; in one for each side where it is qualified.

    Args:
        parts: comparisons of the claim's criteria. again: the same at other networks or budgets.
    """
    deciding = [part for part in parts if part.primary]
    if not deciding:
        return []
    if claim.verdict == "qualified":
        sides = ([part for each in deciding for part in _side(each, holds, again)] for holds in (True, False))
        return [say(nearest(side), labels) for side in sides if side]
    same = [p for p in deciding if (p.criterion, p.task, p.arm, p.against, p.estimate) == _place(claim)]
    return [say(same[0] if same else nearest(deciding), labels)]


def _side(part: Verdict, holds: bool, again: Sequence[Verdict] = ()) -> list[Verdict]:
    """Of a comparison what lies on one side of its bound: all of it, or the settings that do, or else what does of the
    same comparison elsewhere."""
    outcome: Outcome = "supported" if holds else "refuted"
    if part.verdict == outcome:
        return [part]
    if part.verdict != "qualified":
        return []
    here = [
        replace(part, verdict=outcome, estimate=cell.estimate, low=cell.low, high=cell.high, seeds=cell.seeds, p=cell.p)
        for cell in part.cells
        if cell.holds is holds
    ]
    return here or [found for each in again if each.compared == part.compared for found in _side(each, holds)]


def _place(claim: Verdict) -> tuple[str, str, str, str, float]:
    return claim.criterion, claim.task, claim.arm, claim.against, claim.estimate


def test_words(verdict: Verdict) -> str:
    """Seeds and corrected p of a comparison."""
    p = p_value(verdict.adjusted_p)
    p = "" if math.isnan(verdict.adjusted_p) else f", Holm-adjusted p {p if p[0] == '<' else f'= {p}'}"
    return f"{verdict.seeds} seeds{p}"
