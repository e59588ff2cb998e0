# ruff: noqa: RUF001
"""The page: what is shown, in which order, written as HTML and as Markdown from two templates."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..study.claims import CLAIMS
from ..study.verdicts import Verdict
from . import figures, pictures, rendering, tables, training_tables
from .citation import bibtex
from .escaping import escape_markdown, printable_inputs
from .inputs import Inputs
from .style import GROUPS, in_words, interval, p_value, plain, quantity, symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {"supported": "✓", "refuted": "✗", "qualified": "◐", "undecided": "?", "untrained": "○"}

_RANKS = (
    "Energies have no common scale, so each panel shows ranks: the share of the plotted box that has lower energy. "
    "Dark is low. Orange: held-out data. One seed."
)
_POINTS = (
    "Grey: held-out data. Coloured dots: samples. Black crosses: answers found by gradient descent from random starts. "
    "Points beyond the frame are not shown. One seed."
)
_CURVES = (
    "Means over seeds, 95 % t intervals (geometric means on logarithmic axes, which end five decades below the largest "
    "value of a learned arm). ε shrinks to the right; ε = 0 stands apart, because no slope reaches it. ε₀ is the "
    "reference thickness. Blue and green: ebm; red, orange and pink: prob; grey: control."
)
_FOREST = (
    "95 % intervals over seeds, paired where arms are compared; dashed: the criterion's bound, shaded: the side that "
    "the criterion asks for."
)
_DIGITS = (
    "Each row is one 4×4 reduction x, a held-out digit that has it, and what each arm answers and draws for it. "
    "One seed."
)


@dataclass(frozen=True)
class Shown:
    """A figure as the page embeds it (SVG or a data URI) and as Markdown links it (`file`)."""

    name: str
    file: str
    title: str
    caption: str
    svg: str
    data: str


class Album:
    """Renders figures once each: SVG or PNG files beside the Markdown, inline SVG or data URIs for the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, figure: Figure | None, name: str, title: str, caption: str, vector: bool) -> Shown | None:
        if figure is None:
            return None
        name = re.sub(r"[^\w-]+", "-", name)
        if vector:
            svg = rendering.to_svg(figure, name)
            (self.folder / f"{name}.svg").write_text(rendering.standalone(svg), encoding="utf-8")
            return Shown(name, f"{name}.svg", title, caption, svg, "")
        png, webp = rendering.to_images(figure)
        (self.folder / f"{name}.png").write_bytes(png)
        data = f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
        return Shown(name, f"{name}.png", title, caption, "", data)


def write(inputs: Inputs, out: Path) -> Path:
    """Write a report of these inputs under `out/<study>/`; returns the path of `index.html`."""
    inputs = printable_inputs(inputs)
    folder = out / inputs.study.name
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("figures/*.svg", "figures/*.png", "tables/*.csv", "tables/*.tex"):
        for old in folder.glob(pattern):
            old.unlink()
    verdicts = inputs.verdicts()
    content = context(inputs, verdicts, Album(folder / "figures"))
    tables.write_tables(
        {table["name"]: (table["frame"], table["caption"]) for table in content["tables"]},
        {f"{task}_metrics": tables.every_metric(inputs, task) for task in inputs.tasks},
        folder / "tables",
    )
    written = {
        "index.html": _html().get_template("page.html.j2").render(content),
        "report.md": _markdown().get_template("page.md.j2").render(content),
        "verdicts.json": json.dumps([v.as_dict() for v in verdicts], indent=1, ensure_ascii=False, allow_nan=False),
        "citation.bib": content["bibtex"],
    }
    for name, text in written.items():
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return folder / "index.html"


def _loader() -> Any:
    from jinja2 import PackageLoader

    return PackageLoader("ebm_vs_prob.report", "templates")


def _html() -> Any:
    """Every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    return Environment(
        loader=_loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _markdown() -> Any:
    """Every value is escaped for Markdown, HTML in it included."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=_loader(), finalize=escape_markdown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["file"] = Markup
    return environment


