"""Hard strings: every probability against a sum over all strings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from statistical import counts_agree

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks import hard_strings
from ebm_vs_prob.testing import check_task

KINDS = ("parity", "knapsack")


def misses(task, x, strings):
    """By how much each string misses its mark at one x, from the task's words alone."""
    if task.options.kind == "parity":
        return strings.sum(1) % 2
    places = x.reshape(-1, 2)
    weights = (places[:, 0] * task.options.largest_weight).round()
    mark = (places[0, 1] * task.options.length * task.options.largest_weight).round()
    return strings.double() @ weights - mark


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thickness", [0.25, 3.0])
def test_probabilities_are_those_of_a_sum_over_all_strings(kind, thickness):
    task = evp.get_task("hard_strings", kind=kind, length=6, largest_weight=5, thickness=thickness)
    every = task.y_space.every_answer()
    for row in task.sample(5, seed=1)[0]:
        energies = 0.5 * (misses(task, row, every) / thickness).double().square()
        expected = (-energies).log_softmax(0)
        found = task.reference.log_prob(row.expand(len(every), -1), every)
        assert torch.allclose(found, expected, atol=1e-10)
        nearest = every[energies <= energies.min() + 1e-12]
        hamming = (every.unsqueeze(1) != nearest).sum(-1).amin(1)
        assert torch.equal(task.reference.distance(row.expand(len(every), -1), every), hamming.double())


@pytest.mark.parametrize("kind", KINDS)
def test_data_and_draws_have_these_probabilities(kind):
    task = evp.get_task("hard_strings", kind=kind, length=3, largest_weight=2, thickness=1.0)
    x, y = task.sample(20_000, seed=2)
    every = task.y_space.every_answer()
    powers = torch.tensor([4, 2, 1])
    row = x[0]
    alike = (x == row).all(1)
    shares = task.reference.log_prob(row.expand(8, -1), every).exp().numpy()
    assert counts_agree(np.bincount((y[alike] @ powers).numpy(), minlength=8), shares, comparisons=4)
    drawn = task.reference.sample(row.unsqueeze(0), 20_000, seed=3)[0]
    assert counts_agree(np.bincount((drawn @ powers).numpy(), minlength=8), shares, comparisons=4)


def test_every_mark_can_be_met_and_most_strings_meet_it():
    task = evp.get_task("hard_strings", length=10)
    x, y = task.sample(500)
    best = task.reference.answers(x)[:, 0]
    assert all(int(misses(task, row, string.unsqueeze(0))) == 0 for row, string in zip(x, best, strict=True))
    met = np.array([float(misses(task, row, string.unsqueeze(0))) == 0 for row, string in zip(x, y, strict=True)])
    # At ε = .25 a miss by 1 weighs exp(-8): however many strings there are, few of a thousand miss.
    assert met.mean() > 0.9


def test_entropy_of_parity_is_the_mean_surprise_and_its_limits_are_known():
    task = evp.get_task("hard_strings", kind="parity", length=5, thickness=0.8)
    every = task.y_space.every_answer()
    log_prob = task.reference.log_prob(torch.zeros(len(every), 0, dtype=torch.float64), every)
    assert task.reference.entropy() == pytest.approx(float(-(log_prob.exp() * log_prob).sum()), abs=1e-12)
    assert task.with_thickness(1e-4).reference.entropy() == pytest.approx(4 * math.log(2))
    assert task.with_thickness(1e4).reference.entropy() == pytest.approx(5 * math.log(2))
    with pytest.raises(NoExactReference, match="subset sums"):
        evp.get_task("hard_strings").reference.entropy()


def test_the_next_bit_is_hard_to_foresee_until_the_last():
    """Parity: bits but the last are fair coins whatever came before, and the last is certain."""
    task = evp.get_task("hard_strings", kind="parity", length=6, thickness=0.2)
    _, y = task.sample(4000, seed=5)
    odd = y[:, :5].sum(1) % 2
    assert stats.binomtest(int((y[:, 4] == y[:, :4].sum(1) % 2).sum()), 4000).pvalue > 1e-4
    assert (y[:, 5] == odd).double().mean() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_rules(kind):
    check_task(evp.get_task("hard_strings", kind=kind, length=6, largest_weight=4, thickness=0.5))


def test_the_longest_strings_stay_exact():
    task = evp.get_task("hard_strings", length=64, largest_weight=64)
    x, y = task.sample(2)
    log_prob = task.reference.log_prob(x, y)
    assert log_prob.isfinite().all()
    assert (log_prob > -64 * math.log(2)).all()
    assert (task.reference.distance(x, y) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_taken_over_a_block_of_strings_at_a_time_and_nothing_changes(kind, monkeypatch):
    """Draws and distances to the bit."""
    task = evp.get_task("hard_strings", kind=kind, length=8, largest_weight=8, thickness=1.0)
    reference = task.reference

    def everything():
        x, y = task.sample(300, seed=4)
        given = x[:150]
        found = reference.sample(given, 3, seed=5), reference.answers(given), reference.distance(x, y)
        return x, y, *found, reference.log_prob(x, y)

    whole, seen = everything(), []
    graph = type(reference).graph
    monkeypatch.setattr(hard_strings, "_MOST_NUMBERS", 1)
    monkeypatch.setattr(type(reference), "graph", lambda self, x: (seen.append(len(x)), graph(self, x))[1])
    again = everything()
    assert all(torch.equal(found, expected) for found, expected in zip(again[:-1], whole[:-1], strict=True))
    torch.testing.assert_close(again[-1], whole[-1], rtol=1e-12, atol=0)
    assert max(seen) == 64
    assert sum(seen) == 300 + 150 + 150 + 300 + 300


def test_sums_of_the_longest_strings_fit_into_memory():
    for kind, states in (("parity", 2), ("knapsack", 64 * 64 + 1)):
        task = evp.get_task("hard_strings", kind=kind, length=64, largest_weight=64)
        assert 64 <= task.reference.rows_at_once <= (1 << 28) / (8 * 65 * states)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "primes"}, "kind = 'primes' is not valid"),
        ({"length": 1}, "length = 1 is not valid"),
        ({"thickness": 0.0}, "thickness = 0.0 is not valid"),
        ({"largest_weight": 65}, "largest_weight = 65 is not valid"),
    ],
)
def test_bad_options_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        evp.get_task("hard_strings", **options)


def test_an_x_that_is_no_weights_is_refused():
    task = evp.get_task("hard_strings")
    x, y = task.sample(2)
    with pytest.raises(ValueError, match="x = 'entries between whole weights and sums'"):
        task.reference.log_prob(0.97 * x, y)


@pytest.mark.parametrize("x", [[2.0, 1.0, 2.0, 1.0], [-0.125, 0.0, 0.125, 0.0], [0.5, 1.5, 0.5, 1.5]])
def test_weights_that_cannot_be_are_named(x):
    task = evp.get_task("hard_strings", kind="knapsack", length=2, largest_weight=8)
    with pytest.raises(ValueError, match="x as the task draws it"):
        task.reference.log_prob(torch.tensor([x], dtype=torch.float64), torch.tensor([[1, 1]]))
