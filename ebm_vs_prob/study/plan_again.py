"""The plan of an earlier run where it is the one that would be made again, which spares making it."""

from __future__ import annotations

from ..core.errors import UnknownName
from .documents import DamagedRecord, StoredPlan
from .keys import digest
from .provenance import package_digest
from .schema import Study
from .store import Store


def plan_again(store: Store, study: Study, scale: str) -> StoredPlan | None:
    """The stored plan of a study at a scale; None where there is none, or another would be made now."""
    try:
        plan = store.plan(study.name, scale)
    except (UnknownName, DamagedRecord):
        return None
    same = (plan["runs"], plan["package"]) == (digest(study.runs(scale)), package_digest())
    return plan if same else None
