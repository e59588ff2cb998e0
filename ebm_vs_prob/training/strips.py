"""What methods have in common that read strings off strips."""

from __future__ import annotations

from ..core.spaces import Sequences
from ..tasks.base import Task
from .method import Method


class StripMethod(Method):
    """A method for tasks whose y is read off segments of a strip of columns (`Task.strip`)."""

    y_spaces = (Sequences,)

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        return reason or (None if task.strip is not None else "its x is no strip of columns that y is read off")
