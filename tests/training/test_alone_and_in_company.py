"""A replicate alone is the replicate in company, bit for bit: every parameter of every trained method, on a CPU."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.testing.methods import _applicable

#: Methods without this test: those that train one replicate at a time or follow no gradient of a network, and, of
#: those that do, one that needs more steps for its chains and one whose search takes seconds a step.
EXCEPT = (
    "exact",
    "gaussian_process",
    "kernel_density",
    "gibbs_nuts",
    "gibbs_stochastic_gradient_langevin",
    "sparse_coding",
)
SLOW = ("gibbs_variational_bayes", "two_step", "coupling_flow", "autoregressive_flow", "gibbs_ensemble")
METHODS = [method for method in evp.list_methods() if method.name not in EXCEPT]
COMPANIES = ([5], [4, 5], [4, 6, 5], [1, 5, 3, 2, 8], [8, 7, 5, 6, 4, 3, 2, 1])


def state(method, seeds, steps):
    """The state of the replicate with seed 5."""
    task = _applicable(method, method.name)
    model = evp.fit(method, task, seeds=seeds, budget=evp.Budget(steps=steps))
    own = {name: v for name, v in model.module.named_parameters() if len(v) == len(seeds)}
    assert own
    return {name: value[seeds.index(5)] for name, value in own.items()}


def check(method, companies, steps):
    alone = state(method, [5], steps)
    for seeds in companies:
        for name, value in state(method, list(seeds), steps).items():
            assert torch.equal(value, alone[name]), (name, seeds)


@pytest.mark.parametrize(
    "method", [pytest.param(m, id=m.name, marks=[pytest.mark.slow] if m.name in SLOW else []) for m in METHODS]
)
def test_a_replicate_has_the_same_bits_alone_and_in_company(method):
    check(method, COMPANIES[1:], steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param(m, id=m.name) for m in METHODS if m.name not in SLOW])
def test_the_bits_are_the_same_after_five_hundred_steps(method):
    check(method, ([4, 6, 5], [*range(32)]), steps=500)