def context(inputs: Inputs, verdicts: list[Verdict], album: Album) -> dict[str, Any]:
    """Everything that the two templates show."""
    study, labels = inputs.study, {look.name: look.label for look in inputs.looks().values()}
    title = study.title if study.title.endswith((".", "?", "!")) else f"{study.title}."
    title += f" Scale {inputs.scale}."
    trials = inputs.results.drop_duplicates(["budget", "task", "arm", "setting", "seed"])
    criteria = tables.criteria_table(verdicts, labels)
    slopes = tables.slopes_table(inputs)
    shown = [
        {
            "name": task,
            "title": f"Results: {task}",
            "frame": tables.task_table(inputs, task),
            "caption": f"{title} Task {task}: mean over seeds with 95 % interval (geometric for distances and "
            "sharpness), budget, cost of one model and failures.",
        }
        for task in inputs.tasks
    ]
    shown.append({"name": "criteria", "title": "Criteria", "frame": criteria, "caption": f"{title} Criteria."})
    if len(slopes):
        caption = f"{title} Exploratory: fitted slopes in ln ε over ε > 0 with 95 % t intervals."
        shown.append({"name": "slopes", "title": "Slopes", "frame": slopes, "caption": caption})
    training = training_tables.training_tables(inputs)
    for name, frame in training.items():
        heading, said = training_tables.TITLES[name]
        shown.append(
            {"name": name, "title": heading, "frame": frame, "caption": f"{title} {heading}. {said}", "note": said}
        )
    failures = tables.failures_table(inputs)
    if len(failures):
        shown.append({"name": "failures", "title": "Failures", "frame": failures, "caption": "Trials without result."})
    return {
        "study": study,
        "scale": inputs.scale,
        "seeds": inputs.num_seeds,
        "first_seed": study.scales[inputs.scale].first_seed,
        "trials": {name: int((trials["status"] == name).sum()) for name in ("done", "failed", "pending")},
        "claims": [_card(v, verdicts, labels, album) for v in verdicts if v.scope == "claim"],
        "tasks": [_task_section(inputs, task, album) for task in inputs.tasks],
        "tables": shown,
        "task_tables": shown[: len(inputs.tasks)],
        "training": [table for table in shown if table["name"] in training],
        "laddered": bool(study.ladders),
        "table": {table["name"]: table["frame"] for table in shown},
        "notes": tables.exploratory(inputs, slopes),
        "declined": [f"{labels.get(s['arm'], s['arm'])} on {s['task']}: {s['reason']}" for s in inputs.skipped],
        "unmeasured": _unmeasured(inputs, labels),
        "provenance": [(_origin(name), ", ".join(values)) for name, values in inputs.provenance.items()],
        "run": f"ebm-vs-prob run {quote(study.given)} --scale {inputs.scale}",
        "report": f"ebm-vs-prob report {quote(study.given)} --scale {inputs.scale}",
        "bibtex": bibtex(study, inputs.results),
        "symbols": SYMBOLS,
    }


def _origin(name: str) -> str:
    if name.startswith("plugins."):  # a module, which is written as it is imported
        return f"plugin {name.removeprefix('plugins.')}"
    return name.removeprefix("versions.").removeprefix("hardware.").replace("_", " ")


def _card(claim: Verdict, verdicts: list[Verdict], labels: dict[str, str], album: Album) -> dict[str, Any]:
    """A claim with its verdict, the number of its weakest link, and its comparisons, those that decide it first."""
    parts = [v for v in verdicts if v.scope == "comparison" and v.claim == claim.claim]
    parts.sort(key=lambda part: not part.primary)
    groups = []
    for criterion in dict.fromkeys(v.criterion for v in parts):
        members = [v for v in parts if v.criterion == criterion]
        counts: Counter[str] = Counter(v.verdict for v in members)
        first = members[0]
        groups.append(
            {
                "id": criterion,
                "statement": first.statement,
                "role": "Primary" if first.primary else "Secondary",
                "counts": [(outcome, counts[outcome]) for outcome in SYMBOLS if counts[outcome]],
                "asked": f"{quantity(first.kind, first.metric, first.axis)} {tables.bound_text(first)}",
                "law": "" if first.law is None else plain(first.law),
                "figure": album.add(
                    figures.forest_figure(members, labels), f"criterion_{criterion}", criterion, _FOREST, vector=True
                ),
            }
        )
    return {
        "id": claim.claim,
        "text": claim_in_words(claim.claim, parts),
        "verdict": claim.verdict,
        "caveat": claim.caveat,
        "number": plain(claim.estimate) if math.isfinite(claim.estimate) else "",
        "interval": interval(claim.low, claim.high),
        "sentence": sentence(claim, labels) if claim.kind else "",
        "reason": claim.reason,
        "holds_in": [_named(name, labels) for name in claim.holds_in],
        "fails_in": [_named(name, labels) for name in claim.fails_in],
        "criteria": groups,
    }


