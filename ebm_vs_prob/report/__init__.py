"""Reports: one self-contained page of a study, the same in Markdown; tables, verdicts and citations as files."""

from __future__ import annotations

from pathlib import Path

from ..core.atomic_files import check_folder, make_folder
from ..core.text import shown
from .citation import bibtex

__all__ = ["bibtex", "write_report"]


def write_report(
    path_or_name: str | Path, scale: str = "quick", store: str | Path = "results", out: str | Path = "reports"
) -> Path:
    """Write the report of a study under `out/<study>/` and return the path of its page, `index.html`.

    Beside it: `report.md`, `figures/`, `tables/*.csv` and `*.tex`, `verdicts.json`, `citation.bib`. An earlier report
    of the study is replaced. Nothing is trained or measured: a report reads the store and never sees a model.

    Raises:
        UnknownName: no such study or scale, or the store holds no run of it.
        ValueError: `out` is no folder and none can be made there.
        OSError: the report cannot be written.
    """
    from .inputs import gather
    from .page import write

    check_folder("out", Path(out))
    inputs = gather(path_or_name, scale, store)
    make_folder("out", Path(out))
    try:
        return write(inputs, Path(out))
    except OSError as error:
        where = error.filename or out
        raise OSError(f"the report cannot be written: {shown(str(where))}: {error.strerror or error}") from None
