"""Two results of the same study held against each other: effects that moved, verdicts that flipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UnknownName
from ..core.options import from_table
from .comparisons import GROWTHS, contrasts, in_range, series, told_shares
from .consistency import PRIMARY_BUDGET
from .criteria import Criterion
from .effects import EFFECTS, effect_test
from .judging import judge
from .scales import TUNING
from .schema import Study
from .statistics import ALPHA, holm, mean_estimate, mean_p_value, two_sided
from .store import Store
from .table import results_table
from .task_grids import place_on
from .verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Seeds of both sides below which nothing is said to have moved.
FEWEST = 3


@dataclass(frozen=True)
class Shift:
    """How one effect of a criterion moved from the first result to the second.

    `change` is the second minus the first, of effects that are geometric means the second over the first (`ratio`);
    `low` and `high` are its interval of level .95 before correction, of the mean over the `seeds` that both have
    (`paired`), or of two independent samples where fewer than `FEWEST` are shared. `first` and `second` are the means
    over these seeds, each with an interval of that level of its own, NaN with fewer than two seeds. `p` is two-sided,
    `adjusted_p` Holm's over all shifts of the study. `moved` is "yes", "no", "identical" (to the last bit) or
    "unknown". `at` says in words where along `axis` it is; `above` and `below` are what the second result's criterion
    asks for.
    """

    criterion: str
    claim: str
    task: str
    arm: str
    against: str
    kind: str
    metric: str
    axis: str
    at: str
    above: float | None
    below: float | None
    first: float
    first_low: float
    first_high: float
    second: float
    second_low: float
    second_high: float
    change: float
    low: float
    high: float
    ratio: bool
    seeds: int
    paired: bool
    p: float
    adjusted_p: float = float("nan")
    moved: str = "unknown"


@dataclass(frozen=True)
class Flip:
    """A verdict that the two results do not share; "none" where one of them does not have the comparison."""

    scope: str
    claim: str
    criterion: str
    task: str
    arm: str
    against: str
    first: str
    second: str


@dataclass(frozen=True)
class Compared:
    """Two results of a study at a scale; title, labels of arms and statements of criteria are the second's."""

    study: str
    scale: str
    title: str
    labels: dict[str, str]
    statements: dict[str, str]
    shifts: list[Shift]
    flips: list[Flip]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: NaN is None."""
        whole = asdict(self)
        for row in whole["shifts"]:
            row.update({name: None for name, value in row.items() if isinstance(value, float) and np.isnan(value)})
        return whole


def compare_stores(first: Store, second: Store, names: Sequence[str] = (), scale: str = "") -> list[Compared]:
    """Every study and scale that both stores have results of, or those of the given names and scale.

    Raises:
        UnknownName: there is none, or none of one of the names.
    """
    own = [set(_runs(store)) for store in (first, second)]
    for name in names:
        for store, runs in zip((first, second), own, strict=True):
            at = sorted(each for study, each in runs if study == name)
            if not at or scale not in ("", *at):
                there = f": there it has {', '.join(at)}" if at else ""
                asked = f" at scale {scale!r}" if scale else ""
                raise UnknownName(f"study {name!r} has no results{asked} in {str(store.root)!r}{there}")
    shared = [
        (study, at) for study, at in sorted(own[0] & own[1]) if (not names or study in names) and scale in ("", at)
    ]
    if not shared:
        asked = f" at scale {scale!r}" if scale else ""
        had = " and ".join(
            f"{len(runs)} in {str(store.root)!r}" for store, runs in zip((first, second), own, strict=True)
        )
        raise UnknownName(f"no study has results{asked} in both stores: there are {had}")
    return [compare_results(study, at, first, second) for study, at in shared]


def _runs(store: Store) -> Iterator[tuple[str, str]]:
    for path in (store.root / "studies").glob("*/*/plan.json"):
        if TUNING not in path.parent.name:  # what was chosen by them is in the study's own plan
            yield path.parent.parent.name, path.parent.name


def compare_results(name: str, scale: str, first: Store, second: Store) -> Compared:
    """The results of a study in two stores, each decided by the study as it was run there."""
    frames = [results_table(store, name, scale) for store in (first, second)]
    studies = [
        from_table(Study, store.plan(name, scale)["file"], f"the plan of {name} in {store.root}").held_at(scale)
        for store in (first, second)
    ]
    seeds = [study.at(scale).all_seeds for study in studies]
    verdicts = [judge(study, frame, own, scale) for study, frame, own in zip(studies, frames, seeds, strict=True)]
    every_seed = range(min(own.start for own in seeds), max(own.stop for own in seeds))
    one, other = (frame[frame["budget"] == PRIMARY_BUDGET] for frame in frames)
    shifts = [shift for criterion in studies[1].criteria for shift in _shifts(criterion, one, other, every_seed)]
    tested = [shift for shift in shifts if np.isfinite(shift.p)]
    adjusted = iter(holm([shift.p for shift in tested])) if tested else iter(())
    shifts = [_decided(shift, float(next(adjusted)) if np.isfinite(shift.p) else float("nan")) for shift in shifts]
    labels = {arm.name: arm.title for arm in studies[1].arms}
    statements = {criterion.id: criterion.statement for criterion in studies[1].criteria}
    return Compared(name, scale, studies[1].title, labels, statements, shifts, list(_flips(*verdicts)))


def _decided(shift: Shift, adjusted_p: float) -> Shift:
    if shift.moved == "identical" or not np.isfinite(adjusted_p):
        return replace(shift, adjusted_p=adjusted_p)
    return replace(shift, adjusted_p=adjusted_p, moved="yes" if adjusted_p <= ALPHA else "no")


def _shifts(criterion: Criterion, first: pd.DataFrame, second: pd.DataFrame, seeds: range) -> Iterator[Shift]:
    positive = effect_test(criterion.kind, criterion.metric, criterion.statistic).positive
    if criterion.kind == "share":
        rows = [frame[frame["task"].isin(criterion.tasks)] for frame in (first, second)]
        before, after = (_shares(criterion, each, seeds) for each in rows)
        axis = _axis(rows[1])
        where = f"{axis} {', '.join(f'{setting:g}' for setting in criterion.at)}" if criterion.at else "all settings"
        for place in contrasts(criterion):
            yield _shift(criterion, place, (axis, where), before, after, positive)
        return
    for task, arm, against in contrasts(criterion):
        rows = [frame[frame["task"] == task] for frame in (first, second)]
        axis = _axis(rows[1])
        for where, at in _places(criterion, rows[1], axis):
            before, after = (_effects(criterion, each, arm, against, at, seeds) for each in rows)
            yield _shift(criterion, (task, arm, against), (axis, where), before, after, positive)


def _axis(rows: pd.DataFrame) -> str:
    return str(rows["axis"].iloc[0]) if len(rows) else ""


def _shares(criterion: Criterion, rows: pd.DataFrame, seeds: range) -> NDArray[np.float64]:
    """(len(seeds),) the share of cells that come out as told; NaN of a seed that was not run."""
    return np.where(np.isin(np.asarray(seeds), rows["seed"]), told_shares(criterion, rows, seeds), np.nan)


def _places(criterion: Criterion, rows: pd.DataFrame, axis: str) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Where a criterion is held, in words and as settings: each of `at`, or all of a range."""
    settings = sorted({float(value) for value in rows["setting"].dropna()}, reverse=True)
    if criterion.range is not None:
        low, high = criterion.range
        yield f"{axis} {low:g} to {high:g}", tuple(value for value in settings if in_range(value, criterion.range))
        return
    for setting in criterion.at or settings or (float("nan"),):
        yield place_on(axis, setting), (float(setting),)


