"""The tidy table of a study: one row a place of its grid and metric, failures and what is pending included."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import write_atomically
from .keys import canonical_json
from .store import Store

if TYPE_CHECKING:
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


def results_table(store: Store, study: str, scale: str) -> pd.DataFrame:
    """The results table of a study's last plan, with its incidents and left-out combinations in `attrs`.

    `status` is done, failed (one row, metric None, with the reason) or pending (likewise).

    Raises:
        UnknownName: the store holds no run of the study.
    """
    import pandas as pd

    plan = store.plan(study, scale)
    trials = {place["trial"] for place in plan["places"]}
    stops = store.stops()
    found = {key: (record, state(record, damage, stops.get(key))) for key, record, damage in store.records(trials)}
    rows: list[dict[str, Any]] = []
    for place in plan["places"]:
        common = {**place, "study": study, "scale": scale, "batch": ""}
        record, reached = found[place["trial"]]
        rows.extend(_rows({**common, **reached}, record))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
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


def state(record: Mapping[str, Any] | None, damage: str, stop: str | None) -> dict[str, str]:
    """Status and reason of a trial: of its record, or of what is known of the one it lacks."""
    if record is not None:
        return {"status": record["status"], "reason": record["reason"]}
    if stop is not None and not damage:
        return {"status": "failed", "reason": stop}
    return {"status": "pending", "reason": damage}


def _rows(common: dict[str, Any], record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    empty = {"metric": None, "value": None, "error": None, "unit": "", "n": 0, "note": ""}
    empty |= {"code_digest": "", "plugins": ""}
    if record is None:
        return [{**common, **empty}]
    common = {
        **common,
        "batch": record["batch"],
        "steps": common["steps"] if record["steps"] is None else record["steps"],
        "code_digest": record["code_digest"],
        "plugins": canonical_json(record["plugins"]),
    }
    if record["status"] != "done":
        return [{**empty, **common}]
    notes = record["notes"]
    return [{**common, **row, "note": notes.get(row["metric"], "")} for row in record["metrics"]]


def write_parquet(store: Store, frame: pd.DataFrame) -> Path:
    """Write a study's table beside its plan; derived, and made again from the records at any time."""
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    path = store.study_folder(frame.attrs["study"], frame.attrs["scale"]) / "results.parquet"
    write_atomically(path, content.getvalue())
    return path
