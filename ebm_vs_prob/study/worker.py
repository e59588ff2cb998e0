"""One batch on a worker: fit, evaluate, write. The worker writes its own records; the driver gets a receipt."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.registry import METHODS, TASKS
from .grid import Trial
from .keys import canonical
from .plan import Batch
from .plugins import import_plugins
from .provenance import is_own_source
from .recognition import energies
from .records import Outcome, write
from .schema import from_table
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

    from ..metrics.observation import Observation
    from ..models.model import Model
    from ..tasks.base import Task


def pack(batch: Batch, plugins: Sequence[str], folder: str | None) -> str:
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
        }
    )


def run_batch(packed: str, root: str) -> dict[str, Any]:
    """Train and measure the trials of a batch that the store lacks, write their records, and return a receipt.

    A trial that raises fails alone: the batch is halved until it is found. Records that are already there, as when dask
    runs a batch again whose receipt was lost, are left as they are.

    Raises:
        RuntimeError, LookupError, ValueError: the worker's tasks or methods are not those that were planned.
        OSError: the store cannot be written.
    """
    whole = json.loads(packed)
    import_plugins(whole["plugins"], "the worker", whole["folder"])
    trials = [Trial.of(specification) for specification in whole["trials"]]
    tasks = {trial.key: trial_task(trial) for trial in trials}
    store = Store(root)
    sound = store.sound(tasks)
    missing = [trial for trial in trials if trial.key not in sound]
    receipt: dict[str, Any] = {"written": 0, "kept": len(trials) - len(missing), "failed": 0, "seconds": 0.0}
    if not missing:
        return receipt
    batch = Batch.of(missing, whole["device"], whole["compile"], whole["multiply_adds"], whole["first_seed"])
    started = time.perf_counter()
    with _reproducible(batch.device):
        for outcomes in _outcomes(batch, tasks):
            written = write(store, outcomes, batch.device)
            receipt["failed"] += sum(outcome.status == "failed" for outcome in outcomes)
            receipt["written"] += written
            receipt["kept"] += len(outcomes) - written
    return {**receipt, "seconds": time.perf_counter() - started}


def _outcomes(batch: Batch, tasks: Mapping[str, Task]) -> Iterator[list[Outcome]]:
    """Outcomes of a batch together; one that raises is halved until the trial at fault is alone."""
    started = time.perf_counter()
    try:
        outcomes = _measured(batch, [tasks[trial.key] for trial in batch.trials])
    except Exception as error:
        if len(batch.trials) > 1:
            for half in batch.halves():
                yield from _outcomes(half, tasks)
            return
        outcomes = [
            Outcome(
                batch.trials[0],
                batch.key,
                "failed",
                reason=f"{type(error).__name__}: {' '.join(str(error).split())} ({_line_at_fault(error)})",
                traceback=traceback.format_exc(),
                seconds={"total": time.perf_counter() - started},
            )
        ]
    yield outcomes


def _line_at_fault(error: BaseException) -> str:
    """File and line of the innermost frame of the package or a plugin, else of the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own_source(frame.filename)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"


def train_trials(trials: Sequence[Trial], tasks: Sequence[Task], device: str) -> Model:
    """The model of trials that may be trained together, as a worker trains it."""
    with _reproducible(device):
        return _fit(trials, tasks, device, compile=False)


def _fit(trials: Sequence[Trial], tasks: Sequence[Task], device: str, compile: bool) -> Model:
    import torch

    from ..energies.mlp import Network
    from ..training.fitting import fit

    first = trials[0].specification
    return fit(
        METHODS.get(first["method"]["name"]),
        list(tasks),
        seeds=[trial.seed for trial in trials],
        network=from_table(Network, first["network"], "network"),
        budget=from_table(Budget, first["budget"], "budget"),
        dtype=getattr(torch, first["dtype"]),
        device=device,
        compile=compile,
        **_options(trials),
    )


