"""Training and sampler steps a second beside those of others: torchebm, ebmkit, Pyro, NumPyro, JAX.

    python -m benchmarks.training_step --out benchmarks/training_step.json
    python -m benchmarks.training_step --part samplers --hidden 128,128

Run from the root of the checkout, on a machine that does nothing else, with the `benchmark` extra installed; arms of
what is not installed are left out. All arms have one thread on one processor.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from ebm_vs_prob.study.step_times import compiler

from .results import PEERS, absent, keep_to_one_processor, write
from .timing import MOST, Seconds, Section, busy, interleave, speed_up, spread
from .trainings import Plan, Trainings
from .workload import Workload

WIDTH = 150  # of a table that goes into a file


class Part(StrEnum):
    """What can be timed by itself."""

    score_matching = "score_matching"
    variational_autoencoder = "variational_autoencoder"
    objectives = "objectives"
    samplers = "samplers"


def sections(
    trainings: Trainings, parts: Sequence[Part], hidden: Sequence[tuple[int, int]], compiled: bool
) -> Iterator[Section]:
    """Every comparison asked for, each built and checked to do the same work on all sides when its turn comes."""
    from . import objectives, samplers, score_matching, variational_autoencoder

    if Part.score_matching in parts:
        yield score_matching.section(trainings, Workload((32, 32)), (1, 8, 32), compiled)
        yield score_matching.section(trainings, Workload((128, 128)), (8,), compiled)
    if Part.variational_autoencoder in parts:
        yield variational_autoencoder.section(trainings, (1, 16, 32), compiled)
    for widths in hidden:
        if Part.objectives in parts:
            yield from objectives.sections(trainings, Workload(widths), (1, 8), compiled)
        if Part.samplers in parts:
            yield from samplers.sections(Workload(widths), (1, 8), compiled)


def record(section: Section) -> dict[str, Any]:
    """One section, JSON-ready: seconds of every round, model-steps a second, speed-ups (median, least, greatest)."""
    return {
        "title": section.title,
        "arms": [
            {
                "name": arm.name,
                "replicates": arm.replicates,
                "model_steps_per_second": spread(arm.model_steps_per_second())["median"],
                "speed_up": {name: spread(speed_up(arm, section.arm(name))) for name in section.baselines},
                "steps_a_turn": arm.steps,
                "start_seconds": arm.start,
                "wall_seconds": [turn.wall for turn in arm.turns],
                "cpu_seconds": [turn.cpu for turn in arm.turns],
            }
            for arm in section.arms
        ],
    }


def table(entry: dict[str, Any]) -> Table:
    """The section as a person reads it."""
    shown = Table(title=entry["title"], title_justify="left")
    shown.add_column("arm", no_wrap=True)
    shown.add_column("model-steps/s", justify="right")
    baselines = list(entry["arms"][0]["speed_up"])
    for name in baselines:
        shown.add_column(f"x {name}", justify="right")
    shown.add_column("start, s", justify="right")
    for arm in entry["arms"]:
        ratios = [
            f"{each['median']:.2f} ({each['least']:.2f}-{each['greatest']:.2f})" for each in arm["speed_up"].values()
        ]
        shown.add_row(arm["name"], f"{arm['model_steps_per_second']:,.0f}", *ratios, f"{arm['start_seconds']:.1f}")
    return shown


def widths(text: str) -> tuple[int, int]:
    """Two widths of hidden layers, as they are given on the command line."""
    first, _, second = text.partition(",")
    if not (first.isdigit() and second.isdigit() and int(first) and int(second)):
        raise typer.BadParameter(f"hidden {text!r}: two positive integers, such as 32,32")
    return int(first), int(second)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="timed rounds; every arm has a turn in each")] = 5,
    seconds: Annotated[float, typer.Option(min=1e-3, help="of a turn, about")] = 0.2,
    part: Annotated[list[Part] | None, typer.Option(help="time this part only; may be repeated")] = None,
    hidden: Annotated[list[str], typer.Option(help="of objectives and samplers; may be repeated")] = ["32,32"],  # noqa: B006
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="time compiled steps too")] = True,
    out: Annotated[Path | None, typer.Option(help="write every figure as JSON here")] = None,
) -> None:
    """Time training and sampler steps, the arms of a section in turn, on one thread."""
    shapes = [widths(text) for text in hidden]
    keep_to_one_processor()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if missing := absent(list(PEERS)):
        print(missing, file=sys.stderr)
    if compiled and shutil.which(compiler()) is None:
        print(f"no compiler here, {compiler()}: nothing is compiled", file=sys.stderr)
        compiled = False
    entries, turns = [], list[Seconds]()
    with Trainings() as trainings:
        for section in sections(trainings, part or list(Part), shapes, compiled):
            interleave(section, rounds, seconds, most=min(MOST, Plan.steps // (rounds + 2)))
            turns += [turn for arm in section.arms for turn in arm.turns]
            entries.append(record(section))
            console.print(table(entries[-1]))
    console.print(f"{rounds} rounds; x: median (least-greatest) of the rounds' ratios of model-steps a second")
    write(out, "training_step", busy(turns) if turns else None, rounds=rounds, sections=entries)


if __name__ == "__main__":
    typer.run(main)
