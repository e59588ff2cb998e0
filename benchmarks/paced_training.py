"""Trains a turn of steps at a time, as it is told: a process that another one times a training in.

It is run as a script with the package's folder as its argument, and knows nothing of the other benchmarks, so that it
serves every checkout since the first of a training loop. It reads a JSON object a line and answers each with one:

    {"do": "begin", "method": ..., "mode": ..., ...}    trains up to its fifth step; seconds of all that came before
    {"do": "take", "steps": n}                          so many more; seconds of them
    {"do": "end"}                                       leaves the training
    {"do": "losses", "method": ..., "mode": ..., ...}   a whole training; its losses, (R, steps)

What is timed is from the wish for one minibatch to the wish for another, so that drawing it, the step, the schedule and
the record of losses are in it and nothing that is done once is. An error is answered as {"error": ...}; so is a
training whose steps are taken otherwise than in the mode that was asked for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

#: Steps before the first that can be timed: one as it is written, one that is recorded or compiled, and two more.
UNTIMED = 4


class Ended(BaseException):
    """The training is to be left; what methods catch it is none of."""


class NotAsAsked(RuntimeError):
    """Steps are taken otherwise than they were to be."""


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=sys.__stdout__, flush=True)


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def stay_on(processors: list[int]) -> None:
    if processors and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processors)


class Pace:
    """Takes the place of the loop's minibatches, and lets one after another go as it is told.

    Attributes:
        method: what is trained.
        asked, mode: how its steps are to be taken, and how they are: "written", "recorded" or "compiled"; both empty in
            a checkout that knows one way only.
    """

    def __init__(self) -> None:
        self.begun: tuple[float, float] | None = None
        self.processors: list[int] = []
        self.method = self.asked = self.mode = ""

    def expect(self, method: str, mode: str) -> None:
        """The next training is of this method, whose steps are to be taken so."""
        self.method, self.asked, self.mode = method, mode, "written"

    def noting(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """What makes a program of a step, with note taken of what it made."""

        def noted(step: Any, *given: Any) -> Any:
            made = usual(step, *given)
            self.mode = "written" if made is step else "compiled" if made.compiled else "recorded"
            return made

        return noted

    def check(self) -> None:
        """Raise `NotAsAsked` where steps are not taken as they were to be; after the second of a training."""
        if self.mode != self.asked:
            raise NotAsAsked(f"a step of {self.method} that was to be {self.asked} is {self.mode}")

    def begin(self, processors: list[int]) -> None:
        """The next training is timed: it is prepared on all processors, and takes its turns on the first."""
        self.begun, self.processors = clock(), processors

    def over(self) -> None:
        """The next training is left to itself."""
        self.begun = None

    def of(self, usual: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def paced(*given: Any, **named: Any) -> Iterator[Any]:
            left = UNTIMED
            for step in usual(*given, **named):
                if self.begun is not None:
                    if left == 0:
                        self.check()
                        left = self.turn()
                    left -= 1
                yield step

        return paced

    def turn(self) -> int:
        """Say how long the turn took that has ended, and wait for the next: how many steps it has."""
        assert self.begun is not None
        now = clock()
        say({"wall": now[0] - self.begun[0], "cpu": now[1] - self.begun[1]})
        line = sys.stdin.readline()
        asked = json.loads(line) if line else {"do": "end"}
        if asked["do"] != "take":
            raise Ended
        stay_on(self.processors[:1])
        self.begun = clock()
        return int(asked["steps"])


def main() -> None:
    sys.stdout = sys.stderr  # what the package prints is no answer
    import torch

    torch.set_num_threads(1)
    import ebm_vs_prob as evp

    folder = Path(sys.argv[1]).resolve()
    found = Path(str(evp.__file__)).resolve()
    if folder not in found.parents:
        raise SystemExit(f"the package of {folder} was asked for, and that of {found} was imported")
    pace = Pace()
    try:
        loop: Any = import_module("ebm_vs_prob.training.loop")
    except ImportError:  # before the loop had a module of its own
        loop = import_module("ebm_vs_prob.training")
    drawn = "draws" if hasattr(loop, "draws") else "batches"
    setattr(loop, drawn, pace.of(getattr(loop, drawn)))
    if hasattr(loop, "RECORDED"):
        loop._program = pace.noting(loop._program)

    def fitted(asked: dict[str, Any]) -> Any:
        if hasattr(loop, "RECORDED"):
            loop.RECORDED = 10**9 if asked["mode"] == "written" else 1
            pace.expect(asked["method"], asked["mode"])
        name, options = asked["task"]
        return evp.fit(
            asked["method"],
            evp.get_task(name, **options),
            seeds=range(asked["replicates"]),
            budget=evp.Budget(**asked["budget"]),
            network=evp.Network(hidden=asked["hidden"]),
            compile=asked["mode"] == "compiled",
            **asked["options"],
        )

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            stay_on(asked.get("processors", []))
            if asked["do"] == "losses":
                losses = fitted(asked).training.loss.tolist()
                pace.check()
                say({"losses": losses})
            elif asked["do"] == "begin":
                pace.begin(asked["processors"])
                fitted(asked)
                say({"error": f"{asked['method']} took fewer steps than it was asked for"})
            else:
                say({"ended": True})  # after a training that failed or was over
        except Ended:
            say({"ended": True})
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
        finally:
            pace.over()


if __name__ == "__main__":
    main()
