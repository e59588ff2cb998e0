"""Strings whose Z is estimated from draws: the estimate's mean is Z, and enough draws learn the law."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Labels, Sequences
from ebm_vs_prob.prob.methods.sampled_softmax import with_uniform_answers
from ebm_vs_prob.testing import check_method

SPACES = {"sequences": Sequences(3, 2), "labels": Labels(5)}


def right_answers(space, *batch):
    every = space.every_answer()
    number = torch.arange(math.prod(batch)) % len(every)
    return every[number].reshape(*batch, *space.event_shape)


@pytest.mark.slow
def test_conforms():
    check_method("sampled_softmax")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_mean_of_the_estimate_is_the_partition_function(space):
    """20,000 draws of Z^ for each right answer: their mean is within five standard errors (false alarm 6e-7 each).

    Four draws an estimate, of which some are the right answer itself; where all are, the others are not seen at all,
    which happens with probability K^-4T and is left out of the mean here as it is of the estimate.
    """
    energies = torch.linspace(-1.0, 1.5, space.num_answers, dtype=torch.float64)
    y = right_answers(space, space.num_answers)
    draws, generator = 20_000, torch.Generator().manual_seed(0)
    uniform = torch.rand(draws, len(y), 4, space.num_variables, dtype=torch.float64, generator=generator)
    answers, log_density = with_uniform_answers(y.expand(draws, *y.shape), uniform, space)
    powers = space.num_values ** torch.arange(space.num_variables - 1, -1, -1)
    index = (space.to_variables(answers) * powers).sum(-1)
    estimate = (-energies[index] - log_density).exp().mean(-1)
    seen = log_density[..., 1:].isfinite().any(-1)
    for at in range(len(y)):
        own = estimate[seen[:, at], at]
        error = float(own.std()) / math.sqrt(len(own))
        assert float(own.mean()) == pytest.approx(float((-energies).exp().sum()), abs=5 * error)


@settings(deadline=None)
@given(
    values=st.integers(2, 5),
    length=st.integers(1, 40),
    count=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_right_answer_comes_first_and_weighs_once(values, length, count, seed):
    space = Sequences(values, length)
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(values, (2, 3, length), generator=generator)
    uniform = torch.rand(2, 3, count, length, generator=generator)
    answers, log_density = with_uniform_answers(y, uniform, space)
    assert answers.shape == (2, 3, 1 + count, length)
    assert log_density.shape == (2, 3, 1 + count)
    space.check("answers", answers)
    assert torch.equal(answers[:, :, 0], y)
    again = (answers[:, :, 1:] == y.unsqueeze(-2)).all(-1)
    assert torch.equal(log_density[:, :, 1:].isposinf(), again)
    weights = (-log_density.double()).exp().mean(-1)  # of an energy that is 0: Z is the number of answers
    # The others stand for the draws that are all y too, so that the mean over draws is the number of answers.
    others = (space.num_answers - 1) / (1 - float(space.num_answers) ** -count)
    expected = torch.where(again.all(-1), 1.0, 1.0 + others)
    torch.testing.assert_close(weights, expected.double(), rtol=1e-4, atol=0)


def test_draws_that_are_all_the_right_answer_leave_a_finite_loss_and_gradient():
    task = evp.get_task("hard_strings", kind="parity", length=2)
    budget = evp.Budget(steps=40, batch_size=16, examples=100)
    model = evp.fit("sampled_softmax", task, seeds=[0, 1], budget=budget, samples=1)
    assert all(status.ok for status in model.training.status)
    for parameter in model.module.parameters():
        assert bool(parameter.isfinite().all())


@pytest.mark.slow
def test_many_draws_learn_what_the_whole_sum_learns():
    """Parity of six bits has 64 strings, and 64 draws see most at each step. Untrained, ln(2) / 6 = .116 is lost."""
    task = evp.get_task("hard_strings", kind="parity", length=6)
    settings = {
        "seeds": [0, 1],
        "budget": evp.Budget(steps=1500, batch_size=64, examples=5000),
        "network": evp.Network(factors="whole", hidden=(32, 32)),
        "learning_rate": 0.02,
    }
    evaluation = evp.Evaluation(test_examples=500, inputs=8, starts=1, samples=16)

    def gap(method, **options):
        table = evp.evaluate(evp.fit(method, task, **settings, **options), task, evaluation, only={"gap_per_symbol"})
        return float(table.value.mean())

    assert gap("sampled_softmax") < gap("linear_chain_crf") + 0.02


@pytest.mark.parametrize(("answers", "draws"), [(2, 1), (2, 3), (3, 1), (3, 2)])
def test_the_mean_of_the_sampled_partition_function_is_the_partition_function(answers, draws):
    """Over all draws there are, each as likely as every other."""
    space = Labels(answers)
    energy = torch.linspace(-1.0, 2.0, answers, dtype=torch.float64)
    every = torch.cartesian_prod(*[torch.arange(answers)] * draws).reshape(-1, draws)
    uniform = ((every + 0.5) / answers).double().unsqueeze(-1)
    for y in range(answers):
        drawn, log_density = with_uniform_answers(torch.full((len(every),), y), uniform, space)
        sampled = (-energy[drawn] - log_density).exp().mean(-1)
        torch.testing.assert_close(sampled.mean(), (-energy).exp().sum())
