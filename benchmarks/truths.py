"""How long a task's pairs and its exact truth take: seconds for so many rows, every task, on one thread.

python -m benchmarks.truths --rows 100000

`sample` draws the pairs; `log_prob`, `distance` and `draws` are the reference's, of these pairs and one draw at each x.
The manifolds are in 1024 dimensions. The last row is a million rows of a user's own, made here, from arrays and from a
CSV file: seconds until the task is built, the most memory that this took beyond what was there, and seconds of a draw
of 5000. Where a reference has no exact answer, the table says so by a dash, and where rows
are dear fewer are timed and the time is scaled up: the column `rows timed` has how many.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ebm_vs_prob import task_from_arrays
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks import get_task

from .results import peak_memory, write

#: Options that make a task as large as it is meant to be timed.
WIDE = {"thickness": 0.01, "ambient_dim": 1024}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"manifold, {shape}": ("manifold", {"shape": shape, **WIDE})
        for shape in ("sphere", "torus", "swiss_roll", "polynomial", "linear", "klein_bottle")
    },
    "circle": ("circle", WIDE),
    "linear_gaussian": ("linear_gaussian", WIDE),
    "three_modes": ("three_modes", WIDE),
    "thin_sphere": ("thin_sphere", {"thickness": 0.01, "ambient_dim": 64}),
    "particle, 16 dimensions": ("particle", {"dim": 16}),
    **{
        name: (name, {})
        for name in (
            "ellipse",
            "horn",
            "three_curves",
            "gustafsson_1d",
            "discontinuous",
            "newsvendor",
            "steering",
            "fusion",
            "gaussian_classes",
            "labelled_chain",
            "hard_strings",
            "segmentation",
            "translation",
            "video",
            "super_resolution",
        )
    },
}
#: Rows of data of one's own that are timed, their columns, and how many are drawn of them.
OWN_ROWS, OWN_COLUMNS, OWN_DRAWN = 1_000_000, 3, 5000
#: Rows that are timed first, and how long all may take before they are all timed.
FIRST, PATIENCE = 64, 60.0


def seconds_of(ready: Callable[[int], object], work: Callable[[Any], object], rows: int) -> tuple[float, int] | None:
    """Seconds of `work` on what `ready` makes of `rows` rows, and how many were timed; None without an exact answer."""
    try:
        work(ready(2))  # what is computed once is not in the time
        count = min(FIRST, rows)
        while True:
            given = ready(count)
            started = time.perf_counter()
            work(given)
            seconds = time.perf_counter() - started
            if count == rows or seconds * 8 > PATIENCE:
                return seconds * rows / count, count
            count = min(rows, 8 * count)
    except NoExactReference:
        return None


def timed(name: str, options: dict[str, Any], rows: int) -> dict[str, tuple[float, int] | None]:
    """Seconds of each part for a task."""
    task = get_task(name, **options)
    pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        if count not in pairs:
            pairs.clear()
            pairs[count] = task.sample(count, seed=1)
        return pairs[count]

    return {
        "sample": seconds_of(lambda count: count, lambda count: task.sample(count, seed=1), rows),
        "log_prob": seconds_of(drawn, lambda pairs: task.reference.log_prob(*pairs), rows),
        "distance": seconds_of(drawn, lambda pairs: task.reference.distance(*pairs), rows),
        "draws": seconds_of(drawn, lambda pairs: task.reference.sample(pairs[0], 1, seed=1), rows),
    }


def own_data(rows: int, kind: str, folder: Path) -> dict[str, float]:
    """Seconds and megabytes that a task of so many rows of one's own takes, from `arrays` or a `csv` file.

    It runs in a process of its own, whose peak of memory is that of nothing else.
    """
    values = np.random.default_rng(0).normal(size=(rows, OWN_COLUMNS))
    file = folder / "rows.csv"
    if kind == "csv":
        np.savetxt(file, values, delimiter=",", header="x,a,b", comments="", fmt="%.16g")
    small = values[:1000]  # what is imported and computed once is not in the numbers
    task_from_arrays(small[:, 1:], small[:, :1]).sample(2)
    before, started = peak_memory(), time.perf_counter()
    if kind == "csv":
        task = get_task("data", data=str(file), x=["x"], y=["a", "b"])
    else:
        task = task_from_arrays(values[:, 1:], values[:, :1])
    built, started = time.perf_counter() - started, time.perf_counter()
    task.sample(min(OWN_DRAWN, rows // 2), seed=1)
    return {"build": built, "sample": time.perf_counter() - started, "megabytes": (peak_memory() - before) / 1e6}


def print_own_data(rows: int) -> dict[str, dict[str, float]]:
    """A table of data of one's own, as Markdown; returns its numbers by where the rows come from."""
    print(f"\n| own data, {rows:,} rows of {OWN_COLUMNS} columns | build, s | sample({OWN_DRAWN:,}), s | memory, MB |")
    print("|---|---|---|---|")
    found = {}
    for kind in ("arrays", "csv"):
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[kind] = taken = pool.submit(own_data, rows, kind, Path(folder)).result()
        cells = (f"{taken['build']:.3g}", f"{taken['sample']:.3g}", f"{taken['megabytes']:.0f}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    return found


def main(
    rows: Annotated[int, typer.Option(min=2, help="pairs of each task")] = 100_000,
    task: Annotated[list[str] | None, typer.Option(help="time this row only; may be repeated; `own` is one")] = None,
    own_rows: Annotated[int, typer.Option(min=1000, help="rows of data of one's own")] = OWN_ROWS,
    out: Annotated[Path | None, typer.Option(help="JSON of every time")] = None,
) -> None:
    """Print a row a task, as Markdown."""
    torch.set_num_threads(1)
    kept: dict[str, Any] = {}
    labels = [label for label in task or (*TASKS, "own") if label != "own"]
    if labels:
        print(f"| seconds for {rows:,} rows | sample | log_prob | distance | draws | rows timed |")
        print("|---|---|---|---|---|---|")
    for label in labels:
        kept[label] = found = timed(*TASKS[label], rows)
        cells = ["-" if part is None else f"{part[0]:.3g}" for part in found.values()]
        fewest = min(part[1] for part in found.values() if part is not None)
        print(f"| {label} | {' | '.join(cells)} | {fewest:,} |", flush=True)
    own = print_own_data(own_rows) if task is None or "own" in task else {}
    write(out, "truths", None, rows=rows, seconds=kept, own_rows=own_rows, own_data=own)


if __name__ == "__main__":
    typer.run(main)
