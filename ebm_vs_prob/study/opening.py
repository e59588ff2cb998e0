"""A trial's model, from its record: trained again, since a trial is a pure function of its specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UnknownName, invalid
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
from .worker import trial_task

if TYPE_CHECKING:
    from ..models.model import Model


def open_model(study: str | Path | Study, trial: str, store: str | Path = "results", device: str = "cpu") -> Model:
    """The model of one trial of a study, trained again by itself from the specification in its record.

    A store keeps what was measured and not the parameters. The trial is trained alone, on one thread, and compiled if
    it was. On a CPU and not compiled it is the model that was measured, bit for bit.
    The energies of the model are held against those in the record.

    Args:
        study: the study the trial belongs to, whose plugins and own energies are imported.
        trial: its key, column `trial` of `load_results`.
        store: folder of the results, or the `records.zip` beside a report.
        device: where to train.

    Raises:
        UnknownName: the store holds no such trial.
        ValueError: the trial failed, its record was made by other code than the one at hand, or the training ended
            elsewhere than the record's.
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
    task = trial_task(found)
    if (record["code_digest"], record["plugins"]) != (code_digest(), brought_by(found.specification)):
        raise invalid("trial", trial, "one that the code at hand made: it would train another model")
    model = train_trials([found], [task], device, bool(record["provenance"].get("compiled")))
    check_recognised(trial, record["energies"], model, [task])
    return model
