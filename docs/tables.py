"""Write the tables of claims, tasks, methods, studies and metrics from what there is: `python docs/tables.py`.

Each stands in its page between `<!-- tasks: written by docs/tables.py -->` and `<!-- end of tasks -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import ebm_vs_prob as evp
from ebm_vs_prob.core.bibliography import Entry, papers
from ebm_vs_prob.ebm.objectives.margin import TUTORIAL_LOSSES
from ebm_vs_prob.metrics import METRICS
from ebm_vs_prob.report.citation_styles import link, short
from ebm_vs_prob.report.words import nearest, say
from ebm_vs_prob.study import list_studies, load_study
from ebm_vs_prob.study.claims import REGISTER
from ebm_vs_prob.study.identifiers import FILE, read_result
from ebm_vs_prob.study.published import read_verdicts, reports_below
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.training.method import Method

ROOT = Path(__file__).parents[1]
FAMILIES = ("ebm", "prob", "control")


def citation(paper: Entry) -> str:
    """Authors' family names and year, a link where the entry has a place on the web; titles are in `references.bib`."""
    return f"[{short(paper)}]({link(paper)})" if link(paper) else short(paper)


def _row(*cells: str) -> str:
    return "".join(f"| {cell} " for cell in cells).rstrip() + " |"


def _papers(entry: type[Task] | type[Method]) -> str:
    return "; ".join(map(citation, papers(entry)))


def _year(entry: type[Method]) -> str:
    """Of the first paper that an entry names."""
    return next((paper.fields["year"] for paper in papers(entry)), "")


def _without_papers(summary: str) -> str:
    """A summary without the papers in its last brackets, which stand in a column of their own."""
    return re.sub(r" \((?=[^()]*\d{4})[^()]*\)$", "", summary)


def _what(method: type[Method]) -> str:
    """Its summary, of the losses of the tutorial the margin of table 1, and the twin in the other family."""
    loss = TUTORIAL_LOSSES.get(method.name)
    margin, twin = f"; margin {loss.margin}" if loss else "", f"; twin of `{method.twin}`" if method.twin else ""
    return _without_papers(method.summary) + margin + twin


def own(entries: list[type]) -> list[type]:
    """Without what plugins that are installed here register."""
    return [entry for entry in entries if entry.__module__.startswith("ebm_vs_prob.")]


def tasks() -> str:
    """The table of tasks, by name."""
    rows = [_row(f"`{task.name}`", task.summary, task.truth, _papers(task)) for task in own(evp.list_tasks())]
    return "\n".join([_row("task", "data", "exact truth", "papers"), "|---|---|---|---|", *rows])


def methods() -> str:
    """The table of methods, by family, principle and name."""
    entries = sorted(own(evp.list_methods()), key=lambda m: (FAMILIES.index(m.family), m.principle, m.name))
    rows = [
        _row(
            f"`{m.name}`",
            m.family,
            m.principle,
            "yes" if m.normalised else "no",
            ", ".join(space.kind.split()[0] for space in m.y_spaces),
            _year(m),
            _what(m),
            _papers(m),
        )
        for m in entries
    ]
    head = _row("method", "family", "principle", "normalised", "answers", "year", "what it is", "papers")
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])


#: What a metric takes to have a value on rows of a user's own, in words.
ON_ROWS = {"alone": "the rows", "without x": "the rows, and no x", "manifold": "the rows and a `manifold`"}


def own_metrics() -> str:
    """The table of the metrics that have a value on rows of a user's own, by what that takes."""
    rows = []
    for takes, words in ON_ROWS.items():
        rows.append(_row(words, ", ".join(f"`{name}`" for name, metric in METRICS.items() if metric.on_rows == takes)))
    return "\n".join([_row("what it takes", "metrics"), "|---|---|", *rows])


