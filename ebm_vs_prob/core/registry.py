"""The names of tasks and methods: the package's own, and those of other packages through entry points."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from .errors import invalid, unknown

EntryT = TypeVar("EntryT", bound=type)


class Registry(Generic[EntryT]):
    """Classes by their `name`. Modules of the folders and entry points load at the first look-up, not at import."""

    def __init__(self, kind: str, folders: tuple[str, ...]) -> None:
        self.kind = kind
        self.group = f"ebm_vs_prob.{kind}s"
        self._folders = folders
        self._entries: dict[str, EntryT] = {}
        self._loaded = False

    def register(self, entry: EntryT) -> EntryT:
        """Add a class under its `name`; used as a decorator.

        Raises:
            ValueError: the class has no `name`, or another class holds it.
        """
        name: Any = getattr(entry, "name", None)
        if not isinstance(name, str) or not name.isidentifier() or len(name) > 64:
            raise invalid(
                f"{self.kind} name of {entry.__qualname__}",
                name,
                "a Python identifier of at most 64 characters as class attribute",
            )
        held = self._entries.get(name)
        if held is not None and f"{held.__module__}.{held.__qualname__}" != f"{entry.__module__}.{entry.__qualname__}":
            raise invalid(f"{self.kind} name", name, f"a name that {held.__module__}.{held.__qualname__} does not hold")
        self._entries[name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Forget a name; for tests and notebooks that register something for a while."""
        self._entries.pop(name, None)

    def get(self, name: str) -> EntryT:
        """The class of that name; a `LookupError` with the nearest valid one where there is none."""
        self._load()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def is_extended(self) -> bool:
        """Whether there are classes of others: registered here, or declared by another distribution."""
        package = __name__.partition(".")[0]
        others = any(entry.__module__.partition(".")[0] != package for entry in self._entries.values())
        return others or bool(entry_points(group=self.group))

    def entries(self) -> list[EntryT]:
        """All classes, by name."""
        self._load()
        return [self._entries[name] for name in sorted(self._entries)]

    def _load(self) -> None:
        if self._loaded:
            return
        for folder in self._folders:
            for module in pkgutil.iter_modules(importlib.import_module(folder).__path__, f"{folder}."):
                importlib.import_module(module.name)
        for point in entry_points(group=self.group):
            self.register(point.load())
        self._loaded = True


TASKS: Registry[Any] = Registry("task", ("ebm_vs_prob.tasks",))
METHODS: Registry[Any] = Registry(
    "method", ("ebm_vs_prob.ebm.methods", "ebm_vs_prob.prob.methods", "ebm_vs_prob.control")
)
