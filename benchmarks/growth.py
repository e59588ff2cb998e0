"""How a training step's time grows with replicates, width, batch, dimension and length: milliseconds and exponents.

python -m benchmarks.growth --compiled --out growth.json

A step's time is the slope between a short and a long training, so that data, recording and compiling are not in it.
The exponent is that of time in size over the larger half of the sizes, where starting operations no longer counts. The
last column says what share of the machine's rate of batched products of the same shapes the step's arithmetic reaches.
One axis trains nothing: it times the exact probabilities and draws of `translation` against the length of its strings.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.energies.mlp import Network
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.training import loop
from ebm_vs_prob.training.fitting import fit


@dataclass(frozen=True)
class Shape:
    """One training: a method on a task of a size."""

    method: str = "denoising_score_matching"
    task: str = "circle"
    replicates: int = 8
    width: int = 32
    batch: int = 64
    dim: int = 2
    length: int = 8

    def step(self, compiled: bool, short: int, long: int) -> tuple[float, float]:
        """Seconds of a step, and multiply-adds of it."""
        length = {"length": self.length}
        own = {"circle": {"ambient_dim": self.dim}, "labelled_chain": length, "segmentation": length}[self.task]
        task = get_task(self.task, **own)
        seconds = []
        for steps in (short, long):
            budget = Budget(steps=steps, batch_size=self.batch, examples=1000)
            network, started = Network(hidden=(self.width, self.width)), time.perf_counter()
            model = fit(self.method, task, range(self.replicates), network=network, budget=budget, compile=compiled)
            seconds.append(time.perf_counter() - started)
        work = sum(cost.multiply_adds for cost in model.cost) / long
        return (seconds[1] - seconds[0]) / (long - short), work


@dataclass(frozen=True)
class Truth:
    """Exact log-probabilities of translations and draws of them, the longest sentences that fit among those drawn."""

    length: int
    rows: int = 2048

    def step(self, compiled: bool, short: int, long: int) -> tuple[float, None]:
        """Seconds for all rows; nothing is trained and no products are counted."""
        task = get_task("translation", length=self.length, phrases=(self.length - 4) // 3)
        x, y = task.sample(self.rows)
        started = time.perf_counter()
        task.reference.log_prob(x, y)
        task.reference.sample(x, 1)
        return time.perf_counter() - started, None


#: What is varied: its sizes, and the trainings of these sizes, or the truth.
AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Shape | Truth]]] = {
    "replicates": ((2, 4, 8, 16, 32, 64), lambda size: replace(Shape(), replicates=size)),
    "width": ((16, 32, 64, 128, 256), lambda size: replace(Shape(), width=size)),
    "batch": ((16, 64, 256, 1024), lambda size: replace(Shape(), batch=size)),
    "dimension of y": ((2, 8, 32, 128), lambda size: replace(Shape(), dim=size)),
    "length": ((4, 8, 16, 32), lambda size: Shape("linear_chain_crf", "labelled_chain", length=size)),
    "lattice length": ((4, 8, 16, 32), lambda size: Shape("lattice_crf", "segmentation", replicates=1, length=size)),
    "length of translations": ((5, 8, 12, 16, 20), Truth),
}


def product_rate(shape: Shape) -> float:
    """Multiply-adds a second of batched products of the hidden layers' shape."""
    one = torch.randn(shape.replicates, shape.batch, shape.width)
    other = torch.randn(shape.replicates, shape.width, shape.width)
    work, repeats = shape.replicates * shape.batch * shape.width**2, 50
    times = []
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(repeats):
            torch.bmm(one, other)
        times.append((time.perf_counter() - started) / repeats)
    return work / statistics.median(times)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Of time in size, over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(seconds[half - 1 :]), 1)[0])


def main(
    axis: Annotated[list[str] | None, typer.Option(help="vary this only; may be repeated")] = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="compile the steps; else they are recorded")] = False,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    short: Annotated[int, typer.Option(min=2)] = 20,
    long: Annotated[int, typer.Option(min=3)] = 220,
    out: Annotated[Path | None, typer.Option(help="JSON of every time")] = None,
) -> None:
    """Print a row a size, and an exponent an axis."""
    torch.set_num_threads(1)
    loop.RECORDED = 1
    kept: list[dict[str, Any]] = []
    for name in axis or AXES:
        sizes, shape_of = AXES[name]
        seconds = []
        for size in sizes:
            shape = shape_of(size)
            if compiled:  # compiled before it is timed
                shape.step(True, 2, 3)
            timed = [shape.step(compiled, short, long) for _ in range(rounds)]
            seconds.append(statistics.median(time for time, _ in timed))
            work, share, remark = timed[0][1], None, ""
            if work is not None and isinstance(shape, Shape):
                share = work / seconds[-1] / product_rate(shape)
                remark = f", {share:.2f} of the rate of products"
            kept.append({"axis": name, "size": size, "seconds": seconds[-1], "share_of_product_rate": share})
            print(f"{name} {size}: {1e3 * seconds[-1]:.3f} ms{remark}", flush=True)
        steps = ", ".join(f"{b / a:.2f}" for a, b in pairwise(seconds))
        print(f"{name}: exponent {exponent(list(sizes), seconds):.2f} (from size to size x {steps})", flush=True)
    if out is not None:
        out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
