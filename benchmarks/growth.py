"""How a training step's time grows with replicates, width, batch, dimension and length: milliseconds and exponents.

    python -m benchmarks.growth --out benchmarks/growth.json
    python -m benchmarks.growth --axis width --mode compiled

The exponent is that of time in size over the larger half of the sizes, where starting operations no longer counts. What
share of the machine's rate of batched products of the same shapes the step's arithmetic reaches is said of each size.
Three axes train nothing and time exact answers against the length of strings: probabilities and draws of `translation`,
its answers and distances, and what sums and searches over all segmentations of a strip of `segmentation` find.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ebm_vs_prob.study.step_times import compiler
from ebm_vs_prob.tasks import get_task

from .arithmetic import multiply_adds, product_rate
from .results import keep_to_one_processor, write
from .timing import BLOCK, Seconds, busy, spread, turn_length
from .trainings import Plan, Trainings

DENOISING = Plan("denoising_score_matching", ("circle", {}), 8, "recorded")
CHAIN = Plan("linear_chain_crf", ("labelled_chain", {}), 8, "recorded")
LATTICE = Plan("lattice_crf", ("segmentation", {}), 1, "recorded")
#: Rows of translations whose exact probabilities are timed, of those whose answers are, and of strips.
ROWS, ANSWERED, STRIPS = 2048, 64, 64


def _wide(width: int) -> Plan:
    return replace(DENOISING, hidden=(width, width))


#: What is varied in a training: its sizes, and the training of each.
AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Plan]]] = {
    "replicates": ((2, 4, 8, 16, 32, 64), lambda size: replace(DENOISING, replicates=size)),
    "width": ((16, 32, 64, 128, 256), _wide),
    "batch": ((16, 64, 256, 1024), lambda size: replace(DENOISING, batch_size=size)),
    "dimension of y": ((2, 8, 32, 128), lambda size: replace(DENOISING, task=("circle", {"ambient_dim": size}))),
    "length": ((4, 8, 16, 32), lambda size: replace(CHAIN, task=("labelled_chain", {"length": size}))),
    "length of a lattice": ((4, 8, 16, 32, 64), lambda size: replace(LATTICE, task=("segmentation", {"length": size}))),
}
#: Sizes of an axis beyond which programs take a compiler many minutes.
COMPILED_UP_TO = {"length of a lattice": 16}


class Mode(StrEnum):
    """How steps are done."""

    recorded = "recorded"
    compiled = "compiled"


def step(trainings: Trainings, plan: Plan, rounds: int, seconds: float) -> list[tuple[float, Seconds]]:
    """Seconds of a step in each round, with the turn that says so."""
    training = trainings.begin(plan)
    training.ready()
    steps = turn_length(training.take(BLOCK).wall / BLOCK, seconds, plan.steps // (2 * rounds))
    turns = [training.take(steps) for _ in range(rounds)]
    training.end()
    return [(turn.wall / steps, turn) for turn in turns]


def taken(work: Callable[[], object]) -> Seconds:
    """What some work takes, once what is computed but once has been."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def translations(length: int, rows: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The reference, x and y of translations, the longest sentences that fit among those drawn."""
    task = get_task("translation", length=length, phrases=(length - 4) // 3)
    return task.reference, *task.sample(rows)


def probabilities(length: int) -> Seconds:
    """Exact log-probabilities of translations and draws of them."""
    reference, x, y = translations(length, ROWS)
    return taken(lambda: (reference.log_prob(x, y), reference.sample(x, 1)))


def answers(length: int) -> Seconds:
    """The most probable translations, and how far others are from any."""
    reference, x, y = translations(length, ANSWERED)
    return taken(lambda: (reference.answers(x), reference.distance(x, y)))


def segmentations(length: int) -> Seconds:
    """The free energy over all strings and segmentations of strips, the least energy of any, and where digits begin."""
    task = get_task("segmentation", length=length, overlap=0)
    reference: Any = task.reference
    x, _ = task.sample(STRIPS)
    lattice = reference.graph(x)
    return taken(lambda: (lattice.free_energy(1.0), lattice.at(math.inf).min_sum(), reference.boundaries(x)))


#: What is varied in an exact answer, where nothing is trained: lengths, and what takes how long at one.
EXACT: dict[str, tuple[tuple[int, ...], Callable[[int], Seconds]]] = {
    "length of translations": ((5, 8, 12, 16, 20), probabilities),
    "length of translations, answers": ((5, 8, 12, 16, 20), answers),
    "length of strips, segmentations": ((4, 8, 16, 32, 64), segmentations),
}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Of time in size, over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(seconds[half - 1 :]), 1)[0])


