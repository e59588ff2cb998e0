"""What a study names of the registries: methods, and tasks at the settings of its grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.errors import unknown
from ..core.options import from_table
from ..core.registry import TASKS
from ..core.text import printable
from .data_files import located
from .schema import Study
from .task_grids import TaskGrid

if TYPE_CHECKING:
    from ..tasks.base import Task


def look_up(registry: Any, name: str, where: str) -> Any:
    """The registered entry of that name; an `UnknownName` that says where it is asked for where there is none."""
    names = [entry.name for entry in registry.entries()]
    if name not in names:
        raise unknown(f"{registry.kind} at {where}:", name, names)
    return registry.get(name)


def task_of(study: Study, name: str) -> Task:
    """The task of that name in a study's grid, at its own setting."""
    return _task(study, study.grid(name), {})


def tasks_at(study: Study, name: str, settings: Iterable[float]) -> list[Task]:
    """The task of that name in a study's grid at each of these settings."""
    grid = study.grid(name)
    return [_task(study, grid, {grid.axis: whole(setting)}) for setting in settings]


def whole(setting: float) -> float:
    """A whole number as an integer, which options that count take alone."""
    return int(setting) if float(setting).is_integer() else setting


def tasks_of(study: Study, grid: TaskGrid) -> list[Task]:
    return tasks_at(study, grid.name, grid.settings) or [_task(study, grid, {})]


def _task(study: Study, grid: TaskGrid, setting: Mapping[str, float]) -> Task:
    kind = look_up(TASKS, grid.kind, f"{study.where}: tasks.{'task' if grid.task else 'name'}")
    with blamed(f"{study.where}: tasks.{grid.name}"):
        schema = kind.Options
    where = f"{study.where}: tasks.{grid.name}.{'along' if setting else 'options'}"
    options = from_table(schema, {**located(study, grid), **setting}, where).model_dump()
    with blamed(f"{study.where}: tasks.{grid.name}"):
        task: Task = kind(**options)
        return task


@contextmanager
def blamed(where: str) -> Iterator[None]:
    """Says whose code it is that fails while it is planned."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{where}: {kind}{printable(error)}") from error
