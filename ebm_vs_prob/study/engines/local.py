"""Worker processes of this machine, one thread each.

All that driver and workers share is one pipe each: no port, no temporary file, no lock. A worker whose pipe ends is
dead, and one whose driver is dead ends itself.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol, Self

from ...core import streams
from .dispatch import Event, Gone, Introduced, Received, Started
from .introductions import Introduction, Job
from .processes import END_LIMIT, ForkedProcess, ForkServer, serve, spawned

FAILED_STARTS = 5  # of each worker in a row, before the run ends
START_LIMIT = 300.0  # seconds for a worker's first word
SCRIPT_HINT = ' (a script needs `if __name__ == "__main__":` round what it runs)'


class _Process(Protocol):
    """What is asked of a worker's process, as `multiprocessing.Process` has it."""

    @property
    def exitcode(self) -> int | None: ...

    def kill(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


@dataclass
class _Worker:
    connection: Connection
    process: _Process
    since: float
    introduced: bool = False


class LocalPool:
    """As many worker processes as asked for, replaced when they die."""

    patience = math.inf

    def __init__(self, job: Job, workers: int) -> None:
        self._job, self._size = job, workers
        self._workers: dict[str, _Worker] = {}
        self._events: list[Event] = []
        self._fork_server: ForkServer | None = None
        self._started = self._failed_starts = 0

    def __enter__(self) -> Self:
        streams.hold_numbers()  # pipes to workers must not have those of streams that workers think are theirs
        try:
            for _ in range(self._size):
                self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers.values():
            worker.process.kill()
        for name in list(self._workers):
            self._end(name)
        if self._fork_server is not None:
            self._fork_server.close()
            self._fork_server = None

    def give(self, worker: str, packed: str, root: str | None) -> None:
        """Send a batch to a worker that waits for one."""
        with contextlib.suppress(OSError):  # of a worker that has just died its pipe tells
            self._workers[worker].connection.send((packed, root))
        self._events.append(Started(worker))

    def stop(self, worker: str) -> None:
        """Kill a worker and start another."""
        self._workers[worker].process.kill()
        self._end(worker)
        self._start()

    def take_back(self, worker: str) -> None:
        """Have another process in its place."""
        self.stop(worker)

    def events(self, timeout: float) -> Iterator[Event]:
        """What workers said, and which are dead.

        Raises:
            ConnectionError: workers die before their first word, again and again.
        """
        happened, self._events = self._events, []
        yield from happened
        names = {worker.connection: name for name, worker in self._workers.items()}
        for connection in wait(list(names), 0 if happened else timeout):
            event = self._heard(names[connection])  # type: ignore[index]
            if event is not None:
                yield event
        for name, worker in list(self._workers.items()):
            if not worker.introduced and time.monotonic() - worker.since > START_LIMIT:
                worker.process.kill()
                self._not_started(name, f"it was silent for {START_LIMIT:g} s")

    def refuse(self, worker: str, why: str) -> None:
        """End the run: all workers are like this one.

        Raises:
            ConnectionError: always.
        """
        raise ConnectionError(f"local workers cannot be used: {why}; run again to go on")

    def shortage(self) -> str:
        """Nothing: workers are starting, and if they cannot, `events` says so."""
        return ""

    def _start(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        try:
            process = self._process(theirs)
        except OSError as error:
            ours.close()
            raise ConnectionError(f"a local worker cannot be started: {error}; run again to go on") from None
        finally:
            theirs.close()
        self._started += 1
        self._workers[f"local-{self._started}"] = _Worker(ours, process, time.monotonic())
        with contextlib.suppress(OSError):
            ours.send(self._job)

    def _process(self, connection: Connection) -> _Process:
        if not sys.platform.startswith("linux"):
            return spawned(serve, connection)
        if self._fork_server is None or not self._fork_server.alive():
            self._fork_server = ForkServer()
        return self._fork_server.fork(connection)

    def _heard(self, name: str) -> Event | None:
        worker = self._workers[name]
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            if not worker.introduced:
                self._not_started(name)
                return None
            why = self._end(name)
            self._start()
            return Gone(name, why)
        match message:
            case int():
                if isinstance(worker.process, ForkedProcess):
                    worker.process.pid = message
            case str():
                self._not_started(name, message)
            case Introduction():
                self._failed_starts, worker.introduced = 0, True
                return Introduced(name, message)
            case _:
                return Received(name, message)
        return None

    def _not_started(self, name: str, why: str = "") -> None:
        self._failed_starts += 1
        how = self._end(name)
        hopeless = self._fork_server is not None and self._fork_server.hopeless()
        if hopeless or self._failed_starts >= FAILED_STARTS * self._size:
            raise ConnectionError(
                f"local workers cannot be started, {self._failed_starts} in a row died before their first word: "
                f"{why or how}{SCRIPT_HINT if hopeless else ''}; run again to go on"
            )
        self._start()

    def _end(self, name: str) -> str:
        """Forget a worker that is dead or killed; how it ended."""
        worker = self._workers.pop(name)
        worker.connection.close()
        worker.process.join(END_LIMIT)
        code = worker.process.exitcode
        if code is None:
            return "its worker process died"
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        hint = ", as the system does when memory is out" if code == -signal.SIGKILL else ""
        return f"its worker process was killed by {signal.Signals(-code).name}{hint}"