def entry(
    axis: str, mode: str, sizes: Sequence[int], rounds: Sequence[Sequence[float]], shares: Sequence[float]
) -> Any:
    """An axis, JSON-ready, and the line that is printed of it."""
    seconds = [spread(values)["median"] for values in rounds]
    found = {
        "axis": axis,
        "mode": mode,
        "sizes": list(sizes),
        "seconds": [list(values) for values in rounds],
        "exponent": exponent(sizes, seconds),
        "share_of_product_rate": list(shares),
    }
    times = ", ".join(f"{size}: {1e3 * value:.3f} ms" for size, value in zip(sizes, seconds, strict=True))
    remark = f"; of the rate of products {', '.join(f'{share:.2f}' for share in shares)}" if shares else ""
    print(f"{axis}, {mode}: {times}; exponent {found['exponent']:.2f}{remark}", flush=True)
    return found


def main(
    axis: Annotated[list[str] | None, typer.Option(help="vary this only; may be repeated")] = None,
    mode: Annotated[list[Mode] | None, typer.Option(help="how steps are done; may be repeated")] = None,
    sizes: Annotated[int | None, typer.Option(min=2, help="the smallest sizes of each axis only")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="turns of each size")] = 3,
    seconds: Annotated[float, typer.Option(min=1e-3, help="of a turn, about")] = 0.2,
    out: Annotated[Path | None, typer.Option(help="write every time as JSON here")] = None,
) -> None:
    """Print a line an axis: milliseconds at each size, the exponent, shares of the rate of products."""
    for name in axis or ():
        if name not in {**AXES, **EXACT}:
            raise typer.BadParameter(f"axis {name!r}: one of {', '.join([*AXES, *EXACT])}")
    keep_to_one_processor()
    torch.set_num_threads(1)
    modes = mode or list(Mode)
    if Mode.compiled in modes and shutil.which(compiler()) is None:
        print(f"no compiler here, {compiler()}: nothing is compiled", file=sys.stderr)
        modes = [Mode.recorded]
    entries, turns = [], list[Seconds]()
    with Trainings() as trainings:
        for name, (all_sizes, plan_of) in AXES.items():
            if axis and name not in axis:
                continue
            plans = {size: plan_of(size) for size in all_sizes[:sizes]}
            rates = {size: product_rate(plan) for size, plan in plans.items()}
            for each in modes:
                times, shares = [], []
                longest = COMPILED_UP_TO.get(name, math.inf) if each == Mode.compiled else math.inf
                chosen = [size for size in plans if size <= longest]
                for plan, rate in ((plans[size], rates[size]) for size in chosen):
                    found = step(trainings, replace(plan, mode=each.value), rounds, seconds)
                    turns += [turn for _, turn in found]
                    times.append([taken for taken, _ in found])
                    shares.append(multiply_adds(plan) / spread(times[-1])["median"] / rate)
                entries.append(entry(name, each.value, chosen, times, shares))
    for name, (all_lengths, answer) in EXACT.items():
        if axis and name not in axis:
            continue
        lengths = all_lengths[:sizes]
        rows = [[answer(length) for _ in range(rounds)] for length in lengths]
        turns += [turn for row in rows for turn in row]
        entries.append(entry(name, "exact", lengths, [[turn.wall for turn in row] for row in rows], []))
    write(out, "growth", busy(turns), rounds=rounds, axes=entries)


if __name__ == "__main__":
    typer.run(main)
