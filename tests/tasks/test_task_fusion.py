"""Fusion: posteriors of both views and of each against Bayes' rule written out, draws, entropies and bad input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statistical import counts_agree, follows, variance_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.fusion import MEANS, PRIOR
from ebm_vs_prob.testing import check_task


def fusion(**options):
    return evp.get_task("fusion", **options)


def joint_density(x, task):
    """(n, 3): prior times SciPy's density of the views that are seen."""
    own = task.options
    seen = {"both": [0, 1], "first": [0], "second": [1]}[own.seen]
    covariance = own.thickness**2 * np.array([[1, own.correlation], [own.correlation, 1]])[np.ix_(seen, seen)]
    means = np.array(MEANS[own.views])[:, seen]
    laws = [stats.multivariate_normal(mean, covariance) for mean in means]
    return np.stack([share * law.pdf(x) for share, law in zip(PRIOR, laws, strict=True)], -1)


@pytest.mark.parametrize(
    "options", [{}, {"correlation": 0.9, "views": "redundant"}, {"seen": "second"}, {"thickness": 3.0}]
)
def test_keeps_the_rules(options):
    check_task(fusion(**options))


@given(
    thickness=st.floats(0.1, 3),
    correlation=st.floats(0, 0.9),
    views=st.sampled_from(["complementary", "redundant"]),
    seen=st.sampled_from(["both", "first", "second"]),
)
@settings(max_examples=25, deadline=None)
def test_the_posterior_is_bayes_rule(thickness, correlation, views, seen):
    task = fusion(thickness=thickness, correlation=correlation, views=views, seen=seen)
    x, y = task.sample(20, seed=1)
    assert x.shape == (20, 2 if seen == "both" else 1)
    joint = joint_density(x.numpy(), task)
    posterior = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(task.reference.log_posterior(x).exp().numpy(), posterior, rtol=1e-7, atol=1e-12)
    found = task.reference.log_prob(x, y).exp().numpy()
    np.testing.assert_allclose(found, posterior[np.arange(20), y.numpy()], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_posteriors_of_views_are_those_of_the_tasks_with_one_view(correlation):
    task = fusion(correlation=correlation)
    x, y = task.sample(100, seed=2)
    found = task.reference.log_posteriors_of_views(x)
    assert found.shape == (2, 100, 3)
    for v, seen in enumerate(("first", "second")):
        alone = fusion(correlation=correlation, seen=seen)
        own, same = alone.sample(100, seed=2)
        assert torch.equal(own[:, 0], x[:, v])
        assert torch.equal(same, y)
        torch.testing.assert_close(alone.reference.log_posterior(own), found[v])
        torch.testing.assert_close(alone.reference.log_posteriors_of_views(own)[0], found[v])
        by_hand = np.stack(
            [w * stats.norm.pdf(own[:, 0], m[v], 0.5) for w, m in zip(PRIOR, MEANS["complementary"], strict=True)], 1
        )
        np.testing.assert_allclose(found[v].exp().numpy(), by_hand / by_hand.sum(1, keepdims=True), rtol=1e-9)


def test_independent_views_multiply_once_the_prior_is_divided_out():
    task = fusion()
    x, _ = task.sample(50)
    product = task.reference.log_posteriors_of_views(x).sum(0) - torch.tensor(PRIOR, dtype=torch.float64).log()
    torch.testing.assert_close(product.log_softmax(-1), task.reference.log_posterior(x))
    related = fusion(correlation=0.7).reference
    assert float((product.log_softmax(-1) - related.log_posterior(x)).abs().max()) > 0.5


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_classes_have_their_shares_and_views_their_noise(correlation):
    x, y = fusion(correlation=correlation).sample(20_000, seed=3)
    assert counts_agree(torch.bincount(y, minlength=3), PRIOR, comparisons=5)
    noise = (x - torch.tensor(MEANS["complementary"], dtype=torch.float64)[y]) / 0.5
    assert follows(noise[:, 0], "norm", comparisons=5)
    assert follows(noise[:, 1], "norm", comparisons=5)
    # Sum and difference are independent, with variances 2 (1 ± rho).
    for sign in (1, -1):
        both = noise[:, 0] + sign * noise[:, 1]
        assert variance_agrees(both, 2 * (1 + sign * correlation), mean=0.0, comparisons=5)


@pytest.mark.parametrize(
    "options", [{}, {"correlation": 0.7}, {"correlation": 0.9, "views": "redundant", "seen": "first"}]
)
def test_the_entropy_is_that_of_the_data(options):
    task = fusion(**options)
    surprise = -task.reference.log_prob(*task.sample(40_000, seed=4))
    assert within_standard_errors(surprise.mean(), task.reference.entropy(), surprise.std() / 200, comparisons=3)


def test_the_entropy_of_one_view_against_adaptive_quadrature():
    task = fusion(seen="first")

    def surprise(x):
        joint = joint_density(np.array([[x]]), task).ravel()
        return float(joint.sum() * special.entr(joint / joint.sum()).sum())

    expected = integrate.quad(surprise, -4, 5, epsabs=1e-11, limit=200)[0]
    assert task.reference.entropy() == pytest.approx(expected, abs=1e-8)


def test_thin_and_thick_views_stay_finite():
    for thickness in (1e-4, 100.0):
        task = fusion(thickness=thickness, correlation=0.9)
        assert bool(task.reference.log_prob(*task.sample(100)).isfinite().all())
    lost = fusion(thickness=300.0).reference.entropy()
    assert lost == pytest.approx(stats.entropy(PRIOR), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thickness": 0.0}, "fusion: thickness = 0.0 is not valid"),
        ({"correlation": 0.95}, "correlation = 0.95 is not valid"),
        ({"correlation": -0.1}, "correlation = -0.1 is not valid"),
        ({"seen": "third"}, "seen = 'third' is not valid"),
        ({"view": "first"}, "did you mean 'views'"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        fusion(**options)
    assert "\n" not in str(caught.value)


def lost_by_the_product(task, over_prior):
    """Nats that the product of exact posteriors of the views loses of theirs, by Gauss-Hermite nodes of the noise."""
    own = task.options
    node, weight = np.polynomial.hermite_e.hermegauss(48)
    noise = np.stack(np.meshgrid(node, node, indexing="ij"), -1).reshape(-1, 2)
    share = np.outer(weight, weight).reshape(-1) / (2 * np.pi)
    root = np.linalg.cholesky(np.array([[1, own.correlation], [own.correlation, 1]]))
    total = 0.0
    for label, (mean, prior) in enumerate(zip(MEANS[own.views], PRIOR, strict=True)):
        x = torch.from_numpy(np.array(mean) + own.thickness * noise @ root.T)
        product = task.reference.log_posteriors_of_views(x).sum(0)
        product = (product - over_prior * torch.tensor(PRIOR, dtype=torch.float64).log()).log_softmax(-1)
        total += prior * share @ (task.reference.log_posterior(x) - product)[:, label].numpy()
    return total


def test_the_docs_say_what_a_product_of_posteriors_loses():
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    at = [0.0, 0.3, 0.7, 0.9]
    assert "= 0 | .3 | .7 | .9 |" in text
    for views in ("complementary", "redundant"):
        (row,) = re.findall(rf"^\| {views} \| (.*) \|$", text, re.MULTILINE)
        told = [float(number) for number in row.split(" | ")]
        found = [lost_by_the_product(fusion(views=views, correlation=rho), True) for rho in at]
        assert told == pytest.approx(found, abs=6e-4)
    told = re.search(r"without dividing by the prior, ([\d., ]+) and ([\d., ]+)\. ln P", text)
    for views, numbers in zip(("complementary", "redundant"), told.groups(), strict=True):
        found = [lost_by_the_product(fusion(views=views, correlation=rho), False) for rho in at]
        assert [float(number) for number in numbers.split(", ")] == pytest.approx(found, abs=6e-4)
