"""The particle: its motion, an oracle with a memory of its own, density and draws against independent computations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statistical import FALSE_ALARM, counts_agree, follows, level, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.particle import START_SHARE, infer_policy
from ebm_vs_prob.tasks.point_mass import (
    ACTIONS,
    APART,
    DAMPING,
    REACHED,
    REPEATS,
    SAME_HEADING,
    SLOW,
    STIFFNESS,
    TIME_STEP,
    TURNING,
    advance,
    begin,
    choice,
    distances,
    rollout,
)
from ebm_vs_prob.testing import check_task

modes = pytest.mark.parametrize("first_goal", [1.0, 0.6])


def task_at(dim=2, first_goal=1.0, thickness=0.05):
    return evp.get_task("particle", dim=dim, first_goal=first_goal, thickness=thickness)


def starts(n, dim, seed=0):
    return begin(n, dim, np.random.default_rng(seed))


def stated_weights(row, dim, first_goal):
    """Of goal 1 and goal 2 at one observation, by the rule in the words of the docs, one goal and number at a time."""
    place, velocity = row[:dim], row[dim : 2 * dim]
    goals = row[2 * dim : 3 * dim], row[3 * dim :]
    away = [math.dist(goal, place) for goal in goals]
    speed = math.hypot(*velocity)
    nearing = [sum(v * (g - p) for v, g, p in zip(velocity, goal, place, strict=True)) for goal in goals]
    nearing = [rate / max(distance, 1e-12) for rate, distance in zip(nearing, away, strict=True)]
    if away[0] <= TURNING:
        return 0.0, 1.0
    if first_goal < 1.0 and away[1] <= TURNING:
        return 1.0, 0.0
    if first_goal < 1.0 and speed < SLOW:
        return first_goal, 1.0 - first_goal
    return (0.0, 1.0) if nearing[1] - nearing[0] > SAME_HEADING * speed else (1.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "first_goal"), [(1, 1.0), (2, 0.6), (16, 0.6)])
def test_it_keeps_the_rules(dim, first_goal):
    check_task(task_at(dim, first_goal))


def test_it_moves_by_the_equation_of_motion():
    x, action = starts(20, 3), torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, 3:6] = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    place, velocity = x[:, :3].clone(), x[:, 3:6].clone()
    for _ in range(REPEATS):
        force = STIFFNESS * (action - place) - DAMPING * velocity
        place, velocity = place + velocity * TIME_STEP, velocity + force * TIME_STEP
    found = advance(x, action)
    torch.testing.assert_close(found, torch.cat([place, velocity, x[:, 6:]], dim=1))


def test_at_rest_it_runs_past_no_set_point():
    x = starts(50, 4)
    goal = x[:, 8:12]
    before = distances(x)[:, 0]
    for _ in range(ACTIONS):
        x = advance(x, goal)
        after = distances(x)[:, 0]
        assert bool((after < before).all())
        before = after
    # The critically damped solution (1 + w t) exp(-w t), up to the error of Euler's rule.
    w = math.sqrt(STIFFNESS) * ACTIONS * REPEATS * TIME_STEP
    assert float(after.max()) < 2.0 * 1.5 * (1 + w) * math.exp(-w)


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_episodes_begin_at_rest_in_the_cube_and_apart(dim):
    x = starts(2000, dim)
    place, velocity, *goals = x.split(dim, dim=1)
    assert not bool(velocity.any())
    assert float(x.min()) >= 0.0
    assert float(x.max()) < 1.0
    for a, b in ((place, goals[0]), (place, goals[1]), (goals[0], goals[1])):
        assert float((a - b).norm(dim=1).min()) >= APART
    if dim == 16:  # in which hardly any two are nearer
        assert follows(x[:, ~(x == 0).all(0)], "uniform")


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_the_oracle_does_what_one_with_a_memory_does(dim):
    """That which it reads off the heading, the other remembers: whether it has been at goal 1."""
    x = starts(300, dim)
    goals = x[:, 2 * dim :].unflatten(-1, (2, dim))
    been = torch.zeros(300, dtype=torch.bool)
    for _ in range(ACTIONS):
        been |= distances(x)[:, 0] <= TURNING
        second, free = choice(x, two_modes=False)
        done = distances(x)[:, 1] <= REACHED
        assert bool((second == been)[~done].all())
        assert not bool(free.any())
        x = advance(x, goals[torch.arange(300), been.long()])
    assert bool(been.all())


@modes
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_the_oracle_succeeds_and_others_do_not(dim, first_goal):
    task = task_at(dim, first_goal)
    assert task.success_rate(task.oracle(), 200) == (1.0, 0.0)
    assert task.success_rate(lambda x: task.goals(x).mean(1), 200)[0] < 0.02
    if dim > 1:  # on the way to goal 2 the particle meets goal 1 by chance alone
        share, error = task.success_rate(lambda x: task.goals(x)[:, 1], 200)
        assert share < 0.1
        assert error == pytest.approx(math.sqrt(share * (1 - share) / 200))


def test_policies_act_side_by_side_as_they_do_alone():
    task = task_at()
    policies = [task.oracle(), lambda x: task.goals(x).mean(1), lambda x: task.goals(x)[:, 1]]
    together = task.successes(
        lambda x: torch.stack([own(part) for own, part in zip(policies, x, strict=True)]), 40, (3, 3, 4)
    )
    assert together.shape == (3, 40)
    alone = [task.success_rate(own, 40, seed)[0] for own, seed in zip(policies, (3, 3, 4), strict=True)]
    assert together.double().mean(1).tolist() == alone


def test_episodes_are_lived_through_where_an_evaluation_names_them():
    task = task_at(dim=2)
    asked = evp.Evaluation(test_examples=8, inputs=2, starts=2, samples=8, metrics=("episode_success",))
    for options, expected in ({}, 1.0), ({"potential": "constant"}, 0.0):
        model = evp.fit("exact", task, seeds=[0, 1], **options)
        table = evp.evaluate(model, task, asked).set_index("metric").loc["episode_success"]
        assert np.unique(table["value"]).tolist() == [expected]
    every = asked.model_copy(update={"metrics": ()})
    unasked = evp.evaluate(evp.fit("exact", task), task, every, only=["episode_success"]).set_index("metric")
    assert unasked.loc["episode_success", "n"] == 0
    elsewhere = evp.evaluate(evp.fit("exact", evp.get_task("circle")), evp.get_task("circle"), asked)
    assert "there are no episodes" in elsewhere.attrs["notes"]["episode_success"]


def test_goal_2_counts_after_goal_1_alone_where_there_is_one_mode():
    task, free = task_at(), task_at(first_goal=0.5)

    def other_way(x):
        """Goal 2 first, and from there to goal 1: the oracle with the goals exchanged."""
        place, goals = x[:, :4], x[:, 4:].unflatten(-1, (2, 2)).flip(1).flatten(1)
        second, _ = choice(torch.cat([place, goals], dim=1), two_modes=False)
        return torch.where(second.unsqueeze(1), x[:, 4:6], x[:, 6:8])

    assert free.success_rate(other_way, 100)[0] == 1.0
    assert task.success_rate(other_way, 100)[0] < 0.1


def test_every_policy_meets_the_episodes_of_the_seed():
    task, met = task_at(), []

    def recorded(x):
        met.append(x)
        return task.oracle()(x)

    begun = []
    for seed in (0, 0, 1):
        met.clear()
        task.success_rate(recorded, 20, seed)
        begun.append(met[0])
    assert torch.equal(begun[0], begun[1])
    assert not torch.equal(begun[0], begun[2])
    assert len(met) < ACTIONS  # it ends when all are done


@modes
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_prob_is_the_mixture(dim, first_goal):
    task = task_at(dim, first_goal, 0.3)
    x, y = task.sample(200, seed=1)
    weights = np.array([stated_weights(row, dim, first_goal) for row in x.tolist()])
    assert first_goal == 1.0 or 20 < (weights > 0).all(1).sum() < 120  # free at the starts, a quarter of all
    goals = x[:, 2 * dim :].reshape(200, 2, dim).numpy()
    density = (weights * stats.norm(goals, 0.3).pdf(y.numpy()[:, None]).prod(-1)).sum(1)
    np.testing.assert_allclose(task.reference.log_prob(x, y).exp().numpy(), density, rtol=1e-9)
    assert bool(task.reference.log_density(x, y * 1e3).isfinite().all())


@pytest.mark.parametrize("dim", [1, 2, 16])
@pytest.mark.parametrize("thickness", [3.0, 0.05, 1e-4])
def test_mean_log_prob_is_minus_the_entropy(dim, thickness):
    task = task_at(dim, thickness=thickness)
    values = task.reference.log_prob(*task.sample(1000, seed=3))
    error = values.std() / len(values) ** 0.5
    assert within_standard_errors(values.mean(), -task.reference.entropy(), error, comparisons=9)


def test_of_two_modes_the_entropy_is_not_exactly_known():
    with pytest.raises(evp.NoExactReference, match="no closed form"):
        task_at(first_goal=0.5).reference.entropy()


def test_where_the_oracle_is_free_it_chooses_with_the_stated_probability():
    task = task_at(first_goal=0.7)
    x, _, label = task.sample_with_latent(4000, seed=0)
    weights = task.goal_probabilities(x)
    free = (weights > 0).all(1)
    at_start = (x[:, 2:4] == 0).all(1)
    assert bool(free[at_start].all())
    # A quarter by the law of the task, and of the rest the first of some 60 states.
    assert 0.2 < float(free.double().mean()) < 0.35
    assert weights[free].unique(dim=0).tolist() == [[pytest.approx(0.7), pytest.approx(0.3)]]
    assert counts_agree(torch.bincount(label[free], minlength=2), [0.7, 0.3], comparisons=2)
    assert bool((label == weights.argmax(1))[~free].all())
    drawn = task.reference.branch(x[free][:1].expand(4000, -1), task.reference.sample(x[free][:1], 4000)[0])
    assert counts_agree(torch.bincount(drawn, minlength=2), task.reference.branch_weights(x[free][:1])[0], 2)


@modes
def test_states_are_at_uniform_times_of_episodes(first_goal):
    """Against episodes that are stored whole."""
    task = task_at(first_goal=first_goal)
    x, _ = task.sample(2000, seed=0)
    rng = np.random.default_rng(1)
    coin = torch.from_numpy(rng.random(2000))
    seen = list(
        rollout(
            starts(2000, 2, seed=1),
            lambda x: task.goals(x)[torch.arange(2000), (coin < task.goal_probabilities(x)[:, 1]).long()],
            in_order=first_goal == 1.0,
        )
    )
    took = sum((~reached.all(-1)).long() for _, reached in seen)
    time = (torch.from_numpy(rng.random(2000)) * took).long()
    time = torch.where(torch.from_numpy(rng.random(2000)) < START_SHARE, 0, time)
    stored = torch.stack([state for state, _ in seen])[time, torch.arange(2000)]
    for quantity in (lambda v: distances(v)[:, 0], lambda v: distances(v)[:, 1], lambda v: v[:, 2:4].norm(dim=1)):
        assert stats.ks_2samp(quantity(x).numpy(), quantity(stored).numpy()).pvalue > level(6, FALSE_ALARM)


@modes
def test_answers_are_the_goals_that_the_oracle_may_go_to(first_goal):
    task = task_at(3, first_goal, 0.0)
    x, y, label = task.sample_with_latent(200)
    answers = task.reference.answers(x)
    torch.testing.assert_close(answers[torch.arange(200), label], y)
    taken = answers.isfinite().all(-1)
    assert bool((taken == (task.goal_probabilities(x) > 0)).all())
    assert bool(taken.all(1).any()) == (first_goal < 1.0)
    assert float(task.reference.distance(x, y).max()) < 1e-12
    other = task.goals(x)[torch.arange(200), 1 - label]
    gap = (task.goals(x)[:, 0] - task.goals(x)[:, 1]).norm(dim=1)
    expected = torch.where(taken.all(1), 0.0, gap)
    torch.testing.assert_close(task.reference.distance(x, other), expected)
    assert task.reference.branch(x, y).tolist() == label.tolist()


@modes
@pytest.mark.parametrize("thickness", [0.3, 0.01])
def test_derivatives_against_finite_differences(first_goal, thickness):
    task = task_at(2, first_goal, thickness)
    x, y = task.sample(20, seed=0)
    log_prob = task.reference.log_density
    gradient = torch.func.vmap(torch.func.grad(log_prob, argnums=1))
    hessian = torch.func.vmap(torch.func.hessian(log_prob, argnums=1))(x, y)
    step = 1e-4 * thickness
    for k in range(2):
        move = step * torch.eye(2, dtype=torch.float64)[k]
        slope = (log_prob(x, y + move) - log_prob(x, y - move)) / (2 * step)
        torch.testing.assert_close(gradient(x, y)[:, k], slope, rtol=1e-6, atol=1e-6 / thickness)
        bend = (gradient(x, y + move) - gradient(x, y - move)) / (2 * step)
        torch.testing.assert_close(hessian[:, k], bend, rtol=1e-4, atol=1e-4 / thickness**2)


def test_a_models_answers_make_a_policy():
    """Answers of the exact model are the oracle's actions."""
    task = task_at(thickness=0.1)
    policy = infer_policy(evp.fit("exact", [task, task], seeds=[0, 1]), replicate=1, n_starts=2)
    x = task.sample(20)[0]
    torch.testing.assert_close(policy(x), task.oracle()(x), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_the_exact_models_answers_succeed():
    task = task_at(thickness=0.1)
    assert task.success_rate(infer_policy(evp.fit("exact", task), n_starts=2), 5)[0] == 1.0


@given(
    dim=st.integers(1, 16),
    first_goal=st.floats(0.01, 1.0),
    thickness=st.just(0.0) | st.floats(1e-12, 100.0),
    seed=st.integers(0, 99),
)
@settings(max_examples=15)
def test_every_valid_task_works(dim, first_goal, thickness, seed):
    task = task_at(dim, first_goal, thickness)
    assert json.loads(json.dumps(task.specification())) == task.specification()
    x, y = task.sample(3, seed=seed)
    assert x.shape == (3, 4 * dim)
    assert y.shape == (3, dim)
    low, high = task.x_space.bounds
    assert bool(((x > low) & (x < high)).all())
    if thickness > 1e-100:
        assert bool(task.reference.log_prob(x, y).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "particle: dim = 0 is not valid"),
        ({"dim": 17}, "particle: dim = 17 is not valid"),
        ({"dim": 1.5}, "particle: dim = 1.5 is not valid"),
        ({"first_goal": 0.0}, "particle: first_goal = 0.0 is not valid"),
        ({"first_goal": math.nan}, "particle: first_goal = nan is not valid"),
        ({"thickness": -1.0}, "particle: thickness = -1.0 is not valid"),
        ({"dims": 2}, "did you mean 'dim'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.get_task("particle", **options)


def test_bad_policies_are_named():
    task = task_at()
    with pytest.raises(ValueError, match=r"policy\(x\)\.shape = \(5, 8\) is not valid: expected \(5, 2\)"):
        task.success_rate(lambda x: x, 5)
    with pytest.raises(ValueError, match=r"policy\(x\) = .*non-finite"):
        task.success_rate(lambda x: x[:, :2] * math.nan, 5)
    with pytest.raises(ValueError, match="episodes = 0 is not valid"):
        task.success_rate(task.oracle(), 0)
    with pytest.raises(ValueError, match="seed = -1 is not valid"):
        task.success_rate(task.oracle(), 5, seed=-1)
