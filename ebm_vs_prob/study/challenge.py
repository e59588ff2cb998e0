"""Where a new method wins, ties and fails beside the strongest arm of each family, on a standard panel.

For every metric, task and setting the rival is, of each family, the arm that does best there by its mean over seeds. It
is chosen by the same results, which favours the rivals by as much as chance lets the best of two look better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.catalogue import METRICS
from .comparisons import series
from .consistency import PRIMARY_BUDGET
from .criteria import Criterion
from .effects import EFFECTS, effect_test
from .schema import Study
from .standard_panels import CHALLENGER, SCALE
from .statistics import ALPHA, MIN_SEEDS, Estimate, Side, sign_p_value
from .verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

OUTCOMES = ("wins", "ties", "fails", "undecided", "no value", "too few seeds")
#: How far from no difference the interval of a tie may reach: by this factor of a ratio, and by so much of a
#: difference, in shares or in nats (of which .1 is a factor of 1.1 in density).
TIED_RATIO, TIED_SHARE, TIED_NATS = 1.1, 0.05, 0.1


@dataclass(frozen=True)
class Round:
    """The challenger beside the best arm of one family, at one setting.

    `effect` is a ratio or a difference, as `kind` says, over `seeds` that both have a value for; of `failed` others the
    challenger's training failed. It wins or fails as the interval of level .95 lies on its side of no difference or on
    the other, and ties where that lies within the margin of a tie (`TIED_RATIO`, `TIED_SHARE`, `TIED_NATS`); what is
    none of these is undecided, and of fewer than `MIN_SEEDS` seeds "too few seeds". What is missing helps neither:
    where one of the two has no value for seeds that the other has one for, it is the better one only if the sign test
    that counts these against it says so too. A training that failed is a loss: the challenger fails also where the sign
    test says so of losses and failed trainings together. Where it has no such number, as a regression has no density,
    the outcome is "no value", and where too few seeds all agree, "too few seeds".
    """

    criterion: str
    metric: str
    unit: str
    task: str
    axis: str
    setting: float
    family: str
    rival: str
    kind: str
    effect: float
    low: float
    high: float
    seeds: int
    failed: int
    outcome: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: NaN is None."""
        found = asdict(self)
        return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}


def rounds(study: Study, results: pd.DataFrame, scale: str = SCALE) -> list[Round]:
    """Every criterion of a panel, task, setting and family, in this order."""
    rows = results[results["budget"] == PRIMARY_BUDGET]
    seeds = study.at(scale).all_seeds
    return [
        found
        for criterion in study.criteria
        for task in criterion.tasks
        for setting in _settings(rows[rows["task"] == task])
        for found in _rounds(criterion, task, setting, rows[rows["task"] == task], seeds)
    ]


def _settings(rows: pd.DataFrame) -> list[float]:
    return sorted({float(value) for value in rows["setting"].dropna()}, reverse=True)


def _rounds(criterion: Criterion, task: str, setting: float, rows: pd.DataFrame, seeds: range) -> Iterator[Round]:
    here = rows[(rows["arm"] == CHALLENGER) & np.isclose(rows["setting"].astype(float), setting, equal_nan=True)]
    if here.empty:
        return
    own = series(here, criterion.metric, setting, seeds)
    failed = np.isin(list(seeds), here.loc[here["status"] == "failed", "seed"].unique())
    trained = bool((here["status"] == "done").any())
    units = [str(unit) for unit in here.loc[here["metric"] == criterion.metric, "unit"].dropna().unique()]
    families = dict(rows[["arm", "family"]].drop_duplicates().itertuples(index=False, name=None))
    test = effect_test(criterion.kind, criterion.metric, criterion.statistic)
    for family in dict.fromkeys(families[arm] for arm in criterion.against if arm in families):
        arms = [arm for arm in criterion.against if families.get(arm) == family]
        values = {arm: series(rows[rows["arm"] == arm], criterion.metric, setting, seeds) for arm in arms}
        means = {arm: _mean(criterion.metric, value) for arm, value in values.items()}
        counts = {arm: int(np.isfinite(value).sum()) for arm, value in values.items()}
        known = {arm: mean for arm, mean in means.items() if np.isfinite(mean) and counts[arm] == max(counts.values())}
        if not known:
            continue
        rival = (max if criterion.below is None else min)(known, key=known.__getitem__)
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = EFFECTS[criterion.kind](own, values[rival])
        effect = effect[np.isfinite(effect) & ((effect > 0) | (not test.positive))]
        estimate = test.estimate(effect)
        missing = np.isfinite(values[rival]) & ~np.isfinite(own)
        lost = int((missing & failed).sum())
        lacking = _Lacking(lost, int(missing.sum()) - lost, int((np.isfinite(own) & ~np.isfinite(values[rival])).sum()))
        outcome = _outcome(criterion, effect, estimate, lacking)
        if trained and not np.isfinite(own).any() and outcome != "fails":
            outcome = "no value"
        yield Round(
            criterion.id, criterion.metric, next(iter(units), METRICS[criterion.metric].unit), task,
            str(here["axis"].iloc[0]), setting, family, rival, criterion.kind,
            estimate.value, estimate.low, estimate.high, len(effect), lost, outcome,
        )  # fmt: skip


