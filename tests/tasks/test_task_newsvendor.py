"""The newsvendor: laws of demand against SciPy's, expected costs by integration, orders by search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats
from statistical import counts_agree, follows, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.newsvendor import BASE, SKEW, SLOPE, SURGE
from ebm_vs_prob.testing import check_task

DEMANDS = ("gaussian", "skewed", "contaminated")


def newsvendor(**options):
    return evp.get_task("newsvendor", **options)


def parts(x, task):
    """(share, SciPy's law) of demand at the number x."""
    own, place = task.options, BASE + SLOPE * x
    if own.demand == "skewed":
        return [(1.0, stats.exponnorm(SKEW, place - SKEW * own.thickness, own.thickness))]
    share = own.contamination if own.demand == "contaminated" else 0.0
    return [(1 - share, stats.norm(place, own.thickness)), (share, stats.norm(SURGE, own.thickness))]


def of_parts(x, task, what, *arguments):
    return sum(share * getattr(law, what)(*arguments) for share, law in parts(x, task))


def column(*values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


@pytest.mark.parametrize(
    "options",
    [
        {"thickness": 1e-4},
        {"demand": "skewed", "thickness": 3.0},
        {"demand": "contaminated", "contamination": 0.3},
        {"demand": "contaminated", "thickness": 0.0},
        {"features": 5},
        {"demand": "contaminated", "features": 3},
        {"demand": "skewed", "features": 64},
    ],
)
def test_keeps_the_rules(options):
    check_task(newsvendor(**options))


@pytest.mark.parametrize("thickness", [0.3, 0.01])
@pytest.mark.parametrize("demand", DEMANDS)
def test_density_and_distribution_function_are_scipys(demand, thickness):
    task = newsvendor(demand=demand, thickness=thickness)
    x, y = task.sample(60, seed=1)
    pairs = list(zip(x[:, 0].tolist(), y[:, 0].tolist(), strict=True))
    density = task.reference.log_prob(x, y).exp().numpy()
    np.testing.assert_allclose(density, [of_parts(a, task, "pdf", b) for a, b in pairs], rtol=1e-8)
    found = task.reference.cumulative(x, y).numpy()
    np.testing.assert_allclose(found, [of_parts(a, task, "cdf", b) for a, b in pairs], rtol=1e-8)


@pytest.mark.parametrize("demand", DEMANDS)
def test_data_and_exact_samples_follow_the_law(demand):
    task = newsvendor(demand=demand)
    x, y, unrelated = task.sample_with_latent(20_000, seed=2)
    level = task.reference.cumulative(x, y)
    assert follows(level, "uniform", comparisons=4)
    assert follows(x, stats.uniform(-1, 2).cdf, comparisons=4)
    drawn = task.reference.sample(column(0.4), 4000, seed=3)[0]
    assert follows(drawn, lambda v: of_parts(0.4, task, "cdf", v), comparisons=4)
    if demand == "contaminated":
        assert counts_agree(torch.bincount(unrelated, minlength=2), [0.9, 0.1], comparisons=4)
    assert unrelated.shape == ((20_000,) if demand == "contaminated" else (20_000, 0))


@pytest.mark.parametrize("thickness", [0.5, 0.1])
@pytest.mark.parametrize("demand", DEMANDS)
def test_entropy_against_a_fine_grid(demand, thickness):
    task = newsvendor(demand=demand, thickness=thickness, contamination=0.2)

    def entropy(x):
        low = min(law.ppf(1e-16) for _, law in parts(x, task))
        high = max(law.isf(1e-16) for _, law in parts(x, task))
        y = np.linspace(low, high, 4001)  # the trapezoidal rule, whose error vanishes for what a Gaussian blurs
        return integrate.trapezoid(special.entr(of_parts(x, task, "pdf", y)), y)

    nodes, weights = np.polynomial.legendre.leggauss(12)
    expected = weights @ [entropy(x) for x in nodes] / 2 if demand == "contaminated" else entropy(0.0)
    assert task.reference.entropy() == pytest.approx(expected, abs=2e-8)


@pytest.mark.parametrize("features", [2, 16])
@pytest.mark.parametrize("demand", DEMANDS)
def test_demand_of_many_features_is_that_of_their_sum(demand, features):
    """All that one feature is right about holds of x = Σ x_i / √d, which a small network need not know."""
    task, single = newsvendor(demand=demand, features=features), newsvendor(demand=demand)
    x, y = task.sample(4000, seed=4)
    sums = x.sum(-1, keepdim=True) / math.sqrt(features)
    kept = sums.abs()[:, 0] <= 1  # what one feature can be
    assert 0.5 < float(kept.double().mean()) < 1.0
    for name in ("log_density", "cost"):
        both = [getattr(own.reference, name)(at[kept], y[kept]) for own, at in ((task, x), (single, sums))]
        torch.testing.assert_close(*both, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(task.reference.decision(x)[kept], single.reference.decision(sums[kept]))
    surprise = -task.reference.log_prob(x, y)
    error = float(surprise.std()) / math.sqrt(len(surprise))
    assert within_standard_errors(float(surprise.mean()), task.reference.entropy(), error, comparisons=6)


@pytest.mark.parametrize("order", [0.5, 2.1, 4.0, 7.5])
@pytest.mark.parametrize("demand", DEMANDS)
def test_expected_costs_against_numerical_integration(demand, order):
    task = newsvendor(demand=demand, contamination=0.25, underage=3.0, overage=0.5)
    for x in (-0.7, 0.6):

        def short(law):
            return integrate.quad(law.sf, order, max(law.isf(1e-16), order), epsabs=1e-11, limit=200)[0]

        def left(law):
            return integrate.quad(law.cdf, min(law.ppf(1e-16), order), order, epsabs=1e-11, limit=200)[0]

        expected = sum(share * (3.0 * short(law) + 0.5 * left(law)) for share, law in parts(x, task))
        found = task.reference.cost(column(x), column(order))
        assert found.shape == (1,)
        assert float(found) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_the_order_and_its_cost_of_gaussian_demand_are_the_textbooks():
    """d* = m + ε Φ⁻¹(τ), and it costs (c_u + c_o) ε φ(Φ⁻¹(τ))."""
    task = newsvendor(thickness=0.2, underage=7.0, overage=2.0)
    x, _ = task.sample(10)
    z = stats.norm.ppf(7 / 9)
    best = task.reference.decision(x)
    torch.testing.assert_close(best, BASE + SLOPE * x + 0.2 * z, rtol=0, atol=1e-12)
    np.testing.assert_allclose(task.reference.cost(x, best).numpy(), 9 * 0.2 * stats.norm.pdf(z), rtol=1e-12)


@given(
    demand=st.sampled_from(DEMANDS),
    contamination=st.floats(0, 0.5),
    thickness=st.floats(1e-3, 3),
    underage=st.floats(1e-2, 100),
    overage=st.floats(1e-2, 100),
    x=st.floats(-1, 1),
    orders=st.lists(st.floats(-2, 12), min_size=1, max_size=5),
)
@settings(max_examples=20, deadline=None)
def test_no_order_costs_less_than_the_bayes_decision(demand, contamination, thickness, underage, overage, x, orders):
    task = newsvendor(
        demand=demand, contamination=contamination, thickness=thickness, underage=underage, overage=overage
    )
    best = float(task.reference.decision(column(x)))
    fractile = underage / (underage + overage)
    assert of_parts(x, task, "cdf", best + 1e-9 * thickness) >= fractile - 1e-9
    assert of_parts(x, task, "cdf", best - 1e-9 * thickness) <= fractile + 1e-9
    tried = column(*orders, best)
    costs = task.reference.cost(column(x).expand(len(tried), 1), tried)
    assert float(costs.min()) >= float(costs[-1]) - 1e-10 * (underage + overage)
    regret = task.reference.regret(column(x).expand(len(tried), 1), tried)
    torch.testing.assert_close(regret, (costs - costs[-1]).clamp_min(0.0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("demand", DEMANDS)
def test_the_bayes_decision_is_found_by_search_too(demand):
    task = newsvendor(demand=demand, underage=1.0, overage=1.0, contamination=0.3)

    def cost(order):
        return float(task.reference.cost(column(0.2), column(order)))

    found = optimize.minimize_scalar(cost, bounds=(-2, 12), method="bounded", options={"xatol": 1e-9})
    assert float(task.reference.decision(column(0.2))) == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize("demand", DEMANDS)
def test_expected_costs_are_mean_costs_of_the_data(demand):
    task = newsvendor(demand=demand)
    x, y = task.sample(20_000, seed=4)
    for order in (task.reference.decision(x), torch.full_like(x, 3.0)):
        gap = task.decisions.cost(x, order, y) - task.reference.cost(x, order)
        assert within_standard_errors(gap.mean(), 0.0, gap.std() / len(x) ** 0.5, comparisons=2)


def test_a_gaussian_estimate_of_contaminated_demand_loses_what_is_known():
    """The case for deciding directly: moments that are right do not place the order, the quantile does."""
    task = newsvendor(demand="contaminated", contamination=0.2, underage=9.0)
    x = column(0.0)
    mean = 0.8 * BASE + 0.2 * SURGE
    spread = math.sqrt(0.3**2 + 0.16 * (SURGE - BASE) ** 2)
    order = column(mean + spread * stats.norm.ppf(0.9))
    regret = float(task.reference.regret(x, order))
    assert regret > 0.1 * float(task.reference.cost(x, task.reference.decision(x)))


@pytest.mark.parametrize("demand", DEMANDS)
def test_without_noise_there_are_orders_and_no_density(demand):
    task = newsvendor(demand=demand, thickness=0.0)
    x, y = task.sample(200, seed=5)
    best = task.reference.decision(x)
    torch.testing.assert_close(best, BASE + SLOPE * x, rtol=0, atol=1e-9)
    # A tenth of the demands is the surge; each of them falls short by its distance from the order.
    lost = 4.0 * 0.1 * (SURGE - best[:, 0]) if demand == "contaminated" else torch.zeros(200, dtype=torch.float64)
    torch.testing.assert_close(task.reference.cost(x, best), lost, rtol=1e-9, atol=1e-9)
    assert float(task.reference.distance(x, y).max()) < 1e-12
    for ask in (lambda: task.reference.log_prob(x, y), task.reference.entropy):
        with pytest.raises(NoExactReference):
            ask()
    heavy = newsvendor(demand="contaminated", thickness=0.0, contamination=0.4).reference.decision(x)
    torch.testing.assert_close(heavy, torch.full_like(heavy, SURGE))


@pytest.mark.parametrize("demand", DEMANDS)
def test_derivatives_and_deep_tails_are_finite(demand):
    task = newsvendor(demand=demand, thickness=1e-3)
    x, far = column(0.0, 0.0, 0.0), column(*task.y_space.bounds, 2.0)
    values = task.reference.log_density(x, far)
    assert bool(values.isfinite().all())
    gradient = torch.func.vmap(torch.func.grad(task.reference.log_density, argnums=1))(x, far)
    hessian = torch.func.vmap(torch.func.hessian(task.reference.log_density, argnums=1))(x, far)
    assert bool(gradient.isfinite().all())
    assert bool(hessian.isfinite().all())
    step = 1e-7
    slope = (task.reference.log_density(x[2:], far[2:] + step) - task.reference.log_density(x[2:], far[2:] - step)) / (
        2 * step
    )
    torch.testing.assert_close(gradient[2], slope, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thickness": -0.1}, "newsvendor: thickness = -0.1 is not valid"),
        ({"demand": "poisson"}, "demand = 'poisson' is not valid"),
        ({"contamination": 0.6}, "contamination = 0.6 is not valid"),
        ({"underage": 0.0}, "underage = 0.0 is not valid"),
        ({"overrage": 1.0}, "did you mean 'overage'"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        newsvendor(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (column(1.0, math.nan), "decision = 'non-finite"),
        (column(1.0), "one decision for each of n"),
        (torch.ones(2, 2), r"decision\.shape"),
    ],
)
def test_bad_orders_are_named(order, words):
    with pytest.raises(ValueError, match=words):
        newsvendor().reference.cost(column(0.0, 1.0), order)
