# ruff: noqa: RUF001
"""Parts of the page: a card a claim with its figures, the figure of each task, all metrics, tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..study.verdicts import Verdict
from . import figures, intervals, landscape_charts, landscapes, pictures, tables, words
from .album import Album
from .densities import FACTORS, FITTED
from .inputs import Inputs
from .seeds import seed_effects
from .style import GROUPS, SIGNS, metric_look, noun, plain, quantity, unit_of

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the intervals inside a card.
_MOST_ROWS = 6
#: Rows of all comparisons at all settings that stand beside the curves; of more, they are folded.
_MOST_SHOWN = 12
#: Columns of a task's table that are shown at first.
_FIRST_COLUMNS = 6
_FOREST = (
    "95 % intervals over seeds, paired where arms are compared; shaded: what the criterion asks for. "
    "Shapes: circle supported, cross refuted, diamond qualified, square undecided, triangle untrained."
)
_CURVES = (
    "Means over seeds with 95 % intervals (geometric means on logarithmic axes, which end five decades below the "
    "largest value of a learned arm)."
)
_ASKED = f"{_CURVES} Strong: arms that the criterion speaks of; dashed: what it asks for, or what theory predicts."
_HERO = "Dark is low energy, or dense. One seed."
#: What the readings of a landscape are.
_READINGS = (
    ("raw", "nats above the median of the data, on one scale for all arms and settings"),
    ("scale-free", "over the depth that the data lie in, because an unnormalised energy has no scale"),
    ("rank", "the share of the box that lies lower, which forgets how steep an energy is"),
    (
        "density",
        "exp(−βE) over its sum on the grid of the picture; a pixel has its mean over the cells that it covers, so that "
        "no crease falls between pixels, and dark is the densest pixel. Each arm has the β under which "
        "these held-out points are likeliest on that grid, or a multiple of it; below each panel stand β and their "
        "mean log-density. A crease that is thinner than a cell of the grid counts as wide as a cell",
    ),
)
#: What the slider says of each multiple of the fitted beta.
_MULTIPLES = tuple(
    "the fitted β" if factor == 1 else f"β = {factor:g} × fitted" if factor > 1 else f"β = fitted / {1 / factor:g}"
    for factor in FACTORS
)
_DIGITS = (
    "Each column is one 4×4 reduction x, a held-out digit that has it, and what each arm answers and draws for it. "
    "One seed."
)


def claim_card(
    claim: Verdict, verdicts: Sequence[Verdict], labels: Mapping[str, str], inputs: Inputs, album: Album, curves: Any
) -> dict[str, Any]:
    """A claim: its verdict in sentences, and the figures of its criteria."""
    parts = [v for v in verdicts if v.claim == claim.claim and v.scope == "comparison"]
    again = [v for v in verdicts if v.claim == claim.claim and v.scope == "variant"]
    groups = []
    for criterion in dict.fromkeys(v.criterion for v in sorted(parts, key=lambda v: not v.primary)):
        members = [v for v in parts if v.criterion == criterion]
        groups.append(_criterion(criterion, members, labels, inputs, album, curves))
    said = words.claim_says(claim, parts, labels, again)
    return {
        "id": claim.claim,
        "text": words.claim_in_words(claim.claim, parts),
        "verdict": claim.verdict,
        "caveat": claim.caveat,
        "said": said,
        "reason": claim.reason,
        "law_note": _law_note(claim),
        "holds_in": [words.named(name, labels) for name in claim.holds_in],
        "fails_in": [words.named(name, labels) for name in claim.fails_in],
        "figure": groups[0]["small"] if groups and groups[0]["role"] == "Primary" else None,
        "shared": groups[0]["shared"] if groups else "",
        "criteria": groups,
    }


def _law_note(claim: Verdict) -> str:
    """Whether the interval holds what theory says."""
    if claim.law is None or not claim.low <= claim.high:
        return ""
    at = f"the law's {plain(claim.law)}"
    return (
        f"The interval contains {at}."
        if claim.low <= claim.law <= claim.high
        else f"The interval does not contain {at}."
    )


def _criterion(
    criterion: str, members: list[Verdict], labels: Mapping[str, str], inputs: Inputs, album: Album, curves: Any
) -> dict[str, Any]:
    """A criterion: its intervals small and whole, and its metric against the setting."""
    first = members[0]
    counts: Counter[str] = Counter(v.verdict for v in members)
    title = first.statement or criterion
    shown = sorted(members, key=lambda v: -words.nearness(v))[:_MOST_ROWS]
    shown = [v for v in members if v in shown]
    left = len(members) - len(shown)
    caption = f"{_FOREST} Dots: seeds." + (
        f" The {len(shown)} nearest to the bound, of {len(members)}." if left else ""
    )
    rows, shared = intervals.forest_rows(shown, labels, False)
    small = intervals.forest_chart(shown, labels, seeds=seed_effects(inputs, shown))
    # What decides is drawn at once; the rest when it is looked at.
    drawn: tuple[Mapping[str, Any], Mapping[str, Any]] | None = (small, {}) if first.primary else None
    whole = None
    if left or any(len(v.cells) > 1 for v in members):
        spec = intervals.forest_chart(members, labels, every=True)
        whole = album.add(f"every_{criterion}", f"{title}: every setting", spec, spec["description"], _FOREST)
    return {
        "id": criterion,
        "statement": first.statement,
        "role": "Primary" if first.primary else "Secondary",
        "counts": [(outcome, counts[outcome]) for outcome in SIGNS if counts[outcome]],
        "asked": f"{quantity(first.kind, first.metric, first.axis)} {words.bound_text(first)}",
        "law": "" if first.law is None else plain(first.law),
        "metric": first.metric,
        "about": _about(members, labels, inputs),
        "shared": f"{'All rows' if len(rows) > 1 else 'Here'}: {shared}." if shared else "",
        "small": album.add(f"criterion_{criterion}", title, small, small["description"], caption, still=drawn),
        "whole": whole,
        "folded": sum(len(v.cells) for v in members) > _MOST_SHOWN,
        "curve": _curve(criterion, first, members, inputs, album, curves),
    }


def _about(members: Sequence[Verdict], labels: Mapping[str, str], inputs: Inputs) -> list[tuple[str, list[Any]]]:
    """Whom a criterion speaks of and where, each name with what it leads to."""
    links = glossary_links(inputs)
    named = {
        "of": (links["arm"], [labels.get(v.arm, v.arm) for v in members]),
        "against": (links["arm"], [labels.get(v.against, v.against) for v in members if v.against]),
        "on": (links["task"], [v.task for v in members]),
    }
    found = {word: [(name, to.get(name, "")) for name in dict.fromkeys(names)] for word, (to, names) in named.items()}
    return [(word, each) for word, each in found.items() if each]


def _curve(
    criterion: str, first: Verdict, members: Sequence[Verdict], inputs: Inputs, album: Album, curves: Any
) -> Any:
    """The criterion's metric against the setting, on each of its tasks that has several; None where none has."""
    tasks = [task for task in dict.fromkeys(v.task for v in members) if task in curves and inputs.settings(task)]
    shown = [(task, first.metric) for task in tasks if any(row[1] == first.metric for row in curves[task]["rows"])]
    if not shown:
        return None
    spec = figures.metric_chart(inputs, shown, curves, members)
    title = figures.with_unit(first.metric, inputs.primary.iloc[:0])
    title += f" by {inputs.symbol(tasks[0])}" if len(inputs.settings(tasks[0])) > 1 else ""
    still = (spec, {f"curves-{task}": curves[task] for task in tasks}) if first.primary else None
    return album.add(f"curve_{criterion}", title, spec, figures.describe_curves(shown, curves), _ASKED, still=still)


