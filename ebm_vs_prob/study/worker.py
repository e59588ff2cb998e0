"""One batch on a worker: its trials are trained, measured and written, and a receipt says what became of them."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..core.interrupts import is_users
from ..core.memory import Memory, remembering
from ..core.options import from_table
from ..core.registry import METHODS, TASKS
from ..core.streams import printed_aside
from .batches import Batch
from .data_files import know_files
from .failures import (
    is_broken_device,
    is_of_environment,
    is_out_of_memory,
    reason,
    reason_and_place,
    traceback_text,
)
from .grid import Trial
from .keys import canonical
from .measurement import measured, reproducible
from .plugins import import_plugins
from .records import Outcome, entry
from .shards import Entry, pack_shard
from .store import Store

if TYPE_CHECKING:
    from ..tasks.base import Task

#: Threads and determinism are those of the process, so that batches of two drivers in one dask worker take turns.
_ONE_AT_A_TIME = threading.Lock()
#: Of the batches of this process: arms of a study are trained on the same pairs and held against the same truth.
MEMORY = Memory()


@dataclass
class Receipt:
    """What a worker says of a batch: counts of trials, seconds, and what the driver has to keep.

    `stopped` maps trials that the environment stopped to the reason; `incidents` are what went wrong and was mended;
    `shard` are the records of a worker that does not see the store.
    """

    written: int = 0
    kept: int = 0
    failed: int = 0
    seconds: float = 0.0
    stopped: dict[str, str] = field(default_factory=dict)
    incidents: list[str] = field(default_factory=list)
    shard: bytes = b""


@dataclass(frozen=True)
class Fault:
    """What kept a worker from doing a batch.

    `kind` is `store` where that cannot be written, `broken` where another worker may do better, `code` where none is.
    """

    kind: Literal["store", "broken", "code"]
    text: str


class BrokenWorker(RuntimeError):
    """This process can do no more batches; another may do this one."""


class StoreFault(OSError):
    """The store cannot be read or written."""


def pack(batch: Batch, plugins: Sequence[str], folder: str | None, files: Mapping[str, str] | None = None) -> str:
    """A batch as the JSON text that is sent to a worker."""
    return json.dumps(
        {
            "trials": [trial.specification for trial in batch.trials],
            "device": batch.device,
            "compile": batch.compile,
            "multiply_adds": batch.multiply_adds,
            "first_seed": batch.first_seed,
            "plugins": list(plugins),
            "folder": folder,
            "files": dict(files or {}),
        }
    )


def run_batch(packed: str, root: str | None, interruptible: bool = False) -> Receipt:
    """Train and measure the trials of a batch that the store lacks, and write their records all at once.

    A batch that raises, or has a result that no record can hold, is halved until the trial at fault is alone. What the
    trial did itself is recorded as its failure; of what it was done by the environment there is no record, and the
    receipt names it. What is printed goes to stderr.

    Args:
        packed: of `pack`.
        root: the store's folder; None where this machine does not see it, and then the receipt carries the records.
        interruptible: a `KeyboardInterrupt` is the user's, and not raised by a trial.

    Raises:
        RuntimeError, LookupError, ValueError: the worker's tasks or methods are not those that were planned.
        StoreFault: the store cannot be written.
        BrokenWorker: the device of this process is lost.
    """
    whole = json.loads(packed)
    receipt = Receipt()
    with _ONE_AT_A_TIME, printed_aside():
        import_plugins(whole["plugins"], "the worker", whole["folder"])
        know_files(whole["files"], whole["folder"])
        trials = [Trial.of(specification) for specification in whole["trials"]]
        tasks = {trial.key: trial_task(trial) for trial in trials}
        with _store_faults():
            store = None if root is None else Store(root)
            kept = set() if store is None else store.sound(tasks)
        receipt.kept = len(kept)
        missing = [trial for trial in trials if trial.key not in kept]
        if not missing:
            return receipt
        batch = Batch.of(missing, whole["device"], whole["compile"], whole["multiply_adds"], whole["first_seed"])
        started = time.perf_counter()
        with reproducible(batch.device), remembering(MEMORY):
            outcomes = list(_outcomes(batch, tasks, receipt, interruptible))
        entries = [each for _, each in outcomes]
        if entries and store is None:
            receipt.shard = pack_shard(entries)
        elif entries and store is not None:
            with _store_faults():
                store.write(entries)
        receipt.written = len(entries)
        receipt.failed = sum(outcome.status == "failed" for outcome, _ in outcomes)
        receipt.seconds = time.perf_counter() - started
    return receipt


def attempt(packed: str, root: str | None) -> Receipt | Fault:
    """`run_batch`, whose errors another process can be told of."""
    try:
        return run_batch(packed, root)
    except StoreFault as error:
        return Fault("store", str(error))
    except BrokenWorker as error:
        return Fault("broken", str(error))
    except Exception as error:
        return Fault("broken" if is_of_environment(error) else "code", reason_and_place(error))


@contextmanager
def _store_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFault(f"the store cannot be used: {reason(error)}") from error


def _outcomes(
    batch: Batch, tasks: Mapping[str, Task], receipt: Receipt, interruptible: bool
) -> Iterator[tuple[Outcome, Entry]]:
    """Outcomes of the trials of a batch and what is kept of each, which for all of them can be kept.

    Those that were stopped from outside the receipt gets. A batch whose trials fail together is tried in halves; that
    none of them fails alone is a fault of the package or of a plugin, and costs time: the receipt says so.
    """
    started = time.perf_counter()
    try:
        outcomes = measured(batch, [tasks[trial.key] for trial in batch.trials])
        found = [(outcome, entry(outcome, batch.device)) for outcome in outcomes]
    except BaseException as error:  # a trial that ends the process, `sys.exit` say, ends only itself
        if interruptible and is_users(error):
            raise
        if is_broken_device(error):
            raise BrokenWorker(reason_and_place(error)) from None
        out_of_memory, of_environment = is_out_of_memory(error), is_of_environment(error)
        why, traceback = reason_and_place(error), traceback_text(error)
    else:
        yield from found
        return
    MEMORY.forget()
    gc.collect()  # out of the handler, whose traceback held what the batch had allocated
    first, *others = batch.trials
    if others:
        if out_of_memory:
            receipt.incidents.append(f"{len(batch.trials)} trials together ran out of memory and were halved: {why}")
        told, alone = len(receipt.incidents) + len(receipt.stopped), True
        for half in batch.halves():
            for outcome, kept in _outcomes(half, tasks, receipt, interruptible):
                alone = alone and outcome.status != "failed"
                yield outcome, kept
        if alone and not out_of_memory and len(receipt.incidents) + len(receipt.stopped) == told:
            receipt.incidents.append(f"{len(batch.trials)} trials failed together and not apart: {why}")
    elif of_environment:
        receipt.stopped[first.key] = why
    else:
        seconds = {"total": time.perf_counter() - started}
        failure = Outcome(first, batch.key, "failed", reason=why, traceback=traceback, seconds=seconds)
        yield failure, entry(failure, batch.device)


def trial_task(trial: Trial) -> Task:
    """The task of a trial, after making sure that task and method are those that were planned."""
    method = METHODS.get(trial.specification["method"]["name"])
    if method.version != trial.specification["method"]["version"]:
        raise RuntimeError(f"this worker has {method.name} version {method.version}: update the package there")
    specification = trial.specification["task"]
    kind = TASKS.get(specification["name"])
    task: Task = kind(**from_table(kind.Options, specification["options"], specification["name"]).model_dump())
    if canonical(task.specification()) != specification:
        raise RuntimeError(f"this worker's {task!r} differs from the planned {specification}: update the package there")
    return task
