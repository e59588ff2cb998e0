"""The page: what is shown, in which order, written as HTML and as Markdown from two templates."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

from ..core.atomic_files import host, write_atomically
from ..study.folders import is_alive
from ..study.identifiers import FILE as RESULT
from ..study.identifiers import file_from, write_result
from ..study.standard_panels import is_challenge
from ..study.verdicts import Verdict
from . import challenged, downloads, exploratory, figures, landscapes, sections, tables, training_tables
from .album import Album
from .citation import bibtex
from .escaping import escape_markdown, printable_inputs, script_data
from .glossary import glossary
from .inputs import Inputs
from .latex import MOST_COLUMNS
from .rendering import script
from .sharing import fold
from .style import SIGNS
from .words import test_words

#: Of all pages below one folder, which are read without a network; its name changes with its content.
ASSETS = "assets"
#: How a page asks for that script.
_ASKED = re.compile(rf'<script src="(?:\.\./)+{ASSETS}/(vega-[0-9a-f]{{12}}\.js)"></script>')
#: What a report is made of; what an earlier one left there is removed.
_OLD = (
    *("figures/*.svg", "figures/*.png", "tables/*.csv", "tables/*.tex", "records.zip", "study.toml"),
    *("index.html", "report.md", "verdicts.json", "citation.bib", "result.json", challenged.PAGE, challenged.PLAIN),
)
#: Columns of the table of criteria that are shown at first.
_CRITERIA = ("criterion", "arm", "against", "estimate [95 %]", "asked", "verdict")
#: What a paper's table shows besides, where the page shows it on demand.
_IN_PAPER = ("task", "at", "seeds done", "multiply-adds")
_FAILURES = ("task", "arm", "at", "state", "seeds", "reason")


def write(inputs: Inputs, out: Path, tell: Callable[[str], object] = lambda _: None, below: str = "") -> Path:
    """Write a report of these inputs under `out/<below>/<study>/`, saying what is being made; its `index.html`.

    An earlier report there stays whole until the new one is, and gives it the files that no report has.
    """
    inputs = printable_inputs(inputs)
    folder = out / below / inputs.study.name
    place = folder.resolve()  # which may be a link to where reports are kept
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    own = f".report-{place.name}.{host()}."
    for left in place.parent.glob(f"{own}*"):
        pid = left.name.removeprefix(own).partition(".")[0]
        if pid.isdigit() and not is_alive(int(pid)):  # it was killed
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{own}{os.getpid()}.", dir=place.parent) as work:
        made = Path(work) / ".new"
        made.mkdir()
        _write(inputs, out, made, "../" * (1 + bool(below)), tell)
        result = {"id": inputs.identifier, "study": inputs.study.name, "scale": inputs.scale}
        write_result(made / RESULT, {**result, "file": file_from(place, inputs.study)})
        _keep_others(place, made)
        if place.is_dir():
            place.rename(Path(work) / ".old")
        made.rename(place)
    return folder / "index.html"


def _keep_others(earlier: Path, made: Path) -> None:
    """Copy what lies in the folder of an earlier report and is of none."""
    reports = {path for pattern in _OLD for path in earlier.glob(pattern)}
    for path in sorted({*earlier.rglob("*")} - reports):
        to = made / path.relative_to(earlier)
        if (path.is_symlink() or path.is_file()) and not os.path.lexists(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to, follow_symlinks=False)


def _write(inputs: Inputs, out: Path, folder: Path, up: str, tell: Callable[[str], object]) -> None:
    verdicts = inputs.verdicts()
    content = context(inputs, verdicts, Album(folder / "figures"), tell)
    tell("writing the page, its tables and its records")
    content["downloads"] = downloads.write(inputs, folder)
    write_tables(inputs, content, folder / "tables")
    content |= {"up": up, "script": f"{up}{shared_script(out)}"}
    written = {
        "index.html": html().get_template("page.html.j2").render(content),
        "report.md": markdown().get_template("page.md.j2").render(content),
        "verdicts.json": json.dumps([v.as_dict() for v in verdicts], indent=1, ensure_ascii=False, allow_nan=False),
        "citation.bib": content["bibtex"],
    }
    if content["challenge"]:
        tell("writing the page of the challenge")
        written |= challenged.challenge_pages(inputs, verdicts, html())
    for name, text in written.items():
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def write_tables(inputs: Inputs, content: dict[str, Any], folder: Path) -> None:
    """Write the tables of a report's `context`."""
    tables.write_tables(
        {t["name"]: (t["frame"], _for_paper(t, content["grids"]), t["caption"]) for t in content["tables"]},
        {f"{task}_metrics": tables.for_files(inputs, task, frame) for task, frame in content["numbers"].items()}
        | {f"{task}_seeds": tables.for_files(inputs, task, tables.seed_table(inputs, task)) for task in inputs.tasks},
        folder,
        inputs.study.name,
    )