def task_section(inputs: Inputs, task: str, album: Album, curves: Any, first: bool) -> dict[str, Any]:
    """Of one task the figure of its energies, its digits, and a figure for each group of its metrics."""
    one = landscapes.hero(inputs, task)
    picture = None
    if one is not None:
        album.data[f"plane-{task}"] = landscapes.plane_data(one)
        album.data[f"sections-{task}"] = one.datasets[f"sections-{task}"]
        described = landscapes.describe(one)
        picture = album.add(
            f"{task}_landscapes",
            f"{task}: what each arm learned, "
            + (f"as {one.symbol} changes" if len(one.settings) > 1 else one.places[0]),
            landscape_charts.live_chart(one, described),
            described,
            _HERO if one.energies else "Held-out data, answers found and samples drawn. One seed.",
            still=landscape_charts.still_chart(one, described),
        )
    groups = []
    if task in curves and inputs.settings(task):
        album.data[f"curves-{task}"] = curves[task]
        for group, names in figures.metric_groups(inputs, task).items():
            title = f"{task}: {GROUPS[group][0].lower()}{GROUPS[group][1:]}"
            panels = [(task, name) for name in names]
            spec, described = figures.metric_chart(inputs, panels, curves), figures.describe_curves(panels, curves)
            figure = album.add(f"{task}_{group}", title, spec, described, _CURVES)
            groups.append((figure, [(name, metric_look(name).label) for name in names]))
    return {
        "name": task,
        "first": first,
        "hero": one,
        "picture": picture,
        "settings": list(one.places) if one else [],
        "readings": _READINGS,
        "multiples": _MULTIPLES,
        "fitted": FITTED,
        "strips": [
            {**strip, "uri": pictures.data_uri(strip["pixels"], lossless=True)}
            for strip in pictures.digit_strips(inputs, task)
        ],
        "strips_caption": _DIGITS,
        "groups": groups,
    }


