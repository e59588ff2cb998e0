"""Tasks: data of known thickness with exact truth."""

from __future__ import annotations

from typing import Any

from ..core.registry import TASKS
from .base import Task, TaskOptions
from .reference import Reference

__all__ = ["Reference", "Task", "TaskOptions", "get_task", "list_tasks", "register_task"]


def get_task(name: str, **options: Any) -> Task:
    """The registered task of that name with the given options.

    Raises:
        LookupError: an unknown task or option, with the nearest valid one.
        ValueError: a bad option value.
    """
    task: Task = TASKS.get(name)(**options)
    return task


def list_tasks() -> list[type[Task]]:
    """Every registered task class; each has `.name`, `.summary` and `.Options`."""
    return TASKS.entries()


def register_task(task: type[Task]) -> type[Task]:
    """Class decorator that registers a task under its `name`."""
    return TASKS.register(task)