def studies() -> str:
    """The table of studies, by the first of their claims: what each asks, and what its report says."""
    loaded = sorted(map(load_study, list_studies()), key=lambda study: (int(study.claims[0][1:]), study.name))
    rows = [
        _row(
            f"[`{study.name}`](../studies/{study.name}.toml)",
            study.title,
            ", ".join(study.claims),
            _linked(study.name, ", ".join(f"{claim} {said}" for claim, said in _verdicts(study.name).items()), "../"),
        )
        for study in loaded
    ]
    return "\n".join([_row("study", "what it asks", "claims", "its report"), "|---|---|---|---|", *rows])


def claims(top: str = "") -> str:
    """The table of the lecture's claims: the study that decides each, and what its report says.

    Args:
        top: the way from the page to the top of the repository.
    """
    rows = [
        _row(
            name,
            claim.text,
            f"[`{claim.home}`]({top}studies/{claim.home}.toml)",
            _linked(claim.home, _verdicts(claim.home).get(name, ""), top),
        )
        for name, claim in REGISTER.items()
    ]
    return "\n".join([_row("", "claim", "decided by", "verdict"), "|---|---|---|---|", *rows])


#: Criteria of the headline that its answer is told by, in this order.
ANSWER = ("C11-curvature", "C12-equal-1", "C12-branches-1", "C12-density")


def answer() -> str:
    """What the headline found, in a paragraph: of each criterion the comparison nearest to another verdict."""
    report = published("thin_manifold")
    if report is None:
        return "The headline is not published yet."
    found = [v for v in read_verdicts(report / "verdicts.json") if v.scope == "comparison"]
    scale, seeds = read_result(report / FILE).get("scale"), max(v.seeds for v in found)
    parts = []
    for name in ANSWER:
        told = nearest([v for v in found if v.criterion == name])
        parts.append(f"{told.statement[0].lower()}{told.statement[1:]} (**{told.verdict}**: {say(told, {}).number})")
    place = report.relative_to(ROOT).as_posix()
    return f"What the [headline]({place}/report.md) found, at `{scale}`, {seeds} seeds: {'; '.join(parts)}."


def _verdicts(study: str) -> dict[str, str]:
    """The verdicts of a study's report by claim, with what is said beside them; none where there is no report."""
    report = published(study)
    if report is None:
        return {}
    found = [v for v in json.loads((report / "verdicts.json").read_text(encoding="utf-8")) if v["scope"] == "claim"]
    return {v["claim"]: v["verdict"] + (f" ({v['caveat']})" if v.get("caveat") else "") for v in found}


def published(study: str, reports: Path = ROOT / "reports") -> Path | None:
    """The folder of a study's report of the largest scale; None where there is none."""
    return next((folder for folder, _ in reports_below(reports) if folder.name == study), None)


def _linked(study: str, said: str, top: str) -> str:
    report = published(study)
    place = f"{top}{report.relative_to(ROOT).as_posix()}/report.md" if report else ""
    return f"[{said}]({place})" if said and place else "not published yet"


#: The page of each table.
PAGES: dict[str, tuple[Path, Callable[[], str]]] = {
    "answer": (ROOT / "README.md", answer),
    "claims": (ROOT / "README.md", claims),
    "tasks": (ROOT / "docs" / "tasks.md", tasks),
    "methods": (ROOT / "docs" / "methods.md", methods),
    "studies": (ROOT / "docs" / "studies.md", studies),
    "own_metrics": (ROOT / "docs" / "your_data.md", own_metrics),
}


def written(name: str, text: str) -> str:
    """The text of a page with its table made anew.

    Raises:
        ValueError: the page lacks the marks between which it stands.
    """
    start, end = f"<!-- {name}: written by docs/tables.py -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{start} ... {end} is missing")
    return f"{before}{start}\n{PAGES[name][1]()}\n{end}{after}"


if __name__ == "__main__":
    for name, (page, _) in PAGES.items():
        page.write_text(written(name, page.read_text(encoding="utf-8")), encoding="utf-8")
