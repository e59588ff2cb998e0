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
from .criteria import Criterion, Gate, Ladder
from .values import Id, Line, Name, Setting, Short, Trunk, shown

#: The scale that every study has for a first look, in minutes: what it says is no result.
DEMONSTRATION = "quick"

#: What the name of a scale has in it that a run was shrunk to, `study.shrinking`.
SHRUNK = "-shrunk-"

#: The option that tasks vary along where a study does not say another.
THICKNESS = "thickness"

#: What stands in its place for data that vary along nothing and whose noise nobody knows: their thickness of 0 only
#: says that none was added.
UNKNOWN_NOISE = "noise"


class Scale(Options):
    """How large a run is: its seeds, `seeds` of them from `first_seed` on, and the options of `Network`, `Budget` and
    `Evaluation`."""

    seeds: Annotated[int, Field(ge=1, le=1_000_000, description="how many models of a kind are trained")]
    first_seed: Annotated[int, Field(ge=0, le=2**62, description="the first of them")] = 0
    within: Annotated[
        dict[Short, tuple[float, float]],
        Field(default_factory=dict, description="least and most of an option that a task lists: others are left out"),
    ]
    tasks: Annotated[tuple[Short, ...], Field(description="those of the study that it runs; all by default")] = ()
    arms: Annotated[tuple[Short, ...], Field(description="those of the study that it runs; all by default")] = ()
    network: Annotated[
        Trunk, Field(default_factory=dict, description="options of `Network`, or an energy of your own, `module:name`")
    ]
    budget: Annotated[
        dict[str, Any], Field(default_factory=dict, description="options of `Budget`; verdicts are at it")
    ]
    budgets: Annotated[
        dict[Name, dict[str, Any]],
        Field(default_factory=dict, description="further budget arms by name; each replaces entries of `budget`"),
    ]
    evaluation: Annotated[
        dict[str, Any], Field(default_factory=dict, description="replaces entries of the study's `evaluation`")
    ]
    dtype: Annotated[Literal["float32", "float64"], Field(description="of networks and data in training")] = "float32"
    float64_below: Annotated[
        Setting, Field(description="thickness below which all is float64, whatever `dtype` says")
    ] = 0.0
    compile: Annotated[
        Literal["auto", "always", "never"],
        Field(description="whether training steps are compiled; auto: where the plan predicts that it pays"),
    ] = "auto"
    time_limit: Annotated[
        float, Field(gt=0, le=366 * 86400, description="seconds a batch may take before its worker is stopped")
    ] = 3600.0

    @property
    def all_seeds(self) -> range:
        """The seeds of a run."""
        return range(self.first_seed, self.first_seed + self.seeds)


class TaskGrid(Options):
    """One task at each setting of one of its options; without `along`, as `options` say.

    `name` is what criteria and reports call it; `task` is the registered task, where that has another name.
    """

    name: Annotated[Name, Field(description="what criteria and reports call it")]
    task: Annotated[Short, Field(description="the registered task, where that has another name")] = ""
    options: Annotated[dict[str, Any], Field(default_factory=dict, description="options of the task")]
    along: Annotated[
        dict[Short, Annotated[tuple[Setting, ...], Field(min_length=1, max_length=1000)]],
        Field(default_factory=dict, max_length=1, description="the option that varies, and its values"),
    ]

    @property
    def kind(self) -> str:
        """The name under which the task is registered."""
        return self.task or self.name

    @property
    def axis(self) -> str:
        """The option that varies."""
        return next(iter(self.along), THICKNESS)

    @property
    def settings(self) -> tuple[float, ...]:
        """The values of that option; none where the task has its default or what `options` say."""
        return next(iter(self.along.values()), ())


