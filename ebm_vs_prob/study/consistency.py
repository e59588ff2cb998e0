"""What the parts of a study file say of each other: names that exist, settings on the grid, bounds that can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.errors import invalid, unknown

if TYPE_CHECKING:
    from .criteria import Criterion, Ladder, Sensitivity
    from .schema import Study

#: Tables of a report beside those of tasks, whose names a task cannot have.
REPORT_TABLES = ("criteria", "failures", "gates", "ladders", "sensitivity", "slopes", "tuning")
#: The budget arm that verdicts use.
PRIMARY_BUDGET = "equal_steps"


def check_references(study: Study) -> None:
    """Raise unless every name, setting and bound that a study's parts give exists, fits and is given once.

    Raises:
        UnknownName: an arm, task or claim that the study does not have, or a metric that does not exist.
        ValueError: a name twice, a setting that is not on the grid, or a criterion without what its kind needs.
    """
    from ..metrics.catalogue import METRICS

    where = study.where
    tasks = _distinct(f"{where}: tasks", [grid.name for grid in study.tasks])
    _check_tables(f"{where}: tasks", tasks)
    arms = _distinct(f"{where}: arms", [arm.name for arm in study.arms])
    # A report's file of a criterion is named after it, with a dash for a dot.
    _distinct(f"{where}: criteria", [criterion.id.replace(".", "-") for criterion in study.criteria])
    for grid in study.tasks:
        _distinct(f"{where}: tasks.{grid.name}.along.{grid.axis}", grid.settings)
        if grid.along and grid.axis in grid.options:
            raise invalid(f"{where}: tasks.{grid.name}.options.{grid.axis}", grid.options[grid.axis], "one of the two")
    for scale_name, scale in study.scales.items():
        if PRIMARY_BUDGET in scale.budgets:
            raise invalid(
                f"{where}: scales.{scale_name}.budgets", PRIMARY_BUDGET, "another name: it is that of `budget`"
            )
    for arm in study.arms:
        _known(f"task of {where}: arms.{arm.name}.tasks:", arm.tasks or (), tasks)
        if arm.validation is not None:
            place = f"{where}: arms.{arm.name}.validation"
            _known(f"metric of {place}:", [arm.validation], METRICS)
            if METRICS[arm.validation].better not in ("lower", "higher"):
                raise invalid(place, arm.validation, "a metric of which less is better, or more")
            if study.tuning is None:
                raise invalid(place, arm.validation, "none where the study has no [tuning]")
    if study.tuning is not None:
        _check_tuning(study, tasks)
    for number, gate in enumerate(study.gates):
        place = f"of {where}: gates.{number}"
        _known(f"metric {place}.metric:", [gate.metric], METRICS)
        _known(f"arm {place}.arms:", gate.arms, arms)
        _known(f"task {place}.tasks:", gate.tasks, tasks)
        if gate.below is None and gate.above is None:
            raise ValueError(f"{where}: gates.{number}: below or above is missing: a gate needs one of them, or both")
        for task in gate.tasks or tasks:
            own = study.grid(task).settings
            if gate.at is not None and own and not any(math.isclose(gate.at, value) for value in own):
                valid = f"one that tasks.{task} lists: {_listed(own)}"
                raise invalid(f"{where}: gates.{number}.at", gate.at, valid)
    _check_primary(study)
    for criterion in study.criteria:
        _check_bounds(criterion, f"{where}: criteria.{criterion.id}")
        place = f"of {where}: criteria.{criterion.id}"
        if criterion.claim not in study.claims:
            raise unknown(f"claim {place}.claim:", criterion.claim, study.claims)
        _known(f"arm {place}.arms:", criterion.arms, arms)
        _known(f"arm {place}.against:", criterion.against, arms)
        _known(f"task {place}.tasks:", criterion.tasks, tasks)
        _known(f"metric {place}.metric:", [criterion.metric], METRICS)
        for task in criterion.tasks:
            grid_values = study.grid(task).settings
            axis, first = study.grid(task).axis, study.grid(criterion.tasks[0]).axis
            if axis != first:
                valid = f"tasks along one option: {criterion.tasks[0]} is along {first}, {task} along {axis}"
                raise invalid(f"{where}: criteria.{criterion.id}: tasks", ", ".join(criterion.tasks), valid)
            if criterion.range is not None and grid_values:
                low, high = criterion.range
                inside = sum(low <= value <= high for value in grid_values)
                if inside < 2:
                    valid = f"one with two or more of tasks.{task}'s in it: {_listed(grid_values)}"
                    raise invalid(f"{where}: criteria.{criterion.id}: range", criterion.range, valid)
            if grid_values and not criterion.at and criterion.range is None:
                raise ValueError(
                    f"{where}: criteria.{criterion.id}: at is missing: a criterion of kind {criterion.kind} "
                    f"needs it where tasks.{task} lists {_listed(grid_values)}"
                )
            for value in criterion.at:
                if not any(math.isclose(value, other, rel_tol=1e-9, abs_tol=0.0) for other in grid_values):
                    field = f"{where}: criteria.{criterion.id}: at"
                    raise invalid(field, value, f"one that tasks.{task} lists: {_listed(grid_values) or 'none'}")
    for number, ladder in enumerate(study.ladders):
        _check_ladder(study, ladder, f"{where}: ladders.{number}")
    for entry in study.sensitivity:
        _check_sensitivity(study, entry, f"{where}: sensitivity.{entry.name}")
    for name, scale in study.scales.items():
        _known(f"task of {where}: scales.{name}.tasks:", scale.tasks, tasks)
        _known(f"arm of {where}: scales.{name}.arms:", scale.arms, arms)
        _check_within(study, name)


def _check_tuning(study: Study, tasks: Iterable[str]) -> None:
    """Values ascend, tasks and options exist, and no seed is one of the study's own."""
    tuning, field = study.tuning, f"{study.where}: tuning"
    assert tuning is not None
    if list(tuning.tried) != sorted(set(tuning.tried)):
        raise invalid(f"{field}.values.{tuning.option}", tuning.tried, "values in ascending order, none twice")
    _known(f"task of {field}.tasks:", tuning.tasks, tasks)
    _known(f"scale of {field}.scales:", tuning.scales, study.scales)
    tried = [grid for grid in study.tasks if not tuning.tasks or grid.name in tuning.tasks]
    _known(
        f"option that tasks vary along, of {field}.along:", tuning.along, {grid.axis for grid in tried if grid.along}
    )
    for axis, settings in tuning.along.items():
        _distinct(f"{field}.along.{axis}", settings)
    for name, scale in study.scales.items():
        own, seeds = scale.all_seeds, tuning.all_seeds
        if max(own.start, seeds.start) < min(own.stop, seeds.stop):
            valid = f"seeds that scales.{name}, with {own.start} to {own.stop - 1}, has not"
            raise invalid(f"{field}: seeds", f"{seeds.start} to {seeds.stop - 1}", valid)