def task_grid(inputs: Inputs, task: str, frame: pd.DataFrame, numbers: pd.DataFrame) -> dict[str, Any]:
    """A table of a task as the page shows it: which columns at first, by what they sort, what they say on hover."""
    headed = {tables.heading(name): name for name in tables.column_metrics(inputs, task)}
    asked = tables.asked_metrics(inputs, task)
    first = ["arm", inputs.symbol(task), *headed][:_FIRST_COLUMNS]
    told = numbers.to_dict("records") if len(numbers) else []
    places = [inputs.headed(task, row[inputs.axis(task)])[1] for row in told]
    exact = {
        (row["arm"], at, row["budget"].replace("_", " "), row["metric"]): row
        for row, at in zip(told, places, strict=True)
    }
    name_of = {look.label: look.name for look in inputs.looks().values()}
    links, rows = glossary_links(inputs), []
    for row in frame.to_dict("records"):
        cells = []
        for title in frame.columns:
            key = (name_of.get(row["arm"], ""), row[inputs.symbol(task)], row["budget"], headed.get(title, ""))
            cells.append(_cell(row[title], str(title), links, _hover(exact.get(key), headed.get(title, ""))))
        rows.append({"arm": row["arm"], "cells": cells})
    columns = [
        {
            "title": str(title),
            "shown": title in first,
            "metric": headed.get(title, ""),
            "asked": headed.get(title) in asked,
        }
        for title in frame.columns
    ]
    return {"columns": columns, "rows": rows}


def glossary_links(inputs: Inputs) -> dict[str, dict[str, str]]:
    """Of columns of tables what their names lead to on the page: an arm to its method, a task, a criterion."""
    looks = inputs.looks()
    arms = {looks[arm.name].label: f"method-of-{arm.method}" for arm in inputs.study.arms if arm.name in looks}
    asked = {criterion.id: f"criterion-{criterion.id}" for criterion in inputs.study.criteria}
    tasks = {task: f"task-of-{task}" for task in inputs.tasks}
    return {"arm": arms, "against": arms, "task": tasks, "criterion": asked}


def _cell(text: str, title: str, links: Mapping[str, Mapping[str, str]], hover: str = "") -> dict[str, str]:
    return {"text": text, "key": sort_key(text), "hover": hover, "link": links.get(title, {}).get(text, "")}


def plain_grid(
    frame: pd.DataFrame, first: Sequence[str], links: Mapping[str, Mapping[str, str]], badges: str = ""
) -> dict[str, Any]:
    """Any other table as the page shows it; `links` are those of `glossary_links`."""
    columns = [{"title": str(t), "shown": t in first, "metric": "", "badge": t == badges} for t in frame.columns]
    rows = [
        {
            "arm": "",
            "cells": [_cell(str(value), str(title), links) for title, value in zip(frame.columns, row, strict=True)],
        }
        for row in frame.itertuples(index=False, name=None)
    ]
    return {"columns": columns, "rows": rows}


def _hover(row: Any, metric: str) -> str:
    if row is None or not row["n"]:
        return ""
    unit = unit_of(metric)
    return (
        f"{row['estimate']:.6g}{f' {unit}' if unit else ''}, 95 % from {row['low']:.6g} to {row['high']:.6g}, "
        f"{row['n']} seeds"
    )


def sort_key(text: str) -> str:
    """The number that a cell begins with, as scripts read it; "" of text."""
    found = re.match(r"(?:[<>] ?)?([−-]?\d+(?:\.\d+)?)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    if not found:
        return ""
    power = (found[2] or "").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return f"{found[1].replace('−', '-')}{'e' + power if power else ''}"


def unmeasured(inputs: Inputs, labels: Mapping[str, str]) -> list[str]:
    """Metrics that could not be had, gathered by reason."""
    by_reason: dict[tuple[str, str], dict[str, None]] = {}
    noted = inputs.results[inputs.results["note"].fillna("") != ""].drop_duplicates(["task", "arm", "metric", "note"])
    for task, arm, metric, reason in noted[["task", "arm", "metric", "note"]].itertuples(index=False, name=None):
        by_reason.setdefault((reason, f"“{labels.get(arm, arm)}” on {task}"), {})[noun(metric)[0]] = None
    merged: dict[tuple[str, str], list[str]] = {}
    for (reason, place), stems in by_reason.items():
        merged.setdefault((reason, ", ".join(stems)), []).append(place)
    return [f"{metrics}: {reason} ({', '.join(places)})" for (reason, metrics), places in merged.items()]
