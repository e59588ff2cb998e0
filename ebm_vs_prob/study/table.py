"""The tidy table of a study: one row a place of its grid and metric, failures and what is pending included."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .documents import Metric, Record
from .keys import canonical_json, digest
from .plan import places
from .provenance import package_digest
from .store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Columns and their pandas types. `batch` tells who trained together, and shares `seconds` and notes; `note` says why a
#: value is NaN; `code_digest` and `plugins` (JSON, a digest a module from outside the package) which code made the row.
COLUMNS = {
    "trial": "str",
    "batch": "str",
    "study": "str",
    "scale": "str",
    "task": "str",
    "arm": "str",
    "method": "str",
    "family": "str",
    "principle": "str",
    "normalised": "bool",
    "smoothing": "float64",
    "axis": "str",
    "setting": "float64",
    "thickness": "float64",
    "seed": "int64",
    "status": "str",
    "reason": "str",
    "budget": "str",
    "steps": "int64",
    "metric": "object",
    "value": "float64",
    "error": "float64",
    "unit": "str",
    "n": "int64",
    "note": "str",
    "code_digest": "str",
    "plugins": "str",
}


def results_table(store: Store, study: str, scale: str, keep: bool = False, from_records: bool = False) -> pd.DataFrame:
    """The results table of a study's last plan, with its incidents and left-out combinations in `attrs`.

    `status` is done, failed (one row, metric None, with the reason) or pending (likewise). The table that lies beside
    the plan is read where it is that of the store as it is now; with `keep` it is made so. With `from_records` it is
    never read: its digest shows that it is whole, and not that it was made of these records.

    Raises:
        UnknownName: the store holds no run of the study.
    """
    plan = store.plan(study, scale)
    trials = planned_trials(plan)
    state = table_state(store, plan)
    content = None if from_records else store.table(study, scale, state)
    frame = build_table(store, plan) if content is None else _read(content)
    if keep and content is None:
        written = io.BytesIO()
        frame.to_parquet(written, index=False)
        store.keep_table(study, scale, state, written.getvalue())
    frame.attrs = {
        "study": study,
        "scale": scale,
        "skipped": plan["skipped"],
        "incidents": [
            incident
            for incident in store.incidents()
            if not incident["trials"] or trials.intersection(incident["trials"])
        ],
    }
    return frame


def finished_table(store: Store, plan: Mapping[str, Any]) -> pd.DataFrame | None:
    """The table of a plan where it is kept, is that of the store as it is now, and no trial is left to run."""
    if store.table(plan["study"], plan["scale"], table_state(store, plan)) is None:
        return None
    frame = results_table(store, plan["study"], plan["scale"])
    return None if (frame["batch"] == "").any() else frame


def trial_states(store: Store, plan: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Status and reason of each trial of a plan, from its table where that is of the store as it is now."""
    content = store.table(plan["study"], plan["scale"], table_state(store, plan))
    if content is None:
        stops = store.stops()
        found = store.records(planned_trials(plan))
        return {key: state(record, damage, stops.get(key)) for key, record, damage in found}
    rows = _read(content, ["trial", "status", "reason"]).drop_duplicates("trial")
    columns = zip(rows["trial"], rows["status"], rows["reason"], strict=True)
    return {trial: {"status": status, "reason": reason} for trial, status, reason in columns}


