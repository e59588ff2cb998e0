"""How long the command line takes to answer: with nothing, and with a finished study of ten thousand trials in a store.

    python -m benchmarks.command_line --out benchmarks/command_line.json
    python -m benchmarks.command_line --folder ten_thousand

Every command is timed in a fresh process, imports included, and so is the most memory that it held. What follows from
the package's code alone is asked for once with an empty cache folder and then with what the first answer left there.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer

from ebm_vs_prob.study import step_times

from .results import write
from .trainings import ROOT

ARMS = ("hinge", "square_square", "denoising_score_matching", "mixture_density", "mean_squared_error")
NUM_METRICS, TOGETHER, WITH_ARRAYS = 48, 32, 10
THICKNESS = [round(0.3 * 0.7**step, 6) for step in range(10)]
#: Trials of the two stores: the largest that is meant to be used, and one as published studies have.
LARGE, USUAL = 10_000, 500
#: A command is timed again until it was so often, or has taken so many seconds.
TIMES, PATIENCE = 3, 6.0

STUDY = """
schema = 1
name = "{name}"
title = "{trials} trials"
claims = ["C17"]

[scales.quick]
seeds = {seeds}
network = {{ hidden = [32, 32] }}
budget = {{ steps = 1500, batch_size = 64, examples = 1000 }}

