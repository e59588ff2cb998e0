"""Arms timed in turn: every round runs each arm once, so that whatever the machine does meets all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

#: Steps of noise that the package draws at once: a turn is a multiple of them, so that each has its share of drawing.
BLOCK = 64
#: Steps of a turn at most: what a call takes before its first step is nothing beside so many.
MOST = 2048


class Seconds(NamedTuple):
    """Of some steps, by the clock and by the process that took them."""

    wall: float
    cpu: float


@dataclass
class Arm:
    """One way to train: `take(steps)` takes that many optimiser steps with `replicates` models side by side.

    Attributes:
        name: what the table prints.
        replicates: models that one step advances.
        take: takes the steps and says how long they took.
        ready: waits until the first step may be taken, and gives the seconds that this took; what was there from the
            start takes none.
        end: lets go of what the arm holds.
        steps: of a turn, the same in every round. start: what `ready` gave. turns: seconds of each timed round.
    """

    name: str
    replicates: int
    take: Callable[[int], Seconds]
    ready: Callable[[], float] = lambda: 0.0
    end: Callable[[], object] = lambda: None
    steps: int = 0
    start: float = 0.0
    turns: list[Seconds] = field(default_factory=list)

    def model_steps_per_second(self) -> list[float]:
        """(replicates x steps) / wall seconds of each round."""
        return [self.replicates * self.steps / turn.wall for turn in self.turns]


@dataclass
class Section:
    """Arms that do the same work, and the names of those that the others are divided by."""

    title: str
    arms: list[Arm]
    baselines: tuple[str, ...]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)


def looped(run: Callable[[int], object]) -> Callable[[int], Seconds]:
    """What takes steps and times nothing, timed."""

    def take(steps: int) -> Seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        run(steps)
        return Seconds(time.perf_counter() - wall, time.process_time() - cpu)

    return take


def interleave(section: Section, rounds: int, seconds: float, most: int = MOST) -> None:
    """`rounds` rounds of turns of about so many seconds, after turns that find out how many steps these are.

    The first turn of an arm compiles, or fills caches; the second is what the length of the others follows from; the
    third has that length, for which a scan is compiled anew. None of them counts.
    """
    for arm in section.arms:
        arm.start = arm.ready()
    for arm in section.arms:
        arm.take(BLOCK)
        arm.steps = turn_length(arm.take(BLOCK).wall / BLOCK, seconds, most)
        arm.take(arm.steps)
    for _ in range(rounds):
        for arm in section.arms:
            arm.turns.append(arm.take(arm.steps))
    for arm in section.arms:
        arm.end()


def turn_length(step: float, seconds: float, most: int) -> int:
    """Steps of `step` seconds that take at least `seconds`: a multiple of `BLOCK`, and at most `most`."""
    return max(BLOCK, min(BLOCK * math.ceil(seconds / step / BLOCK), most // BLOCK * BLOCK))


def speed_up(arm: Arm, baseline: Arm) -> list[float]:
    """Model-steps a second of `arm` over those of `baseline`, round by round."""
    pairs = zip(arm.model_steps_per_second(), baseline.model_steps_per_second(), strict=True)
    return [own / other for own, other in pairs]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest, JSON-ready."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def busy(turns: Sequence[Seconds]) -> float:
    """Share of the wall time that the process had the processor: 1 on a quiet machine with one thread."""
    return sum(turn.cpu for turn in turns) / sum(turn.wall for turn in turns)
