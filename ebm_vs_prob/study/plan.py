"""From a study's grid to batches: trials that differ only in numbers train together. Nothing is run.

A trial's numbers do not depend on its company (docs/reproducibility.md), so batches follow from cost alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heapreplace
from pathlib import Path
from typing import Any

from ..core.errors import invalid
from .batches import Batch, Group
from .cost import stored_bytes
from .data_files import digest_of_runs
from .files import load_study
from .gates import asked_of
from .grid import Condition, Trial, expand
from .keys import canonical
from .own_energies import brought_by
from .plugins import import_plugins
from .provenance import package_digest
from .schema import Study
from .step_times import TYPICAL, StepTimes, step_times
from .tuning import Choice, provisional, settled, with_values

DEVICES = ("auto", "cpu", "cuda")

#: Trials that a run may have: its plan is then some 70 MB, and its records some 4 GB.
MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What a run of a study at a scale will do: its conditions, batches, and the combinations left out with why.

    Trials are counted before they are made, so that the size of any plan is told at once. `tuning` is what was chosen
    for the arms of `study`, which have it among their options.
    """

    study: Study
    scale: str
    device: str
    conditions: tuple[Condition, ...]
    skipped: tuple[dict[str, str], ...]
    step_times: StepTimes
    tuning: tuple[Choice, ...] = ()

    @cached_property
    def distinct(self) -> tuple[Condition, ...]:
        """The conditions, of those with the same trials the first."""
        first: dict[str, Condition] = {}
        for condition in self.conditions:
            first.setdefault(condition.identity, condition)
        return tuple(first.values())

    @property
    def num_trials(self) -> int:
        """How many distinct trials there are."""
        return sum(len(condition.seeds) for condition in self.distinct)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every distinct trial.

        Raises:
            ValueError: more than a run may have.
        """
        self.check_size()
        return tuple(trial for condition in self.distinct for trial in condition.trials())

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """All trials in batches."""
        return self.batches_of({trial.key for trial in self.trials})

    def check_size(self) -> None:
        """Raise a `ValueError` where there are more trials than a run may have."""
        if self.num_trials > MOST_TRIALS:
            field = f"{self.study.where}: scales.{self.scale}: trials"
            raise invalid(field, self.num_trials, f"at most {MOST_TRIALS} in a run: fewer seeds, arms or settings")

    def batches_of(self, keys: Collection[str]) -> tuple[Batch, ...]:
        """The trials of these keys in batches, the longest first so that workers end together."""
        first_seed = self.study.at(self.scale).first_seed
        batches = []
        for group in self._groups():
            compiled = self._compiles(group)
            chosen = [(c.multiply_adds, trial) for c in group.conditions for trial in c.trials() if trial.key in keys]
            for start in range(0, len(chosen), group.most_replicates):
                work, trials = zip(*chosen[start : start + group.most_replicates], strict=True)
                batches.append(Batch.of(trials, self.device, compiled, sum(work), first_seed))
        return tuple(sorted(batches, key=lambda batch: -batch.multiply_adds))

    def _groups(self) -> list[Group]:
        """Distinct conditions whose trials train together."""
        groups: dict[str, list[Condition]] = {}
        for condition in self.distinct:
            groups.setdefault(condition.group, []).append(condition)
        made = [Group(tuple(conditions), self.device) for conditions in groups.values()]
        steps: Counter[tuple[str, int]] = Counter()
        groups_of = Counter(group.program for group in made)
        for group in made:
            steps[group.program] += group.steps_of_largest
        return [replace(g, program_steps=steps[g.program], program_groups=groups_of[g.program]) for g in made]

    @property
    def may_compile(self) -> bool:
        """Whether it depends on what steps take here what is compiled."""
        if self.device != "cpu" or self.study.at(self.scale).compile != "auto":
            return False
        return any(group.may_compile for group in self._groups())

    def _compiles(self, group: Group) -> bool:
        return group.compiles(self.study.at(self.scale).compile, self.step_times)

    @property
    def multiply_adds(self) -> float:
        """Estimated multiply-adds of all training, counted from shapes."""
        return sum(condition.multiply_adds * len(condition.seeds) for condition in self.distinct)

    def wall_seconds(self, workers: int) -> float:
        """Predicted seconds until so many workers have done all batches, each taking the longest that is left."""
        each: list[float] = []
        for group in self._groups():
            seconds = group.core_seconds(self.step_times, self._compiles(group)) / group.batches
            each += [seconds] * group.batches
        busy = [0.0] * workers
        for seconds in sorted(each, reverse=True):
            heapreplace(busy, busy[0] + seconds)
        return max(busy)

    def summary(self) -> dict[str, Any]:
        """The plan in short, JSON-ready: totals, and one row in `batches` for each method, task and budget."""
        named = {condition.identity: condition.labels for condition in self.distinct}
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        core_seconds = 0.0
        for group in sorted(self._groups(), key=lambda group: -group.first.multiply_adds):
            labels, compiled = named[group.first.identity], self._compiles(group)
            row = rows.setdefault(
                (labels["method"], labels["task"], labels["budget"]),
                {"method": labels["method"], "task": labels["task"], "budget": labels["budget"]}
                | {"trials": 0, "batches": 0, "largest_batch": 0, "multiply_adds": 0.0}
                | {"steps": 0, "recorded_ms": 0.0, "compiled_ms": 0.0, "compiled": 0},
            )
            row["trials"] += group.trials
            row["batches"] += group.batches
            row["largest_batch"] = max(row["largest_batch"], group.largest)
            row["multiply_adds"] += group.multiply_adds
            row["steps"] = max(row["steps"], group.first.steps)
            for column, mode in (("recorded_ms", False), ("compiled_ms", True)):
                seconds = group.step_seconds(self.step_times, group.largest, mode)
                row[column] = max(row[column], round(1e3 * seconds, 3))
            row["compiled"] += group.batches if compiled else 0
            core_seconds += group.core_seconds(self.step_times, compiled)
        scale = self.study.at(self.scale)
        return {
            "study": self.study.name,
            "scale": self.scale,
            "seeds": scale.seeds,
            "arms": len(self.study.held_at(self.scale).arms),
            "device": self.device,
            "dtype": scale.dtype,
            "compile": scale.compile,
            "places": sum(len(condition.seeds) for condition in self.conditions),
            "trials": self.num_trials,
            "batch_count": sum(row["batches"] for row in rows.values()),
            "multiply_adds": self.multiply_adds,
            "step_times": self.step_times.model_dump(),
            "core_seconds": round(core_seconds),
            "stored_bytes": stored_bytes(self.num_trials, len(self.distinct)),
            "gates": [
                {
                    "metric": gate.metric,
                    "asked": asked_of(gate),
                    "at": "the easiest setting" if gate.at is None else f"{gate.at:g}",
                    "arms": ", ".join(gate.arms) or "all that have it",
                    "tasks": ", ".join(gate.tasks) or "all",
                }
                for gate in self.study.held_at(self.scale).gates
            ],
            "skipped": [f"{entry['arm']} on {entry['task']}: {entry['reason']}" for entry in self.skipped],
            "batches": list(rows.values()),
        }

    def to_record(self) -> dict[str, Any]:
        """The plan as it is stored: all that reading results needs, without the package's registries.

        Of each condition it holds the labels, the first seed, and the keys of its trials in the order of the seeds;
        `places` reads them.
        """
        self.check_size()
        compiled = {group.first.group for group in self._groups() if self._compiles(group)}
        return {
            "study": self.study.name,
            "scale": self.scale,
            "device": self.device,
            "runs": digest_of_runs(self.study, self.scale),
            "package": self._package(),
            "file": canonical(self.study.model_dump(mode="json", by_alias=True)),
            "conditions": [
                {
                    **condition.labels,
                    "first_seed": condition.seeds.start,
                    "trials": list(condition.keys()),
                    "compiled": condition.group in compiled,
                }
                for condition in self.conditions
            ],
            "skipped": list(self.skipped),
            "step_times": self.step_times.model_dump(),
            **({"tuning": [choice.as_record() for choice in self.tuning]} if self.tuning else {}),
        }

    def _package(self) -> str:
        """The digest of the package where the plan follows from it and the study's file alone, else empty."""
        outside = any(brought_by(condition.specification) for condition in self.conditions)
        return "" if outside or self.study.imports else package_digest()