def code_of_trials(store: Store, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Which code made each finished trial of a plan: columns `trial`, `code_digest` and `plugins` of its table."""
    import pandas as pd

    columns = ["trial", "code_digest", "plugins"]
    content = store.table(plan["study"], plan["scale"], table_state(store, plan))
    if content is not None:
        return _read(content, columns).drop_duplicates("trial")
    rows = [
        (key, record["code_digest"], canonical_json(record["plugins"]))
        for key, record, _ in store.records(planned_trials(plan))
        if record is not None
    ]
    return pd.DataFrame(rows, columns=columns)


def table_state(store: Store, plan: Mapping[str, Any]) -> str:
    """A digest of all that a plan's table follows from."""
    known = {"store": store.state(planned_trials(plan)), "package": package_digest()}
    return digest({**{name: plan[name] for name in ("study", "scale", "conditions")}, **known})


def planned_trials(plan: Mapping[str, Any]) -> set[str]:
    """Keys of all trials of a stored plan."""
    return {key for condition in plan["conditions"] for key in condition["trials"]}


def _read(content: bytes, columns: Sequence[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    names = list(columns or COLUMNS)
    frame = pd.read_parquet(io.BytesIO(content), columns=names)
    if "metric" in names:
        known = frame["metric"].astype("category").cat
        frame["metric"] = _shared(known.codes.to_numpy(), known.categories)
    return frame.astype({name: COLUMNS[name] for name in names})


def build_table(store: Store, plan: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a plan's places in their order, from the records; `status` is done, failed or pending.

    A trial that is not done has one row, with metric None and the reason.
    """
    import numpy as np
    import pandas as pd

    grid = list(places(plan))
    stops = store.stops()
    vocabulary: dict[str, int] = {}
    trials: dict[str, dict[str, Any]] = {}
    measured: dict[str, _Measured] = {}
    for key, record, damage in store.records(planned_trials(plan)):
        trials[key] = {**state(record, damage, stops.get(key)), **_made(record)}
        done = record is not None and record["status"] == "done"
        measured[key] = _Measured(record["metrics"] if record and done else [], record and record["notes"], vocabulary)

    rows = [{**place, "study": plan["study"], "scale": plan["scale"], **trials[place["trial"]]} for place in grid]
    for row, place in zip(rows, grid, strict=True):
        row["steps"] = place["steps"] if row["steps"] is None else row["steps"]
    of_place = [name for name in COLUMNS if name not in _Measured.COLUMNS]
    frame = pd.DataFrame(rows, columns=of_place).astype({name: COLUMNS[name] for name in of_place})
    del rows
    parts = [measured[place["trial"]] for place in grid]
    frame = frame.iloc[np.repeat(np.arange(len(parts)), [len(part.value) for part in parts])].reset_index(drop=True)
    words = pd.array(list(vocabulary), dtype="str")

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.empty(0)

    for name in ("value", "error", "n"):
        frame[name] = column(name)
    for name in ("unit", "note"):
        frame[name] = words.take(column(name).astype(np.int64))
    frame["metric"] = _shared(column("metric").astype(np.int64), list(vocabulary))
    return frame[list(COLUMNS)].astype(COLUMNS)


def _shared(codes: np.ndarray, words: Iterable[str]) -> np.ndarray:
    """Words by their numbers, None for -1; a word is one string however often it stands there."""
    import numpy as np

    return np.array([*words, None], dtype=object)[codes]


def state(record: Mapping[str, Any] | None, damage: str, stop: str | None) -> dict[str, str]:
    """Status and reason of a trial: of its record, or of what is known of the one it lacks."""
    if record is not None:
        return {"status": record["status"], "reason": record["reason"]}
    if stop is not None and not damage:
        return {"status": "failed", "reason": stop}
    return {"status": "pending", "reason": damage}


def _made(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {"batch": "", "steps": None, "code_digest": "", "plugins": ""}
    made = {name: record[name] for name in ("batch", "steps", "code_digest")}
    return {**made, "plugins": canonical_json(record["plugins"])}


class _Measured:
    """The metrics of a trial as columns, words by their number in a shared vocabulary; one empty row where none are."""

    COLUMNS = ("metric", "value", "error", "unit", "n", "note")

    def __init__(self, metrics: Sequence[Metric], notes: Mapping[str, str] | None, vocabulary: dict[str, int]) -> None:
        import numpy as np

        def number(word: str) -> int:
            return vocabulary.setdefault(word, len(vocabulary))

        names = [row["metric"] for row in metrics]
        self.metric = np.array([number(name) for name in names] or [-1])
        self.value = np.array([_number(row["value"]) for row in metrics] or [np.nan])
        self.error = np.array([_number(row["error"]) for row in metrics] or [np.nan])
        self.unit = np.array([number(row["unit"]) for row in metrics] or [number("")])
        self.n = np.array([row["n"] for row in metrics] or [0])
        self.note = np.array([number((notes or {}).get(name, "")) for name in names] or [number("")])


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
