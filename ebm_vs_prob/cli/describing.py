"""What there is: `list` in a line each, `show` in full."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import unknown
from ..core.streams import is_terminal, printed_aside
from ..core.text import printable
from .options import JsonOption, Kind
from .output import print_json, print_table

if TYPE_CHECKING:
    from ..study.schema import Study

#: Columns of `list` beside the name and the summary.
COLUMNS: dict[Kind, tuple[str, ...]] = {Kind.tasks: (), Kind.methods: ("family",), Kind.studies: ()}


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; all three if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks, methods and studies, one line each; `show NAME` says more."""
    from ..study.provenance import remembered_of_package

    readers: dict[Kind, Callable[[], list[dict[str, Any]]]] = {
        Kind.tasks: lambda: remembered_of_package("tasks", _tasks),
        Kind.methods: lambda: remembered_of_package("methods", _methods),
        Kind.studies: _studies,
    }
    with printed_aside():
        listing = {each: readers[each]() for each in ([kind] if kind else Kind)}
    if as_json:
        print_json(listing[kind] if kind else {each.value: rows for each, rows in listing.items()})
        return
    for each, rows in listing.items():
        columns = ("name", *COLUMNS[each], "summary")
        print_table([{column: row[column] for column in columns} for row in rows], each.capitalize(), cut=True)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A task, method, metric, claim, study or study file.")],
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of a task, method, metric, claim, study or study file: options, defaults, papers, twin."""
    with printed_aside():
        found = details(name)
    if as_json:
        print_json(found)
        return
    for number, each in enumerate(found):
        if number:
            typer.echo("")
        _print_details(each)


def details(name: str) -> list[dict[str, Any]]:
    """Everything of that name, one entry a kind, JSON-ready; of a path, that of the study file there.

    Raises:
        UnknownName: nothing has the name, with the nearest that is known, or no file is at the path.
        ValueError: a file that is no study's.
    """
    from ..core.registry import METHODS, TASKS
    from ..metrics.catalogue import METRICS
    from ..study.claims import CLAIMS
    from ..study.files import MOST_LISTED, file_beside, is_path, list_studies, load_study

    tasks = {task.name: task for task in TASKS.entries()}
    methods = {method.name: method for method in METHODS.entries()}
    found = []
    if name in tasks:
        task = tasks[name]
        found.append(
            {"kind": "task", "name": name, "summary": task.summary, "exact truth": task.truth}
            | {"version": task.version, "options": _options(task.Options), "papers": _papers(task)}
        )
    if name in methods:
        found.append(_method(methods[name]))
    if name in METRICS:
        metric = METRICS[name]
        found.append(
            {"kind": "metric", "name": name, "label": metric.label, "summary": metric.summary, "unit": metric.unit}
            | {"scale": metric.scale, "better": metric.better, "papers": _cited(metric.references)}
        )
    if name in CLAIMS:
        found.append({"kind": "claim", "name": name, "summary": CLAIMS[name], "studies": _studies_of(name)})
    if name in list_studies() or (not found and is_path(name)):
        found.append(_study(load_study(name)))
    if not found:
        known = dict.fromkeys([*tasks, *methods, *METRICS, *CLAIMS, *list_studies()])
        raise unknown("name", name, known, MOST_LISTED, file_beside(name))
    return found


def _study(study: Study) -> dict[str, Any]:
    from ..core.budget import Budget

    primary = [criterion.id for criterion in study.primary_criteria.values()]
    return {
        "kind": "study",
        "name": study.name,
        "summary": study.title,
        "path": str(study.path),
        "claims": list(study.claims),
        "scales": [
            {"scale": name, "seeds": scale.seeds, "steps": scale.budget.get("steps", Budget().steps)}
            for name, scale in study.scales.items()
        ],
        "tasks": [
            {"task": grid.name, "registered as": grid.kind, "along": grid.axis if grid.along else None}
            | {"settings": list(grid.settings)}
            for grid in study.tasks
        ],
        "arms": [
            {"arm": arm.name, "label": arm.title, "method": arm.method, "tasks": list(arm.tasks or ())}
            for arm in study.arms
        ],
        "criteria": [
            {"criterion": each.id, "claim": each.claim, "primary": each.id in primary, "statement": each.statement}
            | {"kind": each.kind, "metric": each.metric, "below": each.below, "above": each.above}
            for each in study.criteria
        ],
    }


def _method(method: Any) -> dict[str, Any]:
    optimum = method.gaussian_optimum
    curvature = None if optimum is None else optimum.of(method.Options())
    return {
        "kind": "method",
        "name": method.name,
        "summary": method.summary,
        "family": method.family,
        "principle": method.principle,
        "normalised": method.normalised,
        "smoothing": method.smoothing(method.Options()),
        "answers": [space.kind for space in method.y_spaces],
        "twin": method.twin,
        "curvature on N(0, I)": "its sign only" if curvature is None else curvature,
        "version": method.version,
        "options": _options(method.Options),
        "papers": _papers(method),
    }


def _options(schema: Any) -> list[dict[str, Any]]:
    """Name, default and description of every option, JSON-ready; a default of None is told as such."""
    defaults = _defaults(schema)
    return [
        {
            "option": name,
            "default": defaults.get(name, "none: it must be given" if field.is_required() else None),
            "description": field.description or "",
        }
        for name, field in schema.model_fields.items()
    ]


def _papers(entry: Any) -> list[dict[str, str]]:
    """The papers of a task or a method, each with the values of an option that alone rest on it."""
    from ..core.bibliography import conditions, papers

    only, found = conditions(entry), papers(entry)
    return [
        {**told, "only with": _values_of(only[paper.key]) if paper.key in only else ""}
        for paper, told in zip(found, _as_papers(found), strict=True)
    ]


def _values_of(condition: dict[str, Any]) -> str:
    if condition["values"]:
        return f"{condition['option']} = {' or '.join(_said(value) for value in condition['values'])}"
    return f"{condition['option']} other than {_said(condition['default'])}"


def _cited(keys: Iterable[str]) -> list[dict[str, str]]:
    from ..core.bibliography import cited

    return _as_papers(cited(keys))


def _as_papers(papers: Iterable[Any]) -> list[dict[str, str]]:
    from ..report.citation_styles import link, plain, short

    return [{"paper": short(each), "title": plain(each.fields["title"]), "link": link(each)} for each in papers]


def _studies_of(claim: str) -> list[dict[str, Any]]:
    from ..study import list_studies, load_study

    loaded = [load_study(name) for name in list_studies()]
    return [
        {"study": study.name, "title": study.title, "criteria": [c.id for c in study.criteria if c.claim == claim]}
        for study in loaded
        if claim in study.claims
    ]


def _print_details(entry: dict[str, Any]) -> None:
    """The first line says what it is; tables follow the single facts, indented; nothing is wider than a terminal."""
    room = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    typer.echo(printable(f"{entry.pop('kind')} {entry.pop('name')}"))
    for field, value in entry.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            typer.echo(f"{field}:")
            for row in value:
                _wrapped("  ", _row(row), room)
        else:
            said = "none" if value in (None, "", []) else value
            _wrapped("", f"{field}: {', '.join(said) if isinstance(said, list) else _said(said)}", room)


def _row(row: dict[str, Any]) -> str:
    """A row of a table of details in one line."""
    if "option" in row:
        description = f": {row['description']}" if row["description"] else ""
        return f"{row['option']} = {_said(row['default'])}{description}"
    if "scale" in row:
        return f"{row['scale']}: seeds {row['seeds']}, steps {row['steps']}"
    if "registered as" in row:
        kind = "" if row["registered as"] == row["task"] else f" ({row['registered as']})"
        along = f": {row['along']} {', '.join(f'{value:g}' for value in row['settings'])}" if row["along"] else ""
        return f"{row['task']}{kind}{along}"
    if "arm" in row:
        label = "" if row["label"] == row["arm"] else f", {row['label']}"
        where = f"; on {', '.join(row['tasks'])}" if row["tasks"] else ""
        return f"{row['arm']}: {row['method']}{label}{where}"
    if "criterion" in row:
        bounds = [f"{side} {row[side]:g}" for side in ("above", "below") if row[side] is not None]
        what = f"{row['kind']} of {row['metric']} {' and '.join(bounds)}".rstrip()
        of = f"{row['claim']}, primary" if row["primary"] else row["claim"]
        return f"{row['criterion']} ({of}): {row['statement'].rstrip('.')}; {what}"
    if "paper" in row:
        only = f"({row['only with']})" if row.get("only with") else ""
        return " ".join(filter(None, (f"{row['paper']}.", f"{row['title'].rstrip('.')}.", only, row["link"])))
    return f"{row['study']}: {row['title']} ({', '.join(row['criteria']) or 'no criterion'})"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _wrapped(indent: str, text: str, room: int | None) -> None:
    line = f"{indent}{printable(text)}"
    lines = [line] if room is None else textwrap.wrap(line, room, subsequent_indent=f"{indent}    ")
    for each in lines:
        typer.echo(each)


def _tasks() -> list[dict[str, Any]]:
    from ..tasks import list_tasks

    return [{"name": task.name, "options": _defaults(task.Options), "summary": task.summary} for task in list_tasks()]


def _methods() -> list[dict[str, Any]]:
    from ..training.fitting import list_methods

    return [
        {
            "name": method.name,
            "family": method.family,
            "principle": method.principle,
            "normalised": method.normalised,
            "twin": method.twin,
            "options": _defaults(method.Options),
            "summary": method.summary,
        }
        for method in list_methods()
    ]


def _studies() -> list[dict[str, Any]]:
    from ..study import list_studies, load_study

    studies = [load_study(name) for name in list_studies()]
    return [{"name": study.name, "claims": list(study.claims), "summary": study.title} for study in studies]


def _defaults(schema: Any) -> dict[str, Any]:
    """Every option that has a default, with it, as JSON has it."""
    defaults: dict[str, Any] = schema.model_construct().model_dump(mode="json")
    return defaults
