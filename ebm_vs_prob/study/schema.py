"""The study file: strict TOML, every mistake answered with file, field, value and the valid choices in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError

from ..core.errors import invalid, unknown
from ..core.options import Options, describe
from ..core.text import hidden_character, printable

SCHEMA = 1

#: The scale that every study has for a first look, in minutes: what it says is no result.
DEMONSTRATION = "quick"

#: Tables and lists within each other in a study file; the deepest that mean something are five.
MOST_LEVELS = 16

#: The option that tasks vary along where a study does not say another.
THICKNESS = "thickness"

_PLAIN_NAME = "lower-case letters, digits, _ and -"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64, description=_PLAIN_NAME)]
Line = Annotated[str, Field(max_length=500), AfterValidator(lambda text: " ".join(_shown(text).split()))]
Short = Annotated[str, Field(max_length=64), AfterValidator(lambda text: _shown(text))]
Id = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=64, description="letters, digits, _, - and dots")]
Setting = Annotated[float, Field(ge=-1e9, le=1e9)]
SchemaT = TypeVar("SchemaT", bound=BaseModel)


def _shown(text: str) -> str:
    hidden = hidden_character(text)
    if hidden:
        raise ValueError(f"text without control and bidirectional characters: it has {hidden}")
    return text


class Scale(Options):
    """How large a run is: its seeds, `seeds` of them from `first_seed` on, and the options of `Network`, `Budget` and
    `Evaluation`."""

    seeds: Annotated[int, Field(ge=1, le=1_000_000)]
    first_seed: Annotated[
        int, Field(ge=0, le=2**62, description="others than a study's own, where its options are tuned")
    ] = 0
    within: Annotated[
        dict[Short, tuple[float, float]],
        Field(default_factory=dict, description="least and most of an option that a task lists: others are left out"),
    ]
    network: Annotated[dict[str, Any], Field(default_factory=dict)]
    budget: Annotated[dict[str, Any], Field(default_factory=dict)]
    budgets: Annotated[
        dict[Name, dict[str, Any]],
        Field(default_factory=dict, description="further budget arms by name; each replaces entries of `budget`"),
    ]
    evaluation: Annotated[dict[str, Any], Field(default_factory=dict)]
    dtype: Literal["float32", "float64"] = "float32"
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

    name: Name
    task: Short = ""
    options: Annotated[dict[str, Any], Field(default_factory=dict)]
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

    name: Name
    label: Line = ""
    method: Short
    options: Annotated[dict[str, Any], Field(default_factory=dict)]
    network: Annotated[dict[str, Any], Field(default_factory=dict, description="what differs from the scale's network")]
    scale: Annotated[
        Literal["thickness"] | None, Field(description="give the method the thickness as its `scale` option")
    ] = None
    scale_floor: Annotated[float, Field(gt=0, description="least `scale` given, for thickness 0")] = 0.003
    tasks: Annotated[
        tuple[Short, ...] | None, Field(min_length=1, description="the tasks it runs on; all by default")
    ] = None

    @property
    def title(self) -> str:
        """The label for people, the name where there is none."""
        return self.label or self.name


class Criterion(Options):
    """What is decided, as a bound on a number.

    `slope`: of ln metric in the ln of what the task varies along, over `range`; `rate`: of ln metric in that itself;
    `value`: the metric of `arms` at each setting of `at`; `difference` and `ratio`: of `arms` against `against` there;
    `share`: of all cells (arm, task and setting), those that come out as told: above `split` of `arms`, below of
    `against`. A task that varies along nothing needs no `at`. `below` and `above` bound the interval of the effect;
    `law` is the value that theory predicts. A claim is decided by its primary criterion alone.
    """

    id: Id
    claim: Id
    primary: Annotated[
        bool, Field(description="decides its claim; where a claim has one criterion only it does so unasked")
    ] = False
    statement: Line
    kind: Literal["slope", "rate", "value", "difference", "ratio", "share"]
    metric: Short
    arms: Annotated[tuple[Short, ...], Field(min_length=1)]
    against: tuple[Short, ...] = ()
    tasks: Annotated[tuple[Short, ...], Field(min_length=1)]
    at: Annotated[tuple[Setting, ...], Field(max_length=1000)] = ()
    range: tuple[Setting, Setting] | None = None
    split: Annotated[
        float | None, Field(description="of a share: where its metric tells one outcome from the other")
    ] = None
    below: float | None = None
    above: float | None = None
    law: float | None = None


class Gate(Options):
    """What an arm must reach to count as trained: one that misses it is shown as untrained, and decides nothing."""

    metric: Short
    at: Annotated[Setting | None, Field(description="where it is held; at the thickest, or first, by default")] = None
    below: Annotated[float | None, Field(description="most that the mean over seeds may be")] = None
    above: Annotated[float | None, Field(description="least that it may be")] = None
    arms: Annotated[tuple[Short, ...], Field(description="those that it holds; all that have the metric")] = ()
    tasks: Annotated[tuple[Short, ...], Field(description="where it holds; on all")] = ()


class Study(Options):
    """A study file, validated. Attributes are the file's keys; `path` is where it was read from."""

    schema_number: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    title: Line
    claims: Annotated[tuple[Id, ...], Field(min_length=1)]
    question: Annotated[str, Field(max_length=10_000), AfterValidator(lambda text: _shown(text))] = ""
    plugins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*$", max_length=200)], ...],
        Field(description="modules that register tasks and methods: beside the file, or importable where workers run"),
    ] = ()
    scales: Annotated[dict[Name, Scale], Field(min_length=1)]
    evaluation: Annotated[dict[str, Any], Field(default_factory=dict)]
    tasks: Annotated[tuple[TaskGrid, ...], Field(min_length=1)]
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    criteria: tuple[Criterion, ...] = ()
    gates: tuple[Gate, ...] = ()
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

    def grid(self, task: str) -> TaskGrid:
        """The entry of that name in `tasks`; a `LookupError` with the nearest where there is none."""
        for grid in self.tasks:
            if grid.name == task:
                return grid
        raise unknown(f"task of {self.where}:", task, [grid.name for grid in self.tasks])

    def held_at(self, scale: str) -> Study:
        """The same study without the settings that a scale leaves out, in its grids and in its criteria."""
        within = self.at(scale).within
        grids = [
            grid.model_copy(update={"along": {axis: _inside(within, axis, of) for axis, of in grid.along.items()}})
            for grid in self.tasks
        ]
        criteria = [
            criterion.model_copy(update={"at": _inside(within, self.grid(criterion.tasks[0]).axis, criterion.at)})
            for criterion in self.criteria
        ]
        return self.model_copy(update={"tasks": tuple(grids), "criteria": tuple(criteria)})

    def runs(self, scale: str) -> dict[str, Any]:
        """All of the file that decides what is run at a scale, canonical: titles and criteria left out."""
        whole = self.model_dump(mode="json", by_alias=True)
        return {
            "scale": {key: value for key, value in whole["scales"][scale].items() if key != "time_limit"},
            "arms": [{key: value for key, value in arm.items() if key != "label"} for arm in whole["arms"]],
            **{key: whole[key] for key in ("evaluation", "tasks", "plugins")},
        }


