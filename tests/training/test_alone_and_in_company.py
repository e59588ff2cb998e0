"""A replicate alone is the replicate in company, bit for bit, on a CPU: every trained method, whatever the company."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.testing.methods import applicable_task

pytestmark = pytest.mark.portable

#: `exact` trains nothing, and NUTS takes one replicate at a time: its trajectories have lengths of their own.
METHODS = [method for method in evp.list_methods() if method.batchable and method.principle != "exact"]
#: Those whose single steps are dear.
SLOW = (
    *("gibbs_variational_bayes", "two_step", "coupling_flow", "autoregressive_flow", "gibbs_ensemble"),
    *("sparse_coding", "gibbs_stochastic_gradient_langevin", "gaussian_process", "kernel_density"),
)
OWN = 5
COMPANIES = ([4, 5], [4, 6, 5], [1, 5, 3, 2, 8], [8, 7, 5, 6, 4, 3, 2, 1])
#: Widths, a batch and examples that fill no vector, so that every kind of remainder is met.
ODD = {"network": evp.Network(hidden=(7, 5), activation="softplus"), "dtype": torch.float32}
EVEN = {"network": evp.Network(hidden=(16, 16)), "dtype": torch.float64}


def record(method, seeds, steps, network, dtype):
    """Bits of parameters, buffers, losses and traces of the replicate whose seed is `OWN`."""
    fewest = {"gibbs_stochastic_gradient_langevin": 20}.get(method.name, 0)  # chains want states after burn-in
    budget = evp.Budget(steps=max(steps, fewest), batch_size=17, examples=120)
    rates = [0.002 * (1 + seed % 4) for seed in seeds]
    task = applicable_task(method)
    model = evp.fit(method, task, seeds=seeds, budget=budget, network=network, dtype=dtype, learning_rate=rates)
    place = seeds.index(OWN)
    kept = {n: v for n, v in model.module.state_dict().items() if v.ndim and len(v) == len(seeds)}
    assert kept
    # Measured after training against ln Z by quadrature, on as many nodes as the neediest replicate asks for.
    kept.pop("partition_gap", None)
    kept |= {"loss": model.training.loss, **model.training.traces}
    own = {name: value[place].detach().clone().contiguous() for name, value in kept.items() if value[place].ndim}
    return {name: value.view(torch.uint8) for name, value in own.items()}


def check(method, companies, steps, setting):
    alone = record(method, [OWN], steps, **setting)
    for seeds in companies:
        company = record(method, list(seeds), steps, **setting)
        differ = [name for name, value in alone.items() if not torch.equal(value, company[name])]
        assert not differ, (seeds, differ)


@pytest.mark.parametrize(
    "method", [pytest.param(m, id=m.name, marks=[pytest.mark.slow] if m.name in SLOW else []) for m in METHODS]
)
def test_a_replicate_has_the_same_bits_alone_and_in_company(method):
    check(method, COMPANIES, 6, ODD)


@pytest.mark.long
@pytest.mark.parametrize("method", [pytest.param(m, id=m.name) for m in METHODS])
def test_the_same_bits_in_double_precision(method):
    check(method, COMPANIES[1:3], 6, EVEN)


@pytest.mark.long
@pytest.mark.parametrize("method", [pytest.param(m, id=m.name) for m in METHODS])
def test_the_bits_are_the_same_after_five_hundred_steps(method):
    check(method, ([4, 6, 5], [*range(32)]), 500, ODD)
