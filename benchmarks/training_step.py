"""Training and sampler steps a second: replicates together against one after another, torchebm, ebmkit, Pyro, NumPyro.

    python -m benchmarks.training_step --out benchmarks/training_step.json

Run from the root of the checkout, on a machine that does nothing else, with the `benchmark` extra installed.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ebm_vs_prob.study.provenance import provenance

from . import objectives, samplers, score_matching, variational_autoencoder
from .timing import Section, busy, interleave, model_steps_per_second, speed_up
from .workload import Workload

QUIET = 0.95  # share of the processor below which the figures are not to be used
WIDTH = 130  # of a table that goes into a file


class Part(StrEnum):
    """What can be timed by itself."""

    score_matching = "score_matching"
    objectives = "objectives"
    samplers = "samplers"
    variational_autoencoder = "variational_autoencoder"


def sections(parts: list[Part], compiled: bool) -> list[Section]:
    """Every comparison asked for, built and checked to do the same work on all sides."""
    built = []
    if Part.score_matching in parts:
        for hidden, replicates in (((128, 128), (8,)), ((32, 32), (8, 32))):
            built.append(score_matching.section(Workload(hidden), replicates, compiled))
    for hidden in ((32, 32), (128, 128)):
        if Part.objectives in parts:
            built += objectives.sections(Workload(hidden), (1, 8), compiled)
        if Part.samplers in parts:
            built += samplers.sections(Workload(hidden), (1, 8), compiled)
    if Part.variational_autoencoder in parts:
        built.append(variational_autoencoder.section((16, 32), compiled))
    return built


def record(section: Section, steps: int) -> dict[str, Any]:
    """One section, JSON-ready: seconds of every round, model-steps a second, speed-ups (median, least, greatest)."""
    arms = []
    for arm in section.arms:
        ratios = {name: speed_up(arm, section.arm(name)) for name in section.baselines}
        arms.append(
            {
                "name": arm.name,
                "replicates": arm.replicates,
                "model_steps_per_second": model_steps_per_second(arm, steps),
                "speed_up": {
                    name: {"median": statistics.median(values), "least": min(values), "greatest": max(values)}
                    for name, values in ratios.items()
                },
                "start_seconds": statistics.median(arm.start),
                "setup_seconds": arm.setup_seconds,
                "wall_seconds": arm.wall,
                "cpu_seconds": arm.cpu,
            }
        )
    return {"title": section.title, "arms": arms}


def table(entry: dict[str, Any]) -> Table:
    """The section as a person reads it."""
    shown = Table(title=entry["title"], title_justify="left")
    shown.add_column("arm", no_wrap=True)
    shown.add_column("model-steps/s", justify="right")
    baselines = list(entry["arms"][0]["speed_up"])
    for name in baselines:
        shown.add_column(f"x {name}", justify="right", no_wrap=True)
    shown.add_column("start, s", justify="right")
    shown.add_column("first, s", justify="right")
    for arm in entry["arms"]:
        spread = [arm["speed_up"][name] for name in baselines]
        ratios = [f"{each['median']:.2f} ({each['least']:.2f}-{each['greatest']:.2f})" for each in spread]
        shown.add_row(
            arm["name"],
            f"{arm['model_steps_per_second']:,.0f}",
            *ratios,
            f"{arm['start_seconds']:.2f}",
            f"{arm['setup_seconds']:.1f}",
        )
    return shown


def main(
    rounds: Annotated[int, typer.Option(min=1, help="timed rounds; every arm runs once in each")] = 7,
    steps: Annotated[int, typer.Option(min=64, help="steps an arm takes in a round")] = 512,
    part: Annotated[list[Part] | None, typer.Option(help="time this part only; may be repeated")] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="add arms whose steps are compiled; needs a C++ compiler"),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="write every figure as JSON here")] = None,
) -> None:
    """Time training and sampler steps, all arms interleaved, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    load = os.getloadavg()
    built = sections(part or list(Part), compiled)
    arms = [arm for section in built for arm in section.arms]
    with TemporaryDirectory() as cache, Progress(console=console, transient=True) as progress:
        # Compilation is timed as a first run pays it: nothing from an earlier one.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        bar = progress.add_task("timing", total=len(arms) * (rounds + 1))
        interleave(arms, steps, rounds, lambda: progress.advance(bar))
    entries = [record(section, steps) for section in built]
    for entry in entries:
        console.print(table(entry))
    share = busy(arms)
    console.print(
        f"{rounds} rounds of {steps} steps; x: median (least-greatest) of the rounds' ratios of model-steps a second"
    )
    if share < QUIET:
        console.print(f"[bold red]Not quiet: this process had the processor {share:.0%} of the time.[/] Run it again.")
    if out is not None:
        result = {
            "benchmark": "training_step",
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance("cpu"),
            "peers": {name: metadata.version(name) for name in ("torchebm", "ebmkit", "pyro-ppl", "numpyro", "jax")},
            "platform": platform.platform(),
            "load_average_before": load,
            "processor_share": share,
            "rounds": rounds,
            "steps_a_round": steps,
            "sections": entries,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
