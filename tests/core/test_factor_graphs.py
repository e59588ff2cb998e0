"""Messages on trees against enumeration, on chains of any length, and what does not fit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree

from ebm_vs_prob.core import factor_graphs
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.core.free_energies import free_energy

BATCH = (2, 3)


@st.composite
def trees(draw: st.DrawFn, least_values: int = 1) -> tuple[FactorGraph, torch.Tensor, torch.Tensor]:
    """A random tree of a batch, all its answers (M, T), and their energies (M, *batch) added up one by one."""
    length, count = draw(st.integers(1, 5)), draw(st.integers(least_values, 3))
    parents = tuple(draw(st.integers(0, t)) for t in range(length - 1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    unary = 3 * torch.randn(*BATCH, length, count, generator=generator, dtype=torch.float64)
    pairwise = 3 * torch.randn(BATCH[0], 1, length - 1, count, count, generator=generator, dtype=torch.float64)
    answers = list(itertools.product(range(count), repeat=length))
    energies = torch.zeros(len(answers), *BATCH, dtype=torch.float64)
    for row, answer in enumerate(answers):
        for t, value in enumerate(answer):
            energies[row] += unary[:, :, t, value]
            if t:
                energies[row] += pairwise[:, :, t - 1, answer[parents[t - 1]], value]
    return FactorGraph(unary, pairwise, parents), torch.tensor(answers), energies


betas = st.sampled_from([0.0, 1e-3, 0.4, 1.0, 30.0, math.inf])


@given(trees())
def test_energy_is_the_sum_of_the_factors(tree):
    graph, answers, energies = tree
    torch.testing.assert_close(graph.energy(answers[:, None, None]), energies)


@given(trees(), st.data())
def test_conditional_energies_are_of_answers_that_differ_at_one_variable(tree, data):
    """Up to a constant of each variable, which is what the others cost among themselves."""
    graph, answers, energies = tree
    row = data.draw(st.integers(0, len(answers) - 1))
    found = graph.conditional_energies(answers[row].expand(*BATCH, -1))
    assert found.shape == (*BATCH, graph.num_variables, graph.num_values)
    for t in range(graph.num_variables):
        others = [s for s in range(graph.num_variables) if s != t]
        alike = (answers[:, others] == answers[row, others]).all(-1)
        expected = energies[alike].movedim(0, -1)  # answers are listed with each symbol in order
        own = found[..., t, :]
        torch.testing.assert_close(own - own[..., :1], expected - expected[..., :1])


@given(trees())
def test_min_sum_finds_the_answer_of_least_energy(tree):
    graph, answers, energies = tree
    found, least = graph.min_sum()
    assert found.shape == (*BATCH, graph.num_variables)
    torch.testing.assert_close(least, energies.amin(0))
    assert torch.equal(found, answers[energies.argmin(0)])


@given(trees(), betas, betas)
def test_free_energy_is_that_of_all_answers(tree, beta, other):
    graph, answers, energies = tree
    torch.testing.assert_close(graph.free_energy(beta), free_energy(energies, beta, 0))
    mixed = torch.tensor([[beta], [other]], dtype=torch.float64)
    torch.testing.assert_close(graph.free_energy(mixed), free_energy(energies, mixed, 0))
    assert graph.log_answers == pytest.approx(math.log(len(answers)))


@given(trees(least_values=2), betas, st.integers(0, 2**31))
def test_free_energy_of_incorrect_leaves_one_answer_out(tree, beta, seed):
    graph, answers, energies = tree
    right = torch.randint(len(answers), BATCH, generator=torch.Generator().manual_seed(seed))
    others = torch.arange(len(answers))[:, None, None] != right
    weights = torch.zeros_like(energies).masked_fill(~others, -math.inf)
    expected = free_energy(energies, beta, 0, log_weights=weights)
    torch.testing.assert_close(graph.free_energy_of_incorrect(answers[right], beta), expected)
    assert graph.log_incorrect == pytest.approx(math.log(len(answers) - 1))


@given(trees(), st.sampled_from([0.3, 1.0, math.inf]))
def test_the_slope_of_the_free_energy_is_the_share_of_each_value(tree, beta):
    graph, answers, energies = tree
    unary = graph.unary.clone().requires_grad_()
    FactorGraph(unary, graph.pairwise, graph.parents).free_energy(beta).sum().backward()
    share = torch.nn.functional.one_hot(energies.argmin(0), len(answers)).movedim(-1, 0).double()
    if beta < math.inf:
        share = (-beta * energies).softmax(0)
    for t, value in itertools.product(range(graph.num_variables), range(graph.num_values)):
        expected = share[answers[:, t] == value].sum(0)
        torch.testing.assert_close(unary.grad[..., t, value], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("parents", [(0, 1, 2), (0, 0, 1)], ids=["chain", "tree"])
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_draws_have_the_law_of_the_energy(parents, beta):
    generator = torch.Generator().manual_seed(1)
    graph = FactorGraph(torch.randn(4, 2, generator=generator), torch.randn(3, 2, 2, generator=generator), parents)
    answers = torch.cartesian_prod(*[torch.arange(2)] * 4)
    expected = (-beta * graph.energy(answers)).double().softmax(0)
    drawn = graph.sample(beta, torch.rand(20_000, 4, 2, generator=generator, dtype=torch.float64))
    counts = (drawn.unsqueeze(1) == answers).all(-1).sum(0)
    # Of 20,000 draws a probability of a sixteenth that is off by a tenth of itself is found.
    assert counts_agree(counts.numpy(), expected.numpy())


@settings(max_examples=20)
@given(trees(), st.integers(0, 2**31))
def test_draws_at_infinite_beta_are_the_answer_of_least_energy(tree, seed):
    graph, _, _ = tree
    shape = (2, *BATCH, graph.num_variables, graph.num_values)
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.equal(graph.sample(math.inf, uniform), graph.min_sum()[0].expand(2, *BATCH, -1))


def test_a_long_chain_costs_one_message_a_variable_and_is_a_product_of_matrices(monkeypatch):
    length, count, beta = 300, 4, 0.8
    generator = torch.Generator().manual_seed(0)
    graph = FactorGraph(
        torch.randn(length, count, generator=generator, dtype=torch.float64),
        torch.randn(length - 1, count, count, generator=generator, dtype=torch.float64),
    )
    log_row, power = -beta * graph.unary[0], 0.0
    for t in range(1, length):
        matrix = torch.exp(-beta * (graph.pairwise[t - 1] + graph.unary[t]))
        row = torch.exp(log_row - log_row.max()) @ matrix
        power += float(log_row.max())
        log_row = row.log()
    expected = power + float(log_row.logsumexp(0))
    sizes = []
    counted = factor_graphs.free_energy

    def counting(energies, *rest, **named):
        sizes.append(energies.numel())
        return counted(energies, *rest, **named)

    monkeypatch.setattr(factor_graphs, "free_energy", counting)
    assert graph.log_answers - beta * float(graph.free_energy(beta)) == pytest.approx(expected, rel=1e-12)
    assert len(sizes) == length
    assert sum(sizes) <= length * count**2


def test_forbidden_values_are_never_answers_and_stop_nothing():
    forbidden = torch.tensor([[[0.0, math.inf], [0.0, 0.0]], [[0.0, 0.0], [math.inf, 0.0]]], dtype=torch.float64)
    graph = FactorGraph(torch.tensor([[0.0, 1.0], [5.0, 0.0], [5.0, 0.0]], dtype=torch.float64), forbidden)
    # 0 -> 1 and then 1 -> 0 are forbidden: 0 0 1 and 1 1 1 remain best.
    assert graph.min_sum()[0].tolist() == [1, 1, 1]
    allowed = [y for y in itertools.product((0, 1), repeat=3) if y[:2] != (0, 1) and y[1:] != (1, 0)]
    energies = torch.stack([graph.energy(torch.tensor(y)) for y in allowed])
    expected = -float(torch.logsumexp(-energies, 0) - math.log(8))
    assert float(graph.free_energy(1.0)) == pytest.approx(expected)
    uniform = torch.rand(500, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert {tuple(row) for row in graph.sample(0.1, uniform).tolist()} <= set(allowed)


ZEROS = torch.zeros


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FactorGraph(ZEROS(3), ZEROS(0, 3, 3)), r"unary\.shape = \(3,\)"),
        (lambda: FactorGraph(ZEROS(2, 0), ZEROS(1, 0, 0)), r"unary\.shape"),
        (lambda: FactorGraph(ZEROS(2, 3), ZEROS(2, 3, 3)), r"pairwise\.shape = .*\(\.\.\., 1, 3, 3\)"),
        (lambda: FactorGraph(ZEROS(4, 2, 3), ZEROS(3, 1, 3, 3)), "leading dimensions that broadcast"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2), (0, 2)), r"parents = \(0, 2\)"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2), (0,)), "parents"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2), (-1, 0)), "parents"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).energy(ZEROS(3)), "int64"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).energy(ZEROS(2).long()), r"\(\.\.\., 3\) int64"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).energy(ZEROS(3).long() + 2), r"integers in 0 \.\. 1"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).free_energy(-1.0), "beta"),
        (lambda: FactorGraph(ZEROS(1, 2), ZEROS(0, 2, 2)).sample(-1.0, ZEROS(1, 2)), "beta"),
        (lambda: FactorGraph(ZEROS(1, 2), ZEROS(0, 2, 2)).sample(math.nan, ZEROS(1, 2)), "beta"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).sample(1.0, ZEROS(3, 1)), r"uniform\.shape = \(3, 1\)"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).sample(1.0, ZEROS(4, 2)), r"uniform\.shape = \(4, 2\)"),
        (lambda: FactorGraph(ZEROS(3, 2), ZEROS(2, 2, 2)).sample(1.0, ZEROS(2)), r"uniform\.shape = \(2,\)"),
        (lambda: FactorGraph(ZEROS(4, 3, 2), ZEROS(2, 2, 2)).sample(1.0, ZEROS(5, 3, 2)), r"uniform\.shape = \(5,"),
        (
            lambda: FactorGraph(ZEROS(1, 1), ZEROS(0, 1, 1)).free_energy_of_incorrect(ZEROS(1).long(), 1.0),
            "2 values at least",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("factor", [torch.zeros(2, 2, dtype=torch.int64), [[0.0, 1.0], [1.0, 0.0]]])
def test_factors_are_floating_point_tensors(factor):
    with pytest.raises(ValueError, match=r"unary = .* is not valid: expected a floating-point tensor"):
        FactorGraph(factor, torch.zeros(1, 2, 2))
