"""What the names on a page mean, and the papers behind them with their places on the web."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

from ..core.bibliography import Entry, cited, conditions, papers
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


def glossary(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Tasks, methods and metrics of a report, each with `id`, `name`, `text` and `papers`."""
    results = inputs.results
    present = set(results["task"].unique())
    kinds = {grid.name: grid.kind for grid in inputs.study.tasks if grid.name in present}
    tasks, methods = registered(TASKS), registered(METHODS)
    arms = {arm.method: [] for arm in inputs.study.arms}  # type: dict[str, list[str]]
    for arm in inputs.study.arms:
        arms[arm.method].append(inputs.looks()[arm.name].label)
    stems = in_order(results["metric"].dropna().unique())
    return {
        "tasks": [_term("task", name, name, kind, tasks.get(kind)) for name, kind in kinds.items()],
        "methods": [_term("method", name, "; ".join(labels), name, methods.get(name)) for name, labels in arms.items()],
        "metrics": [_metric(name) for name in stems],
    }


def _term(kind: str, name: str, title: str, registered_as: str, known: dict[str, Any] | None) -> dict[str, Any]:
    summary, behind = (known["summary"], known["papers"]) if known else ("", [])
    what = f"{registered_as}: {summary}" if title != registered_as and summary else summary or registered_as
    return {
        "id": f"{kind}-of-{name}",
        "name": title,
        "text": what,
        "papers": [reference(Entry(**paper)) for paper in behind],
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
