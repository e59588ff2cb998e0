"""Where a report goes: beside no other study's, and over no report of another scale.

A study's report lies at `OUT/<study>/`, whatever its scale, so that what links to it stays right when a larger scale is
run; the page and `result.json` beside it say the scale. Where a report of another scale lies there already, and for
shrunk runs always, the path names the scale: `OUT/<scale>/<study>/`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from ..core.atomic_files import check_folder
from ..core.errors import invalid
from ..study.files import study_folders
from ..study.identifiers import FILE, read_result
from ..study.scales import SHRUNK
from ..study.schema import Study
from ..study.store import Store

_SCALE = re.compile(r"ebm-vs-prob report \S+ --scale ([a-z0-9_-]+)")


def place_of(study: Study, scale: str, out: Path) -> tuple[str, str]:
    """The folder below `out` that gets the report's own, and what is said where that is not `out` itself.

    Raises:
        ValueError: the report of another study of this name lies there, or `out` is no folder and none can be made.
    """
    check_folder("out", out)
    here = out / study.name
    there = scale_of(here)
    if SHRUNK in scale:
        below, said = scale, "a shrunk run's report lies apart from the study's"
    elif there not in ("", scale):
        below, said = scale, f"{here} is of scale {there}, and stays"
    else:
        below, said = "", ""
    _refuse_another_study(study, out / below / study.name)
    return below, said


def find_report(study: str, scale: str, out: Path, file: Path | None = None) -> Path:
    """The folder of a study's report at a scale, there or not; that of the study's `file`, where that lies in one."""
    beside = None if file is None else file.parent
    if beside is not None and _is_of(beside, study, scale):
        return beside
    apart = out / scale / study
    return apart if apart.is_dir() else out / study


def _is_of(report: Path, study: str, scale: str) -> bool:
    found = read_result(report / FILE)
    return (found.get("study"), found.get("scale")) == (study, scale)


def scale_of(report: Path) -> str:
    """The scale of the report in a folder; "" where there is none."""
    found = read_result(report / FILE).get("scale")
    if isinstance(found, str):
        return found
    with suppress(OSError, UnicodeDecodeError):
        match = _SCALE.search((report / "report.md").read_text(encoding="utf-8"))
        return match[1] if match else ""
    return ""


def scale_to_read(study: Study, store: Store, out: Path) -> str:
    """The scale of which a study's results are meant where none is said: its default one where the store has a run of
    it, else that of its report, as in a checkout; of a file that lies in a report's folder, that of the report."""
    if study.path is not None and (own := scale_of(study.path.parent)) and _is_of(study.path.parent, study.name, own):
        return own
    report = out / study.name
    if store.has_plan(study.name, study.default_scale) or _other_study(study, report) is not None:
        return study.default_scale
    return scale_of(report) or study.default_scale


def published_id(study: Study, scale: str, out: Path) -> str:
    """The identifier of the results in a study's report at a scale; "" where there is none."""
    report = find_report(study.name, scale, out, study.path)
    if scale_of(report) != scale or _other_study(study, report) is not None:
        return ""
    return str(read_result(report / FILE).get("id", ""))


def _refuse_another_study(study: Study, report: Path) -> None:
    other = _other_study(study, report)
    if other is not None:
        valid = f"a name of its own: {report} is the report of {other.resolve()} (or another --out)"
        raise invalid(f"{study.where}: name", study.name, valid)


def _other_study(study: Study, report: Path) -> Path | None:
    """The file of the study that a report is of, where it is another of the same name."""
    if not report.is_dir() or study.path is None:
        return None
    recorded = read_result(report / FILE).get("file")
    others = [report / recorded] if isinstance(recorded, str) and recorded else []
    if not any(other.is_file() for other in others):
        others = [folder / f"{study.name}.toml" for folder in study_folders()]
    others = [other for other in others if other.is_file()]
    return None if any(other.samefile(study.path) for other in others) else next(iter(others), None)
