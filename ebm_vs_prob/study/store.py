"""The store: trials in shards named by their content, everything written once and atomically.

Layout, readable without this package:

    shards/<sha256 of its bytes>.zip   some trials, each with
        <key>.json                     specification, status, reason, metrics, energies, notes, provenance, digests
        <key>.safetensors              landscapes, answers and samples, for the first seed
        <key>.nc                       samples and training diagnostics as ArviZ InferenceData (netCDF 4), likewise
    studies/<study>/<scale>/           plan.json (the grid and its trials), and derived from the records, to be made
                                       again, results.parquet (the table), results.json (its digest), result.json (id)
    stopped/<key>.json                 why a trial without a record was last stopped from outside
    incidents/                         what went wrong and was mended
    damaged/                           what lay in the place of something of the store and was not what was written
    replaced/                          shards of which a trial was forgotten

A trial's record and arrays lie in one shard, so they are there together or not at all, and a shard's name checks every
byte. In records NaN is null and infinity is "inf". Files and folders of other names are never touched.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import UnknownName
from ..core.text import printable
from .documents import DamagedRecord, Document, Incident, Record, Stop, StoredPlan, StoredTable, seal, unseal
from .folders import StoreFolder
from .keys import digest, file_digest
from .shard_folder import ShardFolder
from .shards import Entry, Shard, pack_shard, unpack_arrays

if TYPE_CHECKING:
    import numpy as np

INCIDENT = re.compile(r"(?P<name>[0-9a-f]{32})\.json")
STOP = re.compile(r"(?P<name>[0-9a-f]{64})\.json")
OWN_FOLDERS = ("shards", "studies", "incidents", "stopped")

#: What a reader is told of damage, which it leaves where it is.
MENDED = "the next `run` mends it"

log = logging.getLogger("ebm_vs_prob.study")

D = TypeVar("D", bound=Document)


class Store:
    """Results under one folder, which is made when something is first written.

    Raises:
        ValueError: the root is no folder and none can be made there, or a store of an earlier layout.
        PermissionError: this user may not read it; every method that reads may raise it, with the path.
    """

    def __init__(self, root: str | Path = "results") -> None:
        self.root = Path(root)
        self._folder = StoreFolder(root)
        self._shards = ShardFolder(self._folder)

    # ---- trials ----------------------------------------------------------------------------------------------------

    def write(self, entries: Iterable[Entry]) -> str:
        """Keep trials together in one shard, whose name is returned.

        Raises:
            ValueError: a record that is not of a record's shape, or a trial given twice.
            OSError: the store cannot be written.
        """
        return self.add(pack_shard(entries))

    def add(self, content: bytes) -> str:
        """Keep the bytes of a shard, as `pack_shard` makes them; notes of stops of its trials are removed.

        Raises:
            DamagedRecord: the bytes are no shard.
            OSError: the store cannot be written.
        """
        shard = self._shards.add(content)
        for key in shard.records.keys() & self._named("stopped", STOP):
            self._stop_path(key).unlink(missing_ok=True)
        return shard.name

    def read(self, key: str) -> Record | None:
        """A trial's record, or None where there is none.

        Raises:
            DamagedRecord: there is only a damaged one.
        """
        ((_, record, damage),) = self.records([key])
        if record is None and damage:
            raise DamagedRecord(damage)
        return record

    def records(self, keys: Iterable[str]) -> Iterator[tuple[str, Record | None, str]]:
        """Each of these trials with its record, or with None and, where damage may be why, what is damaged.

        They come shard by shard, and those without a record last.
        """
        missing = set(keys)
        for shard, here in self._shards.holding(missing):
            missing -= here
            yield from ((key, shard.records[key], "") for key in sorted(here))
        reasons = {key: damage.reason for damage in self._shards.damage.values() for key in damage.trials}
        unnamed = next((damage.reason for damage in self._shards.damage.values() if not damage.trials), "")
        for key in sorted(missing):
            reason = reasons.get(key, unnamed)
            yield key, None, f"{reason}; {MENDED}" if reason else ""

    def sound(self, keys: Iterable[str]) -> set[str]:
        """Which of these trials have records, all bytes of their shards checked; damage is set aside and reported."""
        found = {key for _, here in self._shards.holding(set(keys)) for key in here}
        for damage in self._shards.set_damage_aside():
            self.report("damaged shard", damage.trials, damage.reason)
        return found

    def kinds(self, key: str) -> frozenset[str]:
        """Kinds of files beside a trial's record, of `shards.FILES`; none where there is no record."""
        return next((trials[key] for trials in self._shards.refresh().values() if key in trials), frozenset())

    def load_arrays(self, key: str) -> dict[str, np.ndarray]:
        """The arrays beside a trial's record, by name; empty where it has none (only first seeds have).

        Raises:
            UnknownName: no such trial.
            DamagedRecord: there is only a damaged one.
        """
        content = self._shard_of(key).file(key, "arrays")
        return unpack_arrays(content, key) if content is not None else {}

    def inference_data(self, key: str) -> bytes | None:
        """The netCDF file beside a trial's record, or None; `comparison.containers.read` opens it.

        Raises:
            UnknownName: no such trial.
            DamagedRecord: there is only a damaged one.
        """
        return self._shard_of(key).file(key, "inference_data")

    def _shard_of(self, key: str) -> Shard:
        for shard, _ in self._shards.holding([key]):
            return shard
        self.read(key)  # which tells damage from absence
        raise UnknownName(f"unknown trial {key!r} in {self.root}")

    def forget(self, keys: Collection[str]) -> None:
        """Take trials out of the store, so that they are run again; their shards are kept in `replaced`."""
        self._shards.forget(keys)

    def compact(self) -> None:
        """Pack small shards together, which keeps every trial; safe beside readers and writers."""
        self._shards.compact()

    def state(self, keys: Iterable[str]) -> str:
        """A digest of all that `records` says of these trials, for which all bytes of their shards are checked."""
        wanted = set(keys)
        stops = {key: reason for key, reason in self.stops().items() if key in wanted}
        intact = self._shards.intact(wanted)
        damage = sorted(damage.reason for damage in self._shards.damage.values())
        return digest({"trials": sorted(wanted), "shards": sorted(intact), "damage": damage, "stops": stops})

    # ---- trials that were stopped from outside ---------------------------------------------------------------------

    def note_stop(self, key: str, reason: str) -> None:
        """Keep why a trial without a record was stopped, in place of an earlier reason."""
        self._folder.write(self._stop_path(key), seal(Stop, {"trial": key, "reason": reason}, f"stop of {key}")[1])

    def stops(self) -> dict[str, str]:
        """Why each trial that was last stopped from outside was, by key."""
        found = {}
        for key in self._named("stopped", STOP):
            stop = self._sealed(Stop, self._stop_path(key), f"stop of {key}")
            if stop is not None and stop["trial"] == key:
                found[key] = stop["reason"]
        return found

    def _stop_path(self, key: str) -> Path:
        return self.root / "stopped" / f"{key}.json"

    # ---- studies ---------------------------------------------------------------------------------------------------

    def study_folder(self, study: str, scale: str) -> Path:
        """Where a study's plan and table are kept."""
        return self.root / "studies" / study / scale

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the plan of a run, in place of an earlier one."""
        path = self.study_folder(plan["study"], plan["scale"]) / "plan.json"
        self._folder.write(path, seal(StoredPlan, plan, "plan")[1])

    def has_plan(self, study: str, scale: str) -> bool:
        """Whether there is a plan of a run of a study, whole or not."""
        return (self.study_folder(study, scale) / "plan.json").is_file()

    def plan(self, study: str, scale: str, given: str | None = None) -> StoredPlan:
        """The plan of the last run of a study.

        Raises:
            UnknownName: the store holds no run of it, with the command that makes one of what was `given` for a study.
            DamagedRecord: the plan is not what was written, or that of another study.
            OtherVersion: another version of the package wrote it.
        """
        what, path = f"plan of {study} at {scale}", self.study_folder(study, scale) / "plan.json"
        try:
            content = self._folder.read(path, what)
            with self._folder.telling(path):
                plan = None if content is None else unseal(StoredPlan, content, what)[1]
            if plan is not None and (plan["study"], plan["scale"]) != (study, scale):
                raise DamagedRecord(f"{what} is that of {printable(plan['study'])} at {printable(plan['scale'])}")
        except DamagedRecord as error:
            raise DamagedRecord(f"{error}; {MENDED}") from None
        if plan is None:
            command = shlex.join(["ebm-vs-prob", "run", given or study, "--scale", scale, "--store", str(self.root)])
            raise UnknownName(f"no results of study {study!r} at scale {scale!r} in this store: {command}")
        return plan

    def keep_table(self, study: str, scale: str, state: str, content: bytes) -> None:
        """Keep the bytes of a study's table, made of that state of the store."""
        folder = self.study_folder(study, scale)
        self._folder.write(folder / "results.parquet", content)
        whose = {"state": state, "sha256": file_digest(content)}
        self._folder.write(folder / "results.json", seal(StoredTable, whose, "table")[1])

    def table(self, study: str, scale: str, state: str) -> bytes | None:
        """The bytes of a study's table where they are whole and of that state, or None."""
        folder = self.study_folder(study, scale)
        try:
            told = self._folder.read(folder / "results.json", "table")
            whose = unseal(StoredTable, told, "table")[1] if told is not None else None
            content = self._folder.read(folder / "results.parquet", "table")
        except ValueError:
            return None
        if whose is None or content is None or whose["state"] != state or whose["sha256"] != file_digest(content):
            return None
        return content

    @contextmanager
    def lock(self, study: str, scale: str) -> Iterator[None]:
        """Held by the one driver that runs a study at a scale; the system frees it when the process dies.

        Raises:
            RuntimeError: another driver holds it.
        """
        with self._folder.lock(self.study_folder(study, scale) / "run.lock", blocking=False) as held:
            if not held:
                raise RuntimeError(f"study {study!r} at scale {scale!r} is being run by another process in {self.root}")
            yield

    # ---- incidents and mending -------------------------------------------------------------------------------------

    def report(self, kind: str, trials: Collection[str], detail: str) -> None:
        """Keep and log something that went wrong with these trials, none where they are not known."""
        log.warning("%s: %s (%d trials)", kind, detail, len(trials))
        incident = {"kind": kind, "trials": sorted(trials), "detail": detail}
        checksum, content = seal(Incident, incident, "incident")
        self._folder.write(self.root / "incidents" / f"{checksum[:32]}.json", content)

    def incidents(self) -> list[Incident]:
        """Everything reported so far, but for what is not what was written."""
        found = (self._sealed(Incident, path, path.name) for path in self._incident_paths())
        return [incident for incident in found if incident is not None]

    def mend(self) -> None:
        """Set aside what lies in the place of the store's folders, incidents and stops, and delete leftovers."""
        for name in OWN_FOLDERS:
            for stranger in self._folder.strangers(self.root / name):
                log.warning("%r in the store is no folder: set aside", stranger.name)
                self._folder.set_aside(stranger)
            for path in self._folder.leftovers(name):
                path.unlink(missing_ok=True)
        stops = {self._stop_path(key): Stop for key in self._named("stopped", STOP)}
        for path, shape in (stops | dict.fromkeys(self._incident_paths(), Incident)).items():
            if os.path.lexists(path) and self._sealed(shape, path, path.name) is None:
                log.warning("damaged %s set aside: %s", shape.__name__.lower(), path.name)
                self._folder.set_aside(path)

    def _incident_paths(self) -> list[Path]:
        return [self.root / "incidents" / f"{name}.json" for name in self._named("incidents", INCIDENT)]

    def _named(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        return [match["name"] for match in map(pattern.fullmatch, self._folder.names(folder)) if match]

    def _sealed(self, shape: type[D], path: Path, what: str) -> D | None:
        """A document whose file is named by its checksum or key, or None where it is not what was written."""
        try:
            content = self._folder.read(path, what)
            if content is None:
                return None
            with self._folder.telling(path):
                checksum, document = unseal(shape, content, what)
        except DamagedRecord:
            return None
        own = document.get("trial", checksum[:32])
        return document if own == path.stem else None


__all__ = ["DamagedRecord", "Store"]