def _effects(
    criterion: Criterion, rows: pd.DataFrame, arm: str, against: str, at: tuple[float, ...], seeds: range
) -> NDArray[np.float64]:
    """(len(seeds),) the criterion's effect of each seed, NaN where a seed has none."""
    own, other = rows[rows["arm"] == arm], rows[rows["arm"] == against]
    if criterion.kind in GROWTHS:
        if len(at) < 2:
            return np.full(len(seeds), np.nan)
        table = np.stack([series(own, criterion.metric, setting, seeds) for setting in sorted(at)], axis=1)
        return np.array([GROWTHS[criterion.kind](sorted(at), seed) for seed in table])
    values = [series(each, criterion.metric, at[0], seeds) for each in (own, other)]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = EFFECTS[criterion.kind](*values)
    return np.where(np.isfinite(found), found, np.nan)


def _shift(
    criterion: Criterion,
    place: tuple[str, str, str],
    where: tuple[str, str],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    ratio: bool,
) -> Shift:
    """The shift of one effect, at (axis, place in words); of geometric means by logarithms."""
    if ratio:
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (np.where(each > 0, np.log(each), np.nan) for each in (first, second))
    both = np.isfinite(first) & np.isfinite(second)
    paired = int(both.sum()) >= FEWEST
    if paired:
        gaps = second[both] - first[both]
        change, low, high, p = _of_gaps(gaps)
        before, after, count = first[both], second[both], int(both.sum())
    else:
        before, after = first[np.isfinite(first)], second[np.isfinite(second)]
        change, low, high, p = _of_samples(before, after)
        count = min(len(before), len(after))
    back = np.exp if ratio else (lambda value: value)
    means = [mean_estimate(each) for each in (before, after)]
    numbers = [(mean.value, mean.low, mean.high) for mean in means]
    (one, one_low, one_high), (two, two_low, two_high) = ((float(back(v)) for v in each) for each in numbers)
    return Shift(
        criterion.id, criterion.claim, *place, criterion.kind, criterion.metric, *where,
        above=criterion.above, below=criterion.below,
        first=one, first_low=one_low, first_high=one_high, second=two, second_low=two_low, second_high=two_high,
        change=float(back(change)), low=float(back(low)), high=float(back(high)),
        ratio=ratio, seeds=count, paired=paired, p=p,
        moved="identical" if both.any() and np.array_equal(first[both], second[both]) else "unknown",
    )  # fmt: skip