def _measured(batch: Batch, tasks: list[Task]) -> list[Outcome]:
    from ..metrics import Evaluation, evaluate
    from ..metrics.observation import Observation

    trials = batch.trials
    first = trials[0].specification
    evaluation = from_table(Evaluation, first["evaluation"], "evaluation")
    clock = _Clock()
    model = _fit(trials, tasks, batch.device, batch.compile)
    clock.stop("fit")
    observed = Observation(model, tasks, evaluation)
    notes: dict[str, str] = {}
    table: pd.DataFrame | None = None
    if any(status.ok for status in model.status):
        table = evaluate(model, tasks, evaluation, observed)
        notes = dict(table.attrs.get("notes", {}))
    clock.stop("evaluate")
    files = _files(observed, batch, notes)
    clock.stop("arrays")
    found = energies(model, tasks)
    return [_outcome(batch, r, model, table, notes, clock.seconds, files, found) for r in range(len(trials))]


def _outcome(
    batch: Batch,
    r: int,
    model: Model,
    table: pd.DataFrame | None,
    notes: dict[str, str],
    seconds: dict[str, float],
    files: Sequence[dict[str, bytes]],
    found: Sequence[list[float | None]],
) -> Outcome:
    trial, status = batch.trials[r], model.status[r]
    steps = model.cost[r].steps
    if not status.ok or table is None:
        reason = f"training: step {status.step}: {status.reason}"
        return Outcome(trial, batch.key, "failed", reason=reason, steps=steps, seconds=seconds)
    rows = table[table["replicate"] == r]
    if rows.empty:
        raise RuntimeError(f"evaluation gave no row for replicate {r}")
    metrics = [
        {
            "metric": str(row.metric),
            "value": _number(row.value),
            "error": _number(row.error),
            "unit": str(row.unit),
            "n": int(str(row.n)),
        }
        for row in rows.itertuples(index=False)
    ]
    return Outcome(
        trial,
        batch.key,
        "done",
        steps=steps,
        metrics=metrics,
        energies=found[r],
        notes=notes,
        seconds=seconds,
        files=files[r],
    )


def _files(observed: Observation, batch: Batch, notes: dict[str, str]) -> list[dict[str, bytes]]:
    """Arrays and netCDF of the first seed, as bytes; what cannot be had is noted and costs no trial its metrics."""
    trials = batch.trials
    files: list[dict[str, bytes]] = [{} for _ in trials]
    model, tasks = observed.model, observed.tasks
    first = [r for r, trial in enumerate(trials) if trial.seed == batch.first_seed and model.status[r].ok]
    if not first:
        return files
    import numpy as np
    from safetensors.numpy import save

    from ..comparison.containers import to_netcdf
    from ..metrics.landscapes import landscapes
    from ..models.capabilities import HasChains

    try:
        arrays = landscapes(model, list(tasks), observed.evaluation, observed)
        trace = model.posterior_trace() if isinstance(model, HasChains) else None
        for r in first:
            contiguous = {name: np.ascontiguousarray(value) for name, value in arrays[r].items()}
            attributes = {"trial": trials[r].key, "method": model.method.name, "task": tasks[r].name}
            loss = model.training.loss[r].detach().cpu().numpy()
            followed = None if trace is None else trace[r].cpu().numpy()
            files[r] = {"arrays": save(contiguous), "inference_data": to_netcdf(contiguous, loss, attributes, followed)}
    except Exception as error:
        notes["arrays"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return [{} for _ in trials]
    return files


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


def _options(trials: Sequence[Trial]) -> dict[str, Any]:
    """Keyword arguments of `fit`: shared options once, per-replicate options as lists."""
    method = METHODS.get(trials[0].specification["method"]["name"])
    rows = [from_table(method.Options, trial.specification["method"]["options"], method.name) for trial in trials]
    varying = method.Options.per_replicate_fields()
    return {
        name: [getattr(row, name) for row in rows] if name in varying else getattr(rows[0], name)
        for name in method.Options.model_fields
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number


class _Clock:
    """Seconds of consecutive parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._last = now


@contextmanager
def _reproducible(device: str) -> Iterator[None]:
    """One thread and deterministic algorithms, put back afterwards.

    On a GPU an operation without a deterministic form warns instead of failing; on a CPU it fails.
    """
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()

    if device != "cpu":
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # cuBLAS is deterministic only with a fixed workspace
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
