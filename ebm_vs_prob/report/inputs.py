"""What a report is made of: the study, its results, arrays beside them, and where they come from. Never a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.text import shown
from ..study.consistency import PRIMARY_BUDGET
from ..study.judging import judge
from ..study.task_grids import THICKNESS
from ..study.verdicts import Verdict
from .style import Look, looks, place, symbol, value_at

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..study.schema import Study
    from ..study.tuning import Choice

Arrays = Mapping[str, "np.ndarray"]


@dataclass(frozen=True)
class Inputs:
    """Everything that a report shows.

    Args:
        study: the validated study.
        scale: name of one of its scales.
        results: the tidy table of `load_results`.
        arrays: landscape, answer and sample arrays of (task, arm, setting), of the first seed that has them.
        provenance: name and distinct values of whatever the records say of their origin.
        skipped: combinations of arm and task that a method declines, each with its reason.
        plan: of the run, as the store has it. records: of each trial, likewise.
        tuning: what was chosen for arms before the run.
        identifier: of the results.
    """

    study: Any
    scale: str
    results: pd.DataFrame
    arrays: Mapping[tuple[str, str, float], Arrays] = field(default_factory=dict)
    provenance: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, str]] = ()
    plan: Mapping[str, Any] = field(default_factory=dict, repr=False)
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    tuning: Sequence[Choice] = ()
    identifier: str = ""

    @property
    def num_seeds(self) -> int:
        return len(self.study.scales[self.scale].all_seeds)

    @cached_property
    def primary(self) -> pd.DataFrame:
        """Results of the budget that verdicts and figures use."""
        return self.results[self.results["budget"] == PRIMARY_BUDGET]

    @property
    def tasks(self) -> list[str]:
        """Tasks with results, in the study's order."""
        present = set(self.results["task"].unique())
        return [task.name for task in self.study.tasks if task.name in present]

    def looks(self) -> dict[str, Look]:
        """How each arm is drawn."""
        return looks(self.study.arms, self.results)

    def settings(self, task: str) -> list[float]:
        """Settings with results: thick first along thickness, else the least first."""
        return list(self._settings.get(task, ()))

    def axis(self, task: str) -> str:
        """The option that a task varies along, as its results have it: `UNKNOWN_NOISE` where noise is not known."""
        return self._axes.get(task) or str(self.study.grid(task).axis)

    @cached_property
    def _axes(self) -> dict[str, str]:
        """Of tasks with results; tables ask for them row by row."""
        return {str(task): str(axis) for task, axis in self.results.groupby("task", sort=False)["axis"].first().items()}

    @cached_property
    def _settings(self) -> dict[str, list[float]]:
        found = self.results.groupby("task", sort=False)["setting"].unique()
        return {
            str(task): sorted((at for at in settings if at == at), reverse=self._axes[str(task)] == THICKNESS)
            for task, settings in found.items()
        }

    def symbol(self, task: str) -> str:
        """What that option is called in tables and figures."""
        return symbol(self.axis(task))

    def headed(self, task: str, setting: float) -> tuple[str, str]:
        """The heading of a column of settings, and one of them in it."""
        return self.symbol(task), value_at(self.axis(task), setting)

    def place(self, task: str, setting: float) -> str:
        """A setting of a task with the name of what varies."""
        return place(self.axis(task), setting)

    def verdicts(self) -> list[Verdict]:
        return judge(self.study, self.results, self.study.scales[self.scale].all_seeds, self.scale)


def flatten(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Distinct values of every entry of nested tables, in order of appearance: `{"versions.torch": ("2.13.0",)}`."""
    found: dict[str, dict[str, None]] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        elif value is not None and value != "":
            found.setdefault(prefix, {})[str(value)] = None

    for record in records:
        walk("", record)
    return {name: tuple(values) for name, values in found.items()}


def gather(
    path_or_name: str | Path | Study, scale: str, store: str | Path, results: pd.DataFrame | None = None
) -> Inputs:
    """Read what a report of a study at a scale needs from the store.

    Args:
        results: its table, where that is at hand.

    Raises:
        UnknownName: no such study or scale, or the store holds no run of it.
        ValueError: the study's file has another network, budget, task or arm than what was run, or its data
            files other rows.
    """
    from ..core.errors import invalid
    from ..study.files import load_study
    from ..study.identifiers import identifier_of
    from ..study.plan_again import changes, choices_in, other_rows
    from ..study.plugins import import_plugins
    from ..study.run import load_results
    from ..study.store import Store
    from ..study.table import planned_trials
    from ..study.tuning import settled

    whole = settled(load_study(path_or_name), scale)
    study = whole.held_at(scale)
    kept = Store(store)
    plan = kept.plan(study.name, scale, study.given)
    for name, (was, now) in changes(plan, whole, scale).items():
        valid = f"{shown(was)}, with which it was run; run it again, or write another study under another name"
        raise invalid(f"{study.where}: {name}", now, valid)
    rows = other_rows(plan, whole, scale)
    if rows:
        raise ValueError(f"{study.where}: {rows}; run it again, or write another study under another name")
    for plugin in study.imports:  # which know papers and summaries; without one the numbers are the same
        with suppress(ValueError):
            import_plugins([plugin], study.where, study.folder)
    results = load_results(whole, scale, store) if results is None else results
    records = {key: record for key, record, _ in kept.records(planned_trials(plan)) if record}
    arrays: dict[tuple[str, str, float], Arrays] = {}
    done = results[(results["status"] == "done") & (results["budget"] == PRIMARY_BUDGET)]
    done = done.sort_values("seed", kind="stable")
    for row in done.drop_duplicates(["trial", "arm"]).itertuples():
        place = (str(row.task), str(row.arm), float(str(row.setting)))
        if place not in arrays and "arrays" in kept.kinds(str(row.trial)):
            arrays[place] = kept.load_arrays(str(row.trial))
    return Inputs(
        study,
        scale,
        results,
        arrays,
        origin(records.values()),
        tuple(plan["skipped"]),
        plan,
        records,
        choices_in(plan),
        identifier_of(whole, scale, plan, records),
    )


def origin(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Versions, commit, hardware and threads of the records, their code digests, and the days they were written."""
    told: list[dict[str, Any]] = []
    for record in records:
        source = record["provenance"]
        kept = {name: value for name, value in source.items() if name not in ("written", "seconds")}
        told.append(
            {
                **kept,
                "code digest": record["code_digest"],
                "plugins": record["plugins"],
                "written": str(source.get("written", ""))[:10],
            }
        )
    found = flatten(told)
    days = found.pop("written", ())
    grouped = dict(sorted(found.items(), key=lambda item: item[0].startswith("plugins.")))
    return {**grouped, "written": tuple(sorted(days))} if days else grouped
