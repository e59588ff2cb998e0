"""The archive beside a report: the plan of a study and every record, from which its verdicts can be decided again.

An ordinary ZIP of two texts: `plan.json`, the plan as a store keeps it, and `records.jsonl`, a record a line. Arrays,
which a store keeps of the first seeds alone, for pictures, are not in it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .documents import Record, StoredPlan, parse, seal, unseal
from .shards import LONGEST_FILE, Entry, zip_errors
from .store import Store

#: What an archive is called beside a report.
FILE = "records.zip"
PLAN, RECORDS = "plan.json", "records.jsonl"
#: No file of a ZIP archive is older; the same for all, so that the same records make the same archive.
_DATE = (1980, 1, 1, 0, 0, 0)


def pack_results(plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The bytes of an archive; records are alike, and compressed together they take a fifth.

    Args:
        plan: as `Store.plan` gives it. records: by the key of their trial, as `Store.records` gives them.
    """
    lines = [
        json.dumps({"trial": key, **records[key]}, ensure_ascii=False, sort_keys=True) + "\n" for key in sorted(records)
    ]
    told = {name: value for name, value in plan.items() if name != "schema"}
    members = {PLAN: seal(StoredPlan, told, "plan")[1], RECORDS: "".join(lines).encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=9) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same bytes on every system
            info.compress_type = zipfile.ZIP_DEFLATED  # which every system opens
            archive.writestr(info, content)
    return buffer.getvalue()


def unpack_results(path: Path, root: Path) -> Store:
    """A store of what an archive holds, made below `root`.

    Raises:
        FileNotFoundError: there is no archive.
        DamagedRecord: it is none, lacks the plan or the records, or holds what is none.
        OtherVersion: another version of the package wrote it.
        OSError: the store cannot be written.
    """
    store = Store(root)
    content = path.read_bytes()
    with zip_errors(str(path)), zipfile.ZipFile(io.BytesIO(content)) as archive:
        told, lines = _member(archive, PLAN), _member(archive, RECORDS).splitlines()
    plan = unseal(StoredPlan, told, f"the plan in {path}")[1]
    store.write_plan({name: value for name, value in plan.items() if name != "schema"})
    store.write(_entries(lines, path))
    return store


@contextmanager
def opened_store(place: str | Path) -> Iterator[Store]:
    """The store in a folder, or one of what the archive (`*.zip`) at `place` holds, which is gone afterwards.

    Raises:
        DamagedRecord, OtherVersion: as `unpack_results`.
    """
    if Path(place).suffix != Path(FILE).suffix or not Path(place).is_file():
        yield Store(place)
        return
    with TemporaryDirectory() as folder:
        yield unpack_results(Path(place), Path(folder))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LONGEST_FILE:
        raise ValueError(f"{name} says that it is longer than any")
    return archive.read(name)


def _entries(lines: list[bytes], path: Path) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        record = parse(Record, line, f"record {number} in {path}")
        yield Entry(record["trial"], {name: value for name, value in record.items() if name not in ("schema", "trial")})
