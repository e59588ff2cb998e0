"""What reports that were written say: their verdicts and scales, and by these how seeds scatter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from .comparisons import Cell
from .identifiers import FILE, read_result
from .planned_power import scatters
from .scales import DEMONSTRATION, SHRUNK
from .schema import Study
from .verdicts import Verdict

#: Scales that studies have by these names, by size; others come after them.
_SIZES = {DEMONSTRATION: 0, "standard": 1, "full": 2}


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a report's file, one of an earlier version too: what it lacks has its default.

    Raises:
        ValueError: it is not a list of verdicts.
    """
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise ValueError(f"{path}: a list of verdicts")
    # Before criteria were primary or secondary, all of a claim's decided it.
    told = any("primary" in entry for entry in entries)
    return [_verdict(entry if told else {**entry, "primary": True}) for entry in entries]


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    known = {f.name for f in fields(Verdict)}
    told = {name: _number(value) for name, value in entry.items() if name in known}
    for name in ("estimate", "low", "high", "p", "adjusted_p"):
        told[name] = math.nan if told.get(name) is None else told[name]
    cells = [{"at": cell.get("at") or cell.get("thickness") or (), **cell} for cell in entry.get("cells", ())]
    told["cells"] = tuple(map(_cell, cells))
    told["holds_in"], told["fails_in"] = tuple(entry.get("holds_in", ())), tuple(entry.get("fails_in", ()))
    told.setdefault("axis", "")
    return Verdict(**{**told, "axis": told["axis"] or "thickness"})


def _cell(told: Mapping[str, Any]) -> Cell:
    estimate, low, high, p = (_nan(_number(told.get(name))) for name in ("estimate", "low", "high", "p"))
    at = tuple(_nan(_number(setting)) for setting in told["at"])
    return Cell(at, estimate, low, high, told["seeds"], told["failed"], p, told["holds"])


def _number(value: Any) -> Any:
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def _nan(value: Any) -> Any:
    return math.nan if value is None else value


def reports_below(out: Path) -> list[tuple[Path, str]]:
    """Folders of reports with their scales, "" where none is told: `out/STUDY` and `out/SCALE/STUDY`, by study.

    Of a study the largest scale comes first. Shrunk runs are left out, because they are no results.
    """
    found = []
    for folder in sorted(path.parent for path in [*out.glob("*/verdicts.json"), *out.glob("*/*/verdicts.json")]):
        scale = str(read_result(folder / FILE).get("scale", "") or ("" if folder.parent == out else folder.parent.name))
        if SHRUNK not in scale and not folder.name.startswith("."):  # as of one that is being written
            found.append((folder, scale))
    return sorted(found, key=lambda each: (each[0].name, -_SIZES.get(each[1], -1)))


def published_scatters(study: Study, scale: str, out: Path) -> tuple[dict[str, float], str]:
    """Of a study's criteria the scatter over seeds in its report below a folder, and which report that is.

    The report of the scale where there is one, else that of the largest; none where no report can be read.
    """
    own = [(folder, at) for folder, at in reports_below(out) if folder.name == study.name]
    for folder, at in sorted(own, key=lambda each: each[1] != scale):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            return scatters(study.held_at(scale).criteria, read_verdicts(folder / "verdicts.json")), f"{folder} at {at}"
    return {}, ""
