"""How many random examples the tests of hostile input try: few as a rule, EBM_VS_PROB_FAULT_SCALE times as many."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SCALE = int(os.environ.get("EBM_VS_PROB_FAULT_SCALE", "1"))


def examples(few: int) -> settings:
    """A decorator: `few` examples, times the scale."""
    return settings(max_examples=few * SCALE, suppress_health_check=list(HealthCheck), deadline=None)
