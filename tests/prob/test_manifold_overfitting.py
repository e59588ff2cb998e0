"""Why likelihood can mislead on data near a manifold, in closed form: nothing here is trained.

Brehmer and Cranmer 2020, *Flows for simultaneous manifold learning and density estimation*: a density on a learned
manifold, evaluated at the projection of the data, has a likelihood without bound on the wrong manifold. Loaiza-Ganem,
Ross, Cresswell and Caterini 2022, *Diagnosing and fixing manifold overfitting in deep generative models*, theorem 1:
full densities whose likelihood has no bound converge to any law on the manifold that one cares to name.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import i0, i1

import ebm_vs_prob as evp
from ebm_vs_prob.metrics.angles import kolmogorov_smirnov, kuiper

THICKNESSES = (0.3, 0.1, 0.01, 1e-3)
SINGULAR = 1.5


# ---- a line at the angle alpha to the data's ---------------------------------------------------------------------
# Data y = λ t a + ε n near the line of direction a, t and n standard normal. The model is the line of direction
# u = (cos α, sin α) to it with a normal law N(0, σ²) of the coordinate s = u·y of the projection. The variance of s is
#     v(α) = λ² cos² α + ε²,
# so that the mean projected log-likelihood is -½ ln(2πσ²) - v(α) / (2σ²), at its best over σ
#     L(α) = -½ ln(2πe v(α)),    dL/dα = λ² sin(2α) / (2 v(α)) > 0 on (0, π/2).
# The right line is the worst, and L(π/2) = -½ ln(2πe) - ln ε has no bound.


def projected_variance(alpha, eps):
    return SINGULAR**2 * math.cos(alpha) ** 2 + eps**2


def best_projected_likelihood(alpha, eps):
    return -0.5 * math.log(2 * math.pi * math.e * projected_variance(alpha, eps))


def line(eps):
    """The task with its data, and the directions along and across its line, (2,) each."""
    task = evp.get_task("linear_gaussian", largest=SINGULAR, smallest=SINGULAR, thickness=eps, rotation=3)
    along = torch.from_numpy(task.axes[:, 0])
    return task, along, torch.stack([-along[1], along[0]])


def mean_projected_log_likelihood(y, direction, sigma):
    return torch.distributions.Normal(0.0, sigma).log_prob(y @ direction).mean()


@pytest.mark.parametrize("eps", THICKNESSES)
def test_the_projected_likelihood_of_a_line_is_the_closed_form(eps):
    """Over the data, at the best σ, to the error of 200000 draws: the mean of ½ s²/v has standard error 1/sqrt(2n)."""
    task, along, across = line(eps)
    _, y = task.sample(200_000, seed=1)
    for alpha in np.linspace(0.0, math.pi / 2, 7):
        direction = math.cos(alpha) * along + math.sin(alpha) * across
        sigma = math.sqrt(projected_variance(alpha, eps))
        found = float(mean_projected_log_likelihood(y, direction, sigma))
        assert abs(found - best_projected_likelihood(alpha, eps)) < 4 / math.sqrt(2 * len(y))
        assert found > float(mean_projected_log_likelihood(y, direction, 1.3 * sigma))
        assert found > float(mean_projected_log_likelihood(y, direction, sigma / 1.3))


@pytest.mark.parametrize("eps", THICKNESSES)
def test_its_gradient_leads_away_from_the_right_line_everywhere(eps):
    task, along, across = line(eps)
    _, y = task.sample(200_000, seed=2)
    for alpha in (0.2, 0.8, 1.4):
        angle = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        sigma = math.sqrt(projected_variance(alpha, eps))
        mean_projected_log_likelihood(y, angle.cos() * along + angle.sin() * across, sigma).backward()
        expected = SINGULAR**2 * math.sin(2 * alpha) / (2 * projected_variance(alpha, eps))
        assert expected > 0
        assert float(angle.grad) == pytest.approx(expected, rel=0.03)


def test_the_orthogonal_line_wins_without_bound_and_the_right_one_stays():
    right = [best_projected_likelihood(0.0, eps) for eps in THICKNESSES]
    wrong = [best_projected_likelihood(math.pi / 2, eps) for eps in THICKNESSES]
    assert wrong == pytest.approx([-0.5 * math.log(2 * math.pi * math.e) - math.log(eps) for eps in THICKNESSES])
    assert max(right) - min(right) < 0.05
    assert all(a > b + 1 for a, b in zip(wrong, right, strict=True))
    assert wrong[-1] - wrong[0] == pytest.approx(math.log(THICKNESSES[0] / THICKNESSES[-1]))


@given(weight=st.floats(0.0, 3.0), share=st.floats(0.05, 0.95))
def test_no_weight_of_the_reconstruction_error_prevents_it(weight, share):
    """L(α) - w E|y - projection|² prefers the wrong line below ε² = λ² / (exp(2wλ²) - 1), the right one above it.

    The error at α is λ² sin² α + ε², so that the two lines differ by w λ² in it and by ½ ln((λ² + ε²) / ε²) in L.
    """

    def penalised(alpha, eps):
        return best_projected_likelihood(alpha, eps) - weight * (SINGULAR**2 * math.sin(alpha) ** 2 + eps**2)

    turning = SINGULAR / math.sqrt(max(math.expm1(2 * weight * SINGULAR**2), 1e-3))
    assert penalised(math.pi / 2, share * turning) > penalised(0.0, share * turning)
    if weight > 0.01:
        assert penalised(math.pi / 2, turning / share) < penalised(0.0, turning / share)


@pytest.mark.parametrize("eps", THICKNESSES)
def test_a_density_normalised_over_the_plane_is_not_deceived(eps):
    """N(0, σ² uuᵀ + δ² mmᵀ) at its best: -½ ln((2πe)² v w), v and w the variances along u and across it.

    v w = ε² (λ² + ε²) + λ⁴ sin² α cos² α is least, and the likelihood most, on the axes of the data, where it is minus
    the entropy of the task.
    """
    task, along, across = line(eps)
    _, y = task.sample(200_000, seed=3)

    def likelihood(alpha):
        u = math.cos(alpha) * along + math.sin(alpha) * across
        m = -math.sin(alpha) * along + math.cos(alpha) * across
        spread = torch.stack([(y @ u).var(), (y @ m).var()]).sqrt()
        return float(torch.distributions.Normal(0.0, spread).log_prob(y @ torch.stack([u, m], -1)).sum(-1).mean())

    found = [likelihood(alpha) for alpha in np.linspace(0.0, math.pi / 2, 9)]
    assert found[0] == pytest.approx(-task.reference.entropy(), abs=4 / math.sqrt(len(y)))
    assert max(found[1:-1]) < found[0]
    product = eps**2 * (SINGULAR**2 + eps**2) + SINGULAR**4 / 4
    assert found[4] == pytest.approx(-math.log(2 * math.pi * math.e) - 0.5 * math.log(product), abs=0.02)


# ---- a sequence of densities that converges to the wrong law on the circle ---------------------------------------
# Data lie on the unit circle, von Mises of concentration 1. The density q_σ is a law p† on the circle, uniform or of
# concentration 3, blurred by σ. As σ falls its likelihood rises as -ln σ without bound, while it converges to p†: the
# distance of their angles, max over θ of |F1(θ) - F†(θ)|, stays where the two densities put it.


def circle(concentration, thickness):
    return evp.get_task("circle", concentration=concentration, thickness=thickness)


def density_of_angle(concentration, theta):
    return torch.exp(concentration * theta.cos()) / (2 * math.pi * torch.special.i0(torch.tensor(concentration)))


def distance_of_laws(concentration):
    """max |F1 - F†|: both are symmetric, so that it lies where the densities cross, at
    cos θ = ln(I0(κ†) / I0(1)) / (κ† - 1), and F1 - F† is the integral of their difference from 0 to there."""
    ratio = torch.special.i0(torch.tensor([concentration, 1.0], dtype=torch.float64)).log()
    crossing = float(torch.arccos((ratio[0] - ratio[1]) / (concentration - 1.0)))
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(64))
    theta = 0.5 * crossing * (nodes + 1)
    difference = density_of_angle(1.0, theta) - density_of_angle(concentration, theta)
    return abs(float(0.5 * crossing * (weights * difference).sum()))


SIGMAS = (0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
WRONG = (0.0, 3.0)


@pytest.mark.parametrize("wrong", WRONG)
def test_likelihood_on_the_circle_rises_without_bound_as_the_law_of_the_angle_stays_wrong(wrong):
    truth = circle(1.0, 0.0)
    x, y = truth.sample(2000, 0, "test")
    # Near the circle q_σ is the density of the angle times N(0; 0, σ²) across it, up to terms of order σ².
    limit = float(density_of_angle(wrong, truth.reference.angle(y)).log().mean()) - 0.5 * math.log(2 * math.pi)
    scores = [float(circle(wrong, sigma).reference.log_prob(x, y).mean()) for sigma in SIGMAS]
    for score, sigma in zip(scores, SIGMAS, strict=True):
        assert score == pytest.approx(limit - math.log(sigma), abs=5 * sigma**2 + 1e-6)
    assert scores[-1] > 10

    distance = distance_of_laws(wrong)
    assert 0.1 < distance < 0.2
    theta = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
    for sigma in SIGMAS:
        apart = truth.reference.angle_cdf(theta) - circle(wrong, sigma).reference.angle_cdf(theta)
        assert float(apart.abs().max()) == pytest.approx(distance, abs=sigma**2 + 1e-6)


@pytest.mark.parametrize("wrong", WRONG)
def test_so_do_the_statistics_of_the_packages_metrics_see_it(wrong):
    """4000 draws: the distance of the wrong law stays, on either side of the truth; that of the right one is noise."""
    truth, n = circle(1.0, 0.0).reference, 4000
    # Massart 1990: P(sqrt(n) D > 2.2) < 2 exp(-2 · 2.2²) = 1.3e-4; the blur itself moves F by less than .01.
    noise = 2.2 / math.sqrt(n) + 0.01
    for sigma in SIGMAS:
        for concentration, apart in ((wrong, distance_of_laws(wrong)), (1.0, 0.0)):
            drawn = circle(concentration, sigma).reference.sample(torch.zeros(1, 0), n, seed=4)[0]
            uniform = truth.angle_cdf(truth.angle(drawn)).numpy()
            assert abs(float(kolmogorov_smirnov(uniform)) - apart) < noise
            assert abs(float(kuiper(uniform)) - 2 * apart) < 2 * noise


def test_likelihood_ranks_the_wrong_law_above_the_right_one_once_it_is_thinner():
    """At equal σ the right law leads the uniform one by its divergence from it, ln 2π - h = I1(1)/I0(1) - ln I0(1) =
    .2105 nats. A σ smaller by the factor exp(-.2105) undoes that: test likelihood cannot rank models of such data."""
    x, y = circle(1.0, 0.0).sample(100_000, 1, "test")
    lead = float(i1(1) / i0(1) - np.log(i0(1)))
    assert lead == pytest.approx(0.2105, abs=1e-4)
    for sigma in (0.01, 1e-3, 1e-4):
        right = circle(1.0, sigma).reference.log_prob(x, y).mean()
        assert float(right - circle(0.0, sigma).reference.log_prob(x, y).mean()) == pytest.approx(lead, abs=0.01)
        thinner = circle(0.0, sigma * math.exp(-1.5 * lead)).reference.log_prob(x, y).mean()
        assert float(right - thinner) == pytest.approx(-0.5 * lead, abs=0.01)
