"""Every benchmark, one after another, each in a process of its own; then the tables of benchmarks/README.md.

    python -m benchmarks                           writes benchmarks/*.json
    python -m benchmarks --quick --out /tmp/quick  whether everything runs, in a few minutes; its figures say nothing
    python -m benchmarks --part growth

A part that fails is named at the end, and the others are run all the same.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from . import tables
from .results import PEERS, absent

#: Arguments with which a part is over soon.
QUICK: dict[str, list[str]] = {
    "modes": ["--method", "denoising_score_matching", "--replicates", "1", "--rounds", "1"],
    "training_step": ["--rounds", "1", "--seconds", "0.001", "--no-compile"],
    "objectives": ["--rounds", "1", "--seconds", "0.001", "--no-compile"],
    "growth": ["--sizes", "2", "--mode", "recorded", "--rounds", "1", "--seconds", "0.001"],
    "proposals": ["--seeds", "2", "--steps", "20", "--steps", "40"],
    "command_line": ["--trials", "50", "--times", "1"],
    "study_shares": ["--tasks", "circle", "--seeds", "1", "--steps", "10"],
    "truths": ["--rows", "64", "--own-rows", "1000", "--task", "circle", "--task", "translation", "--task", "own"],
}


def main(
    part: Annotated[list[str] | None, typer.Option(help="this part only; may be repeated")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the least that runs each part; nothing to be quoted")] = False,
    out: Annotated[Path, typer.Option(help="folder of the JSON files")] = tables.HERE,
) -> None:
    """Run the benchmarks and write the tables of their page."""
    for name in part or ():
        if name not in tables.COMMANDS:
            raise typer.BadParameter(f"part {name!r}: one of {', '.join(tables.COMMANDS)}")
    if quick and out.resolve() == tables.HERE:
        raise typer.BadParameter("out: another folder than that of the figures, which --quick has none of")
    if missing := absent(list(PEERS)):
        print(missing, file=sys.stderr)
    failed = []
    for name in part or tables.COMMANDS:
        _, *command = tables.COMMANDS[name].split()
        arguments = [*command, "--out", str(out / f"{name}.json"), *(QUICK[name] if quick else [])]
        print(f"\n{name}", flush=True)
        started = time.perf_counter()
        if subprocess.run([sys.executable, *arguments]).returncode:
            failed.append(name)
        print(f"{name}: {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
    if out.resolve() == tables.HERE:
        page = tables.HERE / "README.md"
        page.write_text(tables.written(page.read_text(encoding="utf-8"), tables.results()), encoding="utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the tables have the other parts")


if __name__ == "__main__":
    typer.run(main)
