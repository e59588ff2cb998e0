"""Run a study, read its results, see its state."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import streams
from .archives import opened_store
from .data_files import digests_of
from .engines import Dispatcher, Job, check_engine, introduce, make_pool, token_in
from .files import load_study
from .identifiers import keep_result_id
from .plan import DEVICES, Plan, places, plan_study
from .plan_again import choices_of, is_of, plan_again, step_times_of
from .plugins import import_plugins
from .progress import Advance
from .progress import progress as progressing
from .provenance import mixture, other_code, outdated
from .schema import Study
from .shards import FILES
from .shrinking import opened
from .step_times import TYPICAL
from .store import Store
from .table import code_of_trials, finished_table, results_table, trial_states
from .tuning import Choice, settled
from .tuning_rounds import tune

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("ebm_vs_prob.study")


def run_study(
    study: str | Path | Study,
    scale: str | None = None,
    engine: str = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    store: str | Path = "results",
    retry_failed: bool = False,
    retry_outdated: bool = False,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Run the trials of a study that the store lacks, and return the table of all of them, failures included.

    Stopped at any moment, also by `kill -9`, the same call completes it with the same numbers: what is missing is
    trained, in whatever company. A trial that raises or takes too long is recorded as failed with the reason, and the
    others of its batch are redone. A trial that was stopped from outside (its worker was killed, memory was out, a file
    system was lost) is failed too, but has no record: the next call tries it again.
    Where the study is tuned, the trials of its tuning come first, in plans of their own beside its own.
    With engine `local` a script needs Python's `if __name__ == "__main__":`, as all that starts processes. Workers of
    engine `dask` are refused, with a warning, where their code of the package or a plugin or their torch is not the
    driver's. They write into the store themselves; records of one that does not see its folder come to the driver.

    Args:
        study: a name in `studies/`, the path of a TOML file, or a loaded study.
        scale: a scale of the file; by default its `default_scale`, quick or the only one.
        engine: `local` (worker processes here), `serial` (this process) or `dask` (a cluster).
        workers: local worker processes; one a core by default.
        scheduler: with engine `dask`, the scheduler's address or its scheduler file.
        device: `auto`, `cpu` or `cuda`.
        store: folder of the results.
        retry_failed: whether to run again what failed by itself.
        retry_outdated: whether to run again what other code of the package or of a plugin made.
        progress: whether to show on stderr how far each arm is; by default where it is a terminal.

    Returns:
        One row a place of the grid and metric, with columns `study.table.COLUMNS`; incidents in `attrs`.

    Raises:
        UnknownName: an unknown study, scale, engine, task, method or option.
        ValueError: a bad value, with file, field and what is valid.
        RuntimeError: another process is running the study in this store, or trials of its tuning were stopped.
        ConnectionError: no workers can be had, or the cluster was lost. What is stored is kept.
        OSError: the store cannot be written.
    """
    check_engine(engine, workers, scheduler)
    kept = Store(store)
    given = study if isinstance(study, Study) else load_study(study)
    scale = scale or given.default_scale
    given.at(scale)
    loaded = settled(given, scale)
    way = _Way(kept, engine, workers, scheduler, device, retry_failed, retry_outdated, progress)
    frame = way.completed(loaded, scale, _tuned(way, loaded, scale))
    if not (frame["batch"] == "").any():
        keep_result_id(loaded, scale, kept)
    _report_code(frame, loaded)
    return frame


def _tuned(way: _Way, study: Study, scale: str) -> tuple[Choice, ...]:
    """What is chosen for the arms of a study: what was chosen before, as long as another plan would not be made now."""
    if study.tuning is None:
        return ()
    if plan_again(way.store, study, scale) is not None and not way.retries:
        return choices_of(way.store, study, scale)
    import_plugins(study.imports, study.where, study.folder)
    return tune(study, scale, way.completed)


@dataclass(frozen=True)
class _Way:
    """How trials are run, as `run_study` is told."""

    store: Store
    engine: str
    workers: int | None
    scheduler: str | None
    device: str
    retry_failed: bool
    retry_outdated: bool
    progress: bool | None

    @property
    def retries(self) -> bool:
        """Whether something that is done may be run again."""
        return self.retry_failed or self.retry_outdated

    def completed(self, study: Study, scale: str, tuning: Sequence[Choice] = ()) -> pd.DataFrame:
        """Run the trials of a study that the store lacks, and return the table of all of them."""
        kept, device = self.store, self.device
        earlier = plan_again(kept, study, scale) if device in DEVICES else None
        times = step_times_of(kept, study, scale, device)

        def plan() -> Plan:
            return plan_study(study, scale, device, elsewhere=self.engine == "dask", times=times, tuning=tuning)

        planned = None if earlier else plan()
        with kept.lock(study.name, scale):
            kept.mend()
            frame = finished_table(kept, earlier) if earlier and not self.retries else None
            if frame is not None:
                return frame
            planned = planned or plan()
            kept.write_plan(planned.to_record())
            keys = {trial.key for trial in planned.trials}
            again = _incomplete(kept, planned)
            again |= _failed(kept, keys) if self.retry_failed else set()
            again |= _outdated(kept, keys, study.folder) if self.retry_outdated else set()
            kept.forget(again)
            missing = keys - kept.sound(keys)
            if missing:
                shown = streams.is_terminal(sys.stderr) if self.progress is None else self.progress
                with progressing(f"{study.name} at {scale}", planned, missing, kept, shown) as advance, _mended(kept):
                    _run_missing(kept, planned, missing, self.engine, self.workers, self.scheduler, advance)
                kept.compact()
            return results_table(kept, study.name, scale, keep=True)


