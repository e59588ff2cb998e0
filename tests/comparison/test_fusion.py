"""Rules of fusion on exact scores of distorted scale, whose losses against Bayes' rule are known by quadrature."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statistical import within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.comparison.fusion import FUSIONS, divergence, fit_fusion, fit_temperatures, log_softmax
from ebm_vs_prob.tasks.fusion import MEANS, PRIOR

#: Units in which the two systems score, and what each adds to the scores of one x.
SCALES = np.array([3.0, 0.4]).reshape(2, 1, 1)


@functools.cache
def distorted(correlation, views="complementary", fitted=10_000, tested=10_000):
    """Scores to fit on, their labels, scores to test on, and ln P(y | both views) of these."""
    task = evp.get_task("fusion", correlation=correlation, views=views)
    x, y = task.sample(fitted, seed=0, split="validation")
    at, _ = task.sample(tested, seed=0, split="test")

    def scores(x):
        exact = task.reference.log_posteriors_of_views(x).numpy()
        return SCALES * exact + x.T.numpy()[:, :, None]

    return scores(x), y.numpy(), scores(at), task.reference.log_posterior(at).numpy()


def lost(rule, correlation, views="complementary"):
    fit, labels, test, posterior = distorted(correlation, views)
    return divergence(posterior, fit_fusion(rule, fit, labels)(test))


@functools.cache
def loss_by_quadrature(correlation, views, power):
    """KL of Bayes' rule from the product of exact single views over the prior to `power`, by the trapezoidal rule."""
    side = np.linspace(-4, 4, 161)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1)
    covariance = 0.25 * np.array([[1, correlation], [correlation, 1]])
    means = np.array(MEANS[views])
    joint = np.stack(
        [w * stats.multivariate_normal(m, covariance).pdf(grid) for w, m in zip(PRIOR, means, strict=True)], -1
    )
    exact = np.log(np.maximum(joint, 1e-300)) - np.log(np.maximum(joint.sum(-1, keepdims=True), 1e-300))
    fused = -power * np.log(PRIOR)
    for v in range(2):
        fused = fused + log_softmax(np.log(PRIOR) + stats.norm.logpdf(grid[..., v, None], means[:, v], 0.5))
    return float((joint * (exact - log_softmax(fused))).sum() * (side[1] - side[0]) ** 2)


def test_calibrated_scores_over_the_prior_are_bayes_rule_of_independent_views():
    for rule in ("temperature_over_prior", "isotonic_over_prior", "stacked"):
        value, error = lost(rule, 0.0)
        assert value + 5 * error < 0.01, rule
    # And what they mend: scores as they come, and a prior that is counted twice.
    for rule in ("raw", "rescaled", "temperature", "isotonic"):
        value, error = lost(rule, 0.0)
        assert value - 5 * error > 0.03, rule


def test_of_correlated_views_they_lose_a_tenth_of_a_nat_and_stacking_does_not():
    for rule in ("temperature_over_prior", "isotonic_over_prior"):
        value, error = lost(rule, 0.7)
        assert value - 5 * error > 0.1, rule
    value, error = lost("stacked", 0.7)
    assert value + 5 * error < 0.01


@pytest.mark.parametrize("views", ["complementary", "redundant"])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_losses_are_those_of_quadrature(correlation, views):
    """Temperatures that are found to within some hundredths move the loss by less than .003."""
    for rule, power in (("temperature", 0), ("temperature_over_prior", 1)):
        value, error = lost(rule, correlation, views)
        expected = loss_by_quadrature(correlation, views, power)
        assert within_standard_errors(value, expected, error, comparisons=8, slack=3e-3 + 0.02 * expected)


def test_what_correlation_costs_depends_on_what_the_views_tell():
    """Views that tell the same are counted 1 + rho times, which costs about half of a tenth; they need no veto."""
    assert 0.04 < loss_by_quadrature(0.7, "redundant", 1) < 0.07
    assert loss_by_quadrature(0.7, "complementary", 1) > 0.13
    assert loss_by_quadrature(0.0, "redundant", 1) == pytest.approx(0.0, abs=1e-9)


def test_temperatures_undo_the_scales():
    fit, labels, _, _ = distorted(0.0)
    found = fit_temperatures(fit, labels) * SCALES.ravel()
    # A calibrated model's inverse temperature is 1 within the error of a one-parameter likelihood, whose information
    # is the mean variance of the scores.
    for v, value in enumerate(found):
        exact = fit[v] / SCALES[v]
        chances = np.exp(log_softmax(exact))
        information = (chances * exact**2).sum(-1) - (chances * exact).sum(-1) ** 2
        assert within_standard_errors(value, 1.0, (information.sum()) ** -0.5, comparisons=2, slack=1e-3)


@pytest.mark.parametrize("count", [2, 3])
def test_a_temperature_is_the_likeliest(count):
    """Against a grid of temperatures, also where a class is seen once, and where scores could pass for chances."""
    rng = np.random.default_rng(0)
    labels = np.append(rng.integers(count - 1, size=60), count - 1)
    scores = log_softmax(np.eye(count)[labels] + rng.standard_normal((61, count)))
    for own in (scores, np.exp(scores)):
        (found,) = fit_temperatures(own[None], labels)
        grid = found * np.exp(np.linspace(-0.1, 0.1, 21))
        likelihood = [log_softmax(beta * own)[np.arange(61), labels].sum() for beta in grid]
        assert int(np.argmax(likelihood)) == 10


