"""Batches in this process, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

from ..worker import MEMORY, run_batch
from .dispatch import Event, Introduced, Received
from .introductions import Job, introduce


class SerialPool:
    """This process as the one worker. A batch that kills it ends the run, and no time limit is held."""

    patience = math.inf

    def __init__(self, job: Job) -> None:
        self._job = job
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        self._events.append(Introduced("this process", introduce(self._job)))
        return self

    def __exit__(self, *error: object) -> None:
        self._events.clear()
        MEMORY.forget()

    def give(self, worker: str, packed: str, root: str | None) -> None:
        """Run a batch at once."""
        receipt = run_batch(packed, root, interruptible=True)
        self._events.append(Received(worker, receipt))

    def stop(self, worker: str) -> None:
        """Nothing: no other process is there that could be stopped."""

    def take_back(self, worker: str) -> None:
        """Nothing: a batch is begun when it is given."""

    def events(self, timeout: float) -> Iterator[Event]:
        """What happened since the last call."""
        happened, self._events = self._events, []
        yield from happened

    def refuse(self, worker: str, why: str) -> None:
        """End the run: there is no other worker.

        Raises:
            ConnectionError: always.
        """
        raise ConnectionError(f"this process cannot be used: {why}")

    def shortage(self) -> str:
        """Never asked: the one worker is there from the start."""
        return "no worker is there"
