"""Studies: validated TOML to plan, batches, records and a tidy table. Heavy modules load when a name is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "run": (
        "run_study",
        "load_results",
        "study_status",
    ),
    "plan": (
        "Plan",
        "plan_study",
    ),
    "schema": ("Study",),
    "files": (
        "list_studies",
        "load_study",
    ),
    "store": ("Store",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Plan",
    "Store",
    "Study",
    "list_studies",
    "load_results",
    "load_study",
    "plan_study",
    "run_study",
    "study_status",
]

if TYPE_CHECKING:
    from .files import list_studies, load_study
    from .plan import Plan, plan_study
    from .run import load_results, run_study, study_status
    from .schema import Study
    from .store import Store


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