@dataclass(frozen=True)
class _Lacking:
    """Seeds that only one of the two has a value for: those whose training failed for the challenger, those for which
    it has no value otherwise, and those for which its rival has none."""

    failed: int
    missing: int
    spared: int


def _outcome(criterion: Criterion, effect: NDArray[np.float64], estimate: Estimate, lacking: _Lacking) -> str:
    """What a round comes to by its interval and, where seeds lack, by the sign test; effects are those of both."""
    lower = criterion.below is not None
    bound = float((criterion.below if lower else criterion.above) or 0.0)
    better, worse = estimate.low > bound, estimate.high < bound
    side: Side = "greater"
    other: Side = "less"
    if lower:
        better, worse, side, other = worse, better, other, side
    # Of seeds that all agree the interval has no width, however few they are.
    agree = effect.size > 0 and np.ptp(effect) <= 1e-12 * max(1.0, float(np.abs(effect).max()))
    absent = lacking.failed + lacking.missing
    if better and (not (absent or agree) or sign_p_value(effect, absent, bound, side) <= ALPHA / 2):
        return "wins"
    losses = np.append(effect, np.full(lacking.failed, np.inf if lower else -np.inf))
    lost = sign_p_value(losses, lacking.missing + lacking.spared, bound, other) <= ALPHA / 2
    if (worse and (lost or not (lacking.spared or agree))) or (lacking.failed and lost):
        return "fails"
    if effect.size < MIN_SEEDS:
        return "too few seeds"
    low, high = _margin(criterion, bound)
    return "ties" if low <= estimate.low and estimate.high <= high else "undecided"


def _margin(criterion: Criterion, bound: float) -> tuple[float, float]:
    """Between which effects a method is as good as its rival for all that a panel asks."""
    if criterion.kind == "ratio":
        return bound / TIED_RATIO, bound * TIED_RATIO
    width = TIED_SHARE if METRICS[criterion.metric].scale == "share" else TIED_NATS
    return bound - width, bound + width


def _mean(metric: str, values: np.ndarray) -> float:
    """Mean over seeds, of what spans decades the geometric one."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    if METRICS[metric].scale == "log" and (known > 0).all():
        return float(np.exp(np.log(known).mean()))
    return float(known.mean())


def tally(method: str, found: Sequence[Round]) -> str:
    """The sentence that says how many rounds came out how."""
    counts = Counter(each.outcome for each in found)
    undecided = f", leaves {counts['undecided']} undecided" if counts["undecided"] else ""
    without = f", has no value in {counts['no value']}" if counts["no value"] else ""
    few = f", and too few seeds in {counts['too few seeds']}" if counts["too few seeds"] else ""
    return (
        f"{method} wins {counts['wins']}, ties {counts['ties']} and fails {counts['fails']} of {len(found)} "
        f"comparisons with the best arm of each family{undecided}{without}{few}."
    )


def summary(method: str, found: Sequence[Round], verdicts: Sequence[Verdict], identifier: str = "") -> str:
    """One page in Markdown: the sentence, the table, how it is to be read, and of which result it is."""
    lines = [
        f"# {method} on the standard panel",
        "",
        tally(method, found),
        "",
        "| metric | task | setting | family | best of it | effect, 95 % interval | seeds | outcome |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        metric = METRICS[each.metric].label + (f" ({each.unit})" if each.kind == "difference" else "")
        cells = (metric, each.task, f"{each.axis} {each.setting:g}", each.family, each.rival, effect_in_words(each))
        seeds = f"{each.seeds}{f', {each.failed} failed' if each.failed else ''}"
        lines.append(f"| {' | '.join(cells)} | {seeds} | {each.outcome} |")
    lines += [
        "",
        "Effects are the method's over the rival's (x) or less the rival's, paired over seeds. The rival is the arm of",
        "its family that does best there, chosen by the same results. Intervals are not corrected for their number.",
        "",
        "Corrected by Holm, against every rival and at all settings together:",
        "",
    ]
    lines += [f"- {v.label}: {v.criterion}: {v.verdict} ({v.reason})" for v in verdicts if v.scope == "comparison"]
    return "\n".join([*lines, *(["", f"Result {identifier}."] if identifier else [])]) + "\n"


def effect_in_words(each: Round) -> str:
    """The effect of a round with its interval: `x0.51 [0.42, 0.6]`; a ratio has an x before it."""
    if not np.isfinite(each.effect):
        return "none"
    sign = "x" if each.kind == "ratio" else ""
    has_interval = np.isfinite([each.low, each.high]).all()
    return f"{sign}{each.effect:.3g}{f' [{each.low:.3g}, {each.high:.3g}]' if has_interval else ''}"
