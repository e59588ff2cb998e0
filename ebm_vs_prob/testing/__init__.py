"""Conformance checks: whether a task, a method, a study or a store keeps the rules that all else relies on.

Authors run them in their own tests; the package runs them on everything it registers.

    from ebm_vs_prob.testing import check_task

    def test_my_task():
        check_task("my_task")

A broken rule is an `AssertionError` that names the offender, the rule and what was seen.
"""

from __future__ import annotations

from .methods import check_method
from .rules import global_generators_left_alone, global_random_state
from .stores import check_store
from .studies import check_study
from .tasks import check_task

__all__ = [
    "check_method",
    "check_store",
    "check_study",
    "check_task",
    "global_generators_left_alone",
    "global_random_state",
]
