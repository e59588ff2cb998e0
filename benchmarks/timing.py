"""Arms timed in turn: every round runs each arm once, so that whatever the machine does meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Steps of the short call: so many that a training records its step in both.
FEW = 300


@dataclass
class Arm:
    """One way to train: `run(steps)` takes that many optimiser steps with `replicates` models side by side.

    Attributes:
        name: what the table prints.
        replicates: models that one step advances.
        run: takes the steps.
        setup_seconds: wall time of the first turn less a usual one: compilation, and memory not yet allocated.
        start: seconds of each timed round before the steps that are timed: of a call that takes `FEW` of them.
        wall, cpu: seconds that the steps took in each timed round, by the clock and by the process.
    """

    name: str
    replicates: int
    run: Callable[[int], object]
    setup_seconds: float = 0.0
    start: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass
class Section:
    """Arms that do the same work, and the names of those that the others are divided by."""

    title: str
    arms: list[Arm]
    baselines: tuple[str, ...]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)


def interleave(arms: Sequence[Arm], steps: int, rounds: int, progress: Callable[[], object] = lambda: None) -> None:
    """One untimed round, then `rounds` timed ones, in the given order; each arm takes `FEW` steps and then `steps` more
    than these in a call of its own, and the difference is what is timed: what a call does before its first step, such
    as drawing the data or recording a step, is left out."""
    first = []
    for arm in arms:
        started = time.perf_counter()
        arm.run(FEW)
        arm.run(FEW + steps)
        first.append(time.perf_counter() - started)
        progress()
    for _ in range(rounds):
        for arm in arms:
            (short, short_cpu), (long, long_cpu) = _timed(arm, FEW), _timed(arm, FEW + steps)
            arm.start.append(short)
            arm.wall.append(long - short)
            arm.cpu.append(long_cpu - short_cpu)
            progress()
    for arm, seconds in zip(arms, first, strict=True):
        usual = statistics.median(2 * start + wall for start, wall in zip(arm.start, arm.wall, strict=True))
        arm.setup_seconds = max(0.0, seconds - usual)


def _timed(arm: Arm, steps: int) -> tuple[float, float]:
    """Seconds of one call, by the clock and by the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    arm.run(steps)
    return time.perf_counter() - wall, time.process_time() - cpu


def model_steps_per_second(arm: Arm, steps: int) -> float:
    """Median over the rounds of (replicates x steps) / wall seconds."""
    return statistics.median(arm.replicates * steps / seconds for seconds in arm.wall)


def speed_up(arm: Arm, baseline: Arm) -> list[float]:
    """Model-steps a second of `arm` over those of `baseline`, round by round."""
    factor = arm.replicates / baseline.replicates
    return [factor * other / own for own, other in zip(arm.wall, baseline.wall, strict=True)]


def busy(arms: Sequence[Arm]) -> float:
    """Share of the wall time that the process had the processor: 1 on a quiet machine with one thread."""
    return sum(sum(arm.cpu) for arm in arms) / sum(sum(arm.wall) for arm in arms)
