"""What the time of a study goes into: training, evaluation, arrays and pictures, and the rest: plan, store, engine.

    python -m benchmarks.study_shares --out benchmarks/study_shares.json
    python -m benchmarks.study_shares --study thin_manifold --tasks circle

Every record says how many seconds its batch was trained, measured and drawn. Of a published study that is all that is
known; the rest is known of a run that is timed here, from the start of the command to its end, with one worker. Then
the study is run as `make study` does it, with two workers, and its report is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from .results import write
from .trainings import ROOT

#: What a record's seconds are called, in words.
PARTS = {"fit": "training", "evaluate": "evaluation", "arrays": "arrays"}


def seconds_of(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each part, those that a batch's trials share counted once."""
    each = {(record["batch"], *sorted(record["provenance"]["seconds"].items())) for record in records}
    total = dict.fromkeys(PARTS, 0.0)
    for _, *parts in each:
        for part, seconds in parts:
            if part in total:  # a trial that failed says its time as a whole
                total[part] += seconds
    return total


def published(reports: Path) -> Iterator[dict[str, Any]]:
    """A row for each published study whose records lie beside its report."""
    for path in sorted(reports.glob("*/records.zip")):
        scale = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))["scale"]
        with zipfile.ZipFile(path) as archive:
            lines = archive.read("records.jsonl").splitlines()
        records = [json.loads(line) for line in lines]
        yield {"study": path.parent.name, "scale": scale, "trials": len(records), "seconds": seconds_of(records)}


def command(*words: str) -> float:
    """Seconds of an `ebm-vs-prob` command in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    main = f"from ebm_vs_prob.cli.commands import main; raise SystemExit(main({list(words)!r}))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", main], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def timed(study: str, scale: str, tasks: list[str], seeds: int | None, steps: int | None) -> dict[str, Any]:
    """A row of a run with one worker in a store of its own, from the command's start to its end.

    `by_two` are the seconds of another run, with two workers, and of its report: what is compiled was so before.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    from ebm_vs_prob.study import Store, load_results, load_study
    from ebm_vs_prob.study.shrinking import shrunk

    run = ["run", study, "--scale", scale]
    for option, value in (("--tasks", ",".join(tasks)), ("--seeds", seeds), ("--steps", steps)):
        run += [option, str(value)] if value else []
    loaded, used = shrunk(load_study(study), scale, seeds, steps, tasks=tasks)
    with TemporaryDirectory() as folder:
        whole = command(*run, "--store", folder, "--workers", "1")
        trials = set(load_results(loaded, used, folder)["trial"])
        records = [dict(record) for _, record, _ in Store(folder).records(trials) if record is not None]
    with TemporaryDirectory() as folder:
        by_two = command(*run, "--store", folder, "--workers", "2")
        by_two += command("report", study, "--scale", used, "--store", folder, "--out", f"{folder}/reports")
    seconds = seconds_of(records)
    return {
        "study": study,
        "scale": scale,
        "tasks": tasks,
        "trials": len(records),
        "seconds": seconds | {"rest": whole - sum(seconds.values())},
        "by_two": by_two,
    }


def described(row: Mapping[str, Any]) -> str:
    """One line: how long, and the share of each part."""
    whole = sum(row["seconds"].values())
    shares = ", ".join(f"{PARTS.get(part, part)} {value / whole:.1%}" for part, value in row["seconds"].items())
    by_two = f"; with two workers and its report {row['by_two']:.0f} s" if "by_two" in row else ""
    return f"{row['study']} at {row['scale']}, {row['trials']} trials, {whole:.0f} s: {shares}{by_two}"


def main(
    study: Annotated[str, typer.Option(help="a study to be run")] = "thin_manifold",
    scale: Annotated[str, typer.Option(help="its scale")] = "quick",
    tasks: Annotated[list[str] | None, typer.Option(help="some of its tasks; may be repeated")] = None,
    seeds: Annotated[int | None, typer.Option(help="seeds of each arm, where they are to be fewer")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of each training, where they are to be others")] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="whether a study is run, or only reports are read")
    ] = True,
    reports: Annotated[Path, typer.Option(help="folder of published reports")] = ROOT / "reports",
    out: Annotated[Path | None, typer.Option(help="write every number as JSON here")] = None,
) -> None:
    """Print the shares of published studies and of one that is run."""
    rows = list(published(reports))
    timed_rows = [timed(study, scale, tasks or [], seeds, steps)] if run else []
    for row in (*rows, *timed_rows):
        print(described(row), flush=True)
    write(out, "study_shares", None, published=rows, run=timed_rows)


if __name__ == "__main__":
    typer.run(main)
