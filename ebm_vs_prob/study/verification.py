"""Whether results are what was published, and whether the code at hand makes them again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.text import shown
from .batches import Batch
from .data_files import digests_of, know_files
from .documents import Record
from .failures import reason
from .grid import Trial
from .identifiers import FILE, identifier_of, read_result, records_digest
from .judging import judge
from .measurement import measured, reproducible
from .opening import recorded_task
from .own_energies import brought_by
from .plan_again import changes, other_rows
from .plugins import import_plugins
from .provenance import code_digest, is_by_code_at_hand, provenance
from .schema import Study
from .store import Store
from .table import planned_trials, results_table

if TYPE_CHECKING:
    import pandas as pd

#: Relative difference that other roundings make of a metric.
ROUNDING = 1e-6
#: Relative difference that another kind of machine may make besides the metric's own standard error: a training
#: amplifies roundings.
ELSEWHERE = 1e-2
#: What a trial's metrics are called that are not of the trial: they say how long it took.
NOT_COMPARED = ("seconds",)
#: Numbers of a verdict that are compared with those published, to `ROUNDING`.
NUMBERS = ("estimate", "low", "high", "adjusted_p", "seeds", "failed")
WHICH = ("scope", "claim", "criterion", "task", "arm", "against", "variant")


@dataclass(frozen=True)
class Rerun:
    """A trial that was trained again. `outcome` says how its metrics compare with the record's: "same bits", "within
    rounding", "within tolerance", "other numbers" or "could not be run"; `detail` names the metric that is furthest."""

    trial: str
    arm: str
    outcome: str
    same_machine: bool
    detail: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether it came out as it may: to rounding on the record's kind of machine, within tolerance elsewhere."""
        allowed = ("same bits", "within rounding", *(() if self.same_machine else ("within tolerance",)))
        return self.outcome in allowed


@dataclass(frozen=True)
class Verification:
    """What `verify` found. `identifier` is that of the results as they are, `kept` that at the run's end, of the same
    records or not, and `published` that beside the report. `changed` is what the study's file says otherwise than what
    was run, and `other_rows` that its data files hold other rows, or "". `differences` are what the verdicts of the
    report and those of the records have apart; None without a report. `page` is the same of its page and tables, where
    these were made again. `same_code` is whether the code at hand, of the package and of plugins, made all records."""

    study: str
    scale: str
    identifier: str
    kept: str
    same_records: bool
    published: str
    changed: list[str]
    trials: int
    missing: int
    damaged: list[str]
    same_code: bool
    report: str
    differences: list[str] | None
    reruns: list[Rerun] = field(default_factory=list)
    page: list[str] | None = None
    other_rows: str = ""

    @property
    def problems(self) -> list[str]:
        """Everything that speaks against the results, a line each."""
        found = [f"damaged: {reason}" for reason in self.damaged]
        if self.missing:
            found.append(f"{self.missing} of {self.trials} trials have no record")
        found += [f"the study's file says other than what was run: {each}" for each in self.changed]
        found += [self.other_rows] if self.other_rows else []
        if self.kept not in ("", self.identifier) and not self.same_records:
            found.append(f"the records are not those of the run's end: then {self.kept}, now {self.identifier}")
        if self.published and self.published != self.identifier:
            found.append(f"the report is of another result: {self.published}, here {self.identifier}")
        found += [f"other than published: {each}" for each in (*(self.differences or ()), *(self.page or ()))]
        found += [f"trial {run.trial[:12]} of {run.arm}: {run.outcome} ({run.detail})"
                  for run in self.reruns if not run.reproduced]  # fmt: skip
        return found

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        what = f"{self.study} at {self.scale}"
        if self.problems:
            return f"not verified: {what}"
        as_published = "verdicts as published" if self.page is None else "verdicts, page and tables as published"
        verdicts = "no report to compare with" if self.differences is None else as_published
        if self.reruns:
            code = f"this code reproduces {len(self.reruns)} of {len(self.reruns)} trials trained again"
        else:
            same = "the code at hand made them" if self.same_code else "other code than that at hand made them"
            code = f"{same}; nothing was trained again (--rerun K)"
        moved = ""
        if self.kept not in ("", self.identifier):
            moved = f"; claims, criteria or gates were changed after the run, whose result was {self.kept}"
        return f"verified: {what}: {self.trials} records whole, {verdicts}, {code}{moved}"

    def as_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        said = {"verified": not self.problems, "sentence": self.sentence, "problems": self.problems}
        return {**said, **asdict(self)}


