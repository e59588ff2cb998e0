"""Verdicts on comparisons: a study's criteria held against its results. The rules are in docs/verdicts.md.

A *comparison* is one criterion for one arm (against one other, where it has one) on one task. It is decided at every
setting that the criterion names; what claims follow from them is in `judging`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .comparisons import Cell, bounds_of, compare, contrasts, told_cell
from .power_of_a_criterion import detectable
from .provenance import mixture
from .statistics import ALPHA, MIN_SEEDS, holm
from .task_grids import place_on

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["supported", "refuted", "qualified", "undecided", "untrained"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: Begins the reason of a comparison whose trials are all done and have nothing to compare.
NO_VALUE = "no value"
_NONE = float("nan")


@dataclass(frozen=True)
class Verdict:
    """A decision on one comparison of a criterion (`scope` "comparison"), on a claim ("claim"), or on a comparison at
    another network or budget than the scale's own ("variant"), `variant` being the name of that in the study.

    A comparison of an arm that missed a gate of the study is "untrained"; a claim is never that.

    `caveat` is what is to be said beside it wherever it is shown. `primary` says of a comparison whether its criterion
    decides the claim. `estimate`, `low`, `high` are those of the cell (for a claim: of the comparison) with the largest
    p, the weakest link of what was decided; `level` is that interval's, before Holm's correction. `seeds` are complete
    seeds and `failed` those that are not. `p` is two-sided, `adjusted_p` Holm's over the comparisons of the claim's
    primary criterion, or over all secondary ones of the study; both NaN where nothing is tested. `holds_in` and
    `fails_in` name the parts of a qualified verdict. `axis` is the option that the task varies along.
    """

    scope: Literal["comparison", "claim", "variant"]
    claim: str
    verdict: Outcome
    reason: str
    caveat: str = ""
    primary: bool = False
    criterion: str = ""
    statement: str = ""
    kind: str = ""
    metric: str = ""
    unit: str = ""
    task: str = ""
    arm: str = ""
    against: str = ""
    above: float | None = None
    below: float | None = None
    law: float | None = None
    estimate: float = _NONE
    low: float = _NONE
    high: float = _NONE
    level: float = 1 - ALPHA
    seeds: int = 0
    failed: int = 0
    p: float = _NONE
    adjusted_p: float = _NONE
    cells: tuple[Cell, ...] = ()
    axis: str = ""
    holds_in: tuple[str, ...] = ()
    fails_in: tuple[str, ...] = ()
    variant: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The verdict for `json.dumps(..., allow_nan=False)`: NaN as null, infinity as "inf"."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @property
    def compared(self) -> tuple[str, str, str, str]:
        """What tells a comparison from others: criterion, task, arm and other arm."""
        return self.criterion, self.task, self.arm, self.against

    @property
    def label(self) -> str:
        """What was compared, in one phrase of names."""
        if self.scope == "claim":
            return self.claim
        return f"{self.arm}{' against ' + self.against if self.against else ''} on {self.task}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def decided(study: Any, results: pd.DataFrame, seeds: range, untrained: Mapping[tuple[str, str], str]) -> list[Verdict]:
    """Decide every comparison of a study's criteria.

    Args:
        study: has `criteria` and `primary_criteria`.
        results: of one budget.
        seeds: those of the plan; one without a value counts as failed.
        untrained: of (task, arm), why it counts as that.
    """
    blocked = _why_no_verdict(results)
    deciding = {criterion.id for criterion in study.primary_criteria.values()}
    asked = [(criterion, each) for criterion in study.criteria for each in contrasts(criterion)]
    measured = [
        replace(_measure(criterion, *each, results, seeds), primary=criterion.id in deciding)
        for criterion, each in asked
    ]
    measured = [_gated(verdict, untrained) for verdict in measured]
    return [
        _decide(verdict, *adjusted, blocked, _why_no_value(verdict, results, seeds), criterion)
        for verdict, adjusted, (criterion, _) in zip(measured, _adjusted(measured), asked, strict=True)
    ]


def _gated(verdict: Verdict, halfway: Mapping[tuple[str, str], str]) -> Verdict:
    """The comparison, untested where one of its arms counts as untrained."""
    missed = [
        f"{arm}: {halfway[verdict.task, arm]}"
        for arm in (verdict.arm, verdict.against)
        if (verdict.task, arm) in halfway
    ]
    return replace(verdict, verdict="untrained", reason="; ".join(missed), p=_NONE) if missed else verdict


def _adjusted(measured: Sequence[Verdict]) -> list[tuple[float, int]]:
    """Holm's p of each comparison, and the size of its family: those of one claim's primary criterion, or all others.

    What cannot be tested stays in its family with p = 1: a missing arm never makes the others easier to decide.
    """
    families: dict[str, list[int]] = {}
    for place, verdict in enumerate(measured):
        families.setdefault(verdict.claim if verdict.primary else "", []).append(place)
    found = [(_NONE, 0)] * len(measured)
    for members in families.values():
        p = [1.0 if np.isnan(measured[place].p) else measured[place].p for place in members]
        for place, adjusted in zip(members, holm(p), strict=True):
            found[place] = adjusted, len(members)
    return found


def _why_no_verdict(results: pd.DataFrame) -> str:
    if "code_digest" in results:
        mixed = mixture(results)
        if mixed:
            return f"the results come from {mixed}; run the study again under one"
    return ""


def _measure(criterion: Any, task: str, arm: str, against: str, results: pd.DataFrame, seeds: range) -> Verdict:
    """Estimate and test a comparison, without deciding it."""
    above, below = bounds_of(criterion)
    if criterion.kind == "share":
        rows = results[results["task"].isin(criterion.tasks) & results["arm"].isin(criterion.arms + criterion.against)]
        cells = [told_cell(criterion, rows, seeds)]
    else:
        rows = results[(results["task"] == task) & results["arm"].isin([arm, against])]
        cells = compare(criterion, rows, arm, against, seeds)
    weakest = _weakest(cells, above, below)
    testable = min(cell.seeds for cell in cells) >= MIN_SEEDS
    one_direction = len({cell.holds for cell in cells}) == 1
    units = rows.loc[rows["metric"].astype(str).str.startswith(criterion.metric), "unit"].dropna()
    return Verdict(
        scope="comparison",
        claim=criterion.claim,
        verdict="undecided",
        reason=_first_failure(rows),
        criterion=criterion.id,
        statement=criterion.statement,
        kind=criterion.kind,
        metric=criterion.metric,
        unit=str(units.iloc[0]) if criterion.kind in ("difference", "value") and len(units) else "",
        task=task,
        arm=arm,
        against=against,
        above=above,
        below=below,
        law=getattr(criterion, "law", None),
        estimate=weakest.estimate,
        low=weakest.low,
        high=weakest.high,
        seeds=min(cell.seeds for cell in cells),
        failed=max(cell.failed for cell in cells),
        # All cells must agree, so the largest p tests them together (intersection-union); when they disagree in
        # direction any of them could be the wrong one, hence Bonferroni.
        p=min(1.0, weakest.p * (1 if one_direction else len(cells))) if testable else _NONE,
        cells=tuple(cells),
        axis=str(rows["axis"].iloc[0]) if len(rows) else "",
    )


def _weakest(cells: Sequence[Cell], *bounds: float | None) -> Cell:
    return max(cells, key=lambda cell: (cell.seeds < MIN_SEEDS, cell.p, -_nearest(cell, *bounds)))


def _nearest(cell: Cell, *bounds: float | None) -> float:
    return min(abs(cell.estimate - bound) for bound in bounds if bound is not None)


def _first_failure(rows: pd.DataFrame) -> str:
    reasons = rows.loc[rows["status"] != "done", "reason"].dropna()
    reasons = reasons[reasons != ""]
    return str(reasons.iloc[0]) if len(reasons) else ""


def _why_no_value(verdict: Verdict, results: pd.DataFrame, seeds: range) -> str:
    """Why a comparison has no value though all of its trials are done, which no more seeds would mend; else ""."""
    if verdict.seeds or verdict.kind == "share":
        return ""
    for arm in filter(None, (verdict.arm, verdict.against)):
        own = results[(results["task"] == verdict.task) & (results["arm"] == arm) & results["seed"].isin(seeds)]
        if own.empty or (own["status"] != "done").any() or own["seed"].nunique() < len(seeds):
            return ""
        measured = own[own["metric"] == verdict.metric]
        if not measured["value"].notna().any():
            notes = measured["note"].dropna() if "note" in measured else ()
            note = next((str(each) for each in notes if each), f"{arm} has no {verdict.metric} on {verdict.task}")
            return f"{NO_VALUE}: {note}"
    return ""


def _decide(verdict: Verdict, adjusted_p: float, family: int, blocked: str, absent: str, criterion: Any) -> Verdict:
    if verdict.verdict == "untrained":
        return replace(verdict, reason=blocked) if blocked else verdict
    failure = f"; first failure: {verdict.reason}" if verdict.failed and verdict.reason else ""
    if np.isnan(verdict.p):
        return replace(
            verdict,
            reason=blocked or absent or f"{verdict.seeds} complete seeds, and a verdict needs {MIN_SEEDS}{failure}",
        )
    verdict = replace(verdict, adjusted_p=adjusted_p)
    if blocked:
        return replace(verdict, reason=blocked)
    if adjusted_p > ALPHA:
        inside = any(verdict.low <= b <= verdict.high for b in (verdict.above, verdict.below) if b is not None)
        why = "the interval contains the threshold" if inside else "not decided after Holm's correction"
        found = detectable(criterion, _weakest(verdict.cells, verdict.above, verdict.below), family)
        return replace(verdict, reason="; ".join(filter(None, (f"{why}{_at(verdict)}", found))) + failure)
    parts = {
        holds: tuple(place_on(verdict.axis, cell.at[0]) for cell in verdict.cells if cell.holds is holds)
        for holds in (True, False)
    }
    # No seed scatters: what is counted or exact. Its p says how many seeds there were, and its interval nothing.
    same = "; the same at every seed" if all(cell.low == cell.high for cell in verdict.cells) else ""
    if parts[True] and parts[False]:
        outcome: Outcome = "qualified"
        reason = "; ".join(f"{side_of(verdict, h)} at {', '.join(parts[h])}" for h in (True, False))
        reason += same + failure
        return replace(verdict, verdict=outcome, reason=reason, holds_in=parts[True], fails_in=parts[False])
    holds = bool(parts[True])
    everywhere = f" at every {verdict.axis}" if len(verdict.cells) > 1 else ""
    reason = f"{side_of(verdict, holds)}{everywhere}{same}{failure}"
    return replace(verdict, verdict="supported" if holds else "refuted", reason=reason)


def side_of(verdict: Verdict, holds: bool) -> str:
    """The side of the bounds in words: the one that the criterion asks for, or the other."""
    if verdict.above is not None and verdict.below is not None:
        return f"{'between' if holds else 'not between'} {verdict.above:g} and {verdict.below:g}"
    bound, side = (verdict.above, "above") if verdict.above is not None else (verdict.below, "below")
    return f"{side if holds else {'above': 'below', 'below': 'above'}[side]} {bound:g}"


def _at(verdict: Verdict) -> str:
    if len(verdict.cells) < 2:
        return ""
    weakest = _weakest(verdict.cells, verdict.above, verdict.below)
    return f" at {place_on(verdict.axis, weakest.at[0])}"
