"""What a page offers to take along: the study's file as it was run, and the records behind every number."""

from __future__ import annotations

from pathlib import Path

from ..study.archives import FILE, pack_results
from .inputs import Inputs


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
        (folder / FILE).write_bytes(pack_results(inputs.plan, inputs.records))
        found.append((FILE, f"its plan, and the records of its {len(inputs.records)} models as they were written"))
    return found