class Arm(Options):
    """A method with its options: what verdicts contrast."""

    name: Annotated[Name, Field(description="what criteria call it")]
    label: Annotated[Line, Field(description="what reports call it; the name by default")] = ""
    method: Annotated[Short, Field(description="the registered method")]
    options: Annotated[dict[str, Any], Field(default_factory=dict, description="options of the method")]
    network: Annotated[
        Trunk,
        Field(default_factory=dict, description="what differs from the scale's network, or an energy of your own"),
    ]
    scale: Annotated[
        Literal["thickness"] | None, Field(description="give the method the thickness as its `scale` option")
    ] = None
    scale_floor: Annotated[float, Field(gt=0, description="least `scale` given, for thickness 0")] = 0.003
    tasks: Annotated[
        tuple[Short, ...] | None, Field(min_length=1, description="the tasks it runs on; all by default")
    ] = None
    validation: Annotated[
        Short | None,
        Field(description="the metric that it is tuned by, which has a better side; that of its principle by default"),
    ] = None

    @property
    def title(self) -> str:
        """The label for people, the name where there is none."""
        return self.label or self.name


class Tuning(Options):
    """How an option is chosen for every arm that is trained and does not give it itself, before the study is run.

    Each such arm is trained with each value, and gets the one with the best validation objective over all seeds, tasks
    and settings of the tuning. An optimum at an edge has further values tried beyond it.
    """

    scales: Annotated[
        tuple[Short, ...], Field(description="where it is done; elsewhere arms have the middle one of the values")
    ] = ()
    values: Annotated[
        dict[Short, Annotated[tuple[Annotated[float, Field(gt=0, le=1e9)], ...], Field(min_length=5, max_length=100)]],
        Field(min_length=1, max_length=1, description="the option, and five positive values of it or more, ascending"),
    ]
    seeds: Annotated[int, Field(ge=1, le=1000, description="how many each value is tried with")] = 3
    first_seed: Annotated[
        int, Field(ge=0, le=2**62, description="the first of them, which are none of the study's own")
    ] = 200
    budget: Annotated[
        dict[str, Any], Field(default_factory=dict, description="replaces entries of the scale's `budget`")
    ]
    tasks: Annotated[
        tuple[Short, ...], Field(description="where it is tried; on all whose held-out data each seed draws anew")
    ] = ()
    along: Annotated[
        dict[Short, Annotated[tuple[Setting, ...], Field(min_length=1, max_length=1000)]],
        Field(default_factory=dict, description="settings of what tasks vary along, in place of all of the scale's"),
    ]

    @property
    def option(self) -> str:
        """The option that is chosen."""
        return next(iter(self.values))

    @property
    def tried(self) -> tuple[float, ...]:
        """The values that it is chosen from at first."""
        return self.values[self.option]

    @property
    def all_seeds(self) -> range:
        """The seeds that every value is tried with."""
        return range(self.first_seed, self.first_seed + self.seeds)


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

    def at(self, scale: str) -> Scale:
        """The scale of that name; a `LookupError` with the nearest where there is none."""
        if scale not in self.scales:
            raise unknown(f"scale of {self.where}:", scale, self.scales)
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
            "ladders": tuple(ladder for ladder in self.ladders if ladder.criterion in decided),
            "claims": tuple(claim for claim in self.claims if claim in claims or not self.criteria) or self.claims,
        }
        return self.model_copy(update=held)

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
        if self.ladders:
            cells = {each["id"]: {key: each[key] for key in ("arms", "against", "tasks", "at", "range")}
                     for each in whole["criteria"]}  # fmt: skip
            asked["ladders"] = [
                {**ladder, "criterion": cells[ladder["criterion"]], "tolerance": None} for ladder in whole["ladders"]
            ]
        return asked


def _among(names: tuple[str, ...], chosen: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not chosen or name in chosen)


def _inside(within: Mapping[str, tuple[float, float]], axis: str, settings: tuple[float, ...]) -> tuple[float, ...]:
    low, high = within.get(axis, (-math.inf, math.inf))
    return tuple(value for value in settings if low <= value <= high)


def place_on(axis: str, setting: float) -> str:
    """Where along what a task varies along, in words: `thickness 0.1`, or `unknown noise`."""
    return f"unknown {axis}" if axis == UNKNOWN_NOISE else f"{axis} {setting:g}"


def caveat(scale: str) -> str:
    """What is said beside every verdict of a scale; "" where it may be cited."""
    if SHRUNK in scale:
        return "shrunk, never for citing"
    return f"{DEMONSTRATION}, not for citing" if scale == DEMONSTRATION else ""
