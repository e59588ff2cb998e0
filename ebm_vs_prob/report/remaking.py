"""Whether the numbers of a report that was written are those of the records: its pages and tables are made again."""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .album import Album
from .challenged import PLAIN, challenge_pages
from .escaping import printable_inputs, read_script_data
from .inputs import gather
from .page import context, html, markdown, write_tables
from .same_texts import same_text
from .sharing import unfold

if TYPE_CHECKING:
    import pandas as pd

    from ..study.schema import Study

#: Relative difference that roundings make of a number that is drawn, which has five digits.
DRAWN = 1.01e-4
#: Differences that are told one by one.
TOLD = 10

#: What the page in Markdown has of a figure of energies: its heading, the figure and its caption.
_MODELS = re.compile(r"^### [^\n]*\n+!\[[^\n]*\]\(figures/[^\n)]*_landscapes\.svg\)\n+[^\n]*\n+", re.MULTILINE)
#: Elements of which every text is compared, beside cells of tables.
_TOLD_CLASSES = ("badge", "said", "reason", "kicker")


def page_differences(
    study: Study, scale: str, store: str | Path, report: Path, results: pd.DataFrame | None = None, whole: bool = True
) -> list[str]:
    """What the page and the tables in the folder of a report have other than the store's records make them.

    Compared are the result that the page names, the data that its figures are drawn from, verdicts and tables with what
    they say on hover, the tables' CSV and LaTeX files, and the page in Markdown. Numbers agree where they differ by one
    unit of the last digit that is written, or by `ROUNDING`, in figures by `DRAWN`; pictures of landscapes are not
    compared. Of a challenge its own page is compared too, every text of it, in figures and in Markdown.

    Args:
        results: the table of the store's records, where that is at hand.
        whole: whether the store has arrays beside its records, as an archive has not: without them what shows a model,
            the figures of energies and answers with their data, is not compared.

    Raises:
        UnknownName: the store holds no run of the study.
        ValueError: the study's file has another network, budget, task or arm than what was run.
    """
    inputs = printable_inputs(gather(study, scale, store, results))
    verdicts = inputs.verdicts()
    content = context(inputs, verdicts, Album(None))
    made = html().get_template("page.html.j2").render({**content, "downloads": [], "script": ""})
    try:
        published = _Page((report / "index.html").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, AssertionError) as error:  # the last is the parser's, of markup that is none
        return [f"its page cannot be read: {error}"]
    with tempfile.TemporaryDirectory() as folder:
        write_tables(inputs, content, Path(folder))
        tables = [*_of_tables(report / "tables", Path(folder)), *_of_latex(report / "tables", Path(folder))]
    text = markdown().get_template("page.md.j2").render(content)
    plain = _of_lines(report / "report.md", text, "## Make it again", whole)
    found = [*_of_page(published, _Page(made), whole), *tables, *plain]
    if content["challenge"]:
        for name, text in challenge_pages(inputs, verdicts, html()).items():
            found += _of_lines(report / name, text) if name == PLAIN else _of_texts(report / name, text)
    left = len(found) - TOLD
    return [*found[:TOLD], *([f"{left} more"] if left > 0 else [])]


class _Page(HTMLParser):
    """What a page says in numbers: its result, the data of its figures, and the texts that are compared, by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.result = ""
        self.data: Any = None
        self.texts: list[tuple[str, str]] = []
        self._section, self._open, self._text, self._where = "", "", "", ""
        self._depth = 0
        self.feed(text)

    @property
    def sections(self) -> list[str]:
        """Where each of the texts stands."""
        return [where for where, _ in self.texts]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag in ("section", "article", "details", "figure") and "id" in found:
            self._section = found["id"]
        if self._where:
            self._depth += tag == self._where
        elif tag == "td" or found.get("id") == "report-data" or set(found.get("class", "").split()) & {*_TOLD_CLASSES}:
            self._where, self._depth, self._text = tag, 1, ""
            self._open = found.get("id", "")
            self.texts += [(self._section, found[name]) for name in ("title", "data-key") if name in found]

    def handle_data(self, data: str) -> None:
        self._text += data if self._where else ""

    def handle_endtag(self, tag: str) -> None:
        if tag != self._where:
            return
        self._depth -= 1
        if self._depth:
            return
        said = self._text if self._open == "report-data" else " ".join(self._text.split())
        if self._open == "report-data":
            self.data = _read(said)
        elif self._open == "result":
            self.result = said
        else:
            self.texts.append((self._section, said))
        self._where = self._open = ""


class _Texts(HTMLParser):
    """What a page says: its texts and those of its figures, up to how it is made again."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._is_over, self._is_code = False, False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._is_over |= ("id", "again") in attributes
        self._is_code = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not (self._is_over or self._is_code):
            self.texts.append(" ".join(data.split()))


