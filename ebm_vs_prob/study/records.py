"""What becomes of a trial, and what is kept of it, once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..core.text import printable
from .grid import Trial
from .own_energies import brought_by
from .provenance import code_digest, provenance
from .shards import Entry, record_text
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
    compiled: bool = False
    metrics: list[dict[str, Any]] = field(default_factory=list)
    energies: list[float | None] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def write(store: Store, outcomes: Iterable[Outcome], device: str) -> int:
    """Write outcomes that the store lacks in one shard; how many these were."""
    found = list(outcomes)
    present = store.sound(outcome.trial.key for outcome in found)
    entries = [entry(outcome, device) for outcome in found if outcome.trial.key not in present]
    if entries:
        store.write(entries)
    return len(entries)


def entry(outcome: Outcome, device: str) -> Entry:
    """What is kept of an outcome, with what made it; what a method said is made printable and bounded.

    Raises:
        ValueError: it has what no record can hold.
    """
    specification = outcome.trial.specification
    content = {
        "batch": outcome.batch,
        "specification": specification,
        "status": outcome.status,
        "reason": printable(outcome.reason),
        "traceback": outcome.traceback,
        "steps": outcome.steps,
        "metrics": outcome.metrics,
        "energies": outcome.energies,
        "notes": {name: printable(note) for name, note in outcome.notes.items()},
        "provenance": {
            **provenance(device),
            "compiled": outcome.compiled,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": outcome.seconds,
        },
        "code_digest": code_digest(),
        "plugins": brought_by(specification),
    }
    found = Entry(outcome.trial.key, content, outcome.files)
    record_text(found)
    return found
