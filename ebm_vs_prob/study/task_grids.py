"""Tasks of a study: each at the settings of the option that it varies along."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..core.options import Options
from .values import Name, Setting, Short

#: The option that tasks vary along where a study does not say another.
THICKNESS = "thickness"
#: What stands in its place for data that vary along nothing and whose noise nobody knows: their thickness of 0 only
#: says that none was added.
UNKNOWN_NOISE = "noise"


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


def place_on(axis: str, setting: float) -> str:
    """Where along what a task varies along, in words: `thickness 0.1`, or `unknown noise`."""
    return f"unknown {axis}" if axis == UNKNOWN_NOISE else f"{axis} {setting:g}"