def _of_texts(published: Path, made: str) -> Iterator[str]:
    try:
        before = _Texts(published.read_text(encoding="utf-8")).texts
    except (OSError, UnicodeDecodeError, AssertionError) as error:
        yield f"{published.name} cannot be read: {error}"
        return
    after = _Texts(made).texts
    if len(before) != len(after):
        yield f"{published.name} has other texts"
        return
    for one, other in zip(before, after, strict=True):
        if not same_text(one, other):
            yield f"{published.name}: {one!r} in the report, {other!r} by the records"


def _read(text: str) -> Any:
    """The data behind figures: data sets, and the rows that specifications bring themselves."""
    try:
        found = unfold(read_script_data(text))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return {"data": found.get("data"), "figures": {name: list(_rows(s)) for name, s in found.get("specs", {}).items()}}


def _rows(spec: Any) -> Iterator[Any]:
    if isinstance(spec, dict):
        data = spec.get("data")
        if isinstance(data, dict) and "values" in data:
            yield data["values"]
        for name, part in spec.items():
            if name != "data":
                yield from _rows(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from _rows(part)


def _of_page(published: _Page, made: _Page, whole: bool) -> Iterator[str]:
    if published.result != made.result:
        yield f"the page is of {published.result or 'a result that it does not name'}, here {made.result}"
    before = published.data if whole else _without_models(published.data, made.data)
    yield from _of_data(before, made.data, "the page's data")
    # A figure that is not there has no text, and what follows it another section.
    if len(published.texts) != len(made.texts) or (whole and published.sections != made.sections):
        yield "the page has other tables or verdicts"
        return
    for (_, one), (where, other) in zip(published.texts, made.texts, strict=True):
        # What records say of their origin stands there in the order in which they lie in the store.
        same = same_text(one, other) or (where == "again" and set(one.split(", ")) == set(other.split(", ")))
        if not same:
            yield f"the page at #{where}: {one!r} in the report, {other!r} by the records"


def _without_models(published: Any, made: Any) -> Any:
    """Of the data of a page and of its figures those that can be made without a model."""
    if not isinstance(published, dict):
        return published
    return {
        kind: {name: one for name, one in found.items() if name in made[kind]} if isinstance(found, dict) else found
        for kind, found in published.items()
    }


def _of_data(before: Any, after: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for name in before:
            yield from _of_data(before[name], after[name], f"{where}, {name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _of_data(one, other, f"{where}[{number}]")
    elif isinstance(before, str) and isinstance(after, str):
        if not (before.startswith("data:image/") and after.startswith("data:image/")) and before != after:
            yield f"{where}: {before!r} in the report, {after!r} by the records"
    elif _is_number(before) and _is_number(after):
        if not _is_close(before, after):
            yield f"{where}: {before} in the report, {after} by the records"
    elif before != after:
        yield f"{where}: other than by the records"


def _is_close(before: float, after: float) -> bool:
    try:
        return math.isclose(before, after, rel_tol=DRAWN, abs_tol=1e-12)
    except OverflowError:  # an integer that no float is
        return before == after


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _of_tables(published: Path, made: Path) -> Iterator[str]:
    for path in sorted(made.glob("*.csv")):
        rows = _rows_of(path)
        try:
            before = _rows_of(published / path.name)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            yield f"tables/{path.name} cannot be read: {error}"
            continue
        if list(map(len, before)) != list(map(len, rows)):
            yield f"tables/{path.name} has other rows or columns"
            continue
        for number, (one, other) in enumerate(zip(before, rows, strict=True), 1):
            for cell, again in zip(one, other, strict=True):
                if not same_text(cell, again):
                    yield f"tables/{path.name}, row {number}: {cell!r} in the report, {again!r} by the records"


def _of_latex(published: Path, made: Path) -> Iterator[str]:
    for path in sorted(made.glob("*.tex")):
        yield from _of_lines(published / path.name, path.read_text(encoding="utf-8"))


def _of_lines(published: Path, made: str, end: str = "", whole: bool = True) -> Iterator[str]:
    """Differences in the lines of a text, up to that which begins with `end`; widths of columns are not compared, and
    unless it is `whole` what shows a model is not."""
    try:
        text = published.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield f"{published.name} cannot be read: {error}"
        return
    before, after = (list(_lines(each, end)) for each in (text if whole else _MODELS.sub("", text), made))
    if len(before) != len(after):
        yield f"{published.name} has other lines"
        return
    for one, other in zip(before, after, strict=True):
        if not same_text(one, other):
            yield f"{published.name}: {one!r} in the report, {other!r} by the records"


def _lines(text: str, end: str) -> Iterator[str]:
    for line in text.rstrip("\n").splitlines():
        if end and line.startswith(end):
            return
        if not line.startswith("\\begin{tabular}"):
            yield line


def _rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