[[tasks]]
name = "circle"
along = {{ thickness = {thickness} }}
"""
ARM = '\n[[arms]]\nname = "{0}"\nmethod = "{0}"\n'

MAIN = "from ebm_vs_prob.cli.commands import main; raise SystemExit(main({arguments!r}))"
LOAD = "import ebm_vs_prob as evp; evp.load_results({study!r}, store={store!r})"


def commands(study: Path) -> dict[str, str]:
    """What is timed of a study and its store, in this order: the first of them finds no table."""
    named, store = str(study), str(study.parent / "store")
    kept = ["--store", store]
    arguments = {
        "plan": ["plan", named],
        "status, no table yet": ["status", named, *kept],
        "load_results, no table yet": None,
        "run, nothing to do, no table yet": ["run", named, *kept],
        "run, nothing to do": ["run", named, *kept],
        "status": ["status", named, *kept],
        "load_results": None,
        "cite": ["cite", named],
        "report": ["report", named, *kept, "--out", str(study.parent / "reports")],
    }
    return {
        name: LOAD.format(study=named, store=store) if given is None else MAIN.format(arguments=given)
        for name, given in arguments.items()
    }


#: What follows from the package's code, and is remembered in the cache folder.
REMEMBERED: dict[str, list[str]] = {
    "list": ["list"],
    "show denoising_score_matching": ["show", "denoising_score_matching"],
    "cite thin_manifold": ["cite", "thin_manifold"],
}


def make(folder: Path, trials: int) -> Path:
    """Write a study of about so many trials and a store in which all of them are done; the study's file."""
    from safetensors.numpy import save

    from ebm_vs_prob.comparison.containers import to_netcdf
    from ebm_vs_prob.study import Store, plan_study
    from ebm_vs_prob.study.shards import Entry

    folder.mkdir(parents=True, exist_ok=True)
    seeds = max(1, trials // (len(ARMS) * len(THICKNESS)))
    name = f"trials_{seeds * len(ARMS) * len(THICKNESS)}"
    study = folder / f"{name}.toml"
    text = STUDY.format(name=name, trials=trials, seeds=seeds, thickness=THICKNESS)
    study.write_text(text + "".join(ARM.format(arm) for arm in ARMS), encoding="utf-8")
    planned, store = plan_study(study, device="cpu"), Store(folder / "store")
    planned_trials, rng = planned.trials, np.random.default_rng(0)
    first_seed = planned.study.at(planned.scale).first_seed
    container = to_netcdf(_arrays(rng), rng.normal(size=1500), {"trial": "one for all"})
    with store.lock(name, "quick"):
        store.write_plan(planned.to_record())
        for start in range(0, len(planned_trials), TOGETHER):
            entries = []
            for trial in planned_trials[start : start + TOGETHER]:
                # A first seed that lacks its arrays is run again.
                kept = (trial.seed - first_seed) % WITH_ARRAYS == 0
                files = {"arrays": save(_arrays(rng)), "inference_data": container} if kept else {}
                entries.append(Entry(trial.key, _record(trial, rng, start), files))
            store.write(entries)
    return study


def _record(trial: Any, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    from ebm_vs_prob.metrics.catalogue import METRICS
    from ebm_vs_prob.study.provenance import code_digest, provenance

    names = list(METRICS)[:NUM_METRICS]
    values = {name: rng.uniform() if METRICS[name].scale == "share" else rng.normal() for name in names}
    measured = {"unit": "nats", "n": 512}
    return {
        "batch": f"{batch:064x}",
        "specification": trial.specification,
        "status": "done",
        "reason": "",
        "traceback": "",
        "steps": 1500,
        "metrics": [{"metric": name, "value": values[name], "error": rng.uniform(), **measured} for name in names],
        "energies": rng.normal(size=8).tolist(),
        "notes": dict.fromkeys(names[::6], "a note that says why it is so"),
        "provenance": {**provenance("cpu"), "written": "2026-01-01T00:00:00+00:00", "seconds": {"fit": rng.uniform()}},
        "code_digest": code_digest(),
        "plugins": {},
    }


def _arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As `metrics.landscapes` makes them of a task in two dimensions."""
    axis = np.linspace(-2, 2, 161, dtype=np.float32)
    clouds = {f"{name}_y": rng.normal(size=(512, 2)).astype(np.float32) for name in ("data", "answers", "samples")}
    empty = {name.replace("_y", "_x"): np.zeros((512, 0), np.float32) for name in clouds}
    height = np.add.outer(axis**2, axis**2) + rng.normal(size=(161, 161)).astype(np.float32)
    return {"axis_0": axis, "axis_1": axis, "energy": height, **clouds, **empty}


def once(code: str, cache: Path) -> tuple[float, float]:
    """Seconds and most megabytes of a fresh process that runs this code with its caches in a folder.

    Raises:
        RuntimeError: it failed.
    """
    tail = "import atexit, sys; from benchmarks.results import peak_memory; "
    tail += "atexit.register(lambda: print('PEAK', peak_memory(), file=sys.stderr))\n"
    places = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EBM_VS_PROB_CACHE": str(cache), "PYTHONPATH": places}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", tail + code], capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{code} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds, int(done.stderr.rpartition("PEAK ")[2]) / 1e6


def measured(what: str, code: str, cache: Path, trials: int, times: int) -> dict[str, Any]:
    """A row: seconds of each time, the most megabytes."""
    found = [once(code, cache)]
    while len(found) < times and sum(seconds for seconds, _ in found) < PATIENCE:
        found.append(once(code, cache))
    seconds = [each for each, _ in found]
    row = {"what": what, "trials": trials, "seconds": seconds, "megabytes": max(size for _, size in found)}
    print(f"{what}: {statistics.median(seconds):.2f} s, {row['megabytes']:.0f} MB", flush=True)
    return row


def with_step_times(cache: Path) -> None:
    """Put this machine's step times into a cache folder, as they are after the first plan of a machine's life."""
    found = step_times.step_times(needed=True)
    with patch.dict(os.environ, EBM_VS_PROB_CACHE=str(cache)):
        step_times.keep(found)


def main(
    folder: Annotated[Path | None, typer.Option(help="keep the stores here, and find them here again")] = None,
    trials: Annotated[list[int], typer.Option(min=50, help="of a store; may be repeated")] = [LARGE, USUAL],  # noqa: B006
    times: Annotated[int, typer.Option(min=1, help="how often a quick command is timed")] = TIMES,
    out: Annotated[Path | None, typer.Option(help="write every time as JSON here")] = None,
) -> None:
    """Print seconds and memory of every command."""
    rows, stores = [], []
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(TemporaryDirectory()))
        cache = Path(stack.enter_context(TemporaryDirectory()))
        rows.append(measured("--help", MAIN.format(arguments=["--help"]), cache, 0, times))
        for what, arguments in REMEMBERED.items():
            code = MAIN.format(arguments=arguments)
            rows.append(measured(f"{what}, the first time", code, cache, 0, 1))
            rows.append(measured(what, code, cache, 0, times))
        with_step_times(cache)
        for count in trials:
            home = place / str(count)
            study = next(home.glob("trials_*.toml"), None) if (home / "store").exists() else make(home, count)
            assert study is not None
            sizes = [path.stat().st_size for path in (home / "store" / "shards").iterdir()]
            stores.append({"trials": count, "shards": len(sizes), "megabytes": sum(sizes) / 1e6})
            print(f"{count:,} trials in {len(sizes)} shards of {sum(sizes) / 1e6:.0f} MB", flush=True)
            for what, code in commands(study).items():
                # What makes a table, or has to be told apart from what does, is timed once.
                often = 1 if "no table" in what else times
                rows.append(measured(what, code, cache, count, often))
    write(out, "command_line", None, stores=stores, commands=rows)


if __name__ == "__main__":
    typer.run(main)
