"""What a run takes from the plan of an earlier one in the same store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from ..core.errors import UnknownName
from ..core.options import from_table
from .data_files import digest_of_runs, digests_of
from .documents import DamagedRecord, StoredPlan
from .keys import canonical
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


def changes(plan: StoredPlan, study: Study, scale: str) -> dict[str, tuple[Any, Any]]:
    """What decides the numbers of a run and is another in the study's file than it was: by field, then and now.

    Which ladders are climbed and which criteria are asked again elsewhere changes what is run, and no number of it.
    Of data files see `other_rows`.

    Raises:
        ValueError: the file in the plan is none of this version.
    """
    if is_of(plan, study, scale):
        return {}
    before = from_table(Study, plan["file"], f"the plan of {study.name}")
    values = {choice.arm: choice.chosen for choice in choices_in(plan)}
    now = settled(study, scale)
    now = with_values(now, values) if now.tuning is not None else now
    was, is_now = _of_numbers(before, scale), _of_numbers(now, scale)
    again = was["sensitivity"].keys() & is_now["sensitivity"].keys()
    for runs in (was, is_now):
        runs["sensitivity"] = {name: runs["sensitivity"][name] for name in sorted(again)}
    return dict(_apart(was, is_now, ""))


def other_rows(plan: StoredPlan, study: Study, scale: str) -> str:
    """That data files hold other rows than those of the run, in a sentence; "" where they do not.

    They are compared where the study's file itself is as it was run, and where all of them are there.

    Raises:
        ValueError: the file in the plan is none of this version.
    """
    files = digests_of(study)
    if not files or not all(files.values()) or is_of(plan, study, scale) or changes(plan, study, scale):
        return ""
    before = from_table(Study, plan["file"], f"the plan of {study.name}")
    located = before.read_from(study.path, study.given) if study.path else before
    if digest_of_runs(located, scale) == plan["runs"]:
        return ""
    which = next(iter(files)) if len(files) == 1 else f"one of {', '.join(files)}"
    return f"{which} holds other rows than those it was run with"


def _of_numbers(study: Study, scale: str) -> dict[str, Any]:
    """Of what a study runs at a scale all that decides numbers; lists of what has a name by that name."""
    if scale not in study.scales:
        return {f"scales.{scale}": None, "sensitivity": {}}
    runs = canonical(study.held_at(scale).runs(scale))
    kept = {f"scales.{scale}" if name == "scale" else name: of for name, of in runs.items() if name != "ladders"}
    again = {each["name"]: {**each, "criteria": None} for each in runs.get("sensitivity", ())}
    named = {name: {each["name"]: each for each in runs[name]} for name in ("arms", "tasks")}
    return {**kept, **named, "sensitivity": again}


def _apart(was: Any, now: Any, where: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*was, *now]):
            yield from _apart(was.get(name), now.get(name), f"{where}.{name}" if where else name)
    elif was != now:
        yield where, (was, now)


def _stored(store: Store, study: Study, scale: str) -> StoredPlan | None:
    try:
        plan = store.plan(study.name, scale)
    except (UnknownName, DamagedRecord):
        return None
    return plan if is_of(plan, study, scale) else None
