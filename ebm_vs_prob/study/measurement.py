"""The numbers of a batch: fit, evaluate, pictures. What this file does decides results; it writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.options import from_table
from ..core.registry import METHODS
from .batches import Batch
from .failures import is_of_environment, reason
from .grid import Trial
from .own_energies import energy_of
from .recognition import energies
from .records import Outcome

if TYPE_CHECKING:
    import pandas as pd

    from ..metrics.observation import Observation
    from ..models.model import Model
    from ..tasks.base import Task


def train_trials(trials: Sequence[Trial], tasks: Sequence[Task], device: str, compiled: bool) -> Model:
    """The model of trials that may be trained together, as a worker trains it."""
    with reproducible(device):
        return _fit(trials, tasks, device, compile=compiled)


def _fit(trials: Sequence[Trial], tasks: Sequence[Task], device: str, compile: bool) -> Model:
    import torch

    from ..energies.mlp import Network
    from ..training.fitting import fit

    first = trials[0].specification
    network = first["network"]
    own = energy_of(network) if isinstance(network, str) else None
    return fit(
        METHODS.get(first["method"]["name"]),
        list(tasks),
        seeds=[trial.seed for trial in trials],
        energy=own,
        network=None if own else from_table(Network, network, "network"),
        budget=from_table(Budget, first["budget"], "budget"),
        dtype=getattr(torch, first["dtype"]),
        device=device,
        compile=compile,
        **_options(trials),
    )


def measured(batch: Batch, tasks: Sequence[Task]) -> list[Outcome]:
    """What becomes of each trial of a batch that is trained together, within `reproducible`.

    Raises:
        Exception: whatever the task, the method or the machine raises.
    """
    from ..metrics import Evaluation, evaluate
    from ..metrics.observation import Observation

    trials = batch.trials
    first = trials[0].specification
    evaluation = from_table(Evaluation, first["evaluation"], "evaluation")
    clock = _Clock()
    model = _fit(trials, tasks, batch.device, batch.compile)
    clock.stop("fit")
    observed = Observation(model, list(tasks), evaluation)
    notes: dict[str, str] = {}
    table: pd.DataFrame | None = None
    if any(status.ok for status in model.status):
        table = evaluate(model, list(tasks), evaluation, observed)
        notes = dict(table.attrs.get("notes", {}))
    found = energies(model, list(tasks))
    clock.stop("evaluate")
    files = _files(observed, batch, notes)
    clock.stop("arrays")
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
        compiled = model.training.compiled
        return Outcome(trial, batch.key, "failed", reason=reason, steps=steps, compiled=compiled, seconds=seconds)
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
        compiled=model.training.compiled,
        metrics=metrics,
        energies=found[r],
        notes=notes,
        seconds=seconds,
        files=files[r],
    )


def _files(observed: Observation, batch: Batch, notes: dict[str, str]) -> list[dict[str, bytes]]:
    """Arrays and netCDF of the first seed, as bytes; what a model cannot give is noted and costs no metrics."""
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
    from ..models.alone import alone
    from ..models.capabilities import HasChains

    try:
        trace = model.posterior_trace() if isinstance(model, HasChains) else None
        for r in first:
            # Pictures are of few replicates, and a grid of energies costs as much for each of them.
            own = alone(model, r)
            if own is None:
                arrays = landscapes(model, list(tasks), observed.evaluation, observed)[r]
            else:
                (arrays,) = landscapes(own, tasks[r], observed.evaluation, observed.only(r, own))
            contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
            attributes = {"trial": trials[r].key, "method": model.method.name, "task": tasks[r].name}
            loss = model.training.loss[r].detach().cpu().numpy()
            followed = None if trace is None else trace[r].cpu().numpy()
            files[r] = {"arrays": save(contiguous), "inference_data": to_netcdf(contiguous, loss, attributes, followed)}
    except Exception as error:
        if is_of_environment(error):
            raise
        notes["arrays"] = reason(error)
        return [{} for _ in trials]
    return files


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
def reproducible(device: str) -> Iterator[None]:
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
