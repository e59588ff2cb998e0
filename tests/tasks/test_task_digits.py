"""Digits: a fixed disjoint split, sketches that real pictures share, and no density."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from statistical import counts_agree, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference


@pytest.fixture(scope="module")
def task():
    return evp.get_task("digits")


@pytest.fixture(scope="module")
def clean():
    return evp.get_task("digits", dequantisation=0.0)


def rows(y):
    return {row.tobytes() for row in y.numpy()}


def test_the_split_is_disjoint_and_has_every_digit_once(clean):
    parts = [
        rows(clean.sample(n, split=split)[1]) for split, n in (("train", 1097), ("validation", 300), ("test", 400))
    ]
    assert [len(part) for part in parts] == [1097, 300, 400]
    assert len(set.union(*parts)) == 1797
    assert set.union(*parts) == rows(torch.from_numpy(load_digits().data / 16))


def test_the_split_is_that_of_the_pixels_own_hashes(clean):
    """The 400 digits of smallest SHA-256 are held out, the next 300 validate, whatever the library versions."""
    levels = sorted(load_digits().data.astype(np.uint8), key=lambda digit: hashlib.sha256(digit.tobytes()).hexdigest())
    expected = torch.from_numpy(np.stack(levels)).double() / 16
    assert rows(clean.sample(400, seed=123, split="test")[1]) == rows(expected[:400])
    assert rows(clean.sample(300, seed=4, split="validation")[1]) == rows(expected[400:700])


def test_held_out_digits_share_their_sketch_in_sets_of_about_five(task):
    x, _ = task.sample(400, split="test")
    sizes = task.reference.answers(x)[..., 0].isfinite().sum(1)
    sharing = sizes > 1
    assert float(sharing.double().mean()) == pytest.approx(0.8725)
    assert int((sizes == 1).sum()) == 51
    sets = len({row.tobytes() for row in x[sharing].numpy()})
    assert int(sharing.sum()) / sets == pytest.approx(4.9, abs=0.1)


def test_without_two_levels_no_two_digits_share_a_sketch():
    means = load_digits().images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    assert len(np.unique(means, axis=0)) == 1797


def test_the_sketch_is_the_block_mean_cut_at_one_half(clean):
    x, y = clean.sample(200)
    for sketch, picture in zip(x.numpy(), y.numpy().reshape(-1, 8, 8), strict=True):
        for row in range(4):
            for column in range(4):
                block = picture[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert sketch[4 * row + column] == float(block.mean() >= 0.5)


@pytest.mark.parametrize("split", ["train", "test"])
def test_reduce_of_the_noisy_picture_is_its_sketch(task, split):
    x, y = task.sample(1000, seed=5, split=split)
    assert torch.equal(task.reference.reduce(y), x)
    assert task.reference.reduce(y.reshape(10, 100, 64)).shape == (10, 100, 16)
    assert not torch.equal(task.reference.reduce(y.flip(-1)), x)
    assert torch.equal(task.reference.reduce(torch.full((1, 64), 1.4)), torch.ones(1, 16, dtype=torch.float64))


def test_sampling_goes_round_without_replacement(clean):
    _, y = clean.sample(2 * 400 + 7, seed=1, split="test")
    assert len(rows(y[:400])) == len(rows(y[400:800])) == 400
    assert len(rows(y[800:])) == 7
    assert not torch.equal(y[:400], y[400:800])
    assert torch.equal(clean.sample(10, seed=1, split="test")[1], y[:10])


@pytest.mark.parametrize("width", [1 / 16, 1 / 32])
def test_dequantisation_is_uniform_centred_and_of_the_stated_width(width, clean):
    task = evp.get_task("digits", dequantisation=width)
    _, y = task.sample(1097, seed=2)
    noise = y - clean.sample(1097, seed=2)[1]
    assert float(noise.abs().max()) <= width / 2
    # The square of a uniform number on width w has the mean w² / 12 and the variance w⁴ / 180.
    error = width**2 / (180 * noise.numel()) ** 0.5
    assert within_standard_errors(noise.square().mean(), width**2 / 12, error, comparisons=2)
    assert within_standard_errors(noise.mean(), 0.0, width / 12**0.5 / noise.numel() ** 0.5, comparisons=2)
    again = task.sample(2 * 1097, seed=2)[1]
    order = clean.sample(2 * 1097, seed=2)[1]
    first, second = again[:1097] - order[:1097], again[1097:] - order[1097:]
    assert not bool((first == second).all(-1).any())  # a second round has noise of its own


def test_no_exact_density_and_the_error_says_why(task):
    x, y = task.sample(3)
    for ask in (
        lambda: task.reference.log_prob(x, y),
        lambda: task.reference.log_density(x, y),
        task.reference.entropy,
    ):
        with pytest.raises(NoExactReference, match="real data, whose density nobody knows"):
            ask()
    assert task.thickness == 0.0
    assert task.with_thickness(0.0).options == task.options


def test_answers_are_the_held_out_digits_of_that_sketch_padded_with_nan(task, clean):
    x, y = clean.sample(400, split="test")
    answers = task.reference.answers(x[:40])
    present = answers.isfinite().all(-1)
    assert torch.equal(present, ~answers.isnan().all(-1))
    for index in range(40):
        expected = y[(x == x[index]).all(-1)]
        assert rows(answers[index][present[index]]) == rows(expected)
    torch.testing.assert_close(task.reference.distance(x, y), torch.zeros(400, dtype=torch.float64))


def test_distance_is_to_the_nearest_answer_of_its_own_sketch(task):
    x, y = task.sample(60, seed=3, split="test")
    y = y.roll(1, 0)
    spread = (task.reference.answers(x) - y.unsqueeze(1)).norm(dim=-1)
    torch.testing.assert_close(task.reference.distance(x, y), spread.nan_to_num(torch.inf).amin(1))


def test_a_sketch_that_no_held_out_digit_has(task):
    x = torch.ones(2, 16)
    assert bool(task.reference.answers(x).isnan().all())
    assert task.reference.distance(x, torch.zeros(2, 64)).tolist() == [torch.inf, torch.inf]
    with pytest.raises(ValueError, match="x = 'a sketch of no held-out digit' is not valid"):
        task.reference.sample(x, 2)
    with pytest.raises(ValueError, match="expected sketches of zeros and ones"):
        task.reference.answers(x * 0.5)


def test_exact_samples_are_noisy_answers_drawn_evenly(task, clean):
    x, _ = task.sample(30, split="test")
    y = task.reference.sample(x, 20, seed=1)
    assert y.shape == (30, 20, 64)
    assert torch.equal(y, task.reference.sample(x, 20, seed=1))
    repeated = x.repeat_interleave(20, 0)
    assert float(task.reference.distance(repeated, y.reshape(-1, 64)).max()) < 0.5 / 16 * 8
    assert torch.equal(task.reference.reduce(y), x.unsqueeze(1).expand(-1, 20, -1))
    many = clean.reference.sample(x[:1], 4000)[0]
    counts = np.unique(many.numpy(), axis=0, return_counts=True)[1]
    size = int(clean.reference.answers(x[:1])[..., 0].isfinite().sum())
    assert len(counts) == size
    assert counts_agree(counts, np.ones(size))
