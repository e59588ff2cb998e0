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
from .tuning import Choice, settled, with_values


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


def choices_of(store: Store, study: Study, scale: str) -> tuple[Choice, ...]:
    """What was chosen for the arms of a study that is tuned; none where there is no plan of what would be run now."""
    plan = _stored(store, study, scale)
    return () if plan is None else choices_in(plan)


def choices_in(plan: StoredPlan) -> tuple[Choice, ...]:
    """What a stored plan holds of the tuning of its study."""
    return tuple(map(Choice.of, plan.get("tuning", ())))


def is_of(plan: StoredPlan, study: Study, scale: str) -> bool:
    """Whether a stored plan is of what the study's file says now, be it tuned to whatever."""
    study = settled(study, scale)
    values = {choice.arm: choice.chosen for choice in choices_in(plan)}
    tuned = {arm.name for arm in study.arms}.issuperset(values) and (study.tuning is not None or not values)
    return tuned and plan["runs"] == digest_of_runs(with_values(study, values), scale)


def _stored(store: Store, study: Study, scale: str) -> StoredPlan | None:
    try:
        plan = store.plan(study.name, scale)
    except (UnknownName, DamagedRecord):
        return None
    return plan if is_of(plan, study, scale) else None
