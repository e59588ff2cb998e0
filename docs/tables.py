"""Write the README's tables of tasks, methods and studies from what there is: `python docs/tables.py`."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import ebm_vs_prob as evp
from ebm_vs_prob.core.bibliography import Entry, papers
from ebm_vs_prob.ebm.objectives.margin import TUTORIAL_LOSSES
from ebm_vs_prob.study import list_studies, load_study
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.training.method import Method

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FAMILIES = ("ebm", "prob", "control")
_ACCENTS = {"'": "\u0301", '"': "\u0308", "`": "\u0300", "c": "\u0327"}


def plain(latex: str) -> str:
    """BibTeX text as Unicode: accents composed, braces gone."""

    def accent(match: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", match[2].replace("\\i", "i") + _ACCENTS[match[1]])

    text = re.sub(r"\{\\(['\"`]|c(?=\{))\{?(\\?[a-zA-Z])\}?\}", accent, latex.replace("{\\i}", "\u0131"))
    return text.replace("{", "").replace("}", "").replace("--", "\u2013")


def citation(paper: Entry) -> str:
    """Authors' family names and year, a link where the entry has a place on the web; titles are in `references.bib`."""
    names = [plain(author).split(",")[0] for author in paper.fields["author"].split(" and ")]
    who = f"{names[0]} et al." if len(names) > 3 or "others" in names else ", ".join(names[:-1])
    who = who if who.endswith("al.") else f"{who} and {names[-1]}" if who else names[-1]
    places = {"doi": "https://doi.org/", "url": "", "eprint": "https://arxiv.org/abs/"}
    link = next((start + paper.fields[name] for name, start in places.items() if name in paper.fields), None)
    text = f"{who} {paper.fields['year']}"
    return f"[{text}]({link})" if link else text


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


def _own(entries: list[type]) -> list[type]:
    """Without what plugins that are installed here register."""
    return [entry for entry in entries if entry.__module__.startswith("ebm_vs_prob.")]


def tasks() -> str:
    """The table of tasks, by name."""
    rows = [_row(f"`{task.name}`", task.summary, task.truth, _papers(task)) for task in _own(evp.list_tasks())]
    return "\n".join([_row("task", "data", "exact truth", "papers"), "|---|---|---|---|", *rows])


def methods() -> str:
    """The table of methods, by family, principle and name."""
    entries = sorted(_own(evp.list_methods()), key=lambda m: (FAMILIES.index(m.family), m.principle, m.name))
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


def studies() -> str:
    """The table of studies, by the first of their claims: what each asks, and what its report says."""
    loaded = sorted(map(load_study, list_studies()), key=lambda study: (int(study.claims[0][1:]), study.name))
    rows = [
        _row(f"[`{study.name}`](studies/{study.name}.toml)", study.title, ", ".join(study.claims), _said(study.name))
        for study in loaded
    ]
    return "\n".join([_row("study", "what it asks", "claims", "its report"), "|---|---|---|---|", *rows])


def _said(name: str) -> str:
    """The verdicts of a report on its claims, with what is said beside them."""
    path = ROOT / "reports" / name / "verdicts.json"
    if not path.exists():
        return "not run yet"
    claims = [v for v in json.loads(path.read_text(encoding="utf-8")) if v["scope"] == "claim"]
    said = ", ".join(f"{v['claim']} {v['verdict']}" for v in claims)
    caveats = "; ".join(dict.fromkeys(v["caveat"] for v in claims if v.get("caveat")))
    return f"[{said}](reports/{name}/report.md){f' ({caveats})' if caveats else ''}"


def written(text: str) -> str:
    """The text with each table between its markers, `<!-- tasks: ... -->` and `<!-- end of tasks -->`, made anew."""
    for name, table in (("tasks", tasks()), ("methods", methods()), ("studies", studies())):
        start, end = f"<!-- {name}: written by docs/tables.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{start} ... {end} is missing")
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