def shared_script(out: Path) -> str:
    """Put the script that draws figures beside the reports of a folder; returns its path from there."""
    import hashlib

    text = script()
    name = f"vega-{hashlib.sha256(text.encode()).hexdigest()[:12]}.js"
    path = out / ASSETS / name
    if not path.is_file() or path.stat().st_size != len(text.encode()):
        write_atomically(path, text.encode())
    return f"{ASSETS}/{name}"


def put_scripts(out: Path) -> None:
    """Put that script there under every name by which the pages of reports below ask for it, and under its own.

    The name follows from the content, which other versions of libraries have otherwise; what lies there stays.
    """
    shared_script(out)
    for page in (*out.glob("*/index.html"), *out.glob("*/*/index.html")):
        asked = _ASKED.search(page.read_text(encoding="utf-8", errors="replace"))
        if asked and not (out / ASSETS / asked[1]).is_file():
            write_atomically(out / ASSETS / asked[1], script().encode())


def _loader() -> Any:
    from jinja2 import PackageLoader

    return PackageLoader("ebm_vs_prob.report", "templates")


def html() -> Any:
    """Every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    return Environment(
        loader=_loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def markdown() -> Any:
    """Every value is escaped for Markdown, HTML in it included."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=_loader(), finalize=escape_markdown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["file"] = Markup
    return environment


def context(
    inputs: Inputs, verdicts: list[Verdict], album: Album, tell: Callable[[str], object] = lambda _: None
) -> dict[str, Any]:
    """Everything that the two templates show; `numbers` are those of every metric, by task."""
    tell("making the tables")
    numbers = {task: tables.every_metric(inputs, task) for task in inputs.tasks}
    study, labels = inputs.study, {look.name: look.label for look in inputs.looks().values()}
    trials = inputs.results.drop_duplicates(["budget", "task", "arm", "setting", "seed"])
    shown = _tables(inputs, verdicts, labels)
    frames = {table["name"]: table["frame"] for table in shown}
    links = sections.glossary_links(inputs)
    curves = {task: figures.curve_data(inputs, task, numbers[task]) for task in inputs.tasks}
    tell("drawing the figures of the claims")
    claims = [sections.claim_card(v, verdicts, labels, inputs, album, curves) for v in verdicts if v.scope == "claim"]
    order = _tasks_by_claims(inputs)
    tasks = []
    for number, task in enumerate(order, 1):
        tell(f"drawing the figures of {task}, task {number} of {len(order)}")
        tasks.append(sections.task_section(inputs, task, album, curves, task == order[0]))
    return {
        "study": study,
        "up": "../",
        "challenge": challenged.PAGE if is_challenge(study) else "",
        "scale": inputs.scale,
        "caveat": next((v.caveat for v in verdicts if v.caveat), ""),
        "seeds": inputs.num_seeds,
        "first_seed": study.scales[inputs.scale].first_seed,
        "trials": {name: int((trials["status"] == name).sum()) for name in ("done", "failed", "pending")},
        "claims": claims,
        "tests": {v.claim: test_words(v) for v in verdicts if v.scope == "claim" and v.kind},
        "tasks": tasks,
        "hero": next((task for task in tasks if task["picture"]), None),
        # Of a study without energies in a plane what stands beside the verdicts instead.
        "lead": next((c["criteria"][0]["curve"] for c in claims if c["criteria"] and c["criteria"][0]["curve"]), None),
        "gradient": landscapes.legend(),
        "looks": list(inputs.looks().values()),
        "numbers": numbers,
        "tables": shown,
        "task_tables": [t for t in shown if t["name"] in inputs.tasks],
        "table": frames,
        "training": [table for table in shown if table["name"] in training_tables.TITLES],
        "laddered": bool(study.ladders),
        "grids": {
            "criteria": sections.plain_grid(frames["criteria"], _CRITERIA, links, "verdict"),
            **{t: sections.task_grid(inputs, t, frames[t], numbers[t]) for t in inputs.tasks},
            **{name: sections.plain_grid(
                   frames[name], _FAILURES if name == "failures" else frames[name].columns[:6], links)
               for name in ("slopes", "failures", *training_tables.TITLES) if name in frames},
        },
        "notes": exploratory.observations(inputs, frames["slopes"]) if "slopes" in frames else [],
        "declined": [f"{labels.get(s['arm'], s['arm'])} on {s['task']}: {s['reason']}" for s in inputs.skipped],
        "unmeasured": sections.unmeasured(inputs, labels),
        "glossary": glossary(inputs),
        "provenance": [
            ("networks", _networks(study, inputs.scale)),
            *((_origin(name), ", ".join(values)) for name, values in inputs.provenance.items()),
        ],
        "run": f"ebm-vs-prob run {quote(study.given)} --scale {inputs.scale}",
        "report": f"ebm-vs-prob report {quote(study.given)} --scale {inputs.scale}",
        "identifier": inputs.identifier,
        "bibtex": bibtex(study, inputs.results, inputs.identifier),
        "symbols": SIGNS,
        "data": script_data(fold({"specs": album.specs, "data": album.data})),
    }  # fmt: skip