def verify(
    study: Study,
    scale: str,
    store: Store,
    report: Path | None = None,
    rerun: int = 0,
    page: Callable[[pd.DataFrame], list[str]] | None = None,
) -> Verification:
    """Read all records of a study's results again, decide its verdicts again and hold them against a report's.

    Args:
        report: its folder; None where there is none.
        rerun: how many trials to train again, taken in turn from the arms.
        page: says of the results table what the report's page and tables have otherwise; by default these are not
            compared, and never where a record is damaged or the file or its data are other than what was run.

    Raises:
        UnknownName: the store holds no run of the study.
    """
    plan = store.plan(study.name, scale, study.given)
    keys = planned_trials(plan)
    stops = store.stops()
    damaged, missing = dict[str, None](), 0
    records: dict[str, Record] = {}
    for key, record, damage in store.records(keys):
        if damage:
            damaged[damage] = None
        elif record is None:
            missing += key not in stops
        else:
            records[key] = record
    results = results_table(store, study.name, scale, from_records=True)
    apart = None if report is None else _differences(report, study, scale, results)
    kept = read_result(store.study_folder(study.name, scale) / FILE)
    changed, rows = changes(plan, study, scale), other_rows(plan, study, scale)
    return Verification(
        study=study.name,
        scale=scale,
        identifier=identifier_of(study, scale, plan, records),
        kept=str(kept.get("id", "")),
        same_records=kept.get("records") == records_digest(plan, records),
        published="" if report is None else str(read_result(report / FILE).get("id", "")),
        changed=[f"{name} is {shown(now)} and was {shown(was)}" for name, (was, now) in changed.items()],
        trials=len(keys),
        missing=missing,
        damaged=list(damaged),
        same_code=bool(records) and all(is_by_code_at_hand(record, study.folder) for record in records.values()),
        report="" if apart is None else str(report),
        differences=apart,
        reruns=list(_rerun(study, plan, records, rerun)) if rerun else [],
        page=None if page is None or apart is None or damaged or changed or rows else page(results),
        other_rows=rows,
    )


def _differences(report: Path, study: Study, scale: str, results: pd.DataFrame) -> list[str] | None:
    """What the verdicts beside a report have other than those of the results; None where there are none."""
    here = [v.as_dict() for v in judge(study.held_at(scale), results, study.at(scale).all_seeds, scale)]
    try:
        published = json.loads((report / "verdicts.json").read_text(encoding="utf-8"))
        if not isinstance(published, list) or not all(isinstance(each, dict) for each in published):
            raise ValueError("it is no list of verdicts")
        return list(differences(published, here))
    except FileNotFoundError:
        return ["verdicts.json is missing"] if (report / "index.html").exists() else None
    except KeyError as error:
        return [f"verdicts.json cannot be read: a verdict has no {error}"]
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return [f"verdicts.json cannot be read: {error}"]


