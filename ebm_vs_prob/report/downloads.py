"""What a page offers to take along: the study's file as it was run, and the records behind every number."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from .inputs import Inputs

#: No file of a ZIP archive is older; the same for all, so that the same records make the same archive.
_DATE = (1980, 1, 1, 0, 0, 0)


def write(inputs: Inputs, folder: Path) -> list[tuple[str, str]]:
    """Write what there is into the folder of a report; returns name and meaning of each file."""
    found = []
    path, copy = inputs.study.path, folder / "study.toml"
    if path is not None and path.is_file():
        # A report may be made from the copy beside it, which is then its own source.
        copy.write_bytes(path.read_bytes())
        found.append(("study.toml", "the study's file"))
    else:
        copy.unlink(missing_ok=True)
    if inputs.records:
        (folder / "records.zip").write_bytes(_archive(inputs))
        found.append(
            ("records.zip", f"the records of its {len(inputs.records)} models as they were written, a line each")
        )
    return found


def _archive(inputs: Inputs) -> bytes:
    """One file with a record a line: records are alike, and compressed together they take a fifth."""
    lines = [
        json.dumps({"trial": key, **inputs.records[key]}, ensure_ascii=False, sort_keys=True) + "\n"
        for key in sorted(inputs.records)
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=9) as archive:
        info = zipfile.ZipInfo("records.jsonl", _DATE)
        info.compress_type = zipfile.ZIP_DEFLATED  # which every system opens
        archive.writestr(info, "".join(lines))
    return buffer.getvalue()