def _run_missing(
    store: Store,
    planned: Plan,
    missing: Collection[str],
    engine: str,
    workers: int | None,
    scheduler: str | None,
    advance: Advance,
) -> None:
    settings = planned.study.at(planned.scale)
    with token_in(store.study_folder(planned.study.name, planned.scale).resolve()) as (token, token_text):
        job = Job(
            root=str(store.root.resolve()),
            plugins=planned.study.imports,
            folder=planned.study.folder,
            device=planned.device,
            time_limit=settings.time_limit,
            token=token,
            token_text=token_text,
            files=digests_of(planned.study),
        )
        batches = planned.batches_of(missing)
        with make_pool(engine, job, workers, scheduler, len(batches)) as pool:
            Dispatcher(pool, store, job, introduce(job), advance).run(batches)


def _failed(store: Store, keys: Collection[str]) -> set[str]:
    return {key for key, record, _ in store.records(keys) if record is not None and record["status"] == "failed"}


def _outdated(store: Store, keys: Collection[str], folder: str | None) -> set[str]:
    return {key for key, record, _ in store.records(keys) if record is not None and other_code(record, folder)}


def _incomplete(store: Store, planned: Plan) -> set[str]:
    """Trials of the first seed that are done, lack their files, and do not say why."""
    first_seed = planned.study.at(planned.scale).first_seed
    first = {trial.key for trial in planned.trials if trial.seed == first_seed}
    lacking = {key for key in first if not store.kinds(key).issuperset(FILES)}
    return {
        key
        for key, record, _ in store.records(lacking)
        if record is not None and record["status"] == "done" and "arrays" not in record["notes"]
    }


@contextmanager
def _mended(store: Store) -> Iterator[None]:
    """Without what killed workers were writing, also when the run ends early."""
    try:
        yield
    finally:
        with suppress(OSError):  # of a store that cannot be written the run has told
            store.mend()


def load_results(study: str | Path | Study, scale: str | None = None, store: str | Path = "results") -> pd.DataFrame:
    """The table of a study that was run, read from the records: the columns of `run_study`'s.

    Args:
        study: a name in `studies/`, the path of a TOML file, or a loaded study.
        scale: a scale of the file, or that of a shrunk run; by default its `default_scale`, quick or the only one.
        store: folder of the results, or the `records.zip` beside a report.

    Raises:
        UnknownName: an unknown study or scale, or a store that holds no run of it.
    """
    chosen = study if isinstance(study, Study) else load_study(study)
    scale = scale or chosen.default_scale
    with opened_store(store) as kept:
        chosen = opened(chosen, scale, kept)
        if not is_of(kept.plan(chosen.name, scale, chosen.given), chosen, scale):
            log.warning("%s has changed since it was run: these are the results of the earlier file", chosen.where)
        frame = results_table(kept, chosen.name, scale)
    _report_code(frame, chosen, again=Path(store).is_dir())
    return frame


def study_status(study: str | Path | Study, scale: str | None = None, store: str | Path = "results") -> pd.DataFrame:
    """The state of every place of a study's grid: trial, task, arm, setting, seed, budget, status, reason.

    Without a `scale` it is that of the study's `default_scale`.

    Raises:
        UnknownName: an unknown study or scale.
    """
    import pandas as pd

    chosen = study if isinstance(study, Study) else load_study(study)
    kept = Store(store)
    columns = ["trial", "task", "arm", "setting", "seed", "budget", "status", "reason"]
    scale = scale or chosen.default_scale
    chosen = opened(chosen, scale, kept)
    planned: Mapping[str, Any] | None = plan_again(kept, chosen, scale)
    if planned is None:
        chosen_before = choices_of(kept, chosen, scale)
        planned = plan_study(chosen, scale, "cpu", times=TYPICAL, tuning=chosen_before).to_record()
    states = trial_states(kept, planned)
    _report_code(code_of_trials(kept, planned), chosen)
    rows = [{**place, **states[place["trial"]]} for place in places(planned)]
    return pd.DataFrame(rows, columns=columns)


def _report_code(frame: pd.DataFrame, study: Study, again: bool = True) -> None:
    """Warn where several versions of code made these results, or of what can be run `again` other code than this."""
    mixed = mixture(frame)
    if mixed:
        log.warning(
            "these results were made by %s and get no verdict together: run with --retry-outdated, or in a new store",
            mixed,
        )
        return
    others = outdated(frame, study.folder) if again else ""
    if others:
        log.warning("%s: run with --retry-outdated to train them again", others)
