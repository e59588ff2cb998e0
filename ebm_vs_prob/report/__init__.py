"""Reports: one page of a study that needs no network, the same in Markdown; tables, verdicts and citations as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic_files import check_folder, make_folder
from ..core.errors import invalid
from ..core.text import shown
from .citation import bibtex

if TYPE_CHECKING:
    from ..study.schema import Study

__all__ = ["bibtex", "write_all", "write_report"]


def write_report(
    path_or_name: str | Path | Study,
    scale: str | None = None,
    store: str | Path = "results",
    out: str | Path = "reports",
    progress: Callable[[str], object] | None = None,
    below: str = "",
) -> Path:
    """Write the report of a study under `out/<study>/` and return the path of its page, `index.html`.

    Beside it: `report.md`, `figures/`, `tables/*.csv` and `*.tex`, `verdicts.json`, `citation.bib`, `study.toml`,
    `records.zip`, `result.json`, which says of what result, scale and file it is, and of a challenge `challenge.html`
    and `challenge.md`. An earlier report of the study is replaced, once this one is whole. In `out` itself: `assets/`
    with the script that draws the figures of all reports there, and `index.html` over them. Nothing is trained or
    measured: a report reads the store and never sees a model.

    Args:
        scale: a scale of the study; by default its `default_scale`, quick or the only one.
        progress: is told what is being made, a few words each time.
        below: a folder in `out` that the report lies in, as one of another scale does.

    Raises:
        UnknownName: no such study or scale, or the store holds no run of it.
        ValueError: `out` is no folder and none can be made there, or its `index.html` is another page; or the study's
            file has another network, budget, task or arm than what was run.
        OSError: the report cannot be written.
    """
    from ..study.files import load_study
    from .inputs import gather
    from .overview import check_place, write_overview
    from .page import write

    tell = progress or (lambda _: None)
    check_folder("out", Path(out))
    check_place(Path(out))
    tell("reading the results")
    study = load_study(path_or_name)
    inputs = gather(study, scale or study.default_scale, store)
    make_folder("out", Path(out))
    try:
        page = write(inputs, Path(out), tell, below)
        write_overview(Path(out))
        return page
    except OSError as error:
        where = error.filename or out
        raise OSError(f"the report cannot be written: {shown(str(where))}: {error.strerror or error}") from None


def write_all(out: str | Path = "reports") -> Path:
    """Write `index.html` over all reports in `out`, the lecture's claims and what each study found; returns its path.

    It reads the file of verdicts beside each report, and puts into `assets/` the script that draws their figures, which
    a repository of reports need not keep: it is made of libraries that are installed. It lies there under every name by
    which the reports' pages ask for it, those of other versions of these libraries too.

    Raises:
        ValueError: `out` is no folder or has no report in it, or its `index.html` is another page.
        OSError: the page cannot be written.
    """
    from ..study.published import reports_below
    from .overview import check_place, write_overview
    from .page import put_scripts

    check_folder("out", Path(out))
    check_place(Path(out))
    if not reports_below(Path(out)):
        raise invalid("out", str(out), "a folder with reports, at least one of no shrunk run")
    try:
        put_scripts(Path(out))
        return write_overview(Path(out))
    except OSError as error:
        where = error.filename or out
        raise OSError(f"the overview cannot be written: {shown(str(where))}: {error.strerror or error}") from None