def claim_in_words(claim: str, parts: list[Verdict]) -> str:
    """The lecture's words for a claim of its own, for any other those of its primary criterion; "" of neither."""
    deciding = [part.statement for part in parts if part.primary and part.statement.strip()]
    return CLAIMS.get(claim) or "; ".join(dict.fromkeys(deciding))


def _named(text: str, labels: dict[str, str]) -> str:
    """A part's name with the labels of its arms."""
    return re.sub(r"[\w-]+", lambda match: labels.get(match[0], match[0]), text)


def sentence(verdict: Verdict, labels: dict[str, str]) -> str:
    """What the number of a comparison says, in plain words."""
    arm, other = labels.get(verdict.arm, verdict.arm), labels.get(verdict.against, verdict.against)
    metric = in_words(verdict.metric)
    said = f"{plain(verdict.estimate)}, 95 % interval {interval(verdict.low, verdict.high)}, {verdict.seeds} seeds"
    what = {
        "slope": f"the slope of ln({metric}) in ln {symbol(verdict.axis)} for {arm} on {verdict.task} is {said}",
        "rate": f"ln({metric}) for {arm} on {verdict.task} grows by {said} with {symbol(verdict.axis)}",
        "value": f"{metric} of {arm} on {verdict.task} is {said}",
        "difference": f"{arm} minus {other} on {verdict.task}, {metric}: {said}",
        "share": f"of all cells on {verdict.task}, those that come out as told: {said}",
        "ratio": f"{arm} over {other} on {verdict.task}, {metric}: median ratio {said}",
    }[verdict.kind]
    asked = f"; the criterion asks for {tables.bound_text(verdict)}"
    law = "" if verdict.law is None else f", the law says {plain(verdict.law)}"
    p = "" if math.isnan(verdict.adjusted_p) else f"; Holm-adjusted p {p_value(verdict.adjusted_p)}"
    if math.isnan(verdict.estimate):
        return f"No estimate for {verdict.label}{asked}{law}."
    return f"The weakest link: {what}{asked}{law}{p}."


def _task_section(inputs: Inputs, task: str, album: Album) -> dict[str, Any]:
    """The figures of one task, pictures first."""

    def found() -> Iterator[Shown | None]:
        title = f"{task}: energy landscapes as ε shrinks"
        yield album.add(pictures.landscape_figure(inputs, task), f"{task}_landscapes", title, _RANKS, vector=False)
        title = f"{task}: answers and samples on the data"
        yield album.add(pictures.answers_figure(inputs, task), f"{task}_points", title, _POINTS, vector=False)
        title = f"{task}: what each arm makes of x"
        yield album.add(pictures.digits_figure(inputs, task), f"{task}_gallery", title, _DIGITS, vector=False)
        if len(inputs.settings(task)) > 1:
            for group, names in figures.metric_groups(inputs, task).items():
                figure = figures.metric_figure(inputs, task, names)
                title = f"{task}: {GROUPS[group][0].lower()}{GROUPS[group][1:]}"
                yield album.add(figure, f"{task}_{group}", title, _CURVES, vector=True)

    return {"name": task, "figures": [figure for figure in found() if figure is not None]}


def _unmeasured(inputs: Inputs, labels: dict[str, str]) -> list[str]:
    """Metrics that could not be had, gathered by reason."""
    by_reason: dict[tuple[str, str], dict[str, None]] = {}
    noted = inputs.results[inputs.results["note"].fillna("") != ""].drop_duplicates(["task", "arm", "metric", "note"])
    for task, arm, metric, reason in noted[["task", "arm", "metric", "note"]].itertuples(index=False, name=None):
        stem = in_words(metric)
        by_reason.setdefault((reason, f"{labels.get(arm, arm)} on {task}"), {})[stem] = None
    merged: dict[tuple[str, str], list[str]] = {}
    for (reason, place), stems in by_reason.items():
        merged.setdefault((reason, ", ".join(stems)), []).append(place)
    return [f"{metrics}: {reason} ({'; '.join(places)})" for (reason, metrics), places in merged.items()]
