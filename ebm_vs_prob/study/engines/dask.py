"""Workers of a dask cluster that is started elsewhere.

dask carries batches to the worker they are meant for and answers back, and nothing more: it neither moves a batch nor
tries it again. Every worker has one batch under way, whatever its threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ...core.text import printable
from ..failures import reason
from ..worker import Fault, Receipt, attempt
from .dispatch import Event, Gone, Introduced, Received, Started
from .introductions import Introduction, Job, introduce

if TYPE_CHECKING:
    from distributed import Client, Future

LOOK = 1.0  # seconds between two looks at which workers there are
TIMEOUT = 30  # seconds for the scheduler to answer when it is first asked, and for a worker to be ended
ANSWER_LIMIT, ANSWER_QUIET = 60.0, 5.0  # seconds for it to answer later, and after which it is said that it does not
#: They tell of every lost connection, with tracebacks; what a user needs of that the driver says in one line.
_LOGGERS = ("distributed", "tornado", "asyncio")

log = logging.getLogger("ebm_vs_prob.study")

T = TypeVar("T")


class DaskPool:
    """The workers of a scheduler, given by address or scheduler file, as they come and go.

    Raises:
        ConnectionError: no scheduler answers, or it is lost.
    """

    patience = 300.0

    def __init__(self, job: Job, scheduler: str) -> None:
        self._job, self._scheduler = job, scheduler
        self._stack = ExitStack()
        self._said: queue.SimpleQueue[tuple[str, Future | None]] = queue.SimpleQueue()
        self._futures: dict[str, Future] = {}
        self._topic = f"ebm-vs-prob-{secrets.token_hex(8)}"
        self._known: set[str] = set()
        self._silent: set[str] = set()
        self._count = self._vanished = 0
        self._last_look = -LOOK
        self._stuck = False

    def __enter__(self) -> Self:
        import distributed  # noqa: F401  it sets up its loggers, which are then quietened

        with ExitStack() as stack:
            stack.callback(random.setstate, random.getstate())  # dask draws its jitter from the global generator
            stack.enter_context(_quiet())
            self._client = self._connect()
            stack.callback(self._leave)
            self._client.subscribe_topic(self._topic, self._on_start)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def give(self, worker: str, packed: str, root: str | None) -> None:
        """Send a batch to a worker."""
        self._submit(worker, _attempt, packed, root, self._topic, worker)

    def stop(self, worker: str) -> None:
        """End a worker's process; its nanny, if it has one, starts another."""
        self._forget(worker)
        try:
            self._answer(lambda: self._client.restart_workers([worker], timeout=TIMEOUT))
        except Exception as error:
            log.info("worker %s was not restarted by a nanny: %s", worker, printable(error))
            with contextlib.suppress(Exception):
                self._answer(lambda: self._client.run(os._exit, 1, workers=[worker], wait=False, on_error="ignore"))

    def take_back(self, worker: str) -> None:
        """Cancel a batch, and greet the worker anew: it answers when it does anything again."""
        self._forget(worker)
        self._greet(worker)

    def events(self, timeout: float) -> Iterator[Event]:
        """What happened on the cluster.

        Raises:
            ConnectionError: the scheduler is lost.
        """
        if time.monotonic() - self._last_look >= LOOK:
            yield from self._look()
            self._last_look = time.monotonic()
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._heard(*self._said.get(timeout=timeout))
                timeout = 0.0
                if event is not None:
                    yield event

    def refuse(self, worker: str, why: str) -> None:
        """Nothing: others may come."""

    def shortage(self) -> str:
        """What is known of workers that are not there."""
        start = f"start one with: dask worker {self._address} --nthreads 1"
        # Nannies start such workers again at once, so that some are always about to answer: more have gone than those.
        if self._vanished > len(self._silent):
            return (
                f"workers at {self._address} vanish before they can be used, as they do where importing the package or "
                f"a plugin ends them; {start}"
            )
        if self._silent:
            return f"workers at {self._address} have not answered yet: {', '.join(sorted(self._silent))}"
        return f"waiting for workers at {self._address}: none is connected; {start}"

    def _connect(self) -> Client:
        from distributed import Client

        where = {"scheduler_file": self._scheduler} if Path(self._scheduler).is_file() else {"address": self._scheduler}
        try:
            client = Client(**where, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no dask scheduler answers at {self._scheduler!r}: {printable(error)}") from None
        self._address = str(client.scheduler_info()["address"])
        return client

    def _leave(self) -> None:
        for worker in list(self._futures):
            self._forget(worker)
        with contextlib.suppress(Exception):
            self._client.close(timeout=1 if self._stuck else TIMEOUT)

    def _look(self) -> Iterator[Event]:
        """Greet workers that came, and tell of those that went."""
        try:
            present = self._answer(self._client.nthreads) if self._client.status == "running" else None
            why = ""
        except Exception as error:  # whatever a client raises whose scheduler does not answer, the scheduler is lost
            present, why = None, f", {error}" if isinstance(error, TimeoutError) and self._stuck else ""
        if present is None:
            raise ConnectionError(
                f"the dask scheduler at {self._address} was lost{why}: what is stored is kept, and the same command "
                "goes on once a scheduler and workers are there again"
            )
        for worker in (self._known | self._silent) - present.keys():
            self._vanished += worker in self._silent
            self._forget(worker)
            yield Gone(worker, "its worker process is gone")
        for worker in present.keys() - self._known - self._silent:
            self._greet(worker)
            if present[worker] > 1:
                log.warning("worker %s has %d threads and uses one: start more workers", worker, present[worker])

    def _greet(self, worker: str) -> None:
        self._silent.add(worker)
        self._submit(worker, introduce, self._job)

    def _answer(self, ask: Callable[[], T]) -> T:
        """What the scheduler answers; where it does not, this is said, and after a while an error.

        Asked in a thread, since dask's own calls wait for ever for a scheduler that is stopped and keeps its port.

        Raises:
            TimeoutError: it did not answer.
            Exception: what the call raised.
        """
        answers: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

        def call() -> None:
            try:
                answers.put((ask(), None))
            except Exception as error:
                answers.put((None, error))

        threading.Thread(target=call, name="ask-scheduler", daemon=True).start()
        try:
            try:
                answer, error = answers.get(timeout=ANSWER_QUIET)
            except queue.Empty:
                log.warning("the dask scheduler at %s does not answer: waiting for it", self._address)
                self._stuck = True
                answer, error = answers.get(timeout=ANSWER_LIMIT - ANSWER_QUIET)
                self._stuck = False
        except queue.Empty:
            raise TimeoutError(f"it did not answer for {ANSWER_LIMIT:g} s") from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]

    def _submit(self, worker: str, function: Callable[..., Any], *arguments: Any) -> None:
        self._count += 1
        future = self._client.submit(
            function,
            *arguments,
            key=f"{self._topic}-{self._count}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self._futures[worker] = future
        future.add_done_callback(lambda done: self._said.put((worker, done)))

    def _forget(self, worker: str) -> None:
        self._known.discard(worker)
        self._silent.discard(worker)
        future = self._futures.pop(worker, None)
        if future is not None and self._client.status == "running":
            with contextlib.suppress(Exception):
                self._client.cancel([future], force=True)

    def _on_start(self, event: tuple[float, str]) -> None:
        self._said.put((event[1], None))

    def _heard(self, worker: str, future: Future | None) -> Event | None:
        """What an answer means; None where it is no longer waited for."""
        if future is None:
            return Started(worker)
        if self._futures.get(worker) is not future:
            return None
        answer: Any
        try:
            answer = future.result(timeout=TIMEOUT)
        except Exception as error:
            answer = reason(error)
        del self._futures[worker]
        if isinstance(answer, Introduction):
            self._silent.discard(worker)
            self._known.add(worker)
            return Introduced(worker, answer)
        if isinstance(answer, Receipt | Fault):
            return Received(worker, answer)
        if worker in self._silent:
            self._silent.discard(worker)
            self._known.add(worker)
            return Introduced(worker, Introduction.impossible(str(answer)))
        self._forget(worker)
        return Gone(worker, str(answer))


def _attempt(packed: str, root: str | None, topic: str, worker: str) -> Receipt | Fault:
    """`attempt` on a worker, which says first that it begins: other drivers' batches may have been before this one."""
    from distributed import get_worker

    get_worker().log_event(topic, worker)
    return attempt(packed, root)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without dask's own messages."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(_LOGGERS)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
