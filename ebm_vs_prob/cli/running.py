"""`plan`, `run` and `status` of a study."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.streams import printed_aside
from ..core.text import printable
from . import options
from .options import DEFAULT_OUT, DEFAULT_STORE, Device, Engine, names, numbers
from .output import in_bytes, json_rows, print_json, print_table, said_aside

if TYPE_CHECKING:
    import pandas as pd

STATES = ("done", "failed", "pending")


def plan(
    study: options.StudyArgument,
    scale: options.ScaleOption = None,
    device: options.DeviceOption = Device.auto,
    workers: options.WorkersOption = None,
    store: options.StoreOption = DEFAULT_STORE,
    seeds: options.SeedsOption = None,
    steps: options.StepsOption = None,
    arms: options.ArmsOption = None,
    tasks: options.TasksOption = None,
    at: options.AtOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show the trials, batches, cost and time of a study, what its criteria are to what needs no training, and power.

    Of a study that is tuned, also what was chosen by an earlier run in the store, or that it will be.
    """
    from ..study import Store, check_feasible, load_study, plan_study
    from ..study.engines import available_cores
    from ..study.plan_again import choices_of, step_times_of
    from ..study.planned_power import planned_power
    from ..study.progress import duration
    from ..study.published import published_scatters
    from ..study.shrinking import opened, shrunk
    from ..study.tuning import as_rows, settled
    from ..study.tuning_rounds import first_round

    with printed_aside():
        read = load_study(study)
        scale = scale or read.default_scale
        loaded = settled(opened(read, scale, Store(store)), scale)
        loaded, scale = shrunk(loaded, scale, seeds, steps, names("--arms", arms), names("--tasks", tasks), numbers(at))
        chosen = () if loaded.tuning is None else choices_of(Store(store), loaded, scale)
        times = step_times_of(Store(store), loaded, scale, device.value)
        planned = plan_study(loaded, scale=scale, device=device.value, times=times, tuning=chosen)
        held = check_feasible(planned.study, scale)
        powers = planned_power(planned.study, scale, held, *published_scatters(planned.study, scale, DEFAULT_OUT))
        at_work = workers or available_cores()
        wall = planned.wall_seconds(at_work)
    summary = {**planned.summary(), "workers": at_work, "wall_seconds": round(wall)}
    summary |= {
        "criteria": [each.as_row() for each in held],
        "power": [each.as_dict() for each in powers],
        "tuning": [],
    }
    if loaded.tuning is not None:
        with printed_aside():
            tried = plan_study(*first_round(loaded, scale), device=device.value, times=planned.step_times).summary()
        summary |= {f"tuning_{name}": tried[name] for name in ("trials", "core_seconds")}
        summary["tuning"] = as_rows(loaded.held_at(scale), chosen)
    if as_json:
        print_json(summary)
        return
    print_table(summary.pop("batches"), "Batches")
    print_table(summary.pop("criteria"), "Criteria, held against what is known before training")
    if summary.pop("power"):
        print_table([each.as_row() for each in powers], "Power of primary criteria")
    for name in ("gates", "tuning"):
        rows = summary.pop(name)
        if rows:
            print_table(rows, name.capitalize())
    if loaded.tuning is not None:
        trials, seconds = summary.pop("tuning_trials"), summary.pop("tuning_core_seconds")
        typer.echo(f"tuning: {trials} trials of its own come first, estimated: {duration(seconds)} of one core")
    time, size = duration(summary.pop("core_seconds")), in_bytes(summary.pop("stored_bytes"))
    for field in ("workers", "wall_seconds", "step_times"):
        summary.pop(field)
    for reason in summary.pop("skipped"):
        typer.echo(f"left out: {printable(reason)}")
    for field, value in summary.items():
        typer.echo(f"{field}: {value}")
    for line in planned.step_times.described():
        typer.echo(line)
    typer.echo(f"estimated: {time} of one core, {size} in the store")
    typer.echo(f"estimated time: {duration(wall)} with {at_work} worker{'s' * (at_work != 1)}")


def run(
    study: options.StudyArgument,
    scale: options.ScaleOption = None,
    engine: options.EngineOption = Engine.local,
    workers: options.WorkersOption = None,
    scheduler: options.SchedulerOption = None,
    device: options.DeviceOption = Device.auto,
    store: options.StoreOption = DEFAULT_STORE,
    retry_failed: options.RetryOption = False,
    retry_outdated: options.RetryOutdatedOption = False,
    seeds: options.SeedsOption = None,
    steps: options.StepsOption = None,
    arms: options.ArmsOption = None,
    tasks: options.TasksOption = None,
    at: options.AtOption = None,
) -> None:
    """Run the trials of a study that the store lacks. Stopped at any moment, the same command completes it.

    The exit code is 1 where a trial failed. One that failed by itself is not run again unless asked for. With --seeds,
    --steps, --arms, --tasks or --at less is run, at a scale of its own that is named at the end and never for citing.
    """
    from ..study import Store, load_study
    from ..study.engines import check_engine
    from ..study.shrinking import opened, shrunk

    check_engine(engine.value, workers, scheduler)
    read = load_study(study)
    scale = scale or read.default_scale
    loaded = opened(read, scale, Store(store))
    loaded, scale = shrunk(loaded, scale, seeds, steps, names("--arms", arms), names("--tasks", tasks), numbers(at))
    said_aside(f"planning the trials of {study} at {scale}")
    from ..study import run_study

    with printed_aside():
        results = run_study(
            loaded,
            scale=scale,
            engine=engine.value,
            workers=workers,
            scheduler=scheduler,
            device=device.value,
            store=store,
            retry_failed=retry_failed,
            retry_outdated=retry_outdated,
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


def status(
    study: options.StudyArgument,
    scale: options.ScaleOption = None,
    store: options.StoreOption = DEFAULT_STORE,
    rows: Annotated[bool, typer.Option("--rows", help="Show every trial too.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Show how far each arm is, and why trials failed; with --rows or --json the state of every trial."""
    from ..study import Store, load_study, study_status
    from ..study.shrinking import opened

    with printed_aside():
        read = load_study(study)
        scale = scale or read.default_scale
        trials = study_status(opened(read, scale, Store(store)), scale=scale, store=store)
    if as_json:
        print_json(json_rows(trials))
        return
    counts = Counter(trials["status"])
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    typer.echo(printable(f"{study} at {scale}: {len(trials)} trials: {states}"))
    print_table(_by_arm(trials), "By arm")
    failures = _failures(trials)
    if failures:
        print_table(failures, "Failures")
    waiting = trials[(trials["status"] == "pending") & (trials["reason"] != "")]
    for reason, those in waiting.groupby("reason", sort=False):
        typer.echo(printable(f"{len(those)} pending: {reason}"))
    if rows:
        print_table(json_rows(trials), "Trials")


def _by_arm(trials: pd.DataFrame) -> list[dict[str, Any]]:
    counted = trials.groupby(["arm", "status"], sort=False).size()
    return [
        {"arm": arm, **{state: int(counted.get((arm, state), 0)) for state in STATES}} for arm in trials["arm"].unique()
    ]


def _failures(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """One row an arm, task and reason: a reason ends with the file and line that it came from."""
    failed = trials[trials["status"] == "failed"]
    return [
        {
            "arm": arm,
            "task": task,
            "settings": ", ".join(f"{setting:g}" for setting in those["setting"].unique()),
            "seeds": ", ".join(map(str, sorted(those["seed"].unique()))),
            "reason": reason,
        }
        for (arm, task, reason), those in failed.groupby(["arm", "task", "reason"], sort=False)
    ]
