"""What the names on a page mean, and the papers behind them with their places on the web."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from ..core.bibliography import Entry, cited, conditions, is_cited, papers
from ..core.registry import METHODS, TASKS, Registry
from ..study.provenance import remembered_of_package
from .citation_styles import link, plain, short
from .inputs import Inputs
from .style import in_order, metric_look, unit_of

_BETTER = {
    "lower": "lower is better",
    "higher": "higher is better",
    "exact": "best where the exact model is",
    "none": "",
}


def reference(paper: Entry) -> dict[str, str]:
    """A paper as the page names it: `text`, its authors' family names and year, `title`, and `url`, "" where none is
    known."""
    return {"text": short(paper), "title": plain(paper.fields.get("title", "")), "url": link(paper)}


def registered(registry: Registry[Any]) -> dict[str, dict[str, Any]]:
    """Summary, papers and the `conditions` of these, of everything registered, by name.

    To know them torch has to be imported, so they are kept.
    """
    found: dict[str, dict[str, Any]] = remembered_of_package(["glossary", registry.kind], partial(_entries, registry))
    return found


def _entries(registry: Registry[Any]) -> dict[str, dict[str, Any]]:
    return {
        entry.name: {
            "summary": str(getattr(entry, "summary", "")),
            "papers": [asdict(paper) for paper in papers(entry)],
            "conditions": conditions(entry),
        }
        for entry in registry.entries()
    }


def behind(told: Mapping[str, Any], made: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The papers behind an entry of `registered` as it was `made`, with options: some rest on values of one alone."""
    each = list(made)
    return [
        Entry(**paper)
        for paper in told["papers"]
        if (condition := told["conditions"].get(paper["key"])) is None
        or any(is_cited(condition, options) for options in each)
    ]


def made_of_tasks(tasks: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kind of each task of a grid with its options, once a setting."""
    for grid in tasks:
        for axis, values in (grid.along or {"": [None]}).items():
            yield from ((grid.kind, {**grid.options, axis: value}) for value in values)


def glossary(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Tasks, methods and metrics of a report, each with `id`, `name`, `text` and `papers`."""
    results = inputs.results
    present = set(results["task"].unique())
    grids = [grid for grid in inputs.study.tasks if grid.name in present]
    tasks, methods = registered(TASKS), registered(METHODS)
    arms = {arm.method: [] for arm in inputs.study.arms}  # type: dict[str, list[Any]]
    for arm in inputs.study.arms:
        arms[arm.method].append(arm)
    stems = in_order(results["metric"].dropna().unique())
    return {
        "tasks": [
            _term(
                "task", grid.name, grid.name, grid.kind, tasks.get(grid.kind), [of for _, of in made_of_tasks([grid])]
            )
            for grid in grids
        ],
        "methods": [
            _term(
                "method",
                name,
                "; ".join(inputs.looks()[arm.name].label for arm in own),
                name,
                methods.get(name),
                [arm.options for arm in own],
            )
            for name, own in arms.items()
        ],
        "metrics": [_metric(name) for name in stems],
    }


def _term(
    kind: str,
    name: str,
    title: str,
    registered_as: str,
    known: dict[str, Any] | None,
    made: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    summary = known["summary"] if known else ""
    what = f"{registered_as}: {summary}" if title != registered_as and summary else summary or registered_as
    return {
        "id": f"{kind}-of-{name}",
        "name": title,
        "text": what,
        "papers": [reference(paper) for paper in behind(known, made)] if known else [],
    }


def _metric(name: str) -> dict[str, Any]:
    look = metric_look(name)
    unit = unit_of(name)
    told = [look.summary, f"unit: {unit}" if unit else "", _BETTER[look.better]]
    return {
        "id": f"metric-{name}", "name": look.label, "text": "; ".join(part for part in told if part),
        "papers": [reference(paper) for paper in _known(look.references)],
    }  # fmt: skip


def _known(keys: Iterable[str]) -> list[Entry]:
    return list(cited(tuple(keys)))
