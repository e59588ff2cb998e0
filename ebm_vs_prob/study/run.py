"""Run a study, read its results, see its state."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.seeding import random_module_restored
from .engines import Engine, Finished, Job, make_engine
from .files import load_study
from .keys import digest
from .plan import DEVICES, Batch, Plan, places, plan_study
from .plan_again import plan_again
from .provenance import mixture
from .records import Outcome, write
from .schema import Study
from .store import Store
from .table import finished_table, results_table, trial_states

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("ebm_vs_prob.study")


def run_study(
    study: str | Path | Study,
    scale: str = "quick",
    engine: str = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    store: str | Path = "results",
    progress: bool | None = None,
) -> pd.DataFrame:
    """Run the trials of a study that the store lacks, and return the table of all of them, failures included.

    Stopped at any moment, also by `kill -9`, the same call completes it with the same numbers: what is missing is
    trained, in whatever company. A trial that raises,
    takes too long or kills its worker is recorded as failed with the reason, and the others of its batch are redone.
    With engine `local` a script needs Python's `if __name__ == "__main__":`, as all that starts processes.

    Args:
        study: a name in `studies/`, the path of a TOML file, or a loaded study.
        scale: a scale of the file.
        engine: `local` (worker processes here), `serial` (this process) or `dask` (a cluster).
        workers: local worker processes; one a core by default.
        scheduler: with engine `dask`, the scheduler's address or its scheduler file.
        device: `auto`, `cpu` or `cuda`.
        store: folder of the results.
        progress: whether to show a bar on stderr; by default where it is a terminal.

    Returns:
        One row a place of the grid and metric, with columns `study.table.COLUMNS`; incidents in `attrs`.

    Raises:
        UnknownName: an unknown study, scale, engine, task, method or option.
        ValueError: a bad value, with file, field and what is valid.
        RuntimeError: another process is running the study in this store, or the cluster was lost.
    """
    kept = Store(store)
    loaded = study if isinstance(study, Study) else load_study(study)
    job = Job(
        root=str(kept.root.resolve()),
        plugins=loaded.plugins,
        folder=loaded.folder,
        time_limit=loaded.at(scale).time_limit,
    )
    chosen = make_engine(engine, job, workers, scheduler)
    earlier = plan_again(kept, loaded, scale) if device in DEVICES else None
    planned = None if earlier else plan_study(loaded, scale, device)
    with kept.lock(loaded.name, scale):
        kept.mend()
        frame = finished_table(kept, earlier) if earlier else None
        if frame is None:
            frame = _run_missing(chosen, kept, planned or plan_study(loaded, scale, device), progress)
    _report_mixture(frame)
    return frame


def _run_missing(engine: Engine, store: Store, planned: Plan, progress: bool | None) -> pd.DataFrame:
    name, scale = planned.study.name, planned.scale
    store.write_plan(planned.to_record())
    keys = {trial.key for trial in planned.trials}
    missing = keys - store.sound(keys)
    if missing:
        shown = sys.stderr.isatty() if progress is None else progress
        with _progress(f"{name} at {scale}", len(keys), shown) as advance:
            advance(len(keys) - len(missing))
            _run(engine, store, planned.batches_of(missing), advance)
        store.compact()
    return results_table(store, name, scale, keep=True)


def load_results(study: str | Path | Study, scale: str = "quick", store: str | Path = "results") -> pd.DataFrame:
    """The table of a study that was run, read from the records: the columns of `run_study`'s.

    Raises:
        UnknownName: an unknown study or scale, or a store that holds no run of it.
    """
    chosen = study if isinstance(study, Study) else load_study(study)
    chosen.at(scale)
    kept = Store(store)
    if kept.plan(chosen.name, scale)["runs"] != digest(chosen.runs(scale)):
        log.warning("%s has changed since it was run: these are the results of the earlier file", chosen.where)
    frame = results_table(kept, chosen.name, scale)
    _report_mixture(frame)
    return frame


def study_status(study: str | Path | Study, scale: str = "quick", store: str | Path = "results") -> pd.DataFrame:
    """The state of every place of a study's grid: trial, task, arm, thickness, seed, budget, status, reason.

    Raises:
        UnknownName: an unknown study or scale.
    """
    import pandas as pd

    chosen = study if isinstance(study, Study) else load_study(study)
    kept = Store(store)
    columns = ["trial", "task", "arm", "thickness", "seed", "budget", "status", "reason"]
    chosen.at(scale)
    planned = plan_again(kept, chosen, scale) or plan_study(chosen, scale, "cpu").to_record()
    states = trial_states(kept, planned)
    rows = [{**place, **states[place["trial"]]} for place in places(planned)]
    return pd.DataFrame(rows, columns=columns)


def _run(engine: Engine, store: Store, batches: Sequence[Batch], advance: Advance) -> None:
    with engine:
        for batch in batches:
            engine.submit(batch)
        for finished in engine.finished():
            if not finished.failure:
                advance(len(finished.batch.trials))
            elif len(finished.batch.trials) > 1:
                for half in finished.batch.halves():
                    engine.submit(half)
            else:
                _record_failure(store, finished)
                advance(1)


def _record_failure(store: Store, finished: Finished) -> None:
    """Record a trial that stopped its worker, which could not do so itself."""
    batch = finished.batch
    outcome = Outcome(batch.trials[0], batch.key, "failed", reason=f"the trial was stopped: {finished.failure}")
    write(store, [outcome], batch.device)


def _report_mixture(frame: pd.DataFrame) -> None:
    mixed = mixture(frame)
    if mixed:
        log.warning("these results were made by %s and get no verdict together: run in a new store", mixed)


class Advance(Protocol):
    """Tells the progress bar that trials are done."""

    def __call__(self, trials: int) -> None: ...


@contextmanager
def _progress(title: str, trials: int, shown: bool) -> Iterator[Advance]:
    if not shown:
        yield lambda trials: None
        return
    with random_module_restored():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("trials"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=trials)
        yield lambda trials: bar.advance(task, trials)
