"""The command `ebm-vs-prob`: list, plan, run, status, report and cite studies.

Results go to stdout, progress and errors to stderr; an error is one line and a non-zero exit. Only the command that is
called imports what it needs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.streams import drop_unwritten, printed_aside
from ..core.text import printable
from .output import in_bytes, in_units, json_rows, print_json, print_table
from .signals import STOPPED, Signals

#: Set to 1 to see where an unexpected error came from.
TRACEBACK_VARIABLE = "EBM_VS_PROB_TRACEBACK"

app = typer.Typer(
    name="ebm-vs-prob",
    help="The same tasks twice, energy-based and probabilistic, measured against exact truth.",
    epilog="Example: ebm-vs-prob run thin_manifold --scale quick",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Kind(StrEnum):
    tasks = "tasks"
    methods = "methods"
    studies = "studies"


class Engine(StrEnum):
    local = "local"
    serial = "serial"
    dask = "dask"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A name in studies/ or the path of a TOML file.")]
ScaleOption = Annotated[str, typer.Option(metavar="quick|standard|full", help="A scale that the study's file defines.")]
StoreOption = Annotated[Path, typer.Option(metavar="DIR", help="Where results are kept.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU that is there.")]
EngineOption = Annotated[Engine, typer.Option(help="Workers here, this process, or a dask cluster elsewhere.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Local workers; one a core if left out.")]
SchedulerOption = Annotated[str | None, typer.Option(metavar="ADDRESS|FILE", help="A dask scheduler or its file.")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Run again what failed by itself before.")]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Gets a folder of the study's name with the report.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]

DEFAULT_STORE = Path("results")
DEFAULT_OUT = Path("reports")


def _version(wanted: bool) -> None:
    if wanted:
        from ..core.version import __version__

        typer.echo(f"ebm-vs-prob {__version__}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: VersionOption = False) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", epilog="Example: ebm-vs-prob list methods")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; all three if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered tasks and methods, and the studies."""
    from ..study.provenance import remembered_of_package

    readers: dict[Kind, Callable[[], list[dict[str, Any]]]] = {
        Kind.tasks: lambda: remembered_of_package("tasks", _tasks),
        Kind.methods: lambda: remembered_of_package("methods", _methods),
        Kind.studies: _studies,
    }
    with printed_aside():
        listing = {each.value: readers[each]() for each in ([kind] if kind else Kind)}
    if as_json:
        print_json(listing[kind.value] if kind else listing)
        return
    for name, rows in listing.items():
        print_table(rows, name.capitalize())


