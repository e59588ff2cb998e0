"""What is said while a study runs: how far each arm is, how long it will take yet, and failures as they come."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..core import streams
from ..core.seeding import random_module_restored
from ..core.text import printable
from .cost import seconds_to_measure
from .grid import Trial
from .plan import Plan
from .store import Store

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between two lines where stderr is no terminal: the first soon, and then ever fewer.
FIRST_LINE, LAST_LINE = 10.0, 300.0
#: Failures of one arm that are told one by one; `status` has them all.
MOST_TOLD = 3
#: Arms that a line names; of more it names those that are begun and not done.
MOST_ARMS = 10

#: Told of trials that have come to an end, and whether some of them failed.
Advance = Callable[[Sequence[Trial], bool], None]


class Shown(Protocol):
    """What shows a `Tally`."""

    def show(self, tally: Tally) -> None:
        """Show how far it is."""
        ...

    def say(self, line: str) -> None:
        """Say something, once."""
        ...


class Tally:
    """How far each arm of a run is.

    A trial of several arms counts for the first of them. What is left is predicted from the time that was taken for the
    work done so far: multiply-adds of the training, and what a trial takes to be measured.
    """

    def __init__(self, planned: Plan, missing: Collection[str], now: float) -> None:
        self.arms: dict[str, str] = {}
        self.work: dict[str, float] = {}
        per_multiply_add = planned.step_times.recorded.multiply_add
        for condition in planned.distinct:
            seconds = seconds_to_measure(condition.specification["evaluation"])
            seconds += condition.multiply_adds * per_multiply_add
            keys = list(condition.keys())
            self.arms.update(dict.fromkeys(keys, condition.labels["arm"]))
            self.work.update(dict.fromkeys(keys, seconds))
        self.totals = Counter(self.arms.values())
        self.done = Counter(arm for key, arm in self.arms.items() if key not in missing)
        self.failed: Counter[str] = Counter()
        self.started = now
        self.work_left = sum(self.work[key] for key in missing)
        self.work_done = 0.0

    def ended(self, key: str) -> None:
        """Count a trial that came to an end."""
        self.done[self.arms[key]] += 1
        self.work_done += self.work[key]
        self.work_left = max(0.0, self.work_left - self.work[key])

    def seconds_left(self, now: float) -> float | None:
        """Predicted; None before anything is done."""
        return self.work_left / self.work_done * (now - self.started) if self.work_done else None


@contextmanager
def progress(title: str, planned: Plan, missing: Collection[str], store: Store, shown: bool) -> Iterator[Advance]:
    """Shows how far a run is, on stderr; what is yielded is told of trials that have come to an end."""
    if not shown:
        yield lambda trials, failed: None
        return
    tally = Tally(planned, missing, time.monotonic())
    with _bars(title, tally) if streams.is_terminal(sys.stderr) else _lines(title) as display:
        display.show(tally)

        def advance(trials: Sequence[Trial], failed: bool) -> None:
            for trial in trials:
                tally.ended(trial.key)
            if failed:
                _tell_failures(store, [trial.key for trial in trials], tally, display)
            display.show(tally)

        yield advance


def _tell_failures(store: Store, keys: Sequence[str], tally: Tally, display: Shown) -> None:
    stops = store.stops()
    for key, record, _ in store.records(keys):
        if record["status"] != "failed" if record is not None else key not in stops:
            continue
        reason = record["reason"] if record is not None else stops.get(key, "")
        arm = tally.arms[key]
        tally.failed[arm] += 1
        if tally.failed[arm] <= MOST_TOLD:
            more = "; further failures of it are counted" if tally.failed[arm] == MOST_TOLD else ""
            display.say(f"failed: {arm}, trial {key[:12]}: {reason}{more}")


def duration(seconds: float) -> str:
    """A duration as people say it: `8 min`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


class _Lines:
    """A line now and then."""

    def __init__(self, title: str) -> None:
        self._title, self._wait, self._last = title, FIRST_LINE, -LAST_LINE

    def show(self, tally: Tally) -> None:
        now, total = time.monotonic(), sum(tally.totals.values())
        done = sum(tally.done.values())
        if now - self._last < self._wait and done < total:
            return
        if self._last > 0:
            self._wait = min(LAST_LINE, 2 * self._wait)
        self._last = now
        parts = [f"{arm} {tally.done[arm]}/{number}" for arm, number in tally.totals.items()]
        if len(parts) > MOST_ARMS:
            whole = sum(tally.done[arm] == number for arm, number in tally.totals.items())
            going = [part for part, (arm, number) in zip(parts, tally.totals.items(), strict=True)
                     if 0 < tally.done[arm] < number]  # fmt: skip
            parts = [f"{whole} of {len(parts)} arms", *going[:MOST_ARMS]]
        failed = sum(tally.failed.values())
        left = tally.seconds_left(now)
        words = [f"{done} of {total} trials ({', '.join(parts)})"]
        words += [f"{failed} failed"] if failed else []
        words += [f"{duration(left)} left"] if left is not None and done < total else []
        self.say(f"{self._title}: {', '.join(words)}")

    def say(self, line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)


@contextmanager
def _lines(title: str) -> Iterator[Shown]:
    yield _Lines(title)


class _Bars:
    """A bar for each arm, and one for all with the time that is left."""

    def __init__(self, title: str, bars: Progress, tally: Tally) -> None:
        self._bars = bars
        self._rows = {arm: bars.add_task(arm, total=number, note="") for arm, number in tally.totals.items()}
        self._whole = bars.add_task(title, total=sum(tally.totals.values()), note="")

    def show(self, tally: Tally) -> None:
        for arm, row in self._rows.items():
            note = f"{tally.failed[arm]} failed" if tally.failed[arm] else ""
            self._bars.update(row, completed=tally.done[arm], note=note)
        left = tally.seconds_left(time.monotonic())
        note = f"{duration(left)} left" if left else ""
        self._bars.update(self._whole, completed=sum(tally.done.values()), note=note)

    def say(self, line: str) -> None:
        self._bars.console.print(printable(line), markup=False, highlight=False)


@contextmanager
def _bars(title: str, tally: Tally) -> Iterator[Shown]:
    with random_module_restored():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("trials"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(title, bars, tally)
