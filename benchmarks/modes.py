"""A training step in each of its modes, and in another checkout of the package: milliseconds of R replicates together.

python -m benchmarks.modes --method hinge --method vae --against ../earlier

Every checkout runs in a process of its own, which is asked in turn, so that whatever the machine does meets all of
them. A step's time is the slope between a short and a long fit, so that data, recording and compiling are not in it;
what they take is the intercept, which is printed beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

HERE = Path(__file__).resolve().parent.parent
#: Runs in each checkout: reads questions, answers with the seconds of two fits.
CHILD = """
import json, sys, time, torch
torch.set_num_threads(1)
import ebm_vs_prob as evp
try:
    from ebm_vs_prob.training import loop
except ImportError:
    loop = None
WRITTEN, SPACES = 10**9, {"softmax_classifier": "gaussian_classes", "linear_chain_crf": "labelled_chain"}
usual = getattr(loop, "RECORDED", None)
for line in sys.stdin:
    asked = json.loads(line)
    if usual is not None:
        loop.RECORDED = WRITTEN if asked["mode"] == "written" else 1
    seconds = []
    for steps in asked["steps"]:
        task = evp.get_task(SPACES.get(asked["method"], "circle"))
        budget = evp.Budget(steps=steps, batch_size=64, examples=1000)
        given = {"seeds": range(asked["replicates"]), "budget": budget, "network": evp.Network(hidden=asked["hidden"])}
        started = time.perf_counter()
        evp.fit(asked["method"], task, **given, compile=asked["mode"] == "compiled")
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds), flush=True)
"""


class Mode(Enum):
    """How the package does its steps."""

    WRITTEN = "written"
    RECORDED = "recorded"
    COMPILED = "compiled"


class Checkout:
    """A process with the package of a folder."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, **asked: Any) -> tuple[float, float]:
        """Of a short and of a long fit."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of a checkout ended while it was asked for {asked}")
        short, long = json.loads(line)
        return short, long


def main(
    method: Annotated[list[str], typer.Option(help="methods to time")],
    replicates: Annotated[list[int], typer.Option(help="numbers of replicates")] = [1, 32],  # noqa: B006
    hidden: Annotated[str, typer.Option(help="widths of the hidden layers")] = "32,32",
    against: Annotated[Path | None, typer.Option(help="another checkout, as it is by default")] = None,
    mode: Annotated[list[Mode], typer.Option(help="how steps are done; may be repeated")] = list(Mode),  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    short: Annotated[int, typer.Option(min=2)] = 20,
    long: Annotated[int, typer.Option(min=3)] = 320,
    out: Annotated[Path | None, typer.Option(help="JSON of every round")] = None,
) -> None:
    """Print a table of milliseconds a step and write every round."""
    own, other = Checkout(HERE), Checkout(against) if against else None
    arms = [(asked.value, own) for asked in mode] + ([("earlier", other)] if other else [])
    rows: list[dict[str, Any]] = []
    for name in method:
        for count in replicates:
            found: dict[str, list[tuple[float, float]]] = {}
            shape = {"method": name, "replicates": count, "hidden": [int(width) for width in hidden.split(",")]}
            for turn in range(rounds + 1):
                for arm, checkout in arms:
                    seconds = checkout.seconds(mode=arm, steps=(short, long), **shape)
                    if turn:  # in the first, caches and the compiler's own are filled
                        found.setdefault(arm, []).append(seconds)
            row = {**shape, "rounds": found, "steps": (short, long)}
            rows.append(row)
            print(described(row), flush=True)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def described(row: dict[str, Any]) -> str:
    """One line: milliseconds a step by arm, the ratio to the earlier package or the first arm, seconds before the first
    step."""
    short, long = row["steps"]
    step = {mode: [(b - a) / (long - short) * 1e3 for a, b in times] for mode, times in row["rounds"].items()}
    start = {mode: statistics.median(a for a, _ in times) for mode, times in row["rounds"].items()}
    base = step.get("earlier", next(iter(step.values())))
    parts = [
        f"{mode} {statistics.median(values):.3f} ms "
        f"(x{statistics.median(b / v for b, v in zip(base, values, strict=True)):.2f}, start {start[mode]:.1f} s)"
        for mode, values in step.items()
    ]
    return f"{row['method']} R={row['replicates']}: " + ", ".join(parts)


if __name__ == "__main__":
    typer.run(main)
