"""Masses of the cells of three points, against a bivariate law of scipy's and against counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statistical import counts_agree

from ebm_vs_prob.tasks.geometry.nearest_point import bivariate_normal_cdf, nearest_of_three

bounds = st.sampled_from([0.0, -0.0, 1e-17, -1e-17, 1e-300, -1e-300]) | st.floats(-6.0, 6.0)


@given(bounds, bounds, st.floats(-0.999, 0.999))
@settings(deadline=None)
def test_the_cdf_is_that_of_scipy(h, k, correlation):
    if h == 0.0 and k == 0.0:
        k = 1.0
    found = bivariate_normal_cdf(np.array([h]), np.array([k]), np.array([correlation]))[0]
    law = stats.multivariate_normal(cov=[[1.0, correlation], [correlation, 1.0]])
    assert found == pytest.approx(law.cdf([h, k]), abs=1e-7)
    assert -1e-12 < found < 1.0 + 1e-12


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 100.0])
def test_masses_of_symmetric_points_sum_to_one(sigma):
    """The middle one of three is as far from both others, and lies on the border between these."""
    points = np.array([[[1.0, 1.0, 0.3], [1.4, 0.0, 0.3], [1.0, -1.0, 0.3]]])
    found = nearest_of_three(points, sigma)[0]
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-14)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-14)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 5.0))
@settings(deadline=None, max_examples=20)
def test_masses_are_the_shares_of_noisy_points(seed, sigma):
    """Pearson's test of 20,000 draws by its false-alarm rate, over the 60 pairs of example and point; rare cells by the
    binomial law, once in 1e9."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(1, 3, 4))
    found = nearest_of_three(points, sigma)[0]
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-12)
    for begun in range(3):
        drawn = points[0, begun] + sigma * rng.standard_normal((20_000, 4))
        nearest = np.linalg.norm(drawn[:, None] - points[0], axis=-1).argmin(-1)
        counts, likely = np.bincount(nearest, minlength=3), found[begun] > 1e-3
        assert counts[~likely].sum() <= stats.binom.isf(1e-9, 20_000, found[begun][~likely].sum())
        assert likely.sum() == 1 or counts_agree(counts[likely], found[begun][likely], comparisons=60)
