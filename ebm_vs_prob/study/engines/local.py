"""Worker processes of this machine, one thread each.

Workers are forked from a process that has imported the package once, so that a start, and a restart after a death,
takes no time; where forking is not safe each is started afresh. All that driver and workers share is one pipe each: no
port, no temporary file, no lock. A worker whose pipe ends is dead, and one whose driver is dead ends itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, Self

from ..failures import reason
from ..worker import attempt
from .dispatch import Event, Gone, Introduced, Received, Started
from .introductions import Introduction, Job, introduce

#: Imported once by the process from which workers are forked.
PRELOAD = (
    "ebm_vs_prob.study.worker",
    "ebm_vs_prob.training.fitting",
    "ebm_vs_prob.metrics.landscapes",
    "torch._dynamo",
    "pyro",
    "arviz",
    "h5netcdf",
)
#: One thread a worker, also for what torch's setting does not reach. Memory that is freed is kept: page faults would
#: take half of a worker's time. What the user has set stands.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
FAILED_STARTS = 5  # of each worker in a row, before the run ends
START_LIMIT = 300.0  # seconds for a worker's first word
END_LIMIT = 5.0  # seconds for a process to end that was killed
SCRIPT_HINT = ' (a script needs `if __name__ == "__main__":` round what it runs)'

_ORDER = struct.Struct("qq")  # to fork: zeros and a pipe; for an exit code: the id of a process, answered with both
_SPAWN = multiprocessing.get_context("spawn")
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


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
            return _spawned(serve, connection)
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


class ForkServer:
    """A process that has imported the package and makes workers of itself.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = _spawned(_fork_workers, theirs)
        self._orders.settimeout(END_LIMIT)

    def alive(self) -> bool:
        """Whether it still takes orders."""
        return self._process.exitcode is None

    def hopeless(self) -> bool:
        """Whether it ended by itself, as another one would."""
        return (self._process.exitcode or 0) > 0

    def fork(self, connection: Connection) -> ForkedProcess:
        """A worker that listens to `connection`, once the package is imported."""
        with contextlib.suppress(OSError):  # of a server that has just died the closed pipe tells
            socket.send_fds(self._orders, [_ORDER.pack(0, 0)], [connection.fileno()])
        return ForkedProcess(self)

    def exit_code(self, pid: int) -> int | None:
        """How a worker ended, which is waited for; None where the server does not know."""
        try:
            self._orders.sendall(_ORDER.pack(pid, 0))
            asked, code = _ORDER.unpack(self._orders.recv(_ORDER.size))
        except (OSError, struct.error):
            return None
        return int(code) if asked == pid else None

    def close(self) -> None:
        """End it."""
        self._orders.close()
        self._process.kill()
        self._process.join(END_LIMIT)


class ForkedProcess:
    """A worker process that a fork server made; its id is known from its first word on."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self.pid = 0
        self.exitcode: int | None = None

    def kill(self) -> None:
        """Kill a process that is not known to be dead; one without an id ends when its pipe is closed."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of a process that is dead or killed."""
        if self.pid and self._server.alive():
            self.exitcode = self._server.exit_code(self.pid)


def _fork_workers(orders: socket.socket) -> None:
    """The fork server's process."""
    _stand_signals()
    for name in PRELOAD:
        with contextlib.suppress(Exception):  # a worker that cannot do without says so
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is shared with workers is not touched by their collections
    while True:
        order, handles, *_ = socket.recv_fds(orders, _ORDER.size, 1)
        if len(order) < _ORDER.size:  # the driver is gone
            return
        if handles:
            _fork_worker(orders, handles[0])
        else:
            pid, _ = _ORDER.unpack(order)
            try:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except ChildProcessError:
                code = 0
            orders.sendall(_ORDER.pack(pid, code))


def _fork_worker(orders: socket.socket, handle: int) -> None:
    connection = Connection(handle)
    try:
        pid = os.fork()
    except OSError as error:
        connection.send(reason(error))
        pid = -1
    if pid == 0:
        try:
            orders.close()
            serve(connection)
        finally:
            os._exit(0)
    connection.close()


def serve(connection: Connection) -> None:
    """The life of a worker: its introduction, then batches, until its pipe ends or its driver does."""
    _stand_signals()
    threading.Thread(target=_end_with_driver, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        connection.send(os.getpid())
        try:
            connection.send(introduce(connection.recv()))
        except Exception as error:
            connection.send(reason(error))
        while True:
            packed, root = connection.recv()
            answer = attempt(packed, root)
            sys.stdout.flush()
            connection.send(answer)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _spawned(target: Callable[[Any], None], argument: Any) -> BaseProcess:
    """A started process. Signals to the driver's group wait until it stands them."""
    process = _SPAWN.Process(target=target, args=(argument,), daemon=True)
    given = dict(os.environ)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS) if hasattr(signal, "pthread_sigmask") else None
    os.environ.update({**ENVIRONMENT, **given})
    try:
        process.start()
    finally:
        for name in ENVIRONMENT.keys() - given.keys():
            del os.environ[name]
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return process


def _stand_signals() -> None:
    """Let signals to the whole group pass, which are the driver's to answer; what a worker starts gets them again."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
