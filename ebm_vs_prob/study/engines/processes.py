"""Processes for workers: forked from one that has imported the package, or started afresh where forking is not safe.

The own fork server of `multiprocessing` keeps a socket in the temporary folder, which stays when its process is killed;
here a pair of sockets without a name carries the orders and the ends of pipes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import multiprocessing
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ...core import streams
from ...core.caches import COMPILER_VARIABLE, compiler_folder
from ..failures import reason
from ..worker import attempt
from .introductions import introduce

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
#: One thread a worker, also for what torch's setting does not reach. Memory that is freed is kept, that of tensors
#: beyond 32 MiB too, which no threshold keeps: page faults would take half of a worker's time. What the user has set
#: stands.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_MAX_": "0",
}
END_LIMIT = 5.0  # seconds for a process to end that was killed

_ORDER = struct.Struct("qq")  # to fork: zeros and a pipe; for an exit code: the id of a process, answered with both
_SPAWN = multiprocessing.get_context("spawn")
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class ForkServer:
    """A process that has imported the package and makes workers of itself.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = spawned(_fork_workers, theirs)
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
    _pass_signals()
    streams.open_closed()
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
    _pass_signals()
    streams.open_closed()
    with contextlib.suppress(ImportError):
        from tqdm import tqdm  # type: ignore[import-untyped]

        # torch's compiler has a bar, whose own lock is a semaphore: a worker that is ended would leave it behind.
        tqdm.set_lock(threading.RLock())
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
            give_back()
            streams.flush()
            connection.send(answer)
            streams.open_closed()  # for what comes next, whatever this batch closed


def give_back() -> None:
    """Give the system what memory a batch has left free: kept for its own next tensors, it lies in pieces for those of
    other shapes, and workers would grow from batch to batch."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def spawned(target: Callable[[Any], None], argument: Any) -> BaseProcess:
    """A started process. Signals to the driver's group wait until it stands them."""
    process = _SPAWN.Process(target=target, args=(argument,), daemon=True)
    resource_tracker.ensure_running()  # as a part of the start below it would let the signals in again
    given = dict(os.environ)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS) if hasattr(signal, "pthread_sigmask") else None
    wanted = {**ENVIRONMENT, **_compiler_folder()}
    os.environ.update({**wanted, **given})
    try:
        process.start()
    finally:
        for name in wanted.keys() - given.keys():
            del os.environ[name]
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return process


def _compiler_folder() -> dict[str, str]:
    """Where torch's compiler, as soon as it is imported, makes a folder: not in TMPDIR, where it would stay."""
    folder = compiler_folder()
    return {} if folder is None else {COMPILER_VARIABLE: str(folder)}


def _pass_signals() -> None:
    """Let signals to the whole group pass, which are the driver's to answer; what a worker starts gets them again."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
