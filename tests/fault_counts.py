"""How often faults strike: a few times wherever a change is checked, EBM_VS_PROB_FAULT_SCALE times that on demand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SCALE = int(os.environ.get("EBM_VS_PROB_FAULT_SCALE", "1"))


def examples(few: int) -> settings:
    """A decorator: `few` examples, times the scale."""
    return settings(max_examples=few * SCALE, suppress_health_check=list(HealthCheck), deadline=None)


def times(few: int, full: int) -> int:
    """Strikes that take seconds each: `few`, or at any greater scale the `full` count that is claimed."""
    return full if SCALE > 1 else few
