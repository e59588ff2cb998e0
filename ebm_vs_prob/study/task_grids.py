"""Tasks of a study: each at the settings of the option that it varies along."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..core.errors import invalid
from ..core.options import Options
from ..core.text import shown
from ..tasks.data import Data, DataOptions
from .values import Name, Setting, Short

#: The option that tasks vary along where a study does not say another.
THICKNESS = "thickness"
#: What stands in its place for data that vary along nothing and whose noise nobody knows: their thickness of 0 only
#: says that none was added.
UNKNOWN_NOISE = "noise"


class TaskGrid(Options):
    """One task at each setting of one of its options; without `along`, as `options` say.

    `name` is what criteria and reports call it; `task` is the registered task, where that has another name. Options of
    the task `data` may stand in its table itself: `data = "points.csv"`, `y = "height"`.
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


def gathered(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The table of a study's file, in which options of `data` that stand beside the name of the task are its `options`.

    Raises:
        ValueError: an option that stands in both places.
    """
    tasks = table.get("tasks")
    if not isinstance(tasks, list):
        return table
    return {**table, "tasks": [_gathered(each, f"{where}: tasks.{place}") for place, each in enumerate(tasks)]}


def _gathered(task: Any, where: str) -> Any:
    if not isinstance(task, dict) or (task.get("task") or task.get("name")) != Data.name:
        return task
    options = task.get("options", {})
    beside = {key: value for key, value in task.items() if key in DataOptions.model_fields}
    if not beside or not isinstance(options, dict):
        return task
    for key in sorted(beside.keys() & options.keys()):
        raise invalid(
            f"{where}.{key}", beside[key], f"one in the table or in its options, which say {shown(options[key])}"
        )
    return {**{key: value for key, value in task.items() if key not in beside}, "options": {**options, **beside}}


def place_on(axis: str, setting: float) -> str:
    """Where along what a task varies along, in words: `thickness 0.1`, or `unknown noise`."""
    return f"unknown {axis}" if axis == UNKNOWN_NOISE else f"{axis} {setting:g}"
