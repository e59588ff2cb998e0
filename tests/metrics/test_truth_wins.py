"""No metric is won by a wrong law: the exact model of every registered task against those of `tests/contests.py`."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from contests import CONTESTS, LABELS, STRINGS, Contest, lacking
from statistical import standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import METRICS, Evaluation, evaluate

#: Tasks of which a model can be exact: of a user's rows none is.
TASKS = [task for task in evp.list_tasks() if task.has_truth and task.__module__.startswith("ebm_vs_prob.")]
#: Comparisons in which chance could go against the truth: some forty metrics of each rival.
CHECKS = 40
#: Metrics read at a beta that validation pairs tell: the error is that of test pairs, not of that beta.
FITTED = {"gibbs_gap", "gibbs_log_score", "excess", "learned_share", "branch_kl_density"}
#: What a value may be off without being told so by its error: that of a fitted beta, that of the quadrature's cells
#: which the middle between two branches cuts, and rounding.
OF_BETA, OF_CELLS, OF_ROUNDING = 1e-2, 1e-6, 1e-9

Values = dict[str, tuple[float, float]]
Options = tuple[tuple[str, object], ...]


def pairs():
    for task in TASKS:
        for number, contest in enumerate(CONTESTS.get(task.name, ())):
            marks = () if contest.look in (LABELS, STRINGS) else pytest.mark.slow
            yield pytest.param(task.name, contest, id=f"{task.name}-{number}", marks=marks)


@lru_cache(maxsize=4)
def values_of(name: str, truth: Options, law: Options, contest: int, seed: int = 0) -> Values:
    """Every metric of the exact model of `law` by the truth: its value and its standard error."""
    own, options = CONTESTS[name][contest], dict(law)
    potential = options.pop("potential", "log_density")
    task, other = evp.get_task(name, **dict(truth)), evp.get_task(name, **options)
    # Where the box follows the law, a rival is looked at in that of the truth, as any model of the truth's data is.
    other.x_space, other.y_space = task.x_space, task.y_space
    model = evp.fit("exact", other, potential=potential)
    table = evaluate(model, task, own.look.model_copy(update={"seed": seed}), only=own.only)
    return {row.metric: (row.value, 0.0 if math.isnan(row.error) else row.error) for row in table.itertuples()}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_is_held_against_other_laws(task):
    assert not lacking(task), "\n".join(lacking(task))


def test_a_task_without_contests_is_told_what_to_add():
    class Unheard(evp.get_task("discontinuous").__class__):
        name = "unheard"

    assert lacking(Unheard) == [
        "add to CONTESTS of tests/contests.py 'unheard': (Contest({options}, ({other options},)),)"
    ]


@pytest.mark.parametrize(("name", "contest"), list(pairs()))
def test_no_metric_is_won_by_another_law(name: str, contest: Contest):
    """A metric of which the nearest to the truth is the best is held against the truth's under other random numbers.

    What beats the truth by fewer standard errors than chance does in 1e-5 of such tests does not beat it. A rival that
    is a law has a likelihood gap that chance has not, so that there is a contest.
    """
    number, truth = CONTESTS[name].index(contest), tuple(contest.truth.items())
    ours, again = (values_of(name, truth, truth, number, seed) for seed in (0, 1))
    far, beaten = standard_errors(CHECKS * len(contest.rivals)), {}
    if "likelihood_gap" in ours:
        assert ours["likelihood_gap"][0] == pytest.approx(0.0, abs=1e-9)
    for rival in contest.rivals:
        theirs = values_of(name, truth, tuple({**contest.truth, **rival}.items()), number)
        for metric, (value, error) in ours.items():
            better, (other, of_other) = METRICS[metric].better, theirs[metric]
            if better == "none" or METRICS[metric].group == "cost" or math.isnan(other):
                continue
            assert not math.isnan(value), metric
            if better == "exact":
                target, of_target = again[metric]
                lost = abs(value - target) - abs(other - target)
                slack = far * (error + of_target + of_other)
            else:
                lost = (value - other) * (1 if better == "lower" else -1)
                slack = far * np.hypot(error, of_other)
            unsaid = (
                OF_BETA if metric in FITTED else OF_CELLS if metric.startswith("branch_kl_density") else OF_ROUNDING
            )
            if lost > slack + unsaid:
                beaten[(metric, *rival)] = (value, other, slack)
        gap, of_gap = theirs.get("likelihood_gap", (math.nan, 0.0))
        assert math.isnan(gap) or gap > far * of_gap, (dict(rival), gap, of_gap)
    assert not beaten


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("hard_strings", "exact", {"length": 4}),
        ("translation", "exact", {"length": 5}),
        pytest.param("segmentation", "connectionist_temporal", {"length": 2}, marks=pytest.mark.slow),
    ],
)
def test_what_has_no_other_temperature_is_measured_at_its_own(name, method, options):
    task = evp.get_task(name, **options)
    budget = evp.Budget(steps=10, batch_size=16, examples=64)
    asked = ("gibbs_gap", "gibbs_gap_unit_beta", "likelihood_gap")
    table = evp.evaluate(evp.fit(method, task, budget=budget), task, Evaluation(test_examples=16), only=asked)
    found = table.set_index("metric")["value"]
    assert found["gibbs_gap_unit_beta"] == found["likelihood_gap"]
    assert math.isnan(found["gibbs_gap"])
    assert "read it at beta = 1" in table.attrs["notes"]["gibbs_gap"]
