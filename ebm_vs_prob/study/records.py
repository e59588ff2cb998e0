"""What becomes of a trial, and its record, which is written once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..core.registry import METHODS, TASKS
from .grid import Trial
from .keys import canonical
from .provenance import code_digest, plugin_digests, provenance
from .store import Store


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
    """Write an outcome's record unless there is one; False where there was."""
    key = outcome.trial.key
    if store.sound(key):
        return False
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
    store.write(key, content, outcome.files)
    return True
