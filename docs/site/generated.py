"""Pages of the site that are made of what is registered: methods, tasks, claims, studies, and areas of the package."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from registered import (
    DOCS,
    FAMILIES,
    ROOT,
    areas,
    findings,
    mathematics,
    methods,
    studies,
    study_file,
    tables,
    tasks,
    why_not,
)

from ebm_vs_prob.cli.describing import details
from ebm_vs_prob.core.bibliography import papers
from ebm_vs_prob.report.citation_styles import apa, link
from ebm_vs_prob.report.overview import Found, reconcile
from ebm_vs_prob.report.style import SIGNS, minus
from ebm_vs_prob.study.claims import LECTURE, REGISTER
from ebm_vs_prob.study.criteria import Criterion


def _link(kind: str, name: str) -> str:
    """A link between generated pages, which all lie one folder deep."""
    return f"[`{name}`](../{kind}/{name}.md)"


def _links(kind: str, names: Any) -> str:
    return ", ".join(_link(kind, name) for name in names) or "none"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _facts(facts: dict[str, str]) -> str:
    """A table of two columns without a head of its own."""
    return _table(("", ""), [(f"**{name}**", text) for name, text in facts.items()])


def _papers(entry: Any) -> str:
    lines = []
    for paper in papers(entry):
        text, where = apa(paper), link(paper)
        lines.append(f"- {text.removesuffix(where)}<{where}>" if where else f"- {text}")
    return "\n".join(lines) or "None: it is this package's own."


def _options(schema: Any) -> str:
    return study_file.table(schema).replace("| key |", "| option |")


def method_page(name: str) -> str:
    """One method: what it is, its options, where it applies, its papers."""
    method, (told,) = methods()[name], [each for each in details(name) if each["kind"] == "method"]
    curvature = told["curvature on N(0, I)"]
    facts = {
        "family": FAMILIES[method.family].lower().removesuffix("s"),
        "principle": method.principle,
        "normalised": "yes" if method.normalised else "no",
        "answers": ", ".join(told["answers"]),
        "twin": _link("methods", method.twin) if method.twin else "none",
        "own smoothing": f"{told['smoothing']:g} by default, in the task's units",
        "energy of N(0, I)": curvature if isinstance(curvature, str) else f"curvature {curvature:g} at its optimum",
        "version": str(method.version),
    }
    declined = [(reason, task) for task in tasks() if (reason := why_not(method, task))]
    lines = [
        f"- {_links('tasks', [t for _, t in each])}: {why}" for why, each in groupby(sorted(declined), lambda d: d[0])
    ]
    users = [s.name for s in studies().values() if any(arm.method == name for arm in s.arms)]
    return "\n\n".join([
        f"# `{name}`",
        f"{_sentence(method.summary)} It is `evp.fit(\"{name}\", task)` in Python and `method = \"{name}\"` in a "
        f"study; `ebm-vs-prob show {name}` says what this page does.",
        _facts(facts),
        "## What it does",
        inspect.cleandoc(method.__doc__ or ""),
        "## Options",
        _options(method.Options),
        "## Tasks",
        f"At its defaults it applies to {_links('tasks', [t for t in tasks() if not why_not(method, t)])}.",
        *(["It declines:", "\n".join(lines)] if lines else []),
        "## Studies with it",
        _links("studies", users),
        "## Papers",
        _papers(method),
    ])  # fmt: skip


def task_page(name: str) -> str:
    """One task: what is drawn, what is exact, its options, the methods for it, its papers."""
    task = tasks()[name]
    kind = task if isinstance(task, type) else type(task)
    facts = {"exact truth": kind.truth}
    if not isinstance(task, type):
        facts["answers"] = task.y_space.kind
        facts["dimension of their set"] = "none" if task.manifold_dim is None else str(task.manifold_dim)
    facts["version"] = str(kind.version)
    figure = f"![What {name} draws](../figures/task_{name}.png)"
    users = [s.name for s in studies().values() if any((t.task or t.name) == name for t in s.tasks)]
    applying = {
        title: [m.name for m in methods().values() if m.family == family and not why_not(m, name)]
        for family, title in FAMILIES.items()
    }
    return "\n\n".join([
        f"# `{name}`",
        f"{_sentence(kind.summary)} It is `evp.get_task(\"{name}\")` in Python and `name = \"{name}\"` in a study. "
        f"Definitions and proofs of what is exact: [Tasks](../tasks.md{_anchor('tasks.md', name)}).",
        *([figure] if (DOCS / "figures" / f"task_{name}.png").exists() else []),
        _facts(facts),
        "## Options",
        _options(kind.Options),
        "## Methods that apply",
        "\n".join(f"- {title}: {_links('methods', names)}" for title, names in applying.items()),
        "## Studies on it",
        _links("studies", users),
        "## Papers",
        _papers(kind),
    ])  # fmt: skip


def _anchor(page: str, name: str) -> str:
    """The anchor of a name's own heading, or "" where it has none."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return f"#{name}" if re.search(rf"^#+ `{name}`$", text, re.MULTILINE) else ""


