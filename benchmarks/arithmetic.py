"""What a training step multiplies and adds, and how fast the machine does products of the same shapes."""

from __future__ import annotations

import statistics
import time

import torch

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.energies.mlp import Network
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.training.fitting import get_method, prepare
from ebm_vs_prob.training.loop import multiply_adds_of_step

from .trainings import Plan

#: Products of one call, and how often they are timed.
PRODUCTS, TIMES = 50, 7


def multiply_adds(plan: Plan) -> float:
    """Those of a step of all replicates, as costs are counted."""
    method, task = get_method(plan.method), get_task(plan.task[0], **plan.task[1])
    setting = prepare(
        method,
        task,
        range(plan.replicates),
        energy=None,
        network=Network(hidden=plan.hidden),
        budget=Budget(steps=plan.steps, batch_size=plan.batch_size, examples=plan.examples),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options=plan.options,
    )
    return sum(multiply_adds_of_step(method.build(setting)))


def product_rate(plan: Plan) -> float:
    """Multiply-adds a second of batched products of the hidden layers' shape: (R, B, H) by (R, H, H)."""
    before, after = plan.hidden[0], plan.hidden[-1]
    one = torch.randn(plan.replicates, plan.batch_size, before)
    other = torch.randn(plan.replicates, before, after)
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        for _ in range(PRODUCTS):
            torch.bmm(one, other)
        times.append((time.perf_counter() - started) / PRODUCTS)
    return plan.replicates * plan.batch_size * before * after / statistics.median(times)
