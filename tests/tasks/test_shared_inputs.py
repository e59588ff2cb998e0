"""What every registered task refuses alike: answers and noise that arithmetic cannot hold, symbols of another type."""

from __future__ import annotations

import re

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Box, Discrete
from ebm_vs_prob.tasks.base import LARGEST_ANSWER, LEAST_THICKNESS

TASKS = [task for task in evp.list_tasks() if task.has_truth and task.__module__.startswith("ebm_vs_prob.")]
REAL = [task for task in TASKS if isinstance(task().y_space, Box)]
SYMBOLS = [task for task in TASKS if isinstance(task().y_space, Discrete)]


def name(task):
    return task.name


@pytest.mark.parametrize("task", REAL, ids=name)
@pytest.mark.parametrize("entry", [1e39, -1e77, 1e160, 1e308])
def test_answers_whose_powers_overflow_are_refused(task, entry):
    own = task()
    x, y = own.sample(2, seed=1)
    y[1, 0] = entry
    asked = [own.reference.distance]
    if own.noise_known:  # of others no density is known
        asked.append(own.reference.log_prob)
    project = getattr(own.reference, "project", None)
    if project is not None:
        asked.append(lambda _, answers: project(answers))
    for ask in asked:
        with pytest.raises(ValueError, match=re.escape(f"numbers up to {LARGEST_ANSWER:g} in size")):
            ask(x, y)


@pytest.mark.parametrize("task", [task for task in TASKS if task.noise_known], ids=name)
def test_a_thickness_that_is_lost_in_rounding_is_refused(task):
    with pytest.raises(ValueError, match="thickness"):
        task(thickness=LEAST_THICKNESS / 10.0)


@pytest.mark.parametrize("task", SYMBOLS, ids=name)
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float64])
def test_symbols_of_another_type_are_refused(task, dtype):
    own = task()
    x, y = own.sample(2, seed=1)
    with pytest.raises(ValueError, match=r"torch\.int64"):
        own.reference.log_prob(x, y.to(dtype))
    if own.decisions is not None and dtype != torch.float64:
        with pytest.raises(ValueError, match=r"torch\.int64"):
            own.decisions.cost(x, own.reference.decision(x).to(dtype), y)