def _bound(criterion: Criterion) -> str:
    sides = (("above", criterion.above), ("below", criterion.below))
    return minus(" and ".join(f"{side} {value:g}" for side, value in sides if value is not None))


def _asked(criterion: Criterion) -> str:
    """Quantity, arms, tasks and settings of a criterion in words."""
    metric = f"[`{criterion.metric}`](../metrics.md{_metric_anchor(criterion.metric)})"
    arms, against = (", ".join(f"`{arm}`" for arm in names) for names in (criterion.arms, criterion.against))
    of = {
        "slope": f"exponent of {metric}",
        "rate": f"rate of ln {metric}",
        "share": f"share of cells told by {metric}",
    }.get(criterion.kind, f"{criterion.kind} of {metric}" if criterion.kind != "value" else metric)
    where = f" on {', '.join(criterion.tasks)}"
    if criterion.range:
        where += f", from {criterion.range[0]} to {criterion.range[1]}"
    elif criterion.at:
        where += f", at {', '.join(map(str, criterion.at))}"
    return _cell(f"{of}: {arms}{f' against {against}' if against else ''}{where}")


def _metric_anchor(name: str) -> str:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    return f"#{name}" if re.search(rf"^\| [^|]*`{name}`", text, re.MULTILINE) else ""


def _criteria(criteria: list[Criterion]) -> str:
    alone = len(criteria) == 1
    rows = [
        (
            f"`{c.id}`{' (primary)' if c.primary or alone else ''}",
            _cell(c.statement),
            _asked(c),
            _bound(c),
            "" if c.law is None else minus(f"{c.law:g}"),
        )
        for c in criteria
    ]
    return _table(("criterion", "what holds where it is supported", "quantity", "asked", "law"), rows)


def claim_page(name: str) -> str:
    """One claim: the lecture's words, its mathematics, its criteria and what was published of it."""
    claim, found = REGISTER[name], findings().get(name, [])
    verdict, said = reconcile(name, found)
    asking = [study for study in studies().values() if name in study.claims]
    asking.sort(key=lambda study: (study.name != claim.home, study.name))
    criteria = [
        f"### {'Home study: ' if study.name == claim.home else 'Beside it: '}{_link('studies', study.name)}\n\n"
        f"{study.title}\n\n{_criteria([c for c in study.criteria if c.claim == name])}"
        for study in asking
    ]
    limits = studies()[claim.home].limitations
    published = f"{SIGNS[verdict]} {verdict}{_caveat(found)}" if found and verdict in SIGNS else "not published yet"
    rows = [(f"[{f.study}](../reports/{f.place}/index.html)", f"{f.verdict}{f' ({f.caveat})' if f.caveat else ''}",
             _cell(_raised(f.number))) for f in found]  # fmt: skip
    return "\n\n".join([
        f"# {name}: {claim.text}",
        f"> “{claim.quote}”\n>\n> LeCun, NYU Deep Learning 2020, week 7 ([notes of the lecture]({LECTURE}))",
        f'<p class="verdict {verdict}">Verdict: {published}</p>',
        *([_raised(said), _table(("report", "verdict", "its number"), rows)] if found else []),
        *(["## What that cannot say", _lines(limits)] if found and limits else []),
        "## In mathematics",
        mathematics()[name],
        "## What is asked",
        "The studies' files say what had been seen before their bounds were written. How these are held against "
        f"results: [verdicts](../verdicts.md). About: {', '.join(claim.tags)}.",
        *criteria,
    ])  # fmt: skip