def differences(published: Iterable[Mapping[str, Any]], here: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What two lists of verdicts, as `Verdict.as_dict` has them, do not have in common, a line each."""
    first, second = ({_which(verdict): verdict for verdict in each} for each in (published, here))
    for which in dict.fromkeys([*first, *second]):
        name = " ".join(filter(None, which))
        if which not in first or which not in second:
            yield f"{name}: only {'in the report' if which in first else 'in the records'}"
            continue
        before, after = first[which], second[which]
        if before["verdict"] != after["verdict"]:
            yield f"{name}: {before['verdict']} in the report, {after['verdict']} by the records"
        for number in NUMBERS:
            pair = before.get(number), after.get(number)
            if not _close(_as_number(pair[0]), _as_number(pair[1]), ROUNDING):
                yield f"{name}: {number} {pair[0]} in the report, {pair[1]} by the records"


def _which(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """What a verdict is on: a claim, or one comparison of a criterion, at the scale's own network and budget or not."""
    names = WHICH[:2] if verdict["scope"] == "claim" else WHICH
    return tuple(str(verdict.get(name, "")) for name in names)


def _as_number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _close(one: float, other: float, relative: float, absolute: float = 0.0) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= relative * max(abs(one), abs(other)) + absolute


def _rerun(study: Study, plan: Mapping[str, Any], records: Mapping[str, Record], count: int) -> Iterator[Rerun]:
    """`count` trials that are done, one after another of each arm; which of them follows from their keys."""
    import_plugins(study.imports, study.where, study.folder)
    know_files(digests_of(study), study.folder)
    queues: dict[str, list[str]] = {}
    for condition in plan["conditions"]:
        queues.setdefault(condition["arm"], []).extend(
            key for key in condition["trials"] if key in records and records[key]["status"] == "done"
        )
    waiting = {arm: sorted(set(keys), reverse=True) for arm, keys in queues.items()}
    while count and any(waiting.values()):
        for arm, keys in waiting.items():
            if keys and count:
                yield again(records[keys.pop()], arm)
                count -= 1


def again(record: Record, arm: str = "") -> Rerun:
    """Train the trial of a record again, alone, and compare its metrics with those of the record."""
    made = record["provenance"]
    trial = Trial.of(record["specification"])
    device = "cpu"
    here = provenance(device)
    same = (
        made.get("hardware", {}).get("processor") == here["hardware"]["processor"]
        and made.get("hardware", {}).get("device") == device
        and made.get("versions", {}).get("torch") == here["versions"].get("torch")
    )
    try:
        task = recorded_task(trial.specification)
        batch = Batch.of([trial], device, bool(made.get("compiled")), 0.0, first_seed=-1)
        with reproducible(device):
            (outcome,) = measured(batch, [task])
    except Exception as error:
        return Rerun(trial.key, arm, "could not be run", same, reason(error))
    if outcome.status != "done":
        return Rerun(trial.key, arm, "could not be run", same, outcome.reason)
    changed = (record["code_digest"], record["plugins"]) != (code_digest(), brought_by(record["specification"]))
    found, detail = _compared(record["metrics"], outcome.metrics)
    return Rerun(trial.key, arm, found, same, f"{detail}{'; by other code than the record' if changed else ''}")


def _compared(recorded: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """How near the metrics of a trial are to those recorded, and the one that is furthest."""
    before, after = ({m["metric"]: m for m in each if m["metric"] not in NOT_COMPARED} for each in (recorded, found))
    if before.keys() != after.keys():
        return "other numbers", f"metrics of one side only: {', '.join(sorted(before.keys() ^ after.keys()))}"
    levels = ("same bits", "within rounding", "within tolerance", "other numbers")
    furthest, detail = 0, "all metrics equal"
    for name, row in before.items():
        one, other = _as_number(row["value"]), _as_number(after[name]["value"])
        error = _as_number(row["error"])
        level = next(
            number
            for number, close in enumerate(
                (
                    one == other or (math.isnan(one) and math.isnan(other)),
                    _close(one, other, ROUNDING, 1e-12),
                    _close(one, other, ELSEWHERE, 0.0 if math.isnan(error) else error),
                    True,
                )
            )
            if close
        )
        if level > furthest:
            furthest, detail = level, f"{name} {other:.17g}, recorded {one:.17g}"
    return levels[furthest], detail
