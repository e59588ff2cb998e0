"""Strips of digits: every probability against a sum over all strings, scans and widths, drawn pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from statistical import counts_agree, follows

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.testing import check_task

SMALL = {"length": 2, "narrowest": 3, "widest": 5}


def small(**options):
    return evp.get_task("segmentation", **{**SMALL, **options})


def every_strip(task):
    """All noise-free strips of two digits: string, widths, scans and pixels, drawn from the task's words alone."""
    options, given = task.options, task.strip
    for y in itertools.product(range(10), repeat=2):
        for widths in itertools.product(range(options.narrowest, options.widest + 1), repeat=2):
            if sum(widths) - options.overlap != given.cells + options.overlap:
                continue
            for scans in itertools.product(range(options.exemplars), repeat=2):
                strip = np.zeros((given.columns, 8))
                at = 0
                for label, width, scan in zip(y, widths, scans, strict=True):
                    picture = task.pictures[label, width - options.narrowest, scan][:width]
                    strip[at : at + width] += picture
                    at += width - options.overlap
                yield y, widths, scans, strip.ravel()


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("thickness", [0.2, 1.0])
def test_probabilities_are_those_of_a_sum_over_all_strips(overlap, thickness):
    task = small(overlap=overlap, thickness=thickness)
    strings, widths, _, strips = zip(*every_strip(task), strict=True)
    strings, strips = torch.tensor(strings), torch.from_numpy(np.array(strips))
    starts = torch.tensor([pair[0] - overlap for pair in widths])
    every = task.y_space.every_answer()
    code = strings @ torch.tensor([10, 1])
    for row in task.sample(4, seed=1)[0]:
        log_joint = -0.5 * ((row - strips) / thickness).square().sum(1)
        shares = torch.zeros(100, dtype=torch.float64).index_add(0, code, log_joint.softmax(0))
        found = task.reference.log_prob(row.expand(100, -1), every)
        assert torch.allclose(found.exp(), shares, atol=1e-12)
        assert torch.allclose(found, shares.log(), atol=1e-6)
        assert torch.equal(task.reference.answers(row[None])[0, 0], every[shares.argmax()])
        hamming = (every != every[shares.argmax()]).sum(1).double()
        assert torch.equal(task.reference.distance(row.expand(100, -1), every), hamming)
        begins = torch.zeros(task.strip.cells, dtype=torch.float64).index_add(0, starts, log_joint.softmax(0))
        begins[0] += 1.0
        assert torch.allclose(task.reference.boundaries(row[None])[0], begins)


def test_draws_have_these_probabilities():
    task = small(thickness=0.8)
    x = task.sample(1, seed=3)[0]
    every = task.y_space.every_answer()
    shares = task.reference.log_prob(x.expand(100, -1), every).exp().numpy()
    drawn = task.reference.sample(x, 20_000, seed=4)[0]
    assert counts_agree(np.bincount((drawn @ torch.tensor([10, 1])).numpy(), minlength=100), shares)


def test_data_are_what_the_law_says():
    """Strings, widths that fill the strip and noise."""
    task = evp.get_task("segmentation", length=3, narrowest=4, widest=7, overlap=1, thickness=0.3)
    x, y, z = task.sample_with_latent(4000, seed=2)
    strip = task.strip
    assert torch.equal(z.sum(1), torch.full((4000,), strip.cells - 3 * strip.shortest))
    assert counts_agree(np.bincount(y.flatten().numpy(), minlength=10), np.full(10, 0.1), comparisons=3)
    fitting = [w for w in itertools.product(range(4), repeat=3) if sum(w) == strip.cells - 3 * strip.shortest]
    code = (z @ torch.tensor([16, 4, 1])).numpy()
    found = [(code == 16 * a + 4 * b + c).sum() for a, b, c in fitting]
    assert counts_agree(found, np.ones(len(fitting)), comparisons=3)
    clean = task.with_thickness(1e-6).sample(4000, seed=2)[0]
    noise = ((x - clean) / (0.3 - 1e-6)).numpy()
    assert follows(noise[:, ::17], stats.norm.cdf, comparisons=3)
    assert float(clean.min()) > -1e-4
    assert float(clean.max()) < 2 + 1e-4


