"""Whether something keeps the rules, and how a method does beside the strongest: `check` and `challenge`."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
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
    engine: options.EngineOption = Engine.local,
    workers: options.WorkersOption = None,
    scheduler: options.SchedulerOption = None,
    device: options.DeviceOption = Device.auto,
    store: options.StoreOption = DEFAULT_STORE,
    out: options.OutOption = DEFAULT_OUT,
    seeds: options.SeedsOption = None,
    steps: options.StepsOption = None,
    at: options.AtOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Hold a method against the strongest arm of each family: where it wins, ties and fails, with intervals.

    First its conformance, then a standard panel, which is a study of some minutes: its results are in the store, its
    report in OUT, and beside that `challenge.md`, which is printed here as a table.
    """
    from ..core.registry import METHODS
    from ..testing import check_method
    from ..testing.studies import registered_by

    with printed_aside():
        modules: tuple[str, ...] = ()
        folder = None
        if method.endswith(".py"):
            modules, folder = _imported(Path(method)), Path(method).resolve().parent
            own = registered_by(METHODS, modules)
            if len(own) != 1:
                names = ", ".join(each.name for each in own) or "none"
                raise invalid("METHOD", method, f"a file that registers one method: it registers {names}")
            kind = own[0]
        else:
            kind = METHODS.get(method)
    typer.echo(printable(f"checking method {kind.name}"), err=True)
    with printed_aside():
        try:
            check_method(kind)
        except AssertionError as error:
            raise ValueError(f"{error}: a challenge is for methods that keep the rules (ebm-vs-prob check)") from None
    how = {"engine": engine.value, "workers": workers, "scheduler": scheduler, "device": device.value}
    less = {"seeds": seeds, "steps": steps, "at": options.numbers(at)}
    page, rounds = _run_panel(kind.name, modules, folder, how, store, out, less)
    if as_json:
        print_json({"method": kind.name, "page": os.fspath(page), "rounds": [each.as_dict() for each in rounds]})
        return
    rows = [_round_row(each) for each in rounds]
    print_table(rows, f"{kind.name} beside the best arm of each family")
    for outcome in ("wins", "ties", "fails", "no value"):
        count = sum(each.outcome == outcome for each in rounds)
        if count:
            typer.echo(f"{outcome}: {count} of {len(rounds)}")
    typer.echo(printable(page))


def _round_row(each: Round) -> dict[str, Any]:
    return {
        "metric": each.metric,
        "task": each.task,
        "setting": f"{each.setting:g}",
        "against": f"{each.rival} ({each.family})",
        "effect": f"{'x' if each.kind == 'ratio' else ''}{each.effect:.3g} [{each.low:.3g}, {each.high:.3g}]",
        "outcome": each.outcome,
    }


def _run_panel(
    method: str,
    modules: tuple[str, ...],
    folder: Path | None,
    how: dict[str, Any],
    store: Path,
    out: Path,
    less: dict[str, Any],
) -> tuple[Path, list[Round]]:
    """Run the panel, write its report and the page, and return the page's path and the rounds."""
    from ..report import write_report
    from ..study import load_results, run_study
    from ..study.challenge import SCALE, panel, rounds, summary
    from ..study.judging import judge
    from ..study.shrinking import shrunk
    from .report_places import place_of

    with printed_aside():
        study, text = panel(method, modules, folder)
        loaded: Any
        loaded, scale = shrunk(study, SCALE, **less)
    said_aside(f"planning the trials of {loaded.name} at {scale}")
    with printed_aside():
        run_study(loaded, scale, store=store, progress=True, **how)
        results = load_results(loaded, scale, store)
        below, _ = place_of(loaded, scale, out)
        report = Path(write_report(loaded, scale, store, out, said_aside, below)).parent
        found = rounds(loaded, results, scale)
        verdicts = judge(loaded.held_at(scale), results, loaded.at(scale).all_seeds, scale)
        page = report / "challenge.md"
        page.write_text(summary(method, found, verdicts), encoding="utf-8")
        (report / "study.toml").write_text(text, encoding="utf-8")
    return page, found
