"""What names a result: a hash of what was asked and of every record that answers it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_atomically
from ..core.errors import UnknownName
from ..core.options import from_table
from .documents import Record, StoredPlan
from .files import load_study
from .keys import canonical_json, digest
from .schema import Study
from .store import Store
from .table import planned_trials, table_state

#: Begins every identifier; the hexadecimal digits after it are the first of a SHA-256.
PREFIX = "evp-"
DIGITS = 16
#: Beside a store's plan and beside a report: which result it is, of which study at which scale.
FILE = "result.json"


def result_id(study: Study, scale: str, store: Store) -> str:
    """The identifier of a study's results in a store: `evp-` and 16 hexadecimal digits.

    It follows from the plan, from the claims, criteria and gates of the study, and from every record, timings and
    provenance included. Another run of the same study therefore has another one, and so has a bound that was moved.

    Raises:
        UnknownName: the store holds no run of the study.
    """
    plan = store.plan(study.name, scale, study.given)
    return identifier_of(study, scale, plan, {key: record for key, record, _ in store.records(planned_trials(plan))})


def identifier_of(study: Study, scale: str, plan: StoredPlan, records: Mapping[str, Record | None]) -> str:
    """`result_id` of a stored plan and its trials' records by key, where those were read; None of one that is none."""
    named = {"study": study.name, "scale": scale, "runs": plan["runs"], "decides": _decides(study, scale)}
    return PREFIX + digest({**named, "records": _digests(plan, records)})[:DIGITS]


def records_digest(plan: StoredPlan, records: Mapping[str, Record | None]) -> str:
    """A digest of what was run and of its records, whatever is decided by them; arguments are `identifier_of`'s."""
    return digest({"runs": plan["runs"], "records": _digests(plan, records)})


def _digests(plan: StoredPlan, records: Mapping[str, Record | None]) -> dict[str, str]:
    return {key: digest(record) if (record := records.get(key)) else "" for key in planned_trials(plan)}


def keep_result_id(study: Study, scale: str, store: Store) -> str:
    """The identifier, written beside the plan; read there where neither study nor store has changed since.

    Raises:
        UnknownName: the store holds no run of the study.
        OSError: the store cannot be written.
    """
    plan = store.plan(study.name, scale, study.given)
    state = digest({"table": table_state(store, plan), "decides": _decides(study, scale)})
    path = store.study_folder(study.name, scale) / FILE
    kept = read_result(path)
    if kept.get("state") == state and is_identifier(str(kept.get("id"))) and "records" in kept:
        found, content = str(kept["id"]), kept["records"]
    else:
        records = {key: record for key, record, _ in store.records(planned_trials(plan))}
        found, content = identifier_of(study, scale, plan, records), records_digest(plan, records)
    result = {"id": found, "study": study.name, "scale": scale, "file": file_from(path.parent, study)}
    result |= {"state": state, "records": content}
    if result != kept:
        write_result(path, result)
    return found


def file_from(folder: Path, study: Study) -> str:
    """The path of a study's file from a folder, as in a checkout; "" where the study has no file."""
    return "" if study.path is None else os.path.relpath(study.path.resolve(), folder.resolve())


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write which result something is, one line of JSON."""
    write_atomically(path, (json.dumps(result, ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_result(path: Path) -> dict[str, Any]:
    """What `write_result` wrote; empty where that cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def is_identifier(text: str) -> bool:
    """Whether a text has the form of an identifier."""
    rest = text.removeprefix(PREFIX)
    return rest != text and len(rest) == DIGITS and set(rest) <= set("0123456789abcdef")


def find_result(identifier: str, store: Store, reports: Path) -> tuple[str, str, Path | None]:
    """The study and the scale of a result, by what lies beside the plans of a store or beside reports, and its file.

    The file is None where it is not where it was.

    Raises:
        UnknownName: neither has it.
    """
    for path in _results(store, reports):
        found = read_result(path)
        if found.get("id") == identifier:
            file = Path(os.path.relpath(path.parent / str(found.get("file", ""))))
            return str(found.get("study")), str(found.get("scale")), file if file.is_file() else None
    places = f"neither the store {str(store.root)!r} nor the reports in {str(reports)!r} have it"
    raise UnknownName(f"unknown result {identifier!r}: {places}")


def _results(store: Store, reports: Path) -> Iterator[Path]:
    yield from sorted((store.root / "studies").glob(f"*/*/{FILE}"))
    yield from sorted(reports.glob(f"*/{FILE}"))
    yield from sorted(reports.glob(f"*/*/{FILE}"))


def study_of(name: str, scale: str, store: Store, file: Path | None = None) -> Study:
    """The study of a run: of its file where that is given or found by name, else as the store's plan has it."""
    with suppress(UnknownName):
        return load_study(file or name)
    return from_table(Study, store.plan(name, scale)["file"], f"the plan of {name}")


def _decides(study: Study, scale: str) -> str:
    """A digest of what is decided at a scale: claims, criteria and gates."""
    held = study.held_at(scale).model_dump(mode="json", by_alias=True)
    return digest(canonical_json({name: held[name] for name in ("claims", "criteria", "gates")}))
