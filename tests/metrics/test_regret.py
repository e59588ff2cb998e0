"""Decisions of models: cost matrices and pinball costs by brute force, and the regret of models whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hand_made import HandMade
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ebm_vs_prob as evp
from ebm_vs_prob.control.exact import Exact, ExactGraphEnergy
from ebm_vs_prob.gibbs.normalizers import quadrature
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.metrics.regret import regret, regret_switched

SMALL = Evaluation(test_examples=64, inputs=4, starts=2, partitions=16, samples=16, max_steps=5)
CHANCES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda w: np.array(w) / sum(w))
COSTS = st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=5)


def regret_of(model, task, evaluation=SMALL):
    table = evp.evaluate(model, task, evaluation)
    rows = table[table.metric == "regret"]
    return rows.value.tolist(), rows.error.tolist(), rows.n.tolist(), table.attrs["notes"].get("regret", "")


@given(costs=COSTS, chances=CHANCES)
def test_a_cost_matrix_decides_as_brute_force_does(costs, chances):
    decisions = evp.CostMatrix(costs)
    x, y = torch.zeros(1, 2), torch.tensor([[0, 1, 2]])
    best = int(decisions.best(x, y, torch.from_numpy(chances)[None]))
    means = np.array(costs) @ chances
    assert means[best] <= means.min() + 1e-12
    assert decisions.space.n == len(costs)
    for d, row in enumerate(costs):
        assert decisions.cost(x, torch.full((1,), d), y[:, 1]).tolist() == [row[1]]


@given(
    underage=st.floats(0.01, 100),
    overage=st.floats(0.01, 100),
    shape=st.floats(0.5, 5),
)
@settings(max_examples=15, deadline=None)
def test_a_pinball_cost_decides_for_the_quantile(underage, overage, shape):
    """Nodes of a Gauss rule over a gamma law; no order on a fine grid costs less, but for the rule's error."""
    decisions = evp.PinballCost(underage, overage, (0.0, 60.0))
    law = stats.gamma(shape)
    edges = np.geomspace(1e-8, 60, 200)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    y = (edges[:-1, None] + half * (1 + nodes)).ravel()
    mass = (half * weights).ravel() * law.pdf(y)
    shuffled = np.random.default_rng(0).permutation(len(y))
    y, mass = (torch.from_numpy(part[shuffled])[None] for part in (y, mass / mass.sum()))
    found = decisions.best(torch.zeros(1, 1), y.unsqueeze(-1), mass)
    assert found.shape == (1, 1)
    fractile = underage / (underage + overage)
    assert float(law.cdf(float(found))) == pytest.approx(fractile, abs=2e-3)

    def cost(d):
        return float((mass * decisions.cost(torch.zeros(1, 1), torch.full((1, 1, 1), d), y.unsqueeze(-1))).sum())

    least = min(cost(float(d)) for d in law.ppf(np.linspace(0.001, 0.999, 400)))
    assert cost(float(found)) <= least + 1e-4 * (underage + overage)


def test_the_quantile_of_equal_draws_lies_between_their_neighbours():
    decisions = evp.PinballCost(3.0, 1.0, (0.0, 10.0))
    y = torch.tensor([[[4.0], [1.0], [3.0], [2.0]]])
    # Draws stand for mid-distribution levels 1/8, 3/8, 5/8, 7/8: the level 3/4 is midway between the last two.
    assert float(decisions.best(torch.zeros(1, 1), y, torch.full((1, 4), 0.25))) == pytest.approx(3.5)
    assert float(decisions.best(torch.zeros(1, 1), y[:, :1], torch.ones(1, 1))) == 4.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: evp.CostMatrix([]), "a matrix of finite numbers"),
        (lambda: evp.CostMatrix([[0.0], [0.0, 1.0]]), "a matrix of finite numbers"),
        (lambda: evp.CostMatrix([[0.0, math.nan]]), "a matrix of finite numbers"),
        (lambda: evp.PinballCost(0.0, 1.0, (0.0, 1.0)), "underage = 0.0 is not valid"),
        (lambda: evp.PinballCost(1.0, math.inf, (0.0, 1.0)), "overage = inf is not valid"),
    ],
)
def test_bad_costs_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"preferred": "roomier", "thickness": 0.3},
        {"preferred": "roomier", "cost_of_left": 3.0, "abstention": 0.3},
        {"preferred": "roomier", "answer": "continuous", "thickness": 0.3, "cost_of_left": 3.0},
        {"answer": "continuous", "abstention": 0.1},
    ],
)
def test_the_exact_model_of_steering_loses_nothing(options):
    task = evp.get_task("steering", **options)
    value, error, n, note = regret_of(evp.fit("exact", task), task)
    # A decision that the quadrature of the angle takes otherwise costs as much to within its error.
    assert value == [pytest.approx(0.0, abs=1e-6)]
    assert error == [pytest.approx(0.0, abs=1e-6)]
    assert n == [16 if task.options.answer == "continuous" else 64]
    assert note == ""