def _check_tables(field: str, tasks: Iterable[str]) -> None:
    """Each task has three files of a report for itself: NAME, NAME_metrics and NAME_seeds."""
    taken = {name: name for name in REPORT_TABLES}
    for task in tasks:
        for file in (task, f"{task}_metrics", f"{task}_seeds"):
            if taken.setdefault(file, task) != task or task in REPORT_TABLES:
                raise invalid(field, task, f"another name: a report has a table {file!r} of its own")


def _check_ladder(study: Study, ladder: Ladder, field: str) -> None:
    """A ladder's cell is one of its criterion's."""
    _known(f"criterion of {field}.criterion:", [ladder.criterion], [each.id for each in study.criteria])
    criterion = study.criterion(ladder.criterion)
    if criterion.kind == "share":
        raise invalid(f"{field}.criterion", criterion.id, "one of another kind than share, which is of no one cell")
    _known(f"task of {field}.task:", [ladder.task] if ladder.task else [], criterion.tasks)
    if ladder.at is not None and not any(math.isclose(ladder.at, value) for value in criterion.at):
        valid = f"one of criteria.{criterion.id}.at: {_listed(criterion.at)}" if criterion.at else "none"
        raise invalid(f"{field}.at", ladder.at, valid)


def _check_sensitivity(study: Study, entry: Sensitivity, field: str) -> None:
    """An entry has something that differs, criteria of the study, and at each of its scales a name of its own."""
    _known(f"scale of {field}.scales:", entry.scales, study.scales)
    _known(f"criterion of {field}.criteria:", entry.criteria, [each.id for each in study.criteria])
    _distinct(f"{field}.criteria", entry.criteria)
    if not study.criteria:
        raise ValueError(f"{field}: the study has no criteria, and what is asked again is one of them")
    if not entry.network and not entry.budget:
        raise ValueError(f"{field}: network or budget is missing: it says what differs from the scale's own")
    for name in entry.scales or study.scales:
        others = [each.name for each in study.sensitivity if not each.scales or name in each.scales]
        if entry.name in (PRIMARY_BUDGET, *study.scales[name].budgets) or others.count(entry.name) > 1:
            valid = f"a name that no other entry and no budget of scales.{name} has"
            raise invalid(f"{field}.name", entry.name, valid)


def _check_primary(study: Study) -> None:
    """Each claim with several criteria has one that decides it."""
    for claim in study.claims:
        own = [criterion for criterion in study.criteria if criterion.claim == claim]
        deciding = [criterion.id for criterion in own if criterion.primary]
        if len(own) > 1 and len(deciding) != 1:
            valid = f"primary = true in one of {', '.join(criterion.id for criterion in own)}, which decides {claim}"
            raise invalid(f"{study.where}: criteria of {claim}: primary", ", ".join(deciding) or "in none", valid)