def _tasks_by_claims(inputs: Inputs) -> list[str]:
    """Tasks with results, that of the first claim's primary criterion first."""
    asked = [task for criterion in inputs.study.primary_criteria.values() for task in criterion.tasks]
    return [t for t in dict.fromkeys([*asked, *inputs.tasks]) if t in inputs.tasks]


def _tables(inputs: Inputs, verdicts: list[Verdict], labels: dict[str, str]) -> list[dict[str, Any]]:
    """Every table with name, title and caption: tasks, criteria, and what there is of slopes and failures."""
    study = inputs.study
    title = study.title if study.title.endswith((".", "?", "!")) else f"{study.title}."
    title += f" Scale {inputs.scale}{f', result {inputs.identifier}' if inputs.identifier else ''}."
    slopes, failures = exploratory.slopes_table(inputs), tables.failures_table(inputs)
    criteria = tables.criteria_table(verdicts, labels)
    shown = [
        {
            "name": task,
            "title": f"Results: {task}",
            "frame": tables.task_table(inputs, task),
            "caption": f"{title} Task {task}: mean over seeds with 95 % interval (geometric for distances and "
            "sharpness), and the cost of one model.",
        }
        for task in inputs.tasks
    ]
    shown.append({"name": "criteria", "title": "Criteria", "frame": criteria, "caption": f"{title} Criteria."})
    if len(slopes):
        caption = f"{title} Exploratory: fitted slopes in ln ε over ε > 0 with 95 % t intervals."
        shown.append({"name": "slopes", "title": "Slopes", "frame": slopes, "caption": caption})
    for name, frame in training_tables.training_tables(inputs, verdicts).items():
        heading, said = training_tables.TITLES[name]
        caption = f"{title} {heading}. {said}"
        shown.append({"name": name, "title": heading, "frame": frame, "caption": caption, "note": said})
    if len(failures):
        shown.append(
            {"name": "failures", "title": "Failures", "frame": failures, "caption": f"{title} Trials without result."}
        )
    return shown


def _for_paper(table: dict[str, Any], grids: dict[str, Any]) -> Any:
    """The columns of a table that a paper has room for: all, or those that the page shows at first, what else criteria
    speak of, and a few more."""
    frame = table["frame"]
    if frame.shape[1] <= MOST_COLUMNS:
        return frame
    columns = grids[table["name"]]["columns"]
    shown, asked = ([c["title"] for c in columns if c.get(what)] for what in ("shown", "asked"))
    besides = [title for title in _IN_PAPER if title in frame.columns]
    wanted = list(dict.fromkeys([*shown, *asked, *besides, *frame.columns]))[:MOST_COLUMNS]
    return frame[[title for title in frame.columns if title in wanted]]


def _networks(study: Any, scale: str) -> str:
    """What arms train, as the study's file has it: of the scale, and of arms that have another."""
    told = {"all": study.scales[scale].network or "the package's own, as it is"}
    told |= {arm.title: arm.network for arm in study.arms if arm.network}
    return "; ".join(
        f"{who}: {what if isinstance(what, str) else ', '.join(f'{key} = {value}' for key, value in what.items())}"
        for who, what in told.items()
    )


def _origin(name: str) -> str:
    if name.startswith("plugins."):  # a module, which is written as it is imported
        return f"plugin {name.removeprefix('plugins.')}"
    return name.removeprefix("versions.").removeprefix("hardware.").replace("_", " ")