@pytest.mark.parametrize("demand", ["gaussian", "skewed", "contaminated"])
def test_the_exact_model_of_the_newsvendor_loses_nothing(demand):
    task = evp.get_task("newsvendor", demand=demand, underage=9.0)
    value, error, n, note = regret_of(evp.fit("exact", task), task)
    assert value == [pytest.approx(0.0, abs=1e-7)]
    assert error == [pytest.approx(0.0, abs=1e-7)]
    assert (n, note) == ([16], "")


def test_the_regret_of_demand_believed_too_large():
    """A Gaussian law, wrong by a shift and a factor: its order is known, and so is what that costs."""
    task = evp.get_task("newsvendor", thickness=0.3, underage=4.0)
    pairs = [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0)]

    def energy(x, y, r):
        shift, factor = pairs[r]
        return 0.5 * ((y - 2.0 - x - shift)[..., 0] / (0.3 * factor)) ** 2

    model = HandMade([task] * 3, energy, log_prob=lambda x, y, r: -energy(x, y, r))
    value, error, _, _ = regret_of(model, task)
    z = stats.norm.ppf(0.8)
    for r, (shift, factor) in enumerate(pairs):
        u = factor * z + shift / 0.3
        cost = 0.3 * (4.0 * (stats.norm.pdf(u) - u * stats.norm.sf(u)) + stats.norm.pdf(u) + u * stats.norm.cdf(u))
        # The order is found among points a tenth of ε apart, each of which stands for its surroundings.
        assert value[r] == pytest.approx(cost - 5.0 * 0.3 * stats.norm.pdf(z), abs=1e-4)
        assert error[r] == pytest.approx(0.0, abs=1e-4)


def test_the_regret_of_going_right_always():
    """A law of angles on the right alone: it loses .8 cost_of_right - .2 cost_of_left at every x, without scatter."""
    tasks = [
        evp.get_task("steering", answer="continuous", thickness=0.01, cost_of_left=left, cost_of_right=right)
        for left, right in ((1.0, 1.0), (2.0, 3.0), (5.0, 1.0))
    ]

    def energy(x, y, r):
        return 0.5 * ((y[..., 0] + 1.2) / 0.05) ** 2

    model = HandMade(tasks, energy, log_prob=lambda x, y, r: -energy(x, y, r))
    value, error, _, _ = regret_of(model, tasks)
    assert value == pytest.approx([0.6, 2.0, 0.0], abs=1e-9)
    assert error == pytest.approx([0.0] * 3, abs=1e-9)


class Mistaken(ExactGraphEnergy):
    """The chances of the sides swapped."""

    def graph(self, x):
        return super().graph(x).map(lambda factors: factors.flip(-1) if factors.numel() else factors)


def test_the_regret_of_mistaken_labels():
    task = evp.get_task("steering", preferred="roomier", thickness=0.3)
    model = evp.fit("exact", task)
    model.module = Mistaken(model.tasks)
    value, error, n, _ = regret_of(model, task)
    x, _ = task.sample(64, seed=0, split="test")
    lost = (task.reference.sides(x)[:, 0] * 2 - 1).abs()  # the worse side is taken, at equal costs
    assert value == [pytest.approx(float(lost.mean()), abs=1e-12)]
    assert error == [pytest.approx(float(lost.std()) / 8, abs=1e-12)]
    assert n == [64]


def test_costs_may_change_after_training():
    """One model, other costs: it decides anew, and exactly."""
    model = evp.fit("exact", evp.get_task("steering", preferred="roomier"))
    for costs in ({"cost_of_left": 5.0}, {"abstention": 0.05}):
        assert regret_of(model, evp.get_task("steering", preferred="roomier", **costs))[0] == [pytest.approx(0.0)]


def test_a_failed_replicate_has_no_regret_and_leaves_the_others():
    task = evp.get_task("steering", answer="continuous", thickness=0.1)

    def energy(x, y, r):
        return -task.reference.log_density(x, y) * (math.nan if r == 0 else 1.0)

    model = HandMade([task, task], energy, log_prob=lambda x, y, r: -energy(x, y, r), failed=[0])
    value, _, n, _ = regret_of(model, task)
    assert math.isnan(value[0])
    assert n == [0, 16]
    assert value[1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("steering", "denoising_score_matching", {"answer": "continuous"}),
        ("newsvendor", "denoising_score_matching", {}),
        ("steering", "negative_log_likelihood", {}),
    ],
)
def test_a_replicate_has_the_regret_it_has_alone(name, method, options):
    tasks = [evp.get_task(name, thickness=thickness, **options) for thickness in (0.3, 0.05)]
    budget = evp.Budget(steps=20, examples=64, batch_size=16)
    # A given temperature, because finding one costs more than all the rest.
    together = evp.fit(method, tasks, seeds=[0, 1], budget=budget, gibbs_beta=1.0)
    alone = evp.fit(method, tasks[1:], seeds=[1], budget=budget, gibbs_beta=1.0)
    of_both, of_one = (regret(Observation(m, m.tasks, SMALL))["regret"].value for m in (together, alone))
    assert np.isfinite(of_both).all()
    assert of_both[1] == of_one[0]


