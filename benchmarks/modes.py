"""A training step of every objective in each of its modes, and as the package did it at an earlier commit.

    python -m benchmarks.modes --out benchmarks/modes.json
    python -m benchmarks.modes --method hinge --method vae --against ../another/checkout

The objectives are those that are registered and whose training repeats one step. Every arm trains in a process of its
own and stays there between its turns; all arms of a row take as many steps in a turn, the same ones of the schedule,
for what a step takes may follow from how far the training is. Objectives that the earlier commit has not are compared
with their own step as it is written.

Before an objective is timed its losses are compared, step by step, as they are recorded and as they are compiled, and
with those of the earlier commit from the same seeds. One that cannot be trained, or whose compiled losses are others,
is named at the end, and the others are timed all the same; how far the earlier losses are off stands in its row.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import local
from typing import Annotated, Any

import torch
import typer

from ebm_vs_prob.study.step_times import compiler
from ebm_vs_prob.testing.trainings import applicable_task
from ebm_vs_prob.training.fitting import list_methods
from ebm_vs_prob.training.method import Method

from .arithmetic import multiply_adds, product_rate
from .results import PROCESSORS, keep_to_one_processor, write
from .timing import BLOCK, Arm, Seconds, busy, spread, turn_length
from .trainings import Plan, Training, TrainingFailed, Trainings, checkout

#: The commit before steps were recorded and compiled.
EARLIER = "c015b2d"
#: Replicates and widths that are timed.
SHAPES: tuple[tuple[int, tuple[int, ...]], ...] = ((32, (32, 32)), (1, (32, 32)), (8, (128, 128)))
#: Steps of a schedule, as a small study has them, and of what is compared.
STEPS, COMPARED = 4000, 6
#: A turn takes at least so long for the slowest arm and for the fastest one, within `MOST` steps.
SLOWEST_TURN, FASTEST_TURN, MOST = 0.25, 0.03, 640
#: Rounds whose turns a schedule has steps for, beside those that are taken before.
MOST_ROUNDS = (STEPS - 2 * BLOCK) // BLOCK
#: How far losses may be from one another after a few steps that round otherwise, over 1 + |loss|.
AGREEING = 1e-2


def objectives() -> list[type[Method]]:
    """Every registered method of the package whose training repeats one step."""
    own = [method for method in list_methods() if method.__module__.startswith("ebm_vs_prob.")]
    return [method for method in own if method.compilable and method.principle != "exact"]


def plans(methods: Sequence[type[Method]], shapes: Sequence[tuple[int, tuple[int, ...]]]) -> Iterator[Plan]:
    """A row each: the methods on the first plain task that they apply to, at every shape."""
    for method in methods:
        task = applicable_task(method)
        given = task.options.model_dump(mode="json", exclude_defaults=True)
        for replicates, hidden in shapes:
            if replicates == 1 or method.batchable:
                yield Plan(method.name, (task.name, given), replicates, "recorded", hidden, steps=STEPS)


def compiling(rows: Sequence[Plan]) -> list[float | None]:
    """Seconds until a compiled step of each row is there, the compiler's cache being as it is; on all processors.

    Later trainings of the same shapes find what was compiled in the cache. None of what cannot be trained so.
    """
    own, every = local(), []

    def seconds(row: Plan) -> float | None:
        if not hasattr(own, "trainings"):
            own.trainings = Trainings()
            every.append(own.trainings)
        training = own.trainings.begin(replace(row, mode="compiled"))
        try:
            taken = training.ready()
        except TrainingFailed:
            return None
        training.end()
        print(f"{_name(row)}: compiled after {taken:.1f} s", file=sys.stderr, flush=True)
        return taken

    with ThreadPoolExecutor(max(1, len(PROCESSORS))) as pool:
        found = list(pool.map(seconds, rows))
    for trainings in every:
        trainings.close()
    return found


def largest_difference(one: Trainings, other: Trainings, row: Plan, mode: str) -> float:
    """Of losses as one records them and as the other has them in its mode, over 1 + |loss|, in the steps compared.

    Raises:
        TrainingFailed: one of them refuses the training.
    """
    short = replace(row, steps=COMPARED, mode="recorded")
    own, others = torch.tensor(one.losses(short)), torch.tensor(other.losses(replace(short, mode=mode)))
    return float(((own - others).abs() / (1 + own.abs())).max())


def earlier_difference(own: Trainings, earlier: Trainings | None, row: Plan) -> float | None:
    """The same of the earlier commit's losses; None where it has not the objective."""
    if earlier is None:
        return None
    try:
        return largest_difference(own, earlier, row, "written")
    except TrainingFailed:
        return None


def begun(own: Trainings, earlier: Trainings | None, row: Plan, compiled: bool) -> dict[str, Arm]:
    """The arms of a row, ready: first what the others are divided by."""
    modes = ["recorded", *(["compiled"] if compiled else [])]
    begun = {mode: own.begin(replace(row, mode=mode)) for mode in modes}
    # What an earlier package was not asked for by name it does by its own defaults: options are none of a row's.
    first: Training | None = earlier.begin(row) if earlier else None
    arms = {}
    if first is not None:
        try:
            arms["earlier"] = Arm("earlier", row.replicates, first.take, end=first.end, start=first.ready())
        except TrainingFailed as error:
            print(f"{_name(row)}: not at the earlier commit: {error}", file=sys.stderr)
    if not arms:
        written = own.begin(replace(row, mode="written"))
        arms["written"] = Arm("written", row.replicates, written.take, end=written.end, start=written.ready())
    for mode, training in begun.items():
        arms[mode] = Arm(mode, row.replicates, training.take, end=training.end, start=training.ready())
    return arms


