"""The study file: strict TOML, every mistake answered with file, field, value and the valid choices in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from ..core.errors import unknown
from ..core.options import Options
from ..core.text import printable
from .arms import Arm
from .criteria import Criterion, Gate, Ladder, Sensitivity
from .scales import DEMONSTRATION, Scale
from .task_grids import THICKNESS, TaskGrid
from .tuning_options import Tuning
from .values import Id, Line, Name, shown


class Study(Options):
    """A study file, validated. Attributes are the file's keys; `path` is where it was read from."""

    schema_number: Annotated[Literal[1], Field(alias="schema", description="of the file's own form: 1")]
    name: Annotated[Name, Field(description="of its folder in stores and reports")]
    title: Annotated[Line, Field(description="one line")]
    claims: Annotated[tuple[Id, ...], Field(min_length=1, description="C1 to C20 of the lecture, or the study's own")]
    question: Annotated[
        str,
        Field(max_length=10_000, description="what is asked, in sentences"),
        AfterValidator(lambda text: shown(text)),
    ] = ""
    limitations: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(lambda text: shown(text))], ...],
        Field(max_length=32, description="what the study cannot say, a sentence or two each: reports print them"),
    ] = ()
    plugins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*$", max_length=200)], ...],
        Field(description="modules that register tasks and methods: beside the file, or importable where workers run"),
    ] = ()
    scales: Annotated[dict[Name, Scale], Field(min_length=1, description="`quick`, `standard`, `full`, or others")]
    evaluation: Annotated[dict[str, Any], Field(default_factory=dict, description="options of `Evaluation`")]
    tasks: Annotated[tuple[TaskGrid, ...], Field(min_length=1, description="what is learned")]
    arms: Annotated[tuple[Arm, ...], Field(min_length=1, description="what learns it")]
    tuning: Annotated[Tuning | None, Field(description="an option of the arms that is chosen first")] = None
    criteria: Annotated[tuple[Criterion, ...], Field(description="what is decided")] = ()
    gates: Annotated[tuple[Gate, ...], Field(description="what arms reach first")] = ()
    ladders: Annotated[tuple[Ladder, ...], Field(description="what is tried at smaller budgets too")] = ()
    sensitivity: Annotated[
        tuple[Sensitivity, ...],
        Field(max_length=32, description="what is asked again at another network or another size of data"),
    ] = ()
    _path: Path | None = PrivateAttr(default=None)
    _given: str | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file the study was read from, or None."""
        return self._path

    @property
    def given(self) -> str:
        """What a command is given for this study: the path or the name by which it was found."""
        return self._given or self.name

    def read_from(self, path: Path, given: str | Path) -> Study:
        """The same study, which knows its file and by what it was found."""
        study = self.model_copy()
        study._path, study._given = path, str(given)
        return study

    @property
    def imports(self) -> tuple[str, ...]:
        """What is imported for it: its plugins, and the energies of the user's own that it names."""
        trunks = [*(scale.network for scale in self.scales.values()), *(arm.network for arm in self.arms)]
        return (*self.plugins, *dict.fromkeys(trunk for trunk in trunks if isinstance(trunk, str)))

    @property
    def folder(self) -> str | None:
        """Where plugins are looked for beside what is installed: the folder of the study's file, or None."""
        return str(self._path.resolve().parent) if self._path else None

    @property
    def where(self) -> str:
        """What error messages call this study."""
        return printable(self._path) if self._path else self.name

    def arm(self, name: str) -> Arm:
        """The arm of that name; a `LookupError` with the nearest where there is none."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise unknown(f"arm of {self.where}:", name, [arm.name for arm in self.arms])

    @property
    def default_scale(self) -> str:
        """The scale that is meant where none is said: the only one, else that of a first look."""
        return next(iter(self.scales)) if len(self.scales) == 1 else DEMONSTRATION

    def at(self, scale: str) -> Scale:
        """The scale of that name; a `LookupError` with the nearest where there is none."""
        if scale not in self.scales:
            meant = " (meant where none is given)" if scale == DEMONSTRATION else ""
            raise unknown(f"scale{meant} of {self.where}:", scale, self.scales)
        return self.scales[scale]

    @property
    def primary_criteria(self) -> dict[str, Criterion]:
        """The criterion that decides each claim, by the claim's identifier."""
        found: dict[str, Criterion] = {}
        for criterion in self.criteria:
            if criterion.primary or criterion.claim not in found:
                found[criterion.claim] = criterion
        return found

    def criterion(self, name: str) -> Criterion:
        """The criterion of that identifier; a `LookupError` with the nearest where there is none."""
        for criterion in self.criteria:
            if criterion.id == name:
                return criterion
        raise unknown(f"criterion of {self.where}:", name, [criterion.id for criterion in self.criteria])

    def asked_again(self, entry: Sensitivity) -> tuple[Criterion, ...]:
        """The criteria that an entry of `sensitivity` asks again: those that it names, or the primary ones."""
        names = entry.criteria or [criterion.id for criterion in self.primary_criteria.values()]
        return tuple(criterion for criterion in self.criteria if criterion.id in names)

    def grid(self, task: str) -> TaskGrid:
        """The entry of that name in `tasks`; a `LookupError` with the nearest where there is none."""
        for grid in self.tasks:
            if grid.name == task:
                return grid
        raise unknown(f"task of {self.where}:", task, [grid.name for grid in self.tasks])

    def held_at(self, scale: str) -> Study:
        """The same study without the tasks, arms and settings that a scale leaves out, in all its parts.

        What has no task or no arm left is left out itself, a claim without a criterion too.
        """
        chosen = self.at(scale)
        axes = {grid.name: grid.axis for grid in self.tasks}
        tasks = tuple(
            grid.model_copy(
                update={"along": {axis: _inside(chosen.within, axis, of) for axis, of in grid.along.items()}}
            )
            for grid in self.tasks
            if not chosen.tasks or grid.name in chosen.tasks
        )
        arms = tuple(
            arm.model_copy(update={"tasks": arm.tasks and _among(arm.tasks, chosen.tasks)})
            for arm in self.arms
            if not chosen.arms or arm.name in chosen.arms
        )
        criteria = []
        for criterion in self.criteria:
            kept = {
                "at": _inside(chosen.within, axes.get(criterion.tasks[0], THICKNESS), criterion.at),
                "tasks": _among(criterion.tasks, chosen.tasks),
                "arms": _among(criterion.arms, chosen.arms),
                "against": _among(criterion.against, chosen.arms),
            }
            if kept["tasks"] and kept["arms"] and (kept["against"] or not criterion.against):
                criteria.append(criterion.model_copy(update=kept))
        # A claim is decided by its primary criterion alone: where that is left out no other takes its place.
        decided = {criterion.id for criterion in criteria}
        deciding = {claim: criterion.id for claim, criterion in self.primary_criteria.items()}
        criteria = [criterion for criterion in criteria if deciding[criterion.claim] in decided]
        decided = {criterion.id for criterion in criteria}
        claims = {criterion.claim for criterion in criteria}
        gates = [
            gate.model_copy(update={"tasks": _among(gate.tasks, chosen.tasks), "arms": _among(gate.arms, chosen.arms)})
            for gate in self.gates
            if (not gate.tasks or _among(gate.tasks, chosen.tasks))
            and (not gate.arms or _among(gate.arms, chosen.arms))
        ]
        held = {
            "tasks": tasks,
            "arms": tuple(arm for arm in arms if arm.tasks != ()),
            "criteria": tuple(criteria),
            "gates": tuple(gates),
            "ladders": tuple(
                ladder
                for ladder in self.ladders
                if ladder.criterion in decided and (not ladder.task or _among((ladder.task,), chosen.tasks))
            ),
            "sensitivity": tuple(
                entry.model_copy(update={"criteria": asked})
                for entry in self._sensitivity_at(scale)
                if (asked := tuple(each.id for each in self.asked_again(entry) if each.id in decided))
            ),
            "claims": tuple(claim for claim in self.claims if claim in claims or not self.criteria) or self.claims,
        }
        return self.model_copy(update=held)

    def _sensitivity_at(self, scale: str) -> list[Sensitivity]:
        return [entry for entry in self.sensitivity if not entry.scales or scale in entry.scales]

    def runs(self, scale: str) -> dict[str, Any]:
        """All of the file that decides what is run at a scale, canonical: titles and criteria left out."""
        whole = self.model_dump(mode="json", by_alias=True)
        asked = {
            "scale": {key: value for key, value in whole["scales"][scale].items() if key != "time_limit"},
            "arms": [
                {key: value for key, value in arm.items() if key not in ("label", "validation")}
                for arm in whole["arms"]
            ],
            **{key: whole[key] for key in ("evaluation", "tasks", "plugins")},
        }
        if self.tuning is not None:
            asked["tuning"] = {**whole["tuning"], "validation": [arm["validation"] for arm in whole["arms"]]}
        cells = {each["id"]: {key: each[key] for key in ("arms", "against", "tasks", "at", "range")}
                 for each in whole["criteria"]}  # fmt: skip
        if self.ladders:
            asked["ladders"] = [
                {**ladder, "criterion": cells[ladder["criterion"]], "tolerance": None} for ladder in whole["ladders"]
            ]
        if again := self._sensitivity_at(scale):
            asked["sensitivity"] = [
                {
                    **{key: getattr(entry, key) for key in ("name", "network", "budget")},
                    "criteria": [cells[criterion.id] for criterion in self.asked_again(entry)],
                }
                for entry in again
            ]
        return asked


def _among(names: tuple[str, ...], chosen: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not chosen or name in chosen)


def _inside(within: Mapping[str, tuple[float, float]], axis: str, settings: tuple[float, ...]) -> tuple[float, ...]:
    low, high = within.get(axis, (-math.inf, math.inf))
    return tuple(value for value in settings if low <= value <= high)
