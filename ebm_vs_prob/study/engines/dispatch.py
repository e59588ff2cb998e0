"""Which worker does which batch, and what follows when one dies, hangs or is refused: decided here for all engines.

A batch whose worker died is tried again whole on another, so that its numbers are those of the plan. When that one dies
too it is halved, which is an incident, and a trial that is alone then is noted as stopped from outside: the next run
tries it again. A batch over its time limit is halved at once, and a trial that is alone then has failed by itself.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from ..batches import Batch
from ..progress import Advance
from ..records import Outcome, entry
from ..store import Store
from ..worker import Fault, Receipt, StoreFault, pack
from .introductions import Introduction, Job

POLL = 1.0  # seconds between two looks at how long batches have taken
#: A longer time between two looks is none in which batches could run: the driver was stopped, and its workers with it.
STANDSTILL = 30.0
QUIET = 5.0  # seconds without work before it is said what is waited for
LIVES = 2  # workers that a batch may cost before it is halved

log = logging.getLogger("ebm_vs_prob.study")


@dataclass(frozen=True)
class Introduced:
    """A worker's first word."""

    worker: str
    introduction: Introduction


@dataclass(frozen=True)
class Started:
    """A worker began its batch."""

    worker: str


@dataclass(frozen=True)
class Received:
    """A worker has done its batch, or says what kept it from that."""

    worker: str
    answer: Receipt | Fault


@dataclass(frozen=True)
class Gone:
    """A worker died, or cannot go on; `why` is what is known of it."""

    worker: str
    why: str


Event = Introduced | Started | Received | Gone


class Pool(Protocol):
    """Workers by name. Each does one batch at a time; a pool that can replaces those that are gone.

    `patience` is for how many seconds a run waits when no worker is there that could do its batches, and a batch for a
    worker that does not begin it.
    """

    patience: float

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def give(self, worker: str, packed: str, root: str | None) -> None:
        """Have a worker do a batch, of `worker.pack`, with the store at `root`, or send its records back."""
        ...

    def stop(self, worker: str) -> None:
        """End a worker, whatever it does; it is not heard of again."""
        ...

    def take_back(self, worker: str) -> None:
        """Have a worker not do a batch that it has not begun; it may be introduced again, when it answers."""
        ...

    def events(self, timeout: float) -> Iterator[Event]:
        """What happened since the last call, waiting for at most `timeout` seconds.

        Raises:
            ConnectionError: no workers can be had any more.
        """
        ...

    def refuse(self, worker: str, why: str) -> None:
        """Hear that a worker is not used.

        Raises:
            ConnectionError: no other can be expected.
        """
        ...

    def shortage(self) -> str:
        """What a run waits for that has no worker, and how it is had; "" where nobody can do anything about it."""
        ...


@dataclass
class _Task:
    batch: Batch
    given: float
    since: float | None = None


