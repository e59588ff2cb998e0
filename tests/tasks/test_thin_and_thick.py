"""Every law of every registered task is finite where it is very thin and very thick, and as far out as its box goes."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import torch
from contests import CONTESTS

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.decisions import DecisionReference
from ebm_vs_prob.tasks.reference import HasBranches

THIN, THICK = 1e-4, 3.0
#: The thickest of tasks that have an end to it, and tasks that have no other thickness than their own.
THICKEST, FIXED = {"gustafsson_1d": 0.15, "translation": 0.99}, ("digits",)
#: Tasks whose log-density at a few pairs takes seconds.
DEAR = ("super_resolution", "video", "manifold", "horn")
N = 6


def laws():
    """Every task at the options of each truth that it is held to, thin and thick."""
    for task in evp.list_tasks():
        if not task.has_truth or not task.__module__.startswith("ebm_vs_prob.") or task.name in FIXED:
            continue
        assert task.name in CONTESTS, f"add {task.name} to CONTESTS of tests/contests.py"
        for number, contest in enumerate(CONTESTS[task.name]):
            for thickness in (THIN, THICKEST.get(task.name, THICK)):
                options = {**contest.truth, "thickness": thickness}
                marks = pytest.mark.slow if task.name in DEAR else ()
                yield pytest.param(task.name, options, id=f"{task.name}-{number}-{thickness:g}", marks=marks)
        if "ambient_dim" in task.Options.model_fields:
            for thickness in (THIN, THICK):
                options = {"ambient_dim": widest(task), "thickness": thickness}
                yield pytest.param(task.name, options, id=f"{task.name}-wide-{thickness:g}")


def widest(task: type[evp.Task]) -> int:
    """The largest D that the task takes."""
    (most,) = (each.le for each in task.Options.model_fields["ambient_dim"].metadata if hasattr(each, "le"))
    return int(most)


def far_out(task: evp.Task, y: torch.Tensor) -> torch.Tensor:
    """Answers in the tails: data pushed away by as much as the box is wide, its middle, and its corners."""
    if not isinstance(task.y_space, evp.Box):
        return torch.stack([y.flip(0), torch.zeros_like(y), torch.full_like(y, task.y_space.num_values - 1)])
    low, high = task.y_space.bounds
    below = -0.99 if task.name == "gustafsson_1d" else low  # to its left there is no density where x >= 0
    pushed = (y + (high - low) * torch.ones_like(y)).clamp(below, high)
    return torch.stack([pushed, *(torch.full_like(y, place) for place in (below, high, 0.5 * (below + high)))])


@pytest.mark.parametrize(("name", "options"), list(laws()))
def test_a_law_is_finite_thin_thick_and_far_out(name, options):
    task = evp.get_task(name, **options)
    reference = task.reference
    x, y = task.sample(N, seed=3)
    real = isinstance(task.y_space, evp.Box)
    drawn = reference.sample(x[:2], 2, seed=1)
    assert drawn.isfinite().all()
    own = reference.log_prob(x, y)
    assert own.isfinite().all()
    for answers in far_out(task, y):
        point = answers.clone().requires_grad_(real)
        log_prob = reference.log_prob(x, point)
        assert log_prob.isfinite().all()
        if real:
            (slope,) = torch.autograd.grad(log_prob.sum(), point)
            assert slope.isfinite().all()
        assert (log_prob.detach() <= 1e-9).all() or real
    for known in (lambda: reference.distance(x, y), lambda: reference.answers(x[:1])):
        with suppress(NoExactReference):
            found = known()
            assert found.isfinite().any()
            assert not found.isinf().any()  # NaN stands for answers that an x has fewer
    if name not in DEAR:
        with suppress(NoExactReference):
            assert math.isfinite(reference.entropy())
    if isinstance(reference, HasBranches):
        with suppress(NoExactReference):
            assert reference.branch_weights(x).sum(-1) == pytest.approx(torch.ones(N).numpy(), abs=1e-9)
    if isinstance(reference, DecisionReference):
        best = reference.decision(x)
        assert reference.cost(x, best).isfinite().all()
        assert reference.regret(x, best).abs().max() < 1e-6 * max(1.0, task.thickness)
