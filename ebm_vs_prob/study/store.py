"""The store: one checksummed JSON file a trial, arrays beside it, everything written once and atomically.

Layout, readable without this package:

    trials/ab/<key>.json          specification, status, reason, metrics, energies, notes, provenance, digests, checksum
    trials/ab/<key>.safetensors   landscapes, answers and samples, for the first seed
    trials/ab/<key>.nc            samples and training diagnostics as ArviZ InferenceData (netCDF 4), for the first seed
    studies/<study>/<scale>/      plan.json (the grid and its trials), results.parquet (derived, can be rebuilt)
    incidents/                    what went wrong and was mended: damaged records
    damaged/                      what lay in a record's or an incident's place and was not what was written, set aside

The JSON file is written last: a trial without it does not exist. A record's checksum is the SHA-256 of its canonical
JSON without the checksum; NaN is null and infinity is "inf". Files and folders of other names are never touched.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import host, write_atomically
from ..core.errors import UnknownName
from .keys import canonical_json, digest, file_digest
from .plan import places

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
FILES = {"arrays": ".safetensors", "inference_data": ".nc"}

#: Names that the store gives to incidents and to files that are being written: name, host, process, random mark.
INCIDENT = re.compile(r"[0-9a-f]{32}\.json")
LEFTOVER = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>[0-9]{1,10})\.[0-9a-f]{16}\.tmp", re.DOTALL)

log = logging.getLogger("ebm_vs_prob.study")


class DamagedRecord(ValueError):
    """A record that is not what was written: torn, altered, or with arrays that do not match it."""


class Store:
    """Results under one folder, which is made when something is first written."""

    def __init__(self, root: str | Path = "results") -> None:
        self.root = Path(root)

    # ---- trials ----------------------------------------------------------------------------------------------------

    def path(self, key: str, suffix: str = ".json") -> Path:
        """Where a trial's record, or a file beside it, is kept."""
        return self.root / "trials" / key[:2] / f"{key}{suffix}"

    def read(self, key: str, verify_files: bool = False) -> dict[str, Any] | None:
        """A trial's record, or None where there is none; with `verify_files` the arrays beside it are checked too.

        Raises:
            DamagedRecord: the record is not what was written.
        """
        try:
            content = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        except (IsADirectoryError, NotADirectoryError) as error:
            raise DamagedRecord(f"record {key} cannot be read: {error}") from None
        record = _checked(content, f"record {key}")
        if record.get("trial") != key or not isinstance(record.get("files"), dict):
            raise DamagedRecord(f"record {key} is that of another trial, or none")
        if verify_files:
            for kind in record["files"]:
                self._verified(key, record, kind)
        return record

    def sound(self, key: str) -> bool:
        """Whether there is a record with all its files; a damaged one is set aside and reported."""
        try:
            return self.read(key, verify_files=True) is not None
        except DamagedRecord as error:
            self.set_aside(key, str(error))
            return False

    def write(self, key: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Write the files beside a record, then the record with their digests and its checksum; returns the record."""
        for kind, content in files.items():
            write_atomically(self.path(key, FILES[kind]), content)
        digests = {kind: {"suffix": FILES[kind], "sha256": file_digest(content)} for kind, content in files.items()}
        whole = {"schema": SCHEMA, "trial": key, **record, "files": digests}
        return self._write_checked(self.path(key), whole)

    def set_aside(self, key: str, why: str) -> None:
        """Move a damaged record and its arrays out of the way and report it."""
        mark = secrets.token_hex(4)
        shard = self.path(key).parent
        if shard.exists() and not shard.is_dir():
            self._move_away(shard, f"{shard.name}.{mark}")
        for suffix in (".json", *FILES.values()):
            self._move_away(self.path(key, suffix), f"{key}.{mark}{suffix}")
        self.report("damaged record", key, why)

    def _move_away(self, source: Path, name: str) -> None:
        if source.exists():
            folder = self.root / "damaged"
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(source, folder / name)

    def load_arrays(self, key: str) -> dict[str, np.ndarray]:
        """The arrays beside a trial's record, by name; empty where it has none (only first seeds have).

        Raises:
            UnknownName: no such trial.
            DamagedRecord: the arrays are not what was written.
        """
        from safetensors.numpy import load

        content = self._verified(key, self._known(key), "arrays")
        return dict(load(content)) if content is not None else {}

    def inference_data_path(self, key: str) -> Path | None:
        """The netCDF file beside a trial's record, verified, or None; `comparison.containers.read` opens it.

        Raises:
            UnknownName: no such trial.
            DamagedRecord: the file is not what was written.
        """
        content = self._verified(key, self._known(key), "inference_data")
        return self.path(key, FILES["inference_data"]) if content is not None else None

    def _known(self, key: str) -> dict[str, Any]:
        record = self.read(key)
        if record is None:
            raise UnknownName(f"unknown trial {key!r} in {self.root}")
        return record

    def _verified(self, key: str, record: Mapping[str, Any], kind: str) -> bytes | None:
        entry = record["files"].get(kind)
        if entry is None:
            return None
        if kind not in FILES or not isinstance(entry, dict) or entry.get("suffix") != FILES[kind]:
            raise DamagedRecord(f"record {key} names no file of the store as its {kind}")
        try:
            content = self.path(key, entry["suffix"]).read_bytes()
        except OSError as error:
            if not isinstance(error, (FileNotFoundError, IsADirectoryError)):
                raise
            raise DamagedRecord(f"record {key} lacks its {kind}") from None
        if file_digest(content) != entry.get("sha256"):
            raise DamagedRecord(f"the {kind} of record {key} do not match their digest")
        return content

    # ---- studies ---------------------------------------------------------------------------------------------------

    def study_folder(self, study: str, scale: str) -> Path:
        """Where a study's plan and table are kept."""
        return self.root / "studies" / study / scale

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the plan of a run, in place of an earlier one."""
        path = self.study_folder(plan["study"], plan["scale"]) / "plan.json"
        if path.is_dir():
            self._move_away(path, f"{plan['study']}.{plan['scale']}.{secrets.token_hex(4)}.plan")
        self._write_checked(path, {"schema": SCHEMA, **plan})

    def plan(self, study: str, scale: str) -> dict[str, Any]:
        """The plan of the last run of a study.

        Raises:
            UnknownName: the store holds no run of it, with the command that makes one.
            DamagedRecord: the plan is not what was written.
        """
        try:
            content = (self.study_folder(study, scale) / "plan.json").read_bytes()
        except FileNotFoundError:
            raise UnknownName(
                f"no results of study {study!r} at scale {scale!r} in store {str(self.root)!r}: "
                f"ebm-vs-prob run {study} --scale {scale} --store {shlex.quote(str(self.root))}"
            ) from None
        except IsADirectoryError:
            raise DamagedRecord(f"the plan of {study} at {scale} is a folder; the same run writes it again") from None
        return _checked(content, f"plan of {study} at {scale}")

    def records(self, study: str, scale: str) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, str]]:
        """Each place of a study's grid, its trial's record (None where pending) and why a record cannot be read.

        Raises:
            UnknownName: the store holds no run of the study.
        """
        for place in places(self.plan(study, scale)):
            try:
                yield place, self.read(place["trial"]), ""
            except DamagedRecord as error:
                yield place, None, str(error)

    @contextmanager
    def lock(self, study: str, scale: str) -> Iterator[None]:
        """Held by the one driver that runs a study at a scale; the system frees it when the process dies.

        Raises:
            RuntimeError: another driver holds it.
        """
        from filelock import FileLock, Timeout

        folder = self.study_folder(study, scale)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "run.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RuntimeError(
                f"study {study!r} at scale {scale!r} is being run by another process in {self.root}"
            ) from None
        try:
            yield
        finally:
            lock.release()

    # ---- incidents and leftovers -----------------------------------------------------------------------------------

    def report(self, kind: str, trial: str, detail: str) -> None:
        """Keep and log something that went wrong."""
        log.warning("%s: trial %s: %s", kind, trial[:12], detail)
        incident = {"schema": SCHEMA, "kind": kind, "trial": trial, "detail": detail}
        path = self.root / "incidents" / _incident_name(incident)
        if not path.exists():
            self._write_checked(path, incident)

    def incidents(self) -> list[dict[str, Any]]:
        """Everything reported so far; an incident that is not what was written is set aside and reported itself."""
        found = []
        for path in sorted((self.root / "incidents").glob("*.json")):
            if not INCIDENT.fullmatch(path.name):
                continue
            try:
                incident = _checked(path.read_bytes(), f"incident {path.name}")
                if path.name != _incident_name({key: incident[key] for key in incident if key != "checksum"}):
                    raise DamagedRecord(f"incident {path.name} is that of another name")
            except (DamagedRecord, IsADirectoryError) as error:
                self._move_away(path, f"incident.{path.stem}.{secrets.token_hex(4)}.json")
                log.warning("damaged incident set aside: %s", error)
                continue
            found.append(incident)
        return found

    def remove_leftovers(self) -> None:
        """Delete temporary files of processes of this machine that are gone."""
        for folder in ("trials", "studies", "incidents"):
            for path in (self.root / folder).rglob(".*.tmp"):
                made = LEFTOVER.fullmatch(path.name)
                if made and made["host"] == host() and path.is_file() and not _alive(int(made["pid"])):
                    path.unlink(missing_ok=True)

    def _write_checked(self, path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
        whole = dict(content)
        whole["checksum"] = digest(whole)
        write_atomically(path, (canonical_json(whole) + "\n").encode())
        return whole


def _checked(content: bytes, what: str) -> dict[str, Any]:
    try:
        whole = json.loads(content)
        checksum, schema = whole.pop("checksum"), whole["schema"]
        intact = digest(whole) == checksum
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedRecord(f"{what} cannot be read: {type(error).__name__}: {error}") from None
    if not intact:
        raise DamagedRecord(f"{what} does not match its checksum")
    if schema != SCHEMA:
        raise ValueError(f"{what} has schema {schema}: this version reads {SCHEMA}; use the version that wrote it")
    return {**whole, "checksum": checksum}


def _incident_name(incident: Mapping[str, Any]) -> str:
    return f"{digest(incident)[:32]}.json"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
