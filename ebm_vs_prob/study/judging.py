"""What a study's claims come to: each follows from the comparisons of its primary criterion.

The rules are in docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .consistency import PRIMARY_BUDGET
from .gates import untrained
from .ladders import UNSTABLE, climbed, unstable
from .scales import caveat
from .sensitivity import decided_again, opposing, outcomes_again, qualified_by
from .verdicts import OUTCOMES, Outcome, Verdict, decided

if TYPE_CHECKING:
    import pandas as pd


def judge(study: Any, results: pd.DataFrame, seeds: range, scale: str = "") -> list[Verdict]:
    """Decide every comparison of the study's criteria, then every claim by those of its primary criterion.

    After both come the comparisons that the study asks again at another network or budget. Where one of these decides
    the other side, the comparison is qualified, and so is a decided claim of which it is one.

    Args:
        study: has `claims` (identifiers), `criteria`, `primary_criteria`, `gates`, `ladders` and `sensitivity`.
        results: the tidy table of `load_results`: one row per (trial, metric). The primary budget decides; where a
            ladder shows another effect at a quarter of it, that is said beside the verdict.
        seeds: those of the plan; one without a value counts as failed.
        scale: that of the results.

    Raises:
        ValueError: a (task, arm, setting, seed, metric) has two values, or a criterion has no bound.
    """
    shaky = unstable(climbed(study, results, seeds))
    own = results[results["budget"] == PRIMARY_BUDGET]
    before = decided(study, own, seeds, untrained(study, own, seeds))
    again = decided_again(study, results, seeds)
    comparisons = [qualified_by(verdict, again) for verdict in before]
    claims = []
    for claim in dict.fromkeys([*study.claims, *(verdict.claim for verdict in before)]):
        first, after, elsewhere = (
            [v for v in each if v.claim == claim and v.primary] for each in (before, comparisons, again)
        )
        claims.append(_asked_again(_decide_claim(claim, first), first, after, elsewhere))
    shaky_claims = {claim for claim, criterion in study.primary_criteria.items() if criterion.id in shaky}
    moved = [
        *(verdict.criterion in shaky for verdict in comparisons),
        *(verdict.claim in shaky_claims for verdict in claims),
        *(False for _ in again),
    ]
    return [
        replace(verdict, caveat="; ".join(filter(None, (caveat(scale), UNSTABLE if moves else ""))))
        for verdict, moves in zip([*comparisons, *claims, *again], moved, strict=True)
    ]


def _asked_again(
    claim: Verdict, before: Sequence[Verdict], after: Sequence[Verdict], again: Sequence[Verdict]
) -> Verdict:
    """A claim with what came out where its criterion was asked again; a decided one is qualified by the other side.

    Args:
        claim: as its own comparisons decide it. before: these comparisons. after: the same, qualified by `again`.
    """
    claim = replace(claim, reason="; ".join(filter(None, (claim.reason, outcomes_again(before, again)))))
    if claim.verdict == "undecided" or not any(opposing(verdict, again) for verdict in before):
        return claim
    holds_in, fails_in = _sides(after)
    return replace(claim, verdict="qualified", holds_in=holds_in, fails_in=fails_in)


def _decide_claim(claim: str, parts: Sequence[Verdict]) -> Verdict:
    """Supported or refuted when every comparison is, qualified when decided ones disagree, else undecided."""
    if not parts:
        return Verdict(scope="claim", claim=claim, verdict="undecided", reason="the study has no criterion for it")
    by_outcome = {outcome: [v for v in parts if v.verdict == outcome] for outcome in OUTCOMES}
    counts = ", ".join(f"{len(v)} {outcome}" for outcome, v in by_outcome.items() if v)
    some_hold = bool(by_outcome["supported"] or by_outcome["qualified"])
    some_fail = bool(by_outcome["refuted"] or by_outcome["qualified"])
    if some_hold and some_fail:
        outcome: Outcome = "qualified"
        deciding: Sequence[Verdict] = [v for v in parts if v.verdict not in ("undecided", "untrained")]
    elif by_outcome["undecided"] or by_outcome["untrained"]:
        outcome, deciding = "undecided", by_outcome["undecided"] or by_outcome["untrained"]
    else:
        outcome, deciding = ("supported" if some_hold else "refuted"), parts
    weakest = max(deciding, key=lambda v: (np.isnan(v.p), np.nan_to_num(v.p)))
    holds_in, fails_in = _sides(parts)
    # One version of the code for all: the reason is the same in every part, and is the claim's too.
    shared = {v.reason for v in parts}
    reason = f"{len(parts)} comparison{'s' * (len(parts) != 1)}: {counts}"
    if outcome == "undecided" and len(shared) == 1:
        reason += f" ({shared.pop()})"
    return replace(
        weakest,
        scope="claim",
        verdict=outcome,
        reason=reason,
        cells=(),
        holds_in=holds_in,
        fails_in=fails_in,
    )


def _sides(parts: Sequence[Verdict]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the comparisons that hold and of those that do not, with the part of each that is qualified."""
    holds_in = _names(v if not v.holds_in else replace(v, criterion=f"{v.criterion} ({', '.join(v.holds_in)})")
                      for v in parts if v.verdict in ("supported", "qualified"))  # fmt: skip
    fails_in = _names(v if not v.fails_in else replace(v, criterion=f"{v.criterion} ({', '.join(v.fails_in)})")
                      for v in parts if v.verdict in ("refuted", "qualified"))  # fmt: skip
    return holds_in, fails_in


def _names(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    return tuple(f"{v.criterion}: {v.label}" for v in verdicts)
