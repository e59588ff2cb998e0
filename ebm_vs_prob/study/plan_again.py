"""What a run takes from the plan of an earlier one in the same store."""

from __future__ import annotations

from pydantic import ValidationError

from ..core.errors import UnknownName
from .data_files import digest_of_runs
from .documents import DamagedRecord, StoredPlan
from .provenance import package_digest
from .schema import Study
from .step_times import StepTimes
from .store import Store


def plan_again(store: Store, study: Study, scale: str) -> StoredPlan | None:
    """The stored plan of a study at a scale, whole; None where there is none, or another would be made now."""
    plan = _stored(store, study, scale)
    return plan if plan is not None and plan["package"] == package_digest() else None


def step_times_of(store: Store, study: Study, scale: str, device: str) -> StepTimes | None:
    """The constants by which it was decided what is compiled, so that a run that is continued, here or on another
    machine, decides the same; None where there is no plan for this device of what would be run now."""
    plan = _stored(store, study, scale)
    try:
        if plan is None or (device in ("cpu", "cuda") and plan["device"] != device):
            return None
        return StepTimes.model_validate(plan.get("step_times"))
    except ValidationError:
        return None


def _stored(store: Store, study: Study, scale: str) -> StoredPlan | None:
    try:
        plan = store.plan(study.name, scale)
    except (UnknownName, DamagedRecord):
        return None
    return plan if plan["runs"] == digest_of_runs(study, scale) else None
