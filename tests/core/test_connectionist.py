"""Connectionist temporal classification against enumeration of all paths, and against torch's own loss."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree

from ebm_vs_prob.core.connectionist import ConnectionistEnergy
from ebm_vs_prob.core.free_energies import free_energy
from ebm_vs_prob.core.spaces import Sequences


def random_frames(seed, frames, count, batch=()):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(2 * rng.normal(size=(*batch, frames, count + 1))).log_softmax(-1)


def enumerated(log_probs, length):
    """The probability of every string of a length, path by path."""
    count = log_probs.shape[-1] - 1
    found = dict.fromkeys(itertools.product(range(count), repeat=length), 0.0)
    for path in itertools.product(range(count + 1), repeat=len(log_probs)):
        merged = [label for label, _ in itertools.groupby(path) if label != count]
        if len(merged) == length:
            found[tuple(merged)] += math.exp(sum(float(log_probs[t, label]) for t, label in enumerate(path)))
    return torch.tensor(list(found.values()), dtype=torch.float64)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_probabilities_are_those_of_all_paths(seed, frames, count, length):
    log_probs = random_frames(seed, frames, count)
    if length > frames:
        with pytest.raises(ValueError, match="the number of frames"):
            ConnectionistEnergy(log_probs, length)
        return
    energy = ConnectionistEnergy(log_probs, length)
    every = Sequences(count, length).every_answer()
    expected = -enumerated(log_probs, length).log()
    torch.testing.assert_close(energy.energy(every), expected, rtol=1e-9, atol=1e-9)
    if expected.isinf().all():
        return
    for beta in (1.0, 0.4, math.inf):
        torch.testing.assert_close(energy.free_energy(beta), free_energy(expected, beta, -1))
    y, least, proven = energy.most_probable()
    assert bool(proven)
    assert float(least) == pytest.approx(float(expected.min()))
    assert float(energy.energy(y)) == pytest.approx(float(least))


def test_the_energy_and_its_gradient_are_those_of_torch():
    log_probs = random_frames(1, 12, 4, batch=(3,)).requires_grad_()
    y = torch.tensor([[0, 0, 1, 2], [3, 3, 3, 3], [2, 1, 0, 3]])
    energy = ConnectionistEnergy(log_probs, 4).energy(y)
    lengths = torch.full((3,), 12), torch.full((3,), 4)
    expected = torch.nn.functional.ctc_loss(log_probs.transpose(0, 1), y, *lengths, blank=4, reduction="none")
    torch.testing.assert_close(energy, expected)
    # torch gives the gradient in the logits before its own log-softmax, so both are taken there.
    found = [torch.autograd.grad(value.sum(), log_probs, retain_graph=True)[0] for value in (energy, expected)]
    found[0] = found[0] - log_probs.exp() * found[0].sum(-1, keepdim=True)
    torch.testing.assert_close(*found)


def test_draws_have_these_probabilities():
    energy = ConnectionistEnergy(random_frames(2, 5, 2, batch=(2,)), 2)
    uniform = torch.rand(20_000, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = energy.sample(1.0, uniform) @ torch.tensor([2, 1])
    shares = (-energy.energy(Sequences(2, 2).every_answer().unsqueeze(1))).softmax(0)
    for b in range(2):
        counts = np.bincount(drawn[:, b].numpy(), minlength=4)
        assert counts_agree(counts, shares[:, b].numpy(), comparisons=2)
    assert torch.equal(energy.sample(math.inf, uniform[:3]), energy.min_sum()[0].expand(3, -1, -1))


def test_long_strings_are_searched_and_not_listed():
    energy = ConnectionistEnergy(random_frames(3, 60, 10, batch=(2,)), 12)
    y, least, proven = energy.most_probable()
    torch.testing.assert_close(energy.energy(y), least)
    assert proven.dtype == torch.bool
    sure = ConnectionistEnergy((4 * random_frames(3, 60, 10, batch=(2,))).log_softmax(-1), 12)
    assert sure.most_probable()[2].all()
    with pytest.raises(ValueError, match=r"beta = 2\.0 is not valid: expected 1 or inf where there are 10"):
        energy.free_energy(2.0)


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda p: ConnectionistEnergy(p, 0), r"length = 0 is not valid: expected 1 \.\. 4, the number of frames"),
        (lambda p: ConnectionistEnergy(p[..., :1], 1), r"log_probs\.shape = \(4, 1\) is not valid"),
        (
            lambda p: ConnectionistEnergy(p, 2).energy(torch.zeros(3, dtype=torch.int64)),
            r"expected \(\.\.\., 2\) int64",
        ),
        (lambda p: ConnectionistEnergy(p, 2).energy(torch.full((2,), 2)), "symbols that do not exist"),
        (lambda p: ConnectionistEnergy(p, 2).free_energy(-1.0), "beta = -1.0 is not valid"),
        (lambda p: ConnectionistEnergy(p, 2).sample(1.0, torch.zeros(3, 2)), r"uniform\.shape = \(3, 2\) is not valid"),
    ],
)
def test_mistakes_name_the_field(mistake, error):
    with pytest.raises(ValueError, match=error):
        mistake(random_frames(0, 4, 2))