def counting(task):
    """Three laws of y near the task's, one with ripples, and the number of energies asked of them so far."""
    asked = [0]

    def energy(x, y, r):
        asked[0] += math.prod(torch.broadcast_shapes(x.shape[:-1], y.shape[:-1]))
        ripples = torch.sin(3 * y[..., 0] * (1 + x[..., 0]))
        return -(1 + 0.3 * r) * task.reference.log_density(x, y) + 0.2 * r * ripples

    return HandMade([task] * 3, energy, log_prob=lambda x, y, r: -energy(x, y, r)), asked


@pytest.mark.parametrize(
    ("name", "options"),
    [("newsvendor", {"underage": 4.0}), ("steering", {"answer": "continuous", "cost_of_left": 3.0})],
)
def test_one_law_serves_both_costs(name, options):
    task = evp.get_task(name, thickness=0.3, **options)
    model, asked = counting(task)
    found, evaluations = [], []
    for metrics in (("regret",), ("regret_switched",), ()):
        asked[0] = 0
        observed = Observation(model, model.tasks, evp.Evaluation(**{**SMALL.model_dump(), "metrics": metrics}))
        if metrics != ("regret_switched",):
            found += [regret(observed)["regret"].value]
        if metrics != ("regret",):
            found += [regret_switched(observed)["regret_switched"].value]
        evaluations.append(asked[0])
    alone, alone_switched, both, both_switched = found
    np.testing.assert_array_equal(alone, both)
    np.testing.assert_array_equal(alone_switched, both_switched)
    assert evaluations == [evaluations[0]] * 3


def test_laws_held_for_few_x_at_a_time_are_the_same(monkeypatch):
    task = evp.get_task("newsvendor", thickness=0.3, underage=4.0)
    model, _ = counting(task)
    whole = regret(Observation(model, model.tasks, SMALL))["regret"].value
    largest, of_target = [0], quadrature.Target.at

    def at(target, y):
        largest[0] = max(largest[0], y.shape[0] * y.shape[1])
        return of_target(target, y)

    monkeypatch.setattr(quadrature.Target, "at", at)
    regret(Observation(model, model.tasks, SMALL))
    held, largest[0] = largest[0], 0
    monkeypatch.setattr(quadrature, "MOST_NODES", 1)  # one x at a time
    np.testing.assert_array_equal(regret(Observation(model, model.tasks, SMALL))["regret"].value, whole)
    assert largest[0] <= held / 8


def test_where_nothing_is_decided_or_known_there_is_no_regret():
    curves = evp.get_task("three_curves")
    assert "nothing is to be decided" in regret_of(evp.fit("exact", curves), curves)[3]
    task = evp.get_task("steering", answer="continuous", thickness=0.1)
    budget = evp.Budget(steps=3, examples=32, batch_size=8)
    assert "stands for no density" in regret_of(evp.fit("mean_squared_error", task, budget=budget), task)[3]
    thin = evp.get_task("steering", answer="continuous", thickness=0.0)
    value, *_, note = regret_of(evp.fit(Exact, thin), thin)
    assert math.isnan(value[0])
    assert "thickness = 0" in note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "methods", "options"),
    [
        (
            "steering",
            ("softmax_classifier", "negative_log_likelihood"),
            {"preferred": "roomier", "cost_of_left": 3.0},
        ),
        (
            "steering",
            ("gibbs_maximum_likelihood", "denoising_score_matching"),
            {"answer": "continuous", "thickness": 0.1, "preferred": "roomier", "cost_of_left": 3.0},
        ),
        ("newsvendor", ("gibbs_maximum_likelihood", "denoising_score_matching"), {}),
    ],
)
def test_both_families_decide_better_than_any_constant(name, methods, options):
    task = evp.get_task(name, **options)
    x, _ = task.sample(1000, split="test")
    space = task.decisions.space
    constants = torch.arange(space.n) if isinstance(space, evp.Labels) else torch.linspace(1, 4, 61).double()[:, None]
    best = min(float(task.reference.regret(x, d.expand(1000, *space.event_shape)).mean()) for d in constants)
    for method in methods:
        model = evp.fit(method, task, budget=evp.Budget(steps=600, batch_size=64, examples=2000))
        assert float(regret(Observation(model, model.tasks, Evaluation()))["regret"].value[0]) < 0.6 * best