def _raised(text: str) -> str:
    """Exponents as such: `ε^1.9` has its number raised."""
    return re.sub(r"\^(\u2212?[\d.]+\d)", r"<sup>\1</sup>", text)


def _caveat(found: list[Found]) -> str:
    caveat = next((each.caveat for each in found if each.home), "")
    return f" ({caveat})" if caveat else ""


def study_page(name: str) -> str:
    """One study: its question, arms, criteria and file."""
    study = studies()[name]
    source = (ROOT / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    arms = [(f"`{arm.name}`", arm.title, _link("methods", arm.method)) for arm in study.arms]
    claims = ", ".join(f"[{claim}](../claims/{claim}.md)" if claim in REGISTER else claim for claim in study.claims)
    folder = tables.published(name)
    place = "" if folder is None else folder.relative_to(ROOT).as_posix()
    report = f"[its published report](../{place}/index.html)" if place else "no report published yet"
    return "\n\n".join([
        f"# {name}",
        f"**{study.title}**",
        inspect.cleandoc(study.question),
        *(["## What it cannot say", _lines(study.limitations)] if study.limitations else []),
        f"Claims: {claims}. Run it by `ebm-vs-prob run {name}`; {report}.",
        "## Tasks",
        "\n".join(f"- {_link('tasks', t.task or t.name)}{f' as `{t.name}`' if t.task else ''}" for t in study.tasks),
        "## Arms",
        _table(("arm", "in words", "method"), arms),
        "## Criteria",
        *(f"### {claim}\n\n{_criteria([c for c in study.criteria if c.claim == claim])}" for claim in study.claims),
        "## The file",
        f"````toml title=\"studies/{name}.toml\"\n{source}````",
    ])  # fmt: skip


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(f"- {inspect.cleandoc(text)}" for text in texts)


def claims_page() -> str:
    """All claims with what was published of them."""
    said = (
        f"LeCun's lecture on energy-based models ([NYU Deep Learning 2020, week 7]({LECTURE})) makes twenty claims "
        "that can be tested. Each has a page: the lecture's words, what they say in mathematics, the criteria with "
        "their bounds, and the verdict where a report is published."
    )
    return f"# The lecture's claims\n\n{said}\n\n{tables.claims('../')}"


def area_page(area: str) -> str:
    """The public names of one area, from their docstrings."""
    summary = inspect.getdoc(importlib.import_module(f"ebm_vs_prob.{area}")) or ""
    entries = "\n\n".join(f"::: {place}" for place in areas()[area])
    source = "ebm_vs_prob.testing" if area == "testing" else "ebm_vs_prob"
    return f"# {area}\n\n{summary.splitlines()[0]} Import these names from `{source}`.\n\n{entries}"


def pages() -> dict[str, str]:
    """Every generated page by its place in the site, in the order of the navigation."""
    made = {"claims.md": claims_page()}
    for folder, names, page in (
        ("claims", REGISTER, claim_page),
        ("methods", methods(), method_page),
        ("tasks", tasks(), task_page),
        ("studies", studies(), study_page),
        ("reference", areas(), area_page),
    ):
        made |= {f"{folder}/{name}.md": page(name) for name in names}
    return made