class Dispatcher:
    """Runs batches on the workers of a pool.

    Args:
        pool: entered.
        here: the driver's own introduction, which a worker's has to be like.
        advance: told of trials that have come to an end, and whether some of them failed.
    """

    def __init__(self, pool: Pool, store: Store, job: Job, here: Introduction, advance: Advance) -> None:
        self._pool, self._store, self._job, self._here, self._advance = pool, store, job, here, advance
        self._queue: deque[Batch] = deque()
        self._workers: dict[str, Introduction] = {}
        self._refused: dict[str, str] = {}
        self._idle: set[str] = set()  # workers that did not begin a batch, and have not answered since
        self._tasks: dict[str, _Task] = {}
        self._deaths: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._last_look = self._last_work = time.monotonic()

    def run(self, batches: Sequence[Batch]) -> None:
        """Run batches, the first ones first.

        Raises:
            ConnectionError: no worker can be had.
            OSError: the store cannot be written.
            RuntimeError, LookupError, ValueError: a worker's code is not that of the plan.
        """
        self._queue.extend(batches)
        while self._queue or self._tasks:
            self._hand_out()
            self._look_at_the_clock()
            for event in self._pool.events(POLL):
                self._handle(event)

    def _hand_out(self) -> None:
        for name, worker in self._workers.items():
            if name in self._tasks:
                continue
            batch = next((batch for batch in self._queue if batch.device == "cpu" or worker.device), None)
            if batch is not None:
                self._queue.remove(batch)
                packed = pack(batch, self._job.plugins, self._job.folder, self._job.files)
                self._pool.give(name, packed, self._job.root if worker.sees_store else None)
                self._tasks[name] = _Task(batch, time.monotonic())

    def _handle(self, event: Event) -> None:
        match event:
            case Introduced(worker, introduction):
                self._idle.discard(worker)
                self._introduce(worker, introduction)
            case Started(worker):
                if worker in self._tasks:
                    self._tasks[worker].since = time.monotonic()
            case Received(worker, answer):
                task = self._tasks.pop(worker, None)
                if task is not None:
                    self._settle(worker, task.batch, answer)
            case Gone(worker, why):
                self._workers.pop(worker, None)
                self._refused.pop(worker, None)
                self._idle.discard(worker)
                task = self._tasks.pop(worker, None)
                if task is not None:
                    self._died(task.batch, why)

    def _introduce(self, worker: str, introduction: Introduction) -> None:
        unlike = introduction.unlike(self._here)
        if not unlike:
            self._workers[worker] = introduction
            return
        self._refused[worker] = unlike
        self._pool.refuse(worker, unlike)
        self._warn(f"worker {worker} on {introduction.host} is not used: {unlike}")

    def _settle(self, worker: str, batch: Batch, receipt: Receipt | Fault) -> None:
        if isinstance(receipt, Fault):
            if receipt.kind == "store":
                raise StoreFault(f"worker {worker}: {receipt.text}")
            if receipt.kind == "code":
                raise RuntimeError(f"worker {worker}: {receipt.text}")
            self._end(worker)
            self._died(batch, receipt.text)
            return
        if receipt.shard:
            self._store.add(receipt.shard)
        for detail in receipt.incidents:
            self._store.report("batch halved", [trial.key for trial in batch.trials], detail)
        for key, why in receipt.stopped.items():
            self._store.note_stop(key, why)
        self._advance(batch.trials, receipt.failed > 0 or bool(receipt.stopped))

    def _died(self, batch: Batch, why: str) -> None:
        self._deaths[batch.key] += 1
        if self._deaths[batch.key] < LIVES:
            log.info("a worker died with a batch of %d trials, which is tried again: %s", len(batch.trials), why)
            self._queue.appendleft(batch)
        elif len(batch.trials) > 1:
            detail = f"{len(batch.trials)} trials together cost {LIVES} workers and were halved: {why}"
            self._store.report("batch halved", [trial.key for trial in batch.trials], detail)
            self._queue.extendleft(reversed(batch.halves()))
        else:
            self._store.note_stop(batch.trials[0].key, f"stopped from outside, {LIVES} times: {why}")
            self._advance(batch.trials, True)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        gap = now - self._last_look
        self._last_look = now
        if self._tasks or not self._queue:
            self._last_work = now
        for worker, task in list(self._tasks.items()):
            if gap > STANDSTILL:
                task.given = min(now, task.given + gap)
                task.since = None if task.since is None else min(now, task.since + gap)
            if task.since is None:
                self._wait_for(worker, task, now)
            elif now - task.since > self._job.time_limit:
                self._end(worker)
                self._too_long(task.batch)
        # A worker that did not begin may be at a batch of another driver, which ends within the time limit.
        patience = max(self._pool.patience, self._job.time_limit) if self._idle else self._pool.patience
        if now - self._last_work > patience:
            raise ConnectionError(f"{self._shortage()}: waited {patience:g} s; run again to go on")
        if now - self._last_work > QUIET:
            self._warn(self._shortage())

    def _wait_for(self, worker: str, task: _Task, now: float) -> None:
        """Say that a worker does not begin its batch, and after a while have another do it."""
        if now - task.given > QUIET:
            self._warn(f"worker {worker} has not begun its batch: it is paused, stopped or at other work")
        if now - task.given > self._pool.patience:
            log.info("the batch of %d trials is taken back from worker %s", len(task.batch.trials), worker)
            del self._tasks[worker], self._workers[worker]
            self._idle.add(worker)
            self._queue.appendleft(task.batch)
            self._pool.take_back(worker)

    def _end(self, worker: str) -> None:
        self._tasks.pop(worker, None)
        del self._workers[worker]
        self._pool.stop(worker)

    def _too_long(self, batch: Batch) -> None:
        if len(batch.trials) > 1:
            self._queue.extendleft(reversed(batch.halves()))
            return
        reason = f"the trial took longer than the time limit of {self._job.time_limit:g} s"
        self._store.write([entry(Outcome(batch.trials[0], batch.key, "failed", reason=reason), batch.device)])
        self._advance(batch.trials, True)

    def _shortage(self) -> str:
        if self._workers:
            return f"none of the {len(self._workers)} workers has a CUDA device, which the plan asks for"
        if self._refused:
            worker, why = next(iter(self._refused.items()))
            return f"no worker can be used: of {len(self._refused)} refused, {worker}: {why}"
        if self._idle:
            return (
                f"no worker begins a batch, they are paused, stopped or at other work: {', '.join(sorted(self._idle))}"
            )
        return self._pool.shortage()

    def _warn(self, text: str) -> None:
        if text and text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
