"""Whether something keeps the rules, and how a method does beside the strongest: `check` and `challenge`."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import invalid, unknown
from ..core.streams import printed_aside
from ..core.text import printable
from . import options
from .options import DEFAULT_OUT, DEFAULT_STORE, Device, Engine
from .output import print_json, print_table, said_aside

if TYPE_CHECKING:
    from ..study.challenge import Round
    from ..study.schema import Study

#: Of a file that a study names among its plugins.
_MODULE = re.compile(r"[A-Za-z_]\w*")


class Panel(StrEnum):
    real = "real"
    discrete = "discrete"
    strings = "strings"
    strips = "strips"
    decisions = "decisions"


def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A task, method or study, or a file with them.")],
    as_json: options.JsonOption = False,
) -> None:
    """Check that a task, method or study keeps the rules that everything else relies on.

    A file is a study's TOML, or Python that registers tasks and methods. The rules are those of
    `ebm_vs_prob.testing`, which says how often a check by chance fails what is right. The exit code is 1 where a rule
    is broken.
    """
    with printed_aside():
        checks = _checks(name)
    rows = []
    for what, call in checks:
        typer.echo(printable(f"checking {what}"), err=True)
        started, problem = time.monotonic(), ""
        try:
            with printed_aside():
                call()
        except AssertionError as error:
            problem = printable(error)
        except Exception as error:  # of the entry's own code: the others are still to be checked
            problem = printable(f"{type(error).__name__}: {error}{_place(error)}")
        rows.append({"what": what, "kept": not problem, "problem": problem, "seconds": time.monotonic() - started})
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            said = f"broken: {row['problem']}" if row["problem"] else f"keeps the rules ({row['seconds']:.0f} s)"
            typer.echo(printable(f"{row['what']}: {said}"))
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


def _checks(name: str) -> list[tuple[str, Callable[[], None]]]:
    """What a name or a file stands for, and how it is checked.

    Raises:
        UnknownName: nothing has the name.
        ValueError: a file that cannot be imported or registers nothing, or a task that has no truth.
    """
    from ..core.registry import METHODS, TASKS
    from ..study.files import list_studies
    from ..testing import check_method, check_study, check_task
    from ..testing.studies import registered_by

    if name.endswith(".py"):
        modules = _imported(Path(name))
        entries: list[tuple[str, Callable[[], None]]] = []
        for registry, call in ((TASKS, check_task), (METHODS, check_method)):
            entries += [
                (f"{registry.kind} {entry.name}", _bound(call, entry))
                for entry in registered_by(registry, modules)
                if getattr(entry, "has_truth", True)
            ]
        if not entries:
            valid = "a file that registers a task with a truth, or a method, with their decorators"
            raise invalid("NAME", name, valid)
        return entries
    tasks, methods = ({entry.name: entry for entry in registry.entries()} for registry in (TASKS, METHODS))
    if name in tasks and not tasks[name].has_truth:
        raise invalid("NAME", name, "a task with a truth to be held to: this one has none")
    found: list[tuple[str, Callable[[], None]]] = []
    found += [(f"task {name}", _bound(check_task, tasks[name]))] if name in tasks else []
    found += [(f"method {name}", _bound(check_method, methods[name]))] if name in methods else []
    if name in list_studies() or name.endswith(".toml"):
        found.append((f"study {name}", _bound(check_study, name)))
    if not found:
        raise unknown("task, method or study", name, list(dict.fromkeys([*tasks, *methods, *list_studies()])))
    return found


def _place(error: Exception) -> str:
    """Where an error was raised, " (file, line)"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _bound(call: Callable[[Any], None], argument: Any) -> Callable[[], None]:
    return lambda: call(argument)


def _imported(file: Path) -> tuple[str, ...]:
    """The module of a Python file, imported as a study's plugin is."""
    from ..study.plugins import import_plugins

    if not file.is_file():
        raise invalid("NAME", str(file), "a Python file")
    import_plugins([file.stem], str(file), file.resolve().parent)
    return (file.stem,)


