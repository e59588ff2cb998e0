"""Steering: geometry, law, costs and regret against counting, numerical integration and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statistical import counts_agree, follows, share_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.steering import ABSTAIN, EXTENT, LEFT, MIN_GAP, PERCEPTION, RIGHT, geometry
from ebm_vs_prob.testing import check_task


def steering(**options):
    return evp.get_task("steering", **options)


def angles_at(x):
    """Wheel angles left and right and the bearing, by the picture: the room is 1, the obstacle 2 + x₁ ahead."""
    offset, ahead = x[:, 0] / 2, 2 + x[:, 1]
    return np.arctan2(offset + 1, ahead), np.arctan2(offset - 1, ahead), np.arctan2(offset, ahead)


def chance_of_left(x, task):
    """P(left | x) by integrating the density of the wheel angle over everything left of the bearing."""
    own = task.options
    share = np.full(len(x), own.share)
    if own.preferred == "roomier":
        room = stats.norm.cdf(-x[:, 0], scale=PERCEPTION)
        share = own.share * room + (1 - own.share) * (1 - room)
    left, right, bearing = angles_at(x)
    return share * stats.norm.sf(bearing, left, own.thickness) + (1 - share) * stats.norm.sf(
        bearing, right, own.thickness
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"answer": "discrete", "thickness": 0.0},
        {"answer": "discrete", "thickness": 0.3, "preferred": "roomier", "abstention": 0.1},
        {"answer": "continuous", "thickness": 1e-4},
        {"answer": "continuous", "thickness": 3.0, "preferred": "roomier"},
    ],
)
def test_keeps_the_rules(options):
    check_task(steering(**options))


def test_the_stated_gap_and_extent_hold_and_are_tight():
    side = torch.linspace(-1, 1, 401, dtype=torch.float64)
    angles, bearing = geometry(torch.cartesian_prod(side, side))
    gap = (angles - bearing.unsqueeze(-1)).abs().min()
    # They are least at corners, which are among the nodes.
    assert MIN_GAP <= float(gap) < MIN_GAP + 0.01
    assert EXTENT - 0.01 < float(angles.abs().max()) <= EXTENT
    assert bool(((angles[:, LEFT] > bearing) & (angles[:, RIGHT] < bearing)).all())


def test_the_mean_wheel_angle_of_undecided_drivers_hits_the_obstacle():
    """It is nearer to the obstacle's bearing than to either way past it."""
    task = steering(answer="continuous", share=0.5)
    x, _ = task.sample(500)
    angles, bearing = geometry(x)
    middle = angles.mean(-1)
    assert bool((task.reference.distance(x, middle.unsqueeze(-1)) > 2 * (middle - bearing).abs()).all())


@pytest.mark.parametrize("preferred", ["left", "roomier"])
def test_the_side_is_that_of_the_wheel_angle(preferred):
    """The same seed gives the same drivers, and the label is where their angle lies."""
    both = [steering(answer=answer, thickness=0.2, preferred=preferred) for answer in ("discrete", "continuous")]
    (x, side), (again, angle) = (task.sample(3000, seed=4) for task in both)
    assert torch.equal(x, again)
    bearing = torch.from_numpy(angles_at(x.numpy())[2])
    assert torch.equal(side == LEFT, angle[:, 0] >= bearing)


