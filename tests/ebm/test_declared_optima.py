"""Declared optima under other options than the defaults: proposals that sit on the answer, few draws, blurred data."""

from __future__ import annotations

import pytest
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature
from proposal_optima import optimum

import ebm_vs_prob as evp
from ebm_vs_prob.testing.methods import _check_declared
from ebm_vs_prob.training.method import GaussianOptimum

WIDTHS, SIGMA = (0.5, 1.5), 0.3
#: Methods whose objectives are not linear in the draws, or whose noise must not know the answer.
LEANING = (
    "importance_sampled_likelihood",
    "ranking_noise_contrastive_estimation",
    "noise_contrastive_estimation",
    "kl_divergence_importance_sampling",
)
LINEAR = "self_normalised_likelihood"
EXAMPLES, SEEDS = 20_000, range(4)
#: Of the methods that lean farthest one is enough for every check of a change.
SLOW = (
    *("ranking_noise_contrastive_estimation", "kl_divergence_importance_sampling"),
    *("self_normalised_likelihood", "noise_contrastive_estimation"),
)
MARKED = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in (*LEANING, LINEAR)]


def expected(method: str, draws: int) -> float:
    if method != "kl_divergence_importance_sampling":
        return optimum(method, draws, WIDTHS)
    return optimum(method, draws, (SIGMA, *((w**2 + SIGMA**2) ** 0.5 for w in WIDTHS)), SIGMA)


def trained(method: str, dim: int, draws: int) -> evp.Model:
    options = {"sigma": SIGMA} if method == "kl_divergence_importance_sampling" else {}
    return evp.fit(
        method,
        gaussian(dim),
        seeds=SEEDS,
        energy=Quadratic,
        budget=evp.Budget(steps=400, batch_size=512, examples=EXAMPLES),
        learning_rate=0.03,
        proposals=draws,
        widths=WIDTHS,
        centers="answer",
        **options,
    )


def tolerance(dim: int, curvature: float) -> float:
    """.02 is for short training."""
    return curvature_tolerance(dim, EXAMPLES, len(SEEDS), left=0.02, curvature=curvature)


@pytest.mark.parametrize("method", MARKED)
def test_with_kernels_on_the_answer_a_fit_ends_where_the_expected_objective_is_least(method):
    """Of ML-IS, KLD-IS and the ranking contrast this is farther from the curvature of many draws than the tolerance."""
    model, target = trained(method, 1, 8), expected(method, 8)
    assert all(status.ok for status in model.status)
    assert abs(float(mean_curvature(model, 1).mean()) - target) < tolerance(1, target)
    limit = 1 / (1 + (SIGMA if method == "kl_divergence_importance_sampling" else 0.0) ** 2)
    leaning = {"noise_contrastive_estimation", LINEAR}
    assert method in leaning or target - limit > 2 * tolerance(1, target)


@pytest.mark.parametrize("method", LEANING)
def test_only_the_sign_is_declared_with_kernels_on_the_answer(method):
    chosen = evp.get_method(method)
    assert chosen.gaussian_optimum.of(chosen.Options(centers="answer")) is None
    assert chosen.gaussian_optimum.of(chosen.Options(sigma=0.7)) == pytest.approx(1 / 1.49)


@pytest.mark.parametrize("method", MARKED[:-1])
def test_the_lean_falls_as_one_over_the_number_of_draws(method):
    limit = 1 / (1 + (SIGMA if method == "kl_divergence_importance_sampling" else 0.0) ** 2)
    lean = [expected(method, draws) - limit for draws in (32, 64, 128)]
    assert lean[0] > lean[1] > lean[2] > 0
    assert lean[1] / lean[2] == pytest.approx(2.0, rel=0.15)


def test_the_self_normalised_likelihood_has_no_lean_for_any_number_of_draws():
    chosen = evp.get_method(LINEAR)
    for draws in (2, 8):
        assert expected(LINEAR, draws) == pytest.approx(1.0, abs=1e-4)
    assert chosen.gaussian_optimum.of(chosen.Options(centers="answer", sigma=0.7)) == pytest.approx(1 / 1.49)


@pytest.mark.parametrize("dim", [pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.long)])
@pytest.mark.parametrize("method", LEANING)
def test_the_sign_holds_in_more_dimensions_and_more_draws_lean_less(method, dim):
    """In 8 dimensions 8 draws give ML-IS a curvature of 2.4.

    In the plane the curvatures of 8 and of 32 draws are .06 and more apart, with a standard deviation below .008
    between the four seeds: chance does not turn them round.
    """
    few, many = (mean_curvature(trained(method, dim, draws), dim) for draws in (8, 32))
    assert bool((few > 0).all())
    assert bool((many > 0).all())
    assert float(many.mean()) < float(few.mean())


@pytest.mark.slow
def test_the_self_normalised_likelihood_is_exact_in_the_plane():
    assert abs(float(mean_curvature(trained(LINEAR, 2, 8), 2).mean()) - 1) < tolerance(2, 1.0)


def test_a_declared_curvature_below_0_is_noticed():
    class Upside(evp.get_method("score_matching")):
        gaussian_optimum = GaussianOptimum(curvature=lambda options: -1.0 if options.sigma else 1.0)

    _check_declared(Upside, Upside.Options(), "upside")
    with pytest.raises(AssertionError, match="curvature must be > 0"):
        _check_declared(Upside, Upside.Options(sigma=0.1), "upside")