def challenge(
    method: Annotated[
        str, typer.Argument(metavar="METHOD|FILE", help="A method, or a Python file that registers one.")
    ],
    panel: Annotated[
        Panel | None, typer.Option(help="What it is tried on; the first that it applies to if left out.")
    ] = None,
    engine: options.EngineOption = Engine.local,
    workers: options.WorkersOption = None,
    scheduler: options.SchedulerOption = None,
    device: options.DeviceOption = Device.auto,
    store: options.StoreOption = DEFAULT_STORE,
    out: options.OutOption = DEFAULT_OUT,
    retry_failed: options.RetryOption = False,
    retry_outdated: options.RetryOutdatedOption = False,
    seeds: options.SeedsOption = None,
    steps: options.StepsOption = None,
    at: options.AtOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Hold a method against the strongest arm of each family: where it wins, ties and fails, with intervals.

    First its conformance, then a standard panel, which is a study of some minutes: its results are in the store, its
    report in OUT, and beside that `challenge.html`, which is printed here as a table. The study's file lies there too,
    with the method's module, so that `run`, `report` and `verify` take it as they take any study.
    """
    from ..study.shrinking import shrunk
    from ..study.standard_panels import SCALE, keep_panel
    from ..study.standard_panels import panel as standard_panel
    from ..testing import check_method
    from .report_places import place_of

    with printed_aside():
        kind, file = _challenger(method)
        modules, folder = ((), None) if file is None else ((file.stem,), file.parent)
        study, text = standard_panel(kind.name, modules, folder, panel and panel.value)
        small, scale = shrunk(study, SCALE, seeds, steps, at=options.numbers(at))
        below, _ = place_of(small, scale, out)
    typer.echo(printable(f"checking method {kind.name}"), err=True)
    with printed_aside():
        try:
            check_method(kind)
        except AssertionError as error:
            raise ValueError(f"{error}: a challenge is for methods that keep the rules (ebm-vs-prob check)") from None
        study = keep_panel(out / below / study.name, text, kind.name, file)
        small, scale = shrunk(study, SCALE, seeds, steps, at=options.numbers(at))
    how = {"engine": engine.value, "workers": workers, "scheduler": scheduler, "device": device.value}
    how |= {"retry_failed": retry_failed, "retry_outdated": retry_outdated}
    page, identifier, rounds = _run_panel(small, scale, how, store, out, below)
    if as_json:
        told = {"method": kind.name, "result": identifier, "study": os.fspath(study.path or ""), "scale": scale}
        print_json({**told, "page": os.fspath(page), "rounds": [each.as_dict() for each in rounds]})
        return
    print_table([_round_row(each) for each in rounds], f"{kind.name} beside the best arm of each family")
    for outcome, count in Counter(each.outcome for each in rounds).items():
        typer.echo(f"{outcome}: {count} of {len(rounds)}")
    typer.echo(f"result {identifier}")
    typer.echo(printable(page))


def _challenger(method: str) -> tuple[Any, Path | None]:
    """A method by its name, or the one that a file registers, with that file.

    Raises:
        UnknownName: no such method.
        ValueError: a file that registers none or several, or whose name a study cannot give as a plugin.
    """
    from ..core.registry import METHODS
    from ..testing.studies import registered_by

    if not method.endswith(".py"):
        return METHODS.get(method), None
    file = Path(method)
    if not _MODULE.fullmatch(file.stem):
        raise invalid("METHOD", method, "a file with the name of a Python module, such as my_method.py")
    own = registered_by(METHODS, _imported(file))
    if len(own) != 1:
        names = ", ".join(each.name for each in own) or "none"
        raise invalid("METHOD", method, f"a file that registers one method: it registers {names}")
    return own[0], file.resolve()


def _round_row(each: Round) -> dict[str, Any]:
    from ..study.challenge import effect_in_words

    return {
        "metric": each.metric,
        "task": each.task,
        "setting": f"{each.setting:g}",
        "against": f"{each.rival} ({each.family})",
        "effect": effect_in_words(each),
        "unit": "" if each.kind == "ratio" else each.unit,
        "seeds": f"{each.seeds}{f', {each.failed} failed' if each.failed else ''}",
        "outcome": each.outcome,
    }


def _run_panel(
    study: Study, scale: str, how: dict[str, Any], store: Path, out: Path, below: str
) -> tuple[Path, str, list[Round]]:
    """Run a panel and write its report; the page of the challenge beside that, the result and the rounds."""
    from ..report import write_report
    from ..report.challenged import PAGE
    from ..study import Store, load_results, run_study
    from ..study.challenge import rounds
    from ..study.identifiers import result_id

    said_aside(f"planning the trials of {study.name} at {scale}")
    with printed_aside():
        run_study(study, scale, store=store, progress=True, **how)
        report = write_report(study, scale, store, out, said_aside, below).parent
        identifier = result_id(study, scale, Store(store))
        found = rounds(study.held_at(scale), load_results(study, scale, store), scale)
    return report / PAGE, identifier, found