def timed(arms: Sequence[Arm], rounds: int) -> None:
    """Turns of as many steps for all arms, after an untimed one that their number follows from."""
    step = [arm.take(BLOCK).wall / BLOCK for arm in arms]
    most = min(MOST, (STEPS - 2 * BLOCK) // rounds)
    steps = max(turn_length(max(step), SLOWEST_TURN, most), turn_length(min(step), FASTEST_TURN, most))
    for _ in range(rounds):
        for arm in arms:
            arm.steps = steps
            arm.turns.append(arm.take(steps))
    for arm in arms:
        arm.end()


def found(
    row: Plan, arms: dict[str, Arm], compiled_after: float | None, difference: float | None, earlier: float | None
) -> dict[str, Any]:
    """A row, JSON-ready: seconds a step of every round, ratios to the first arm, share of the rate of products; how far
    compiled and `earlier` losses are off."""
    steps = {name: [turn.wall / arm.steps for turn in arm.turns] for name, arm in arms.items()}
    base, work, rate = next(iter(steps.values())), multiply_adds(row), product_rate(row)
    fastest = min(spread(values)["median"] for name, values in steps.items() if name not in ("earlier", "written"))
    return {
        "method": row.method,
        "task": list(row.task),
        "replicates": row.replicates,
        "hidden": list(row.hidden),
        "steps_a_turn": next(iter(arms.values())).steps,
        "seconds_a_step": steps,
        "ratio": {
            name: spread([one / other for one, other in zip(base, values, strict=True)])
            for name, values in steps.items()
        },
        "start_seconds": {name: arm.start for name, arm in arms.items()},
        "compiled_after_seconds": compiled_after,
        "largest_difference": difference,
        "earlier_difference": earlier,
        "multiply_adds_a_step": work,
        "product_rate": rate,
        "share_of_product_rate": work / fastest / rate,
    }


def described(row: dict[str, Any]) -> str:
    """One line of the table that is printed."""
    parts = [
        f"{name} {1e3 * spread(values)['median']:.3f} ms (x{row['ratio'][name]['median']:.2f})"
        for name, values in row["seconds_a_step"].items()
    ]
    share = f"{row['share_of_product_rate']:.2f} of the rate of products"
    off = row["earlier_difference"]
    earlier = "" if off is None else f"; losses {off:.1g} from the earlier"
    return f"{row['method']} {_shape(row['replicates'], row['hidden'])}: {', '.join(parts)}; {share}{earlier}"


def _shape(replicates: int, hidden: Sequence[int]) -> str:
    return f"R={replicates} {'x'.join(map(str, hidden))}"


def _name(row: Plan) -> str:
    return f"{row.method} {_shape(row.replicates, row.hidden)}"


def main(
    method: Annotated[list[str] | None, typer.Option(help="time this objective only; may be repeated")] = None,
    replicates: Annotated[list[int] | None, typer.Option(help="time shapes of so many replicates only")] = None,
    against: Annotated[str, typer.Option(help="a commit, or a folder with a checkout; empty for none")] = EARLIER,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="time compiled steps too")] = True,
    compile_only: Annotated[bool, typer.Option(help="fill the compiler's cache, which needs no quiet machine")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="turns of each arm")] = 3,
    out: Annotated[Path | None, typer.Option(help="write every figure as JSON here")] = None,
) -> None:
    """Time every objective's step; print a line a row."""
    keep_to_one_processor()
    torch.set_num_threads(1)
    known = {each.name: each for each in objectives()}
    for name in method or ():
        if name not in known:
            raise typer.BadParameter(f"{name!r} repeats no step, or is not registered: one of {', '.join(known)}")
    shapes = [shape for shape in SHAPES if replicates is None or shape[0] in replicates]
    rows = list(plans([known[name] for name in method or known], shapes))
    if not rows:
        raise typer.BadParameter(f"replicates {replicates}: nothing has as many; {[shape[0] for shape in SHAPES]} have")
    if compiled and shutil.which(compiler()) is None:
        print(f"no compiler here, {compiler()}: nothing is compiled", file=sys.stderr)
        compiled = False
    after: Sequence[float | None] = compiling(rows) if compiled else [None] * len(rows)
    if compile_only:
        return
    entries, turns, wrong = list[dict[str, Any]](), list[Seconds](), list[str]()
    with ExitStack() as stack:
        own, earlier = stack.enter_context(Trainings()), None
        if against:
            try:
                folder = checkout(against, Path(stack.enter_context(TemporaryDirectory())))
                earlier = stack.enter_context(Trainings(folder))
            except ValueError as error:
                print(f"nothing earlier to compare with: {error}", file=sys.stderr)
        for row, compiled_after in zip(rows, after, strict=True):
            is_first = not any(entry["method"] == row.method for entry in entries)
            try:
                difference = largest_difference(own, own, row, "compiled") if compiled and is_first else None
                before = earlier_difference(own, earlier, row) if is_first else None
                arms = begun(own, earlier, row, compiled)
                timed(list(arms.values()), rounds)
            except TrainingFailed as error:
                wrong.append(f"{_name(row)}: {error}")
                continue
            if difference is not None and not difference <= AGREEING:
                wrong.append(f"{_name(row)}: losses differ by {difference:.2g}")
            turns += [turn for arm in arms.values() for turn in arm.turns]
            entries.append(found(row, arms, compiled_after, difference, before))
            print(described(entries[-1]), flush=True)
    share = busy(turns) if turns else None
    write(out, "modes", share, rounds=rounds, against=against if earlier else None, rows=entries)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    typer.run(main)