@pytest.mark.parametrize("rule", [rule for rule in FUSIONS if rule not in ("raw", "isotonic", "isotonic_over_prior")])
def test_the_unit_of_a_score_and_its_level_do_not_matter(rule):
    fit, labels, test, _ = distorted(0.7, fitted=2000, tested=200)
    moved = np.array([10.0, 0.05]).reshape(2, 1, 1)
    one = fit_fusion(rule, fit, labels)(test)
    other = fit_fusion(rule, moved * fit + 7.0, labels)(moved * test - 2.0)
    np.testing.assert_allclose(np.exp(one), np.exp(other), atol=3e-3)


@pytest.mark.parametrize("rule", FUSIONS)
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("views", [1, 3])
def test_any_number_of_views_and_classes_gives_probabilities(rule, count, views):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % count
    scores = rng.standard_normal((views, 60, count)) + 2.0 * (labels[:, None] == np.arange(count))
    found = fit_fusion(rule, scores, labels)(scores[:, :7])
    assert found.shape == (7, count)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(-1), 1.0, rtol=1e-12)
    right = (fit_fusion(rule, scores, labels)(scores).argmax(-1) == labels).mean()
    assert right > 1.2 / count


@pytest.mark.parametrize("rule", FUSIONS)
def test_labels_of_any_kind_of_integer_are_the_same(rule):
    fit, labels, test, _ = distorted(0.0, fitted=100, tested=9)
    one = fit_fusion(rule, fit, labels)(test)
    for kind in (np.uint64, np.int8):
        np.testing.assert_array_equal(fit_fusion(rule, fit, labels.astype(kind))(test), one)


def test_of_one_view_the_prior_is_not_divided_out():
    fit, labels, test, _ = distorted(0.0, fitted=2000, tested=200)
    one, other = (fit_fusion(rule, fit[:1], labels)(test[:1]) for rule in ("temperature", "temperature_over_prior"))
    np.testing.assert_array_equal(one, other)


def test_divergence_is_0_of_the_same_and_known_of_others():
    p = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
    assert divergence(p, p) == (0.0, 0.0)
    q = np.log(np.array([[0.25, 0.75], [0.9, 0.1]]))
    value, error = divergence(p, q)
    expected = 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3)
    assert value == pytest.approx(expected / 2)
    assert error == pytest.approx(expected / 2)


@given(
    shape=st.lists(st.integers(0, 4), min_size=0, max_size=4).filter(lambda s: len(s) != 3 or 0 in s or s[2] < 2),
    rule=st.sampled_from(sorted(FUSIONS)),
)
@settings(max_examples=25, deadline=None)
def test_scores_of_another_shape_are_named(shape, rule):
    with pytest.raises(ValueError, match=r"scores\.shape"):
        fit_fusion(rule, np.zeros(shape), np.zeros(4, dtype=int))


GOOD, LABELS = np.zeros((2, 6, 3)), np.arange(6) % 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_fusion("stack", GOOD, LABELS), "did you mean 'stacked'"),
        (lambda: fit_fusion("raw", GOOD * np.nan, LABELS), "scores = 'non-finite"),
        (lambda: fit_fusion("raw", GOOD, LABELS[:5]), "labels"),
        (lambda: fit_fusion("raw", GOOD, LABELS * 0), "each of them at least once"),
        (lambda: fit_fusion("raw", GOOD, LABELS / 1.0), "integers from 0 to 2"),
        (lambda: fit_fusion("raw", GOOD, LABELS)(GOOD[:1]), r"scores\.shape = \(1, 6, 3\)"),
        (lambda: divergence(GOOD[0, :1], GOOD[0, :1]), "n - 1 = 0 is not valid"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises((ValueError, LookupError), match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_models_trained_apart_are_put_together():
    """Two trained energies of unlike unit; the same fusion rules hold, and the model of both views needs none."""
    budget = evp.Budget(steps=600, examples=4000, batch_size=128)

    def scores(model, x):
        with torch.no_grad():
            return -model.graph(x).unary[0, ..., 0, :].double().numpy()

    task = evp.get_task("fusion", correlation=0.7)
    x, y = task.sample(5000, seed=0, split="validation")
    at, _ = task.sample(5000, seed=0, split="test")
    methods = {"first": "softmax_classifier", "second": "negative_log_likelihood"}
    apart = [
        evp.fit(method, evp.get_task("fusion", correlation=0.7, seen=seen), budget=budget)
        for seen, method in methods.items()
    ]
    fit, test = (np.stack([scores(model, part[:, [v]]) for v, model in enumerate(apart)]) for part in (x, at))
    posterior = task.reference.log_posterior(at).numpy()
    found = {rule: divergence(posterior, fit_fusion(rule, fit, y.numpy())(test))[0] for rule in FUSIONS}
    jointly = evp.fit("softmax_classifier", task, budget=budget)
    joint = divergence(posterior, log_softmax(scores(jointly, at)))[0]
    assert found["stacked"] < 0.03
    assert joint < 0.03
    assert found["temperature_over_prior"] > 0.1