def _inside(within: Mapping[str, tuple[float, float]], axis: str, settings: tuple[float, ...]) -> tuple[float, ...]:
    low, high = within.get(axis, (-math.inf, math.inf))
    return tuple(value for value in settings if low <= value <= high)


def caveat(scale: str) -> str:
    """What is said beside every verdict of a scale; "" where it may be cited."""
    return f"{DEMONSTRATION}, not for citing" if scale == DEMONSTRATION else ""


def check_table(table: Mapping[str, Any], where: str) -> None:
    """Raise a `ValueError` unless a table as TOML gives it holds what any study may: text, numbers and booleans.

    Text is free of control and bidirectional characters, of which a report or a terminal would be the victim; integers
    are of 64 bits, as TOML has them; nothing is nested deeper than `MOST_LEVELS`.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), table)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MOST_LEVELS:
            raise ValueError(f"{_field(where, path)} is nested too deep: expected at most {MOST_LEVELS} levels")
        if isinstance(value, dict):
            for key in value:
                _check_text(where, (*path, "a key"), key)
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, str(index)), item) for index, item in enumerate(value)]
        elif isinstance(value, str):
            _check_text(where, path, value)
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                bits = f"an integer of {value.bit_length()} bits"
                raise invalid(_field(where, path), bits, "an integer of at most 64 bits")
        elif not isinstance(value, float):
            valid = "text, a number, a boolean, a list or a table: a date goes in quotes"
            raise invalid(_field(where, path), str(value), valid)


def _field(where: str, path: tuple[str, ...]) -> str:
    return printable(f"{where}: {'.'.join(path)}")


def _check_text(where: str, path: tuple[str, ...], text: str) -> None:
    hidden = hidden_character(text)
    if hidden:
        raise invalid(_field(where, path), text, f"text without control and bidirectional characters: it has {hidden}")


def from_table(schema: type[SchemaT], table: Mapping[str, Any], where: str) -> SchemaT:
    """An instance of a strict schema from a table of a file, where a tuple is written as a list.

    Raises:
        ValueError: the first mistake, as one line with field, value and what is valid.
        UnknownName: a key that does not exist, with the nearest that does.
    """
    try:
        return schema.model_validate_json(json.dumps(dict(table)))
    except ValidationError as error:
        raise describe(error, schema, where) from None
