"""A trial's model, from its record: trained again, since a trial is a pure function of its specification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UnknownName, invalid
from ..core.options import from_table
from ..core.registry import METHODS, TASKS
from .archives import opened_store
from .data_files import digests_of, know_files
from .files import load_study
from .grid import Trial
from .measurement import train_trials
from .own_energies import brought_by
from .plugins import import_plugins
from .provenance import code_digest
from .recognition import check_recognised
from .schema import Study

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task
    from .documents import Record


def open_model(study: str | Path | Study, trial: str, store: str | Path = "results", device: str = "cpu") -> Model:
    """The model of one trial of a study, trained again by itself from the specification in its record.

    A store keeps what was measured and not the parameters. The trial is trained alone, on one thread, and compiled if
    it was. By the code that made the record, on a CPU and not compiled, it is the model that was measured, bit for bit.
    The energies of the model are held against those in the record, and alone decide where other code made it.

    Args:
        study: the study the trial belongs to, whose plugins and own energies are imported.
        trial: its key, column `trial` of `load_results`.
        store: folder of the results, or the `records.zip` beside a report.
        device: where to train.

    Raises:
        UnknownName: the store holds no such trial.
        ValueError: the trial failed, its task or method is of another version, the training ended elsewhere than the
            record's, or other code made the record and there are no energies to know the model by.
    """
    chosen = study if isinstance(study, Study) else load_study(study)
    import_plugins(chosen.imports, chosen.where, chosen.folder)
    know_files(digests_of(chosen), chosen.folder)
    with opened_store(store) as kept:
        record = kept.read(trial)
    if record is None:
        raise UnknownName(
            f"unknown trial {trial!r} in the store {str(store)!r}: trials are named whole in the column 'trial' of "
            "load_results and of `ebm-vs-prob status`, and `store` says where they are"
        )
    if record["status"] != "done":
        raise invalid("trial", trial, f"one that is done; this one {record['status']}: {record['reason']}")
    found = Trial.of(record["specification"])
    task = recorded_task(found.specification)
    model = train_trials([found], [task], device, bool(record["provenance"].get("compiled")))
    check_recognised(trial, record["energies"], model, [task], _other_code(record))
    return model


def recorded_task(specification: Mapping[str, Any]) -> Task:
    """The task of a record's specification; options that the record's code did not have are the defaults.

    Raises:
        UnknownName: a task, a method or an option of the task that is not known.
        ValueError: the code at hand has another version of the task or the method, which says that it makes other data
            or another model of the same options.
    """
    told = specification["task"]
    method, kind = METHODS.get(specification["method"]["name"]), TASKS.get(told["name"])
    for entry, version in ((method, specification["method"]["version"]), (kind, told["version"])):
        if entry.version != version:
            raise invalid(f"version of {entry.name}", version, f"{entry.version}, which the code at hand has")
    task: Task = kind(**from_table(kind.Options, told["options"], told["name"]).model_dump())
    return task


def _other_code(record: Record) -> str:
    """Which code at hand is other than what made the record, with both digests; "" where none is."""
    made = {"ebm_vs_prob": record["code_digest"], **record["plugins"]}
    here = {"ebm_vs_prob": code_digest(), **brought_by(record["specification"])}
    return ", ".join(
        f"the code of {name} is {here.get(name, 'not there')} and was {made.get(name, 'not there')}"
        for name in dict.fromkeys([*made, *here])
        if here.get(name) != made.get(name)
    )
