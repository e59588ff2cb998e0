"""Where batches run: in this process, on local worker processes, or on a dask cluster, behind one protocol.

Settings of dask and why: `allowed-failures` 1, so that a batch that kills two workers is given up and halved;
`lost-worker-timeout` 1 h and `no-workers-timeout` 30 s, because with dask's own values a run hung when several workers
died together; `worker-saturation` 1, so that a worker holds one batch and a death costs no other. A `dask` scheduler
that is started elsewhere takes these from its own configuration.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..core.errors import invalid, unknown
from .files import scheduler_address
from .plan import Batch
from .worker import pack, run_batch

if TYPE_CHECKING:
    from distributed import Client, Future

ENGINES = ("local", "serial", "dask")
DASK_SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "1h",
    "distributed.scheduler.no-workers-timeout": "30s",
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-saturation": 1.0,
    # dask's own setting trims the heap after every large tensor, and page faults then take half of a worker's time.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
#: Imported once by the process from which local workers are forked.
PRELOAD = [
    "ebm_vs_prob.study.worker",
    "ebm_vs_prob.training.fitting",
    "ebm_vs_prob.metrics.landscapes",
    "distributed",
    "torch._dynamo",
    "pyro",
    "arviz",
    "h5netcdf",
]

log = logging.getLogger("ebm_vs_prob.study")


@dataclass(frozen=True)
class Finished:
    """A batch that came back with a receipt, or did not: then `failure` says what stopped its worker."""

    batch: Batch
    receipt: dict[str, Any] | None
    failure: str = ""


class Engine(Protocol):
    """Runs batches. `submit` may be called while `finished` is iterated; it ends when nothing is under way."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def submit(self, batch: Batch) -> None: ...

    def finished(self) -> Iterator[Finished]: ...


@dataclass(frozen=True)
class Job:
    """What every batch of a run has in common."""

    root: str
    plugins: tuple[str, ...]
    folder: str | None
    time_limit: float


class SerialEngine:
    """In this process, one after another. A batch that kills the process ends the run; no time limit is held."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._queue: deque[Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._queue.clear()

    def submit(self, batch: Batch) -> None:
        self._queue.append(batch)

    def finished(self) -> Iterator[Finished]:
        while self._queue:
            batch = self._queue.popleft()
            yield Finished(batch, run_batch(pack(batch, self.job.plugins, self.job.folder), self.job.root))


class DaskEngine:
    """On the workers of a dask scheduler, given by address; they need this package and the store.

    Raises:
        ConnectionError: no scheduler answers.
    """

    poll = 1.0  # seconds between two looks at how long batches have taken

    def __init__(self, job: Job, scheduler: str = "") -> None:
        self.job = job
        self.scheduler = scheduler
        self._stack = ExitStack()
        self._under_way: dict[Future, Batch] = {}
        self._since: dict[Any, float] = {}
        self._submitted = 0

    def __enter__(self) -> Self:
        import dask
        import distributed  # noqa: F401  its defaults must be there first, or leaving the settings would remove them

        with ExitStack() as stack:
            stack.callback(random.setstate, random.getstate())  # dask draws its jitter from the global generator
            stack.enter_context(dask.config.set(DASK_SETTINGS))
            self.client = stack.enter_context(self._connect(stack))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._under_way.clear()
        self._stack.close()

    def _connect(self, stack: ExitStack) -> Client:
        from distributed import Client

        try:
            return Client(self.scheduler, timeout=30)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectionError(f"no dask scheduler answers at {self.scheduler!r}: {error}") from None

    def submit(self, batch: Batch) -> None:
        self._submitted += 1
        key = f"batch-{batch.key}-{self._submitted}"
        future = self.client.submit(
            run_batch,
            pack(batch, self.job.plugins, self.job.folder),
            self.job.root,
            key=key,
            pure=False,
            priority=-self._submitted,
        )
        self._under_way[future] = batch

    def finished(self) -> Iterator[Finished]:
        from distributed import wait

        while self._under_way:
            done = [future for future in self._under_way if future.done()]
            for future in done:
                yield self._outcome(future, self._under_way.pop(future))
            if not done:
                try:
                    wait(list(self._under_way), timeout=self.poll, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    yield from self._stop_overdue()

    def _outcome(self, future: Future, batch: Batch) -> Finished:
        from distributed import KilledWorker

        self._since.pop(future.key, None)
        if future.status == "finished":
            return Finished(batch, future.result())
        if future.status != "error":
            raise RuntimeError(f"the dask scheduler lost batch {batch.key[:12]} ({future.status}): run again to go on")
        error = future.exception()
        if isinstance(error, KilledWorker):
            return Finished(batch, None, "its worker process died, twice")
        raise error

    def _stop_overdue(self) -> Iterator[Finished]:
        """Cancel batches over the time limit and restart their workers."""
        now = time.monotonic()
        workers = {key: worker for worker, keys in self.client.processing().items() for key in keys}
        self._since = {key: self._since.get(key, now) for key in workers}
        for future, batch in list(self._under_way.items()):
            if now - self._since.get(future.key, now) <= self.job.time_limit or future.done():
                continue
            del self._under_way[future]
            self.client.cancel([future], force=True)
            try:
                self.client.restart_workers([workers[future.key]], timeout=60)
            except (ValueError, KeyError, TimeoutError) as error:
                log.warning("worker %s could not be restarted: %s", workers[future.key], error)
            self._since.pop(future.key, None)
            yield Finished(batch, None, f"it took longer than the time limit of {self.job.time_limit:g} s")


class LocalEngine(DaskEngine):
    """Worker processes of this machine, one thread each, one a core unless `workers` says otherwise.

    Workers are forked from a process that has imported the package once (started afresh where forking is not safe), so
    that a start, and a restart after a death, takes no time.
    """

    def __init__(self, job: Job, workers: int | None = None) -> None:
        super().__init__(job)
        self.workers = workers or available_cores()

    def _connect(self, stack: ExitStack) -> Client:
        import dask
        from distributed import Client, LocalCluster
        from distributed.utils import get_mp_context

        if sys.platform.startswith("linux"):
            stack.enter_context(dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}))
            get_mp_context()  # sets dask's own list of preloaded modules, which ours then replaces
            multiprocessing.set_forkserver_preload(PRELOAD)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ebm-vs-prob-", ignore_cleanup_errors=True))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                local_directory=folder,
                silence_logs=logging.ERROR,
            )
        )
        return Client(cluster)


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_engine(name: str, job: Job, workers: int | None, scheduler: str | None) -> Engine:
    """The engine of that name.

    Raises:
        UnknownName: no such engine.
        ValueError: a worker count or a scheduler that does not go with it.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise invalid("workers", workers, "an integer >= 1")
    if workers is not None and name != "local":
        raise invalid("workers", workers, f"none with engine {name!r}: only 'local' starts workers")
    if (scheduler is None) == (name == "dask"):
        raise invalid("scheduler", scheduler, "an address or a scheduler file with engine 'dask', none with another")
    if scheduler is not None and ":" not in scheduler and not Path(scheduler).is_file():
        raise invalid("scheduler", scheduler, "an address such as tcp://host:8786, or a scheduler file that exists")
    if scheduler is not None and Path(scheduler).is_file():
        scheduler = scheduler_address(scheduler)
    if name == "serial":
        return SerialEngine(job)
    return LocalEngine(job, workers) if name == "local" else DaskEngine(job, scheduler or "")


__all__ = ["ENGINES", "DaskEngine", "Engine", "Finished", "Job", "LocalEngine", "SerialEngine", "make_engine"]