@pytest.mark.parametrize("options", [{}, {"preferred": "roomier"}, {"share": 0.35, "thickness": 0.4}])
def test_sides_are_bayes_rule_and_follow_the_data(options):
    options = {"thickness": 0.2, **options}
    label, angle = steering(**options), steering(answer="continuous", **options)
    x, y = label.sample(20_000, seed=1)
    expected = chance_of_left(x.numpy(), label)
    for reference in (label.reference, angle.reference):
        np.testing.assert_allclose(reference.sides(x)[:, LEFT].numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(label.reference.log_prob(x, y * 0).exp().numpy(), expected, rtol=1e-9)
    # The counts of sides are sums of independent trials of unlike chances, whose normal law is that of so many.
    for part in (x[:, 0] < -0.3, x[:, 0] > 0.3):
        chances, hits = expected[part.numpy()], (y[part] == LEFT).double()
        error = math.sqrt((chances * (1 - chances)).mean() / len(chances))
        assert within_standard_errors(hits.mean(), chances.mean(), error, comparisons=2)


def test_drivers_have_their_shares_and_noise():
    task = steering(answer="continuous", thickness=0.01)
    x, y, choice = task.sample_with_latent(20_000, seed=0)
    assert counts_agree(torch.bincount(choice, minlength=2), [0.8, 0.2], comparisons=4)
    for k in range(2):
        assert follows(x[:, k], stats.uniform(-1, 2).cdf, comparisons=4)
    noise = (y[:, 0] - geometry(x)[0].gather(1, choice[:, None])[:, 0]) / 0.01
    assert follows(noise, "norm", comparisons=4)


@pytest.mark.parametrize("preferred", ["left", "roomier"])
@pytest.mark.parametrize("thickness", [0.3, 0.05])
def test_density_is_the_mixture(preferred, thickness):
    task = steering(answer="continuous", thickness=thickness, preferred=preferred)
    x, y = task.sample(50, seed=2)
    share = chance_of_left(x.numpy(), steering(thickness=1e-9, preferred=preferred))
    left, right, _ = angles_at(x.numpy())
    each = [stats.norm.pdf(y[:, 0].numpy(), at, thickness) for at in (left, right)]
    found = task.reference.log_prob(x, y).exp().numpy()
    np.testing.assert_allclose(found, share * each[0] + (1 - share) * each[1], rtol=1e-9)


@pytest.mark.parametrize("options", [{"thickness": 0.1}, {"thickness": 0.3, "preferred": "roomier"}])
def test_entropy_of_sides_against_adaptive_quadrature(options):
    task = steering(**options)

    def surprise(b, a):
        p = chance_of_left(np.array([[a, b]]), task)
        return float((special.entr(p) + special.entr(1 - p))[0]) / 4

    expected = integrate.dblquad(surprise, -1, 1, -1, 1, epsabs=1e-9)[0]
    assert task.reference.entropy() == pytest.approx(expected, abs=1e-8)


def test_entropy_of_thin_angles_is_choice_plus_noise():
    choice = float(special.entr([0.8, 0.2]).sum())
    for eps in (0.02, 1e-4, 1e-9, 1e-12):
        noise = math.log(eps) + 0.5 * math.log(2 * math.pi * math.e)
        found = steering(answer="continuous", thickness=eps).reference.entropy()
        assert found == pytest.approx(choice + noise, abs=1e-9)


@pytest.mark.parametrize("preferred", ["left", "roomier"])
def test_mean_log_prob_is_minus_the_entropy(preferred):
    task = steering(answer="continuous", thickness=0.3, preferred=preferred)
    values = task.reference.log_prob(*task.sample(40_000, seed=3))
    assert within_standard_errors(values.mean(), -task.reference.entropy(), values.std() / 200, comparisons=2)


@pytest.mark.parametrize(
    ("costs", "decision", "cost"),
    [
        ({}, LEFT, 0.2),
        ({"cost_of_left": 5.0}, RIGHT, 0.8),
        ({"cost_of_left": 4.0}, LEFT, 0.8),
        ({"abstention": 0.3}, LEFT, 0.2),
        ({"abstention": 0.1}, ABSTAIN, 0.1),
        ({"cost_of_left": 10.0, "cost_of_right": 3.0, "abstention": 1.5}, ABSTAIN, 1.5),
    ],
)
@pytest.mark.parametrize("answer", ["discrete", "continuous"])
def test_the_bayes_decision_of_clear_sides(answer, costs, decision, cost):
    """At ε = .01 the wheel angle passes where the driver chose, so that chances are .8 and .2."""
    reference = steering(answer=answer, thickness=0.01, **costs).reference
    x, _ = steering().sample(20)
    expected = reference.cost(x, reference.decision(x))
    if costs.get("cost_of_left") != 4.0:  # where 4 × .2 is 1 × .8, either side is the Bayes decision
        assert reference.decision(x).tolist() == [decision] * 20
    np.testing.assert_allclose(expected.numpy(), cost, rtol=1e-12)


@given(
    left=st.floats(0, 1e3),
    right=st.floats(0, 1e3),
    abstention=st.none() | st.floats(0, 1e3),
    thickness=st.just(0.0) | st.floats(1e-12, 3),
    preferred=st.sampled_from(["left", "roomier"]),
    answer=st.sampled_from(["discrete", "continuous"]),
)
@settings(max_examples=20, deadline=None)
def test_no_decision_costs_less_than_the_bayes_decision(left, right, abstention, thickness, preferred, answer):
    task = steering(
        answer=answer,
        thickness=thickness,
        preferred=preferred,
        cost_of_left=left,
        cost_of_right=right,
        abstention=abstention,
    )
    x, _ = task.sample(8)
    count = task.decisions.space.n
    assert count == (2 if abstention is None else 3)
    costs = torch.stack([task.reference.cost(x, torch.full((8,), d)) for d in range(count)], 1)
    p = task.reference.sides(x)[:, LEFT]
    by_hand = [(1 - p) * left, p * right] + ([] if abstention is None else [torch.full_like(p, abstention)])
    torch.testing.assert_close(costs, torch.stack(by_hand, 1), rtol=1e-9, atol=1e-9)
    best = task.reference.decision(x)
    torch.testing.assert_close(task.reference.cost(x, best), costs.amin(1))
    assert bool((task.reference.regret(x, best) == 0).all())
    for d in range(count):
        regret = task.reference.regret(x, torch.full((8,), d))
        torch.testing.assert_close(regret, costs[:, d] - costs.amin(1))


@pytest.mark.parametrize("answer", ["discrete", "continuous"])
def test_expected_costs_are_mean_costs_of_the_data(answer):
    task = steering(
        answer=answer, thickness=0.3, preferred="roomier", cost_of_left=3.0, cost_of_right=0.5, abstention=0.4
    )
    x, y = task.sample(20_000, seed=6)
    for decision in range(3):
        decided = torch.full((len(x),), decision)
        gap = task.decisions.cost(x, decided, y) - task.reference.cost(x, decided)
        assert within_standard_errors(gap.mean(), 0.0, max(float(gap.std()), 1e-12) / len(x) ** 0.5, comparisons=3)


def test_sides_without_noise_are_the_drivers_choices():
    reference = steering(thickness=0.0).reference
    x, y = steering(thickness=0.0).sample(5000)
    torch.testing.assert_close(reference.sides(x), torch.tensor([[0.8, 0.2]], dtype=torch.float64).expand(5000, 2))
    assert share_agrees(int((y == LEFT).sum()), 5000, 0.8)


def test_an_angle_without_noise_has_decisions_and_no_density():
    task = steering(answer="continuous", thickness=0.0)
    x, y = task.sample(10)
    assert task.reference.decision(x).tolist() == [LEFT] * 10
    with pytest.raises(NoExactReference):
        task.reference.log_prob(x, y)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thickness": -0.1}, "steering: thickness = -0.1 is not valid"),
        ({"share": 1.0}, "share = 1.0 is not valid"),
        ({"answer": "angle"}, "answer = 'angle' is not valid"),
        ({"cost_of_left": -1.0}, "cost_of_left = -1.0 is not valid"),
        ({"abstention": -1.0}, "abstention"),
        ({"abstain": 1.0}, "did you mean 'abstention'"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        steering(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (torch.full((4,), 2), "decision = 'entries outside the symbols'"),
        (torch.zeros(4), "torch.int64"),
        (torch.zeros(3, dtype=torch.int64), "one decision for each of n"),
    ],
)
def test_bad_decisions_are_named(decision, words):
    task = steering()
    x, _ = task.sample(4)
    with pytest.raises(ValueError, match=words):
        task.reference.cost(x, decision)