def test_digits_are_real_scans_and_reach_all_the_width():
    task = evp.get_task("segmentation", narrowest=8, widest=8, overlap=0, exemplars=3, exemplar_seed=5)
    digits = load_digits()
    for label in range(10):
        scans = digits.images[digits.target == label] / 16
        for picture in task.pictures[label, 0]:
            assert (np.abs(scans - picture.T).max((1, 2)) == 0).any()
    other = evp.get_task("segmentation", exemplar_seed=6).pictures
    assert not np.array_equal(other, evp.get_task("segmentation").pictures)
    wide = evp.get_task("segmentation", narrowest=4, widest=15, overlap=0).pictures
    assert np.allclose(wide[:, -1, :, 0], wide[:, 0, :, 0])  # the first column is the scan's at each width
    assert np.allclose(wide[:, -1, :, 14], wide[:, 0, :, 3])
    assert np.allclose(wide[:, -1, :, :15:2], wide[:, 4, :, :8])  # and each second one of 15 one of its 8


def test_more_noise_leaves_more_doubt_and_none_none():
    errors = []
    for thickness in (0.01, 0.4, 1.2):
        task = evp.get_task("segmentation", length=3, thickness=thickness)
        x, y = task.sample(100, seed=4)
        errors.append(float((task.reference.distance(x, y) > 0).double().mean()))
        assert task.reference.log_prob(x, y).isfinite().all()
    assert errors[0] == 0.0
    assert errors[0] < errors[1] < errors[2]


def test_a_strip_of_twelve_is_exact_too():
    task = evp.get_task("segmentation", length=12, thickness=0.3)
    x, y = task.sample(3, seed=5)
    assert task.reference.log_prob(x, y).isfinite().all()
    best = task.reference.answers(x)[:, 0]
    assert (task.reference.log_prob(x, best) >= task.reference.log_prob(x, y)).all()
    assert torch.allclose(task.reference.boundaries(x).sum(1), torch.full((3,), 12.0, dtype=torch.float64))


def test_what_is_not_known_says_so():
    with pytest.raises(NoExactReference, match=r"H\(Y \| X\) is an integral over all strips"):
        evp.get_task("segmentation").reference.entropy()
    task = evp.get_task("segmentation", length=8, thickness=30.0, exemplars=1)
    with pytest.raises(NoExactReference, match="too many strings are about as probable"):
        task.reference.answers(task.sample(1)[0])


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 5), st.integers(1, 8), st.integers(0, 6), st.integers(0, 2), st.integers(1, 3), st.floats(0.05, 2.0)
)
def test_any_strip_has_a_law(length, narrowest, more, overlap, exemplars, thickness):
    options = {"narrowest": narrowest, "widest": min(16, narrowest + more), "overlap": overlap, "exemplars": exemplars}
    if narrowest < max(overlap + 1, 2 * overlap):
        with pytest.raises(ValueError, match="narrowest"):
            evp.get_task("segmentation", **options)
        return
    task = evp.get_task("segmentation", length=length, thickness=thickness, **options)
    assert task.x_space.dim % length == 0
    x, y, z = task.sample_with_latent(4, seed=1)
    task.x_space.check("x", x)
    task.y_space.check("y", y)
    task.z_space.check("z", z)
    log_prob = task.reference.log_prob(x, y)
    assert (log_prob <= 1e-9).all()
    assert log_prob.isfinite().all()


@pytest.mark.parametrize("overlap", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_keeps_the_rules(overlap):
    check_task(small(overlap=overlap, narrowest=4, exemplars=1, thickness=0.5), examples=200)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"length": 0}, "length = 0 is not valid"),
        ({"thickness": 0.0}, "thickness = 0.0 is not valid"),
        ({"overlap": 3}, "overlap = 3 is not valid"),
        ({"narrowest": 6, "widest": 5}, "expected widest >= narrowest = 6, not 5"),
        ({"narrowest": 3, "overlap": 2}, "expected narrowest >= 4, so that only neighbours overlap, not 3"),
        ({"exemplars": 9}, "exemplars = 9 is not valid"),
    ],
)
def test_bad_options_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        evp.get_task("segmentation", **options)
