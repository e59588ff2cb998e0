"""Where batches run: in this process, on worker processes of this machine, or on a dask cluster."""

from __future__ import annotations

import os
from pathlib import Path

from ...core.errors import check_count, invalid, unknown
from ..files import scheduler_address
from .dispatch import Dispatcher, Pool
from .introductions import Introduction, Job, introduce, token_in

ENGINES = ("local", "serial", "dask")


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_engine(name: str, workers: int | None, scheduler: str | None) -> None:
    """Check an engine and what goes with it.

    Raises:
        UnknownName: no such engine.
        ValueError: a worker count or a scheduler that does not go with it.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if workers is not None:
        check_count("workers", workers)
        if name != "local":
            raise invalid("workers", workers, f"none with engine {name!r}: only 'local' starts workers")
    if (scheduler is None) == (name == "dask"):
        raise invalid("scheduler", scheduler, "an address or a scheduler file with engine 'dask', none with another")
    if scheduler is None:
        return
    if Path(scheduler).is_file():
        scheduler_address(scheduler)
    elif ":" not in scheduler:
        raise invalid("scheduler", scheduler, "an address such as tcp://host:8786, or a scheduler file that exists")


def make_pool(name: str, job: Job, workers: int | None, scheduler: str | None, batches: int) -> Pool:
    """The workers of a checked engine, no more of them than there are batches."""
    if name == "serial":
        from .serial import SerialPool

        return SerialPool(job)
    if name == "dask":
        from .dask import DaskPool

        return DaskPool(job, scheduler or "")
    from .local import LocalPool

    return LocalPool(job, min(workers or available_cores(), batches))


__all__ = ["ENGINES", "Dispatcher", "Introduction", "Job", "check_engine", "introduce", "make_pool", "token_in"]