@app.command(epilog="Example: ebm-vs-prob plan thin_manifold --scale full")
def plan(
    study: StudyArgument,
    scale: ScaleOption = "quick",
    device: DeviceOption = Device.auto,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show the trials, batches and cost of a study, and what its criteria are to models that need no training.

    Of a study that is tuned, also what was chosen by an earlier run in the store, or that it will be.
    """
    from ..study import Store, check_feasible, load_study, plan_study
    from ..study.plan_again import choices_of
    from ..study.statistics import MIN_SEEDS, detectable_effect
    from ..study.tuning import as_rows, settled
    from ..study.tuning_rounds import first_round

    with printed_aside():
        loaded = settled(load_study(study), scale)
        loaded.at(scale)
        chosen = () if loaded.tuning is None else choices_of(Store(store), loaded, scale)
        planned = plan_study(loaded, scale=scale, device=device.value, tuning=chosen)
        held = [each.as_row() for each in check_feasible(planned.study, scale)]
        summary = {**planned.summary(), "criteria": held, "tuning": []}
        if loaded.tuning is not None:
            tried = plan_study(*first_round(loaded, scale), device=device.value, times=planned.step_times).summary()
            summary |= {f"tuning_{name}": tried[name] for name in ("trials", "core_seconds")}
            summary["tuning"] = as_rows(loaded, chosen)
    if as_json:
        print_json(summary)
        return
    print_table(summary.pop("batches"), "Batches")
    print_table(summary.pop("criteria"), "Criteria, held against what is known before training")
    for name in ("gates", "tuning"):
        rows = summary.pop(name)
        if rows:
            print_table(rows, name.capitalize())
    if loaded.tuning is not None:
        trials, seconds = summary.pop("tuning_trials"), summary.pop("tuning_core_seconds")
        typer.echo(f"tuning: {trials} trials of its own come first, estimated: {in_units(seconds)} of one core")
    seeds = planned.study.at(scale).seeds
    if held and seeds >= MIN_SEEDS:
        distance = f"{detectable_effect(seeds):.2g} standard deviations over seeds"
        typer.echo(f"power: .8 for an effect that lies {distance} from its bound, before Holm's correction")
    time, size = in_units(summary.pop("core_seconds")), in_bytes(summary.pop("stored_bytes"))
    for reason in summary.pop("skipped"):
        typer.echo(f"left out: {printable(reason)}")
    summary.pop("step_times")
    for field, value in summary.items():
        typer.echo(f"{field}: {value}")
    for line in planned.step_times.described():
        typer.echo(line)
    typer.echo(f"estimated: {time} of one core, {size} in the store")


@app.command(epilog="Example: ebm-vs-prob run thin_manifold --scale quick --workers 2")
def run(
    study: StudyArgument,
    scale: ScaleOption = "quick",
    engine: EngineOption = Engine.local,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    device: DeviceOption = Device.auto,
    store: StoreOption = DEFAULT_STORE,
    retry_failed: RetryOption = False,
) -> None:
    """Run the trials of a study that the store lacks. Stopped at any moment, the same command completes it.

    The exit code is 1 where a trial failed. One that failed by itself is not run again unless asked for.
    """
    from ..study import run_study

    with printed_aside():
        results = run_study(
            study,
            scale=scale,
            engine=engine.value,
            workers=workers,
            scheduler=scheduler,
            device=device.value,
            store=store,
            retry_failed=retry_failed,
            progress=True,
        )
    states = results.drop_duplicates("trial")["status"].value_counts()
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    typer.echo(printable(f"{study} at {scale}: {counts}; results in {store}"))
    failed = results[results["status"] == "failed"].drop_duplicates("trial")
    if len(failed):
        for (arm, reason), trials in failed.groupby(["arm", "reason"], sort=False):
            typer.echo(f"{len(trials)} of {arm} failed: {printable(reason)}", err=True)
        command = shlex.join(["ebm-vs-prob", "status", study, "--scale", scale, "--store", str(store)])
        typer.echo(f"why trials failed: {printable(command)}", err=True)
        raise typer.Exit(1)


@app.command(epilog="Example: ebm-vs-prob status thin_manifold --json")
def status(
    study: StudyArgument,
    scale: ScaleOption = "quick",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show the state of every trial, with the reasons of failures."""
    from ..study import study_status

    with printed_aside():
        trials = study_status(study, scale=scale, store=store)
    if as_json:
        print_json(json_rows(trials))
        return
    print_table(json_rows(trials), "Trials")
    counts = trials["status"].value_counts()
    typer.echo(", ".join(f"{number} {state}" for state, number in counts.items()))


@app.command(epilog="Example: ebm-vs-prob report thin_manifold --out reports")
def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A name in studies/ or the path of a TOML file.")] = "",
    scale: ScaleOption = "quick",
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    every: Annotated[bool, typer.Option("--all", help="Write the page over all reports in --out instead.")] = False,
) -> None:
    """Write a study's report and print its path; with --json, print the verdicts."""
    from ..report import write_all, write_report

    if every == bool(study):
        raise typer.BadParameter("a study, or --all for the page over all reports; not both, not neither")
    if every:
        typer.echo(printable(write_all(out)))
        return
    with printed_aside():
        page = Path(write_report(study, scale=scale, store=store, out=out))
    if as_json:
        print_json(json.loads((page.parent / "verdicts.json").read_text(encoding="utf-8")))
        return
    typer.echo(printable(page))


@app.command(epilog="Example: ebm-vs-prob cite thin_manifold > references.bib")
def cite(
    study: StudyArgument,
    scale: ScaleOption = "quick",
    as_json: JsonOption = False,
) -> None:
    """Print BibTeX for the package, the study and the papers behind what it compares."""
    from ..report.citation import bibtex
    from ..study import load_study, plan_study
    from ..study.provenance import remembered_of_package
    from ..study.step_times import TYPICAL

    def entries_of_plan() -> str:
        import pandas as pd

        plan = plan_study(loaded, scale, device="cpu", times=TYPICAL)
        return bibtex(loaded, pd.DataFrame([{**condition.labels, "scale": scale} for condition in plan.conditions]))

    with printed_aside():
        loaded = load_study(study)
        loaded.at(scale)
        question = ["cite", loaded.model_dump(mode="json", by_alias=True), scale]
        entries = entries_of_plan() if loaded.plugins else remembered_of_package(question, entries_of_plan)
    if as_json:
        print_json({"study": study, "scale": scale, "bibtex": entries})
        return
    typer.echo(entries)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for an error, 2 for wrong usage, 128 + a signal's number."""
    with Signals(last=arguments is None) as signals:
        code, message = _run(arguments)
    if signals.received is not None:
        code, message = signals.exit_code, signals.message
    if message is not None:
        with suppress(OSError, ValueError):  # there is no one to tell
            typer.echo(f"ebm-vs-prob: error: {printable(message)}", err=True)
    drop_unwritten()
    return code


def _run(arguments: Sequence[str] | None) -> tuple[int, object | None]:
    """Exit code and what is said on stderr."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="ebm-vs-prob", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130, STOPPED
    except BrokenPipeError:  # who read what is printed has left
        return 1, None
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        if hasattr(error, "format_message"):  # what typer and click raise for wrong usage
            return 2, error.format_message()
        if isinstance(error, (ValueError, LookupError, OSError)) and printable(error):
            return 1, error.args[0] if type(error) is KeyError else error
        return 1, f"{type(error).__name__}: {printable(error)} ({TRACEBACK_VARIABLE}=1 shows where)"
    return (130, STOPPED) if code == 130 else (int(code or 0), None)