#: What a stored condition holds beside its labels.
NO_LABELS = ("first_seed", "trials", "compiled")


def places(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of a stored plan's grid: the labels of its condition, its seed, and the key of the trial in it."""
    for condition in record["conditions"]:
        labels = {name: value for name, value in condition.items() if name not in NO_LABELS}
        for seed, key in enumerate(condition["trials"], condition["first_seed"]):
            yield {"trial": key, **labels, "seed": seed}


def plan_study(
    study: str | Path | Study,
    scale: str | None = None,
    device: str = "auto",
    elsewhere: bool = False,
    times: StepTimes | None = None,
    tuning: Sequence[Choice] = (),
) -> Plan:
    """The trials and batches of a study at a scale, every option validated and defaulted; nothing is run.

    Of a study that is to be tuned and was not, these are as many trials, at the middle one of the values to be tried.

    Args:
        study: a name in `studies/`, the path of a TOML file, or a loaded study.
        scale: a scale of the file; by default its `default_scale`, quick or the only one.
        device: `auto`, `cpu` or `cuda`.
        elsewhere: other machines compute, so that `cuda` need not be here.
        times: what steps take, which decides what is compiled; by default on this machine, where it is measured once
            if it may pay to compile.
        tuning: what was chosen for the arms of a study that is tuned.

    Raises:
        UnknownName: an unknown study, scale, task, method or option, with the nearest valid one.
        ValueError: a bad value, with file, field and what is valid.
    """
    chosen = study if isinstance(study, Study) else load_study(study)
    scale = scale or chosen.default_scale
    chosen.at(scale)
    place = resolve_device(device, elsewhere)
    import_plugins(chosen.imports, chosen.where, chosen.folder)
    chosen = settled(chosen, scale)
    if chosen.tuning is not None:
        values = {choice.arm: choice.chosen for choice in tuning}
        chosen = with_values(chosen, values or provisional(chosen))
    conditions, skipped = expand(chosen.held_at(scale), scale)
    plan = Plan(chosen, scale, place, tuple(conditions), tuple(skipped), times or TYPICAL, tuple(tuning))
    return plan if times else replace(plan, step_times=step_times(needed=plan.may_compile))


def resolve_device(device: str, elsewhere: bool = False) -> str:
    """The device that `auto` means here; a `ValueError` for one that is not there, unless it is meant `elsewhere`."""
    if device not in DEVICES:
        raise invalid("device", device, f"one of {', '.join(DEVICES)}")
    if device == "cpu" or (device == "cuda" and elsewhere):
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise invalid("device", device, "cpu: this machine has no CUDA device")
    return "cpu"
