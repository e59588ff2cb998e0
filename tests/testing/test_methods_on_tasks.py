"""Every method on the tasks its first check does not meet: it keeps the rules there or says why it does not apply."""

from __future__ import annotations

import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.testing import check_method

#: The exact model of real data is a sampler without an energy: tests/test_exact.py.
METHODS = [method for method in evp.list_methods() if method.principle != "exact"]
TASKS = {
    "three_curves": {"thickness": 0.1},
    "digits": {},
    "gaussian_classes": {},
    "labelled_chain": {"length": 3},
    "segmentation": {"length": 2, "narrowest": 3, "widest": 5},
}


#: They take most of a minute on digits; tests/testing/test_conformance.py has them on the circle.
ON_DIGITS = ("denoising_score_matching", "hinge", "gibbs_maximum_likelihood", "mixture_density", "mean_squared_error")
LONG = ("gibbs_nuts", "vae", "coupling_flow", "autoregressive_flow")


def pairs():
    """Every method on every task; on digits, where each takes seconds, one of a kind in the slow suite."""
    for name, options in TASKS.items():
        for method in METHODS:
            dear = method.name in LONG or (name == "digits" and method.name not in ON_DIGITS)
            mark = pytest.mark.long if dear else pytest.mark.slow
            yield pytest.param(method, evp.get_task(name, **options), id=f"{method.name}-{name}", marks=mark)


@pytest.mark.parametrize(("method", "task"), list(pairs()))
def test_method_keeps_the_rules_on_a_task_or_says_why_not(method, task):
    reason = method.why_not(task)
    if reason is None:
        check_method(method, task)
        return
    assert len(reason.split()) >= 3
    with pytest.raises(ValueError, match=method.name):
        evp.fit(method, task)
