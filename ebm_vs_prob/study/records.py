"""What becomes of a trial, and its record: written once, compared when it is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..core.registry import METHODS, TASKS
from .grid import Trial
from .keys import canonical
from .provenance import code_digest, plugin_digests, provenance
from .store import Store

#: Metrics that differ from run to run.
TIMED = ("seconds",)


@dataclass(frozen=True)
class Outcome:
    """What became of one trial, before it is written."""

    trial: Trial
    batch: str
    status: str
    reason: str = ""
    traceback: str = ""
    steps: int | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    energies: list[float | None] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def record(store: Store, outcome: Outcome, device: str) -> bool:
    """Write an outcome's record unless there is one; False where there was, after comparing the numbers."""
    key = outcome.trial.key
    specification = outcome.trial.specification
    plugins = plugin_digests(TASKS.get(specification["task"]["name"]), METHODS.get(specification["method"]["name"]))
    content = canonical(
        {
            "batch": outcome.batch,
            "specification": specification,
            "status": outcome.status,
            "reason": outcome.reason,
            "traceback": outcome.traceback,
            "steps": outcome.steps,
            "metrics": outcome.metrics,
            "energies": outcome.energies,
            "notes": outcome.notes,
            "provenance": {
                **provenance(device),
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": outcome.seconds,
            },
            "code_digest": code_digest(),
            "plugins": plugins,
        }
    )
    present = store.read(key) if store.sound(key) else None
    if present is None:
        store.write(key, content, outcome.files)
        return True
    if all(present.get(part) == content[part] for part in ("batch", "code_digest", "plugins")):
        _compare(store, key, present, content)
    return False


def _compare(store: Store, key: str, present: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    def numbers(content: Mapping[str, Any]) -> dict[str, Any]:
        rows = {row["metric"]: (row["value"], row["error"], row["n"]) for row in content["metrics"]}
        return {"status": content["status"], **{name: row for name, row in rows.items() if name not in TIMED}}

    before, after = numbers(present), numbers(again)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            store.report("disagreement", key, f"{name}: stored {before.get(name)}, computed again {after.get(name)}")