def _check_within(study: Study, scale: str) -> None:
    """Every grid and criterion keeps a setting at a scale, and a slope two."""
    held, within = study.held_at(scale), study.at(scale).within
    field = f"{study.where}: scales.{scale}.within"
    _known(f"option that tasks vary along, of {field}:", within, {grid.axis for grid in study.tasks if grid.along})
    for grid in held.tasks:
        whole_grid = study.grid(grid.name)
        if whole_grid.settings and not grid.settings:
            raise invalid(
                f"{field}.{grid.axis}", within[grid.axis], f"some of tasks.{grid.name}'s {_listed(whole_grid.settings)}"
            )
    for ladder in held.ladders:
        asked = held.criterion(ladder.criterion)
        if ladder.at is not None and asked.at and ladder.at not in asked.at:
            axis, number = study.grid(asked.tasks[0]).axis, study.ladders.index(ladder)
            raise invalid(f"{field}.{axis}", within[axis], f"a range with {ladder.at:g}, for ladders.{number}")
    for number, gate in enumerate(held.gates):
        own = [grid for grid in held.tasks if not gate.tasks or grid.name in gate.tasks]
        if gate.at is not None and not any(_lists(grid.settings, gate.at) for grid in own):
            axis = next((grid.axis for grid in own if _lists(study.grid(grid.name).settings, gate.at)), own[0].axis)
            if axis in within:
                raise invalid(f"{field}.{axis}", within[axis], f"a range with {gate.at:g}, for gates.{number}")
    for criterion in held.criteria:
        whole = study.criterion(criterion.id)
        axis = study.grid(criterion.tasks[0]).axis
        if whole.at and not criterion.at:
            valid = f"some of criteria.{criterion.id}'s {_listed(whole.at)}"
            raise invalid(f"{field}.{axis}", within[axis], valid)
        for task in criterion.tasks if criterion.range is not None else ():
            low, high = whole.range or (0.0, 0.0)
            inside, left = (
                [value for value in side.grid(task).settings if low <= value <= high] for side in (study, held)
            )
            if len(inside) > 1 and len(left) < 2:
                valid = f"two or more of {_listed(inside)}, for criteria.{criterion.id} on {task}"
                raise invalid(f"{field}.{axis}", within[axis], valid)


def _lists(settings: Iterable[float], value: float) -> bool:
    return any(math.isclose(value, own) for own in settings)


def _listed(settings: Iterable[float]) -> str:
    return ", ".join(map(str, settings))


#: What a criterion of each kind needs, and what has no meaning in it.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "slope": (("range",), ("against", "at")),
    "rate": (("range",), ("against", "at")),
    "value": ((), ("against", "range")),
    "difference": (("against",), ("range",)),
    "ratio": (("against",), ("range",)),
    "share": (("split",), ("range",)),
}


def _check_bounds(criterion: Criterion, where: str) -> None:
    needed, foreign = _FIELDS[criterion.kind]
    for field in needed:
        if getattr(criterion, field) in (None, ()):
            raise ValueError(f"{where}: {field} is missing: a criterion of kind {criterion.kind} needs it")
    for field in foreign:
        if getattr(criterion, field):
            raise invalid(f"{where}: {field}", getattr(criterion, field), f"no {field} at kind {criterion.kind}")
    if criterion.split is not None and criterion.kind != "share":
        raise invalid(f"{where}: split", criterion.split, f"no split at kind {criterion.kind}")
    if criterion.kind == "share" and set(criterion.arms) & set(criterion.against):
        both = ", ".join(sorted(set(criterion.arms) & set(criterion.against)))
        raise invalid(f"{where}: against", both, "arms that are not in `arms`: one outcome is told of each")
    if criterion.below is None and criterion.above is None:
        raise ValueError(f"{where}: below or above is missing: a criterion needs one of them, or both")
    if criterion.below is not None and criterion.above is not None and criterion.above >= criterion.below:
        raise invalid(f"{where}: above", criterion.above, f"a number less than below = {criterion.below}")
    if criterion.smallest_effect is not None and criterion.smallest_effect in (criterion.above, criterion.below):
        raise invalid(f"{where}: smallest_effect", criterion.smallest_effect, "another number than the bounds")
    if criterion.range is not None and criterion.range[0] >= criterion.range[1]:
        raise invalid(f"{where}: range", criterion.range, "two numbers, low < high")
    if criterion.range is not None and criterion.kind == "slope" and criterion.range[0] <= 0:
        raise invalid(f"{where}: range", criterion.range, "two positive numbers: a slope is in their logarithms")


def _distinct(field: str, values: Iterable[Any]) -> list[Any]:
    listed = list(values)
    seen = set[Any]()
    for value in listed:
        if value in seen:
            raise invalid(field, value, "no value twice")
        seen.add(value)
    return listed


def _known(kind: str, names: Iterable[str], choices: Iterable[str]) -> None:
    valid = list(choices)
    for name in names:
        if name not in valid:
            raise unknown(kind, name, valid)