def _of_gaps(gaps: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Mean, interval and p of paired differences; those that all agree have neither but p = 0, or 1 where all are 0."""
    if np.ptp(gaps) == 0:
        value = float(gaps[0])
        return value, value, value, 1.0 if value == 0 else 0.0
    estimate = mean_estimate(gaps)
    p = two_sided(mean_p_value(gaps, 0.0, "greater"), mean_p_value(gaps, 0.0, "less"))
    return estimate.value, estimate.low, estimate.high, p


def _of_samples(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Difference of means, Welch's interval and p, NaN with fewer than `FEWEST` on a side."""
    from scipy import stats

    nan = float("nan")
    if min(len(first), len(second)) < FEWEST:
        known = len(first) and len(second)
        return (float(second.mean() - first.mean()) if known else nan), nan, nan, nan
    found = stats.ttest_ind(second, first, equal_var=False)
    interval = found.confidence_interval(1 - ALPHA)
    return float(second.mean() - first.mean()), float(interval.low), float(interval.high), float(found.pvalue)


def _flips(first: Sequence[Verdict], second: Sequence[Verdict]) -> Iterator[Flip]:
    """Verdicts that differ, claims before comparisons; those at another network or budget tell by what they qualify."""
    tables = [
        {(v.scope, v.claim, "" if v.scope == "claim" else v.criterion,
          *(("", "", "") if v.scope == "claim" else (v.task, v.arm, v.against))): v.verdict
         for v in each if v.scope != "variant"}
        for each in (first, second)
    ]  # fmt: skip
    for key in sorted(dict.fromkeys([*tables[0], *tables[1]]), key=lambda key: key[0]):
        outcomes = [str(table.get(key, "none")) for table in tables]
        if outcomes[0] != outcomes[1]:
            yield Flip(*key, *outcomes)
