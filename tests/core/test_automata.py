"""Automata against enumeration of all strings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree

from ebm_vs_prob.core.automata import Automaton
from ebm_vs_prob.core.spaces import Sequences


def random_automaton(seed, length, states, values, batch=(), forbidden=0.0):
    """Targets and costs drawn at random, a share of the costs infinite."""
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.integers(states, size=(length, *batch, states, values)))
    cost = rng.normal(size=target.shape)
    cost[rng.random(target.shape) < forbidden] = np.inf
    final = torch.from_numpy(rng.normal(size=(*batch, states)))
    return Automaton(length, lambda t: (target[t], torch.from_numpy(cost)[t]), final), target, torch.from_numpy(cost)


def every_string(values, length):
    return Sequences(values, length).every_answer()


def enumerated(automaton, target, cost, y):
    """The energy of one string of an automaton without a batch, step by step."""
    state, total = 0, 0.0
    for t, symbol in enumerate(y.tolist()):
        total += float(cost[t, state, symbol])
        state = int(target[t, state, symbol])
    return total + float(automaton.final[state])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.2]))
def test_energies_minima_and_free_energies_are_those_of_all_strings(seed, length, states, values, forbidden):
    automaton, target, cost = random_automaton(seed, length, states, values, forbidden=forbidden)
    every = every_string(values, length)
    energies = torch.tensor([enumerated(automaton, target, cost, y) for y in every], dtype=torch.float64)
    assert torch.equal(automaton.energy(every), energies) or torch.allclose(automaton.energy(every), energies)
    best, least = automaton.min_sum()
    assert float(least) == pytest.approx(float(energies.min()), nan_ok=False)
    if math.isfinite(float(least)):
        assert float(automaton.energy(best)) == pytest.approx(float(least))
    assert automaton.log_answers == pytest.approx(math.log(len(every)))
    for beta in (0.3, 1.0, 7.0):
        log_z = float(torch.logsumexp(-beta * energies, 0))
        free = float(automaton.free_energy(beta))
        assert automaton.log_answers - beta * free == pytest.approx(log_z, rel=1e-12, abs=1e-10)
    assert float(automaton.free_energy(math.inf)) == float(least)


def test_a_batch_is_its_members():
    automaton, target, cost = random_automaton(3, 4, 3, 2, batch=(5,))
    beta = torch.linspace(0.0, 3.0, 5, dtype=torch.float64)
    best, least = automaton.min_sum()
    free = automaton.free_energy(beta)
    for b in range(5):
        own = Automaton(4, lambda t, b=b: (target[t, b], cost[t, b]), automaton.final[b])
        assert torch.equal(own.min_sum()[0], best[b])
        assert float(own.min_sum()[1]) == float(least[b])
        assert float(own.free_energy(float(beta[b]))) == pytest.approx(float(free[b]))
    y = every_string(2, 4).unsqueeze(1)
    assert automaton.energy(y).shape == (16, 5)
    assert torch.allclose(automaton.energy(y).mean(0)[:1], free[:1])  # at beta = 0


def test_draws_have_the_probabilities_of_their_energies():
    automaton, *_ = random_automaton(1, 3, 2, 2)
    every = every_string(2, 3)
    beta, count = 1.3, 20_000
    uniform = torch.rand(count, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = automaton.sample(beta, uniform)
    index = (drawn * torch.tensor([4, 2, 1])).sum(-1)
    shares = (-beta * automaton.energy(every)).softmax(0)
    assert counts_agree(np.bincount(index.numpy(), minlength=8), shares.numpy(), comparisons=1)
    coldest = automaton.sample(math.inf, uniform[:3])
    assert torch.equal(coldest, automaton.min_sum()[0].expand(3, -1))


def test_conditionals_are_ratios_of_sums_over_what_begins_alike():
    automaton, *_ = random_automaton(5, 4, 3, 2)
    every = every_string(2, 4)
    weight = (-automaton.energy(every)).exp()
    found = automaton.conditionals(every)
    for y, rows in zip(every, found, strict=True):
        for t in range(4):
            alike = (every[:, :t] == y[:t]).all(1)
            shares = [float(weight[alike & (every[:, t] == k)].sum() / weight[alike].sum()) for k in (0, 1)]
            assert rows[t].tolist() == pytest.approx(shares)
    own = found.gather(-1, every.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(own.prod(-1), weight / weight.sum())


def test_what_is_forbidden_is_neither_found_nor_drawn():
    """Symbol 1 is never read, and ending in state 1 is not allowed."""
    target = torch.tensor([[0, 1], [1, 0]])
    cost = torch.tensor([[0.0, math.inf], [0.0, math.inf]], dtype=torch.float64)
    automaton = Automaton(3, lambda t: (target, cost), torch.tensor([0.0, math.inf], dtype=torch.float64))
    uniform = torch.rand(100, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not automaton.sample(1.0, uniform).any()
    assert automaton.energy(every_string(2, 3)).isfinite().sum() == 1
    assert float(automaton.log_answers - automaton.free_energy(1.0)) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda a: Automaton(0, a.transitions, a.final), "length = 0 is not valid: expected an integer >= 1"),
        (lambda a: Automaton(2, a.transitions, a.final[:1]), r"shapes of target, cost = .*: expected \(\.\.\., 1, K\)"),
        (lambda a: a.energy(torch.zeros(3, dtype=torch.int64)), r"y = .* expected \(\.\.\., 2\) int64"),
        (lambda a: a.energy(torch.full((2,), 2)), "symbols outside the automaton's"),
        (lambda a: a.free_energy(-1.0), "beta = -1.0 is not valid"),
        (lambda a: a.sample(1.0, torch.zeros(3, 1, 2)), r"uniform\.shape = \(3, 1, 2\) is not valid"),
    ],
)
def test_mistakes_name_the_field(mistake, error):
    automaton, *_ = random_automaton(0, 2, 2, 2)
    with pytest.raises(ValueError, match=error):
        mistake(automaton)
