"""From a study's grid to batches: trials that differ only in numbers train together. Nothing is run.

A trial's numbers do not depend on its company (docs/reproducibility.md), so batches follow from cost alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..core.errors import invalid
from ..core.registry import METHODS, TASKS
from .files import import_plugins, load_study
from .grid import Draft, Place, Trial, expand
from .keys import canonical, digest
from .provenance import package_digest, plugin_digests
from .schema import Study

DEVICES = ("auto", "cpu", "cuda")

#: Bytes of activations and weights that one training step may touch on a CPU: a core's share of a last-level cache.
CACHE_BYTES = 4 * 2**20
MAX_REPLICATES = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True)
class Batch:
    """Trials that are trained together; the key names them, the device and `compile`, which their timings depend on.

    `multiply_adds` is an estimate for the whole batch; trials at `first_seed`, the study's, keep arrays for pictures.
    """

    key: str
    trials: tuple[Trial, ...]
    device: str
    compile: bool
    multiply_adds: float
    first_seed: int

    @classmethod
    def of(cls, trials: Sequence[Trial], device: str, compile: bool, multiply_adds: float, first_seed: int) -> Batch:
        """A batch with its key."""
        identity = {"trials": [trial.key for trial in trials], "device": device, "compile": compile}
        return cls(digest(identity), tuple(trials), device, compile, multiply_adds, first_seed)

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of half the trials each, to find the one that breaks the whole."""
        middle = len(self.trials) // 2
        first, second = (
            Batch.of(
                part, self.device, self.compile, self.multiply_adds * len(part) / len(self.trials), self.first_seed
            )
            for part in (self.trials[:middle], self.trials[middle:])
        )
        return first, second


@dataclass(frozen=True)
class Plan:
    """What a run of a study at a scale will do: places of the grid, batches, and the combinations left out with why."""

    study: Study
    scale: str
    device: str
    drafts: tuple[Draft, ...]
    skipped: tuple[dict[str, str], ...]

    @property
    def places(self) -> tuple[Place, ...]:
        """The grid."""
        return tuple(draft.place for draft in self.drafts)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every distinct trial."""
        return tuple({draft.trial.key: draft.trial for draft in self.drafts}.values())

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """All trials in batches."""
        return self.batches_of({trial.key for trial in self.trials})

    def batches_of(self, keys: Collection[str]) -> tuple[Batch, ...]:
        """The trials of these keys in batches, the longest first so that workers end together."""
        settings = self.study.at(self.scale)
        chosen = [draft for draft in self.drafts if draft.trial.key in keys]
        return tuple(_batches(chosen, self.device, settings.compile, settings.first_seed))

    @property
    def multiply_adds(self) -> float:
        """Estimated multiply-adds of all training, counted from shapes."""
        return sum(batch.multiply_adds for batch in self.batches)

    def summary(self) -> dict[str, Any]:
        """The plan in short, JSON-ready: totals, and one row in `batches` for each method, task and budget."""
        place_of = {place.trial: place for place in self.places}
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for batch in self.batches:
            place = place_of[batch.trials[0].key]
            labels = {"method": place.method, "task": place.task, "budget": place.budget}
            counts = {"trials": 0, "batches": 0, "largest_batch": 0, "multiply_adds": 0.0}
            row = rows.setdefault((place.method, place.task, place.budget), labels | counts)
            row["trials"] += len(batch.trials)
            row["batches"] += 1
            row["largest_batch"] = max(row["largest_batch"], len(batch.trials))
            row["multiply_adds"] += batch.multiply_adds
        scale = self.study.at(self.scale)
        return {
            "study": self.study.name,
            "scale": self.scale,
            "seeds": scale.seeds,
            "arms": len(self.study.arms),
            "device": self.device,
            "dtype": scale.dtype,
            "compile": scale.compile,
            "places": len(self.places),
            "trials": len(self.trials),
            "batch_count": len(self.batches),
            "multiply_adds": self.multiply_adds,
            "skipped": [f"{entry['arm']} on {entry['task']}: {entry['reason']}" for entry in self.skipped],
            "batches": list(rows.values()),
        }

    def to_record(self) -> dict[str, Any]:
        """The plan as it is stored: all that reading results needs, without the package's registries."""
        return {
            "study": self.study.name,
            "scale": self.scale,
            "device": self.device,
            "runs": digest(self.study.runs(self.scale)),
            "package": self._package(),
            "file": canonical(self.study.model_dump(mode="json", by_alias=True)),
            "places": [asdict(place) for place in self.places],
            "skipped": list(self.skipped),
        }

    def _package(self) -> str:
        """The digest of the package where the plan follows from it and the study's file alone, else empty."""
        tasks, methods = ({getattr(place, kind) for place in self.places} for kind in ("task", "method"))
        outside = plugin_digests(*map(TASKS.get, tasks), *map(METHODS.get, methods))
        return "" if outside or self.study.plugins else package_digest()


def plan_study(study: str | Path | Study, scale: str = "quick", device: str = "auto") -> Plan:
    """The trials and batches of a study at a scale, every option validated and defaulted; nothing is run.

    Raises:
        UnknownName: an unknown study, scale, task, method or option, with the nearest valid one.
        ValueError: a bad value, with file, field and what is valid.
    """
    chosen = study if isinstance(study, Study) else load_study(study)
    chosen.at(scale)
    place = resolve_device(device)
    import_plugins(chosen.plugins, chosen.where, chosen.folder)
    drafts, skipped = expand(chosen, scale)
    return Plan(chosen, scale, place, tuple(drafts), tuple(skipped))


def resolve_device(device: str) -> str:
    """The device that `auto` means here; a `ValueError` for one that is not there."""
    if device not in DEVICES:
        raise invalid("device", device, f"one of {', '.join(DEVICES)}")
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise invalid("device", device, "cpu: this machine has no CUDA device")
    return "cpu"


def replicates_in_cache(widths: Sequence[int], batch_size: int, bytes_per_number: int = 4) -> int:
    """Replicates whose training step stays in `CACHE_BYTES`: a rule of thumb for a CPU, from shapes alone.

    A step touches about three arrays of `batch_size` numbers for each unit (value, derivative, gradient) and four for
    each weight (value, gradient, Adam's two moments).
    """
    parameters = sum((before + 1) * after for before, after in pairwise(widths))
    touched = bytes_per_number * (3 * batch_size * sum(widths) + 4 * parameters)
    return max(1, CACHE_BYTES // touched)


def _most_replicates(draft: Draft, device: str) -> int:
    if not draft.batchable:
        return 1
    if device != "cpu":
        return MAX_REPLICATES[device]
    bytes_per_number = 8 if draft.trial.specification["dtype"] == "float64" else 4
    return min(MAX_REPLICATES["cpu"], replicates_in_cache(draft.widths, draft.batch_size, bytes_per_number))


def _batches(drafts: Sequence[Draft], device: str, compile: bool, first_seed: int) -> list[Batch]:
    """Distinct trials, grouped and cut into batches, the longest first."""
    groups: dict[str, dict[str, Draft]] = {}
    for draft in drafts:
        groups.setdefault(draft.group, {}).setdefault(draft.trial.key, draft)
    batches = []
    for group in groups.values():
        members = list(group.values())
        size = _most_replicates(members[0], device)
        for start in range(0, len(members), size):
            part = members[start : start + size]
            cost = sum(draft.multiply_adds for draft in part)
            batches.append(Batch.of([draft.trial for draft in part], device, compile, cost, first_seed))
    return sorted(batches, key=lambda batch: -batch.multiply_adds)
