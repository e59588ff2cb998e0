"""Proper scores of a mixture against their definitions, with the truth as their minimum, and as objectives of a fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian import curvature_tolerance, gaussian, mean_curvature
from scipy.integrate import quad
from statistical import standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.energies.derivatives import gradient_and_trace
from ebm_vs_prob.prob.methods import mixture_density
from ebm_vs_prob.prob.objectives.scoring_rules import (
    density_noise_contrast,
    mixture_crps,
    mixture_energy_score,
    mixture_reverse_divergence,
    mixture_score_matching,
    sampled_energy_score,
)

OTHERS = ("crps", "energy_score", "score_matching", "nce")
#: Of the truth: .3 N(-1, .4²) + .7 N(1, .7²).
TRUTH = (math.log(0.3 / 0.7), -1.0, 1.0, math.log(0.4), math.log(0.7))


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def mixture(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logit, first, second, *log_scales = parameters
    log_weights = torch.stack([logit, torch.zeros_like(logit)]).log_softmax(0)
    loc, scale = torch.stack([first, second]), torch.stack(log_scales).exp()
    return log_weights.reshape(1, 1, 2), loc.reshape(1, 1, 2, 1), scale.reshape(1, 1, 2, 1)


def log_density(parameters: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    log_weights, loc, scale = (part.reshape(-1) for part in mixture(parameters))
    parts = log_weights - scale.log() - 0.5 * ((y.unsqueeze(-1) - loc) / scale) ** 2
    return parts.logsumexp(-1) - 0.5 * math.log(2 * math.pi)


NODE, MASS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(400))
BOX = 6.0
NODE, MASS = BOX * NODE, BOX * MASS


def expected(rule: str, parameters: torch.Tensor) -> torch.Tensor:
    """The expected score of a mixture under the truth, by quadrature."""
    truth = MASS * log_density(double(*TRUTH), NODE).exp()
    y = NODE.reshape(-1, 1, 1)  # a node a replicate, of one example each
    log_weights, loc, scale = mixture(parameters)
    if rule == "crps":
        scores = mixture_crps(log_weights, loc, scale, y)
    elif rule == "score_matching":
        scores = mixture_score_matching(log_weights, loc, scale, y)
    else:
        own = log_density(parameters, NODE)
        u = -math.log(2 * BOX)
        data = torch.nn.functional.softplus(u - own)
        noise = torch.nn.functional.softplus(own - u)
        return (truth * data).sum() + (MASS / (2 * BOX) * noise).sum()
    return (truth * scores).sum()


@pytest.mark.parametrize("rule", ["crps", "score_matching", "nce"])
def test_the_truth_is_the_minimum_of_the_expected_score(rule):
    """The slope is 0 there and every eigenvalue of the Hessian positive; a shifted mixture is worse."""
    truth = double(*TRUTH)
    slope = torch.func.grad(lambda each: expected(rule, each))(truth)
    assert slope.abs().max() < 1e-6
    hessian = torch.func.hessian(lambda each: expected(rule, each))(truth)
    assert torch.linalg.eigvalsh(hessian).min() > 1e-3
    for k in range(5):
        for step in (-0.3, 0.3):
            moved = truth.clone()
            moved[k] += step
            assert expected(rule, moved) > expected(rule, truth)


@pytest.mark.parametrize("y", [-2.0, 0.1, 1.5])
def test_crps_is_the_integral_of_the_squared_distance_of_distribution_functions(y):
    def cdf(u: float) -> float:
        parts = ((0.3, -1.0, 0.4), (0.7, 1.0, 0.7))
        return sum(w * 0.5 * math.erfc((m - u) / s / math.sqrt(2)) for w, m, s in parts)

    below, above = quad(lambda u: cdf(u) ** 2, -9, y)[0], quad(lambda u: (1 - cdf(u)) ** 2, y, 9)[0]
    found = mixture_crps(*mixture(double(*TRUTH)), double(y).reshape(1, 1, 1))
    assert float(found) == pytest.approx(below + above, abs=1e-7)


def test_the_energy_score_is_unbiased_for_the_crps_in_one_dimension_in_value_and_gradient():
    count, y = 1 << 14, 0.4
    noise = torch.randn(count, 1, 2, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    truth = double(*TRUTH)

    def scores(parameters):
        parts = (part.expand(count, *part.shape[1:]) for part in mixture(parameters))
        return mixture_energy_score(*parts, torch.full((count, 1, 1), y, dtype=torch.float64), noise)

    def exact(parameters):
        return mixture_crps(*mixture(parameters), double(y).reshape(1, 1, 1))[0]

    slopes = torch.func.jacfwd(scores)(truth)
    for found, target in ((scores(truth).unsqueeze(1), exact(truth)), (slopes, torch.func.grad(exact)(truth))):
        error = found.std(0) / count**0.5
        assert bool(((found.mean(0) - target).abs() < standard_errors(6) * error + 1e-12).all())
        assert bool((error < 0.02).all())


@pytest.mark.parametrize("draws", [2, 5])
def test_that_of_draws_is_unbiased_too(draws):
    """Against the closed form of one Gaussian, in value and in the gradient of its place and width."""
    count, y = 1 << 13, 0.4
    noise = torch.randn(count, 1, draws, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    place = double(-0.3, math.log(0.7))

    def scores(at):
        return sampled_energy_score(at[0] + at[1].exp() * noise, torch.full((count, 1, 1), y, dtype=torch.float64))

    def exact(at):
        return mixture_crps(
            torch.zeros(1, 1, 1, dtype=torch.float64),
            at[0].reshape(1, 1, 1, 1),
            at[1].exp().reshape(1, 1, 1, 1),
            double(y).reshape(1, 1, 1),
        )[0]

    slopes = torch.func.jacfwd(scores)(place)
    for found, target in ((scores(place).unsqueeze(1), exact(place)), (slopes, torch.func.grad(exact)(place))):
        error = found.std(0) / count**0.5
        assert bool(((found.mean(0) - target).abs() < standard_errors(6) * error + 1e-12).all())
        assert bool((error < 0.03).all())


@pytest.mark.parametrize("dim", [1, 3])
def test_score_matching_is_that_of_the_energy_by_its_derivatives(dim):
    generator = torch.Generator().manual_seed(1)

    def normals(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    log_weights, loc, scale, y = (
        normals(2, 5, 4).log_softmax(-1),
        normals(2, 5, 4, dim),
        normals(2, 5, 4, dim).exp(),
        normals(2, 5, dim),
    )

    class Energy(torch.nn.Module):
        num_replicates = 2

        def forward(self, x, y):
            standard = (y.unsqueeze(-2) - loc) / scale
            return -(log_weights - scale.log().sum(-1) - 0.5 * standard.square().sum(-1)).logsumexp(-1) + 0 * x.sum(-1)

    gradient, trace = gradient_and_trace(Energy(), torch.zeros(2, 5, 0, dtype=torch.float64), y)
    wanted = (0.5 * gradient.square().sum(-1) - trace).mean(-1)
    torch.testing.assert_close(mixture_score_matching(log_weights, loc, scale, y), wanted.detach())


def test_the_contrast_by_hand():
    data, noise = double([0.5, -1.0]), double([[0.2], [-0.7]]).reshape(1, 2, 1)
    found = density_noise_contrast(data.reshape(1, 2), noise, -2.0)
    right = np.log1p(np.exp(-2.0 - data.numpy())).mean()
    wrong = np.log1p(np.exp(noise.numpy() + 2.0)).mean()
    assert float(found) == pytest.approx(float(right + wrong), abs=1e-6)


EXAMPLES, SEEDS = 4000, range(4)


def fitted(objective: str, dim: int, **options) -> evp.Model:
    """One Gaussian, so that the energy's curvature is the inverse variance that it learned."""
    budget = evp.Budget(steps=500, batch_size=128, examples=EXAMPLES)
    given = {"components": 1, "learning_rate": 0.05, "noise_draws": 16, **options}
    network = evp.Network(hidden=(8,))
    return evp.fit(
        "mixture_density", gaussian(dim), seeds=SEEDS, objective=objective, network=network, budget=budget, **given
    )


@pytest.mark.parametrize(
    ("objective", "dim"),
    [
        ("crps", 1),
        ("energy_score", 2),
        ("score_matching", 8),
        *(
            pytest.param(objective, dim, marks=pytest.mark.slow)
            for objective, dim in (
                *(("energy_score", 1), ("energy_score", 8), ("score_matching", 1), ("score_matching", 2)),
                *(("nce", 1), ("nce", 2), ("nll", 8)),
            )
        ),
    ],
)
def test_the_optimum_on_a_gaussian_is_the_declared_one(objective, dim):
    """Scores other than the likelihood are less efficient, and noisier at the last step: .05 is for both.

    Uniform noise on a box of 16 a side is told from the data too easily beyond two dimensions.
    """
    model = fitted(objective, dim)
    assert all(status.ok for status in model.status)
    tolerance = curvature_tolerance(dim, EXAMPLES, len(SEEDS), left=0.05)
    assert abs(float(mean_curvature(model, dim).mean()) - 1) < tolerance


@pytest.mark.slow
def test_blurred_data_are_learned_blurred():
    model = fitted("energy_score", 1, sigma=0.5)
    assert abs(float(mean_curvature(model, 1).mean()) - 0.8) < curvature_tolerance(1, EXAMPLES, 4, 0.05, 0.8)


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("energy_score", "mixture_energy_score"),
        pytest.param("crps", "mixture_crps", marks=pytest.mark.slow),
        pytest.param("nce", "density_noise_contrast", marks=pytest.mark.slow),
    ],
)
def test_a_flipped_sign_fails_the_gaussian_test(objective, name, monkeypatch):
    right = getattr(mixture_density, name)
    monkeypatch.setattr(mixture_density, name, lambda *arguments: -right(*arguments))
    assert abs(float(mean_curvature(fitted(objective, 1), 1).mean()) - 1) > 0.2


@pytest.mark.parametrize("objective", OTHERS)
def test_a_replicate_is_the_same_alone_as_in_company(objective):
    task = evp.get_task("gustafsson_1d" if objective == "crps" else "circle")
    budget = evp.Budget(steps=20, batch_size=16, examples=64)
    alone, company = (
        evp.fit("mixture_density", task, seeds=seeds, objective=objective, budget=budget) for seeds in ([1], [2, 0, 1])
    )
    for name, value in alone.module.state_dict().items():
        assert torch.equal(value[0], company.module.state_dict()[name][-1]), name
    assert torch.equal(alone.training.loss[0], company.training.loss[-1])


def test_the_ranked_probability_score_is_of_one_number():
    with pytest.raises(ValueError, match="objective = 'crps' is not valid: expected 'energy_score' on circle"):
        evp.fit("mixture_density", evp.get_task("circle"), objective="crps", budget=evp.Budget(steps=1))
    with pytest.raises(ValueError, match="objective"):
        evp.fit("mixture_density", evp.get_task("circle"), objective="brier", budget=evp.Budget(steps=1))


def test_the_reverse_divergence_of_a_mixture_against_quadrature():
    near = (0.2, -0.8, 1.3, math.log(0.5), math.log(0.6))
    q = log_density(double(*near), NODE)
    exact = float(MASS @ (q.exp() * (q - log_density(double(*TRUTH), NODE))))
    noise = torch.randn(1, 200, 50, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def target(y):
        return log_density(double(*TRUTH), y.squeeze(-1))

    found = mixture_reverse_divergence(*mixture(double(*near)), target, noise)
    # 10,000 draws of each component; the spread of ln q - ln p is below 1: 6 standard errors.
    assert float(found) == pytest.approx(exact, abs=0.06)


def test_the_truth_has_no_slope_of_the_reverse_divergence_at_any_draw():
    parameters = double(*TRUTH).requires_grad_()
    noise = torch.randn(1, 3, 2, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = mixture_reverse_divergence(
        *mixture(parameters), lambda y: log_density(double(*TRUTH), y.squeeze(-1)), noise
    )
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-12)
    (slope,) = torch.autograd.grad(value, parameters)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)


def test_one_gaussian_sits_on_one_answer_by_the_reverse_divergence_and_between_them_by_likelihood():
    tasks = [evp.get_task("three_modes", thickness=eps, ambient_dim=6) for eps in (0.1, 0.2)]
    x, _ = tasks[0].sample(1)
    budget = evp.Budget(steps=400, batch_size=32, examples=1000)
    distances = {}
    for objective in ("nll", "reverse_kl"):
        model = evp.fit(
            "mixture_density",
            tasks,
            seeds=[0, 1],
            components=1,
            objective=objective,
            noise_draws=1,
            learning_rate=0.03,
            budget=budget,
        )
        answers = model.infer(x, n_starts=1).y[:, :, 0].double()
        distances[objective] = [float(tasks[0].reference.distance(x, answer)) for answer in answers]
    mean = float(tasks[0].reference.distance(x, tasks[0].reference.conditional_mean(x)))
    # The mean of 1000 draws of standard deviation 1 is off by .03 or so.
    assert distances["nll"] == pytest.approx([mean, mean], abs=0.12)
    assert max(distances["reverse_kl"]) < 0.05


@pytest.mark.parametrize(
    ("objective", "dim", "transform"),
    [
        ("energy_score", 2, "affine"),
        pytest.param("energy_score", 1, "spline", marks=pytest.mark.slow),
        pytest.param("nce", 2, "affine", marks=pytest.mark.slow),
        pytest.param("nce", 1, "spline", marks=pytest.mark.slow),
    ],
)
def test_a_flow_learns_a_gaussian_by_any_of_its_scores(objective, dim, transform):
    """An untrained flow is N(0, 2²), a quarter of the box: ln 2 - 3/8 = .32 nat a dimension from the data's N(0, 1)."""
    task = gaussian(dim)
    budget = evp.Budget(steps=400, batch_size=64, examples=EXAMPLES)
    options = {"objective": objective, "transform": transform, "layers": 2, "bins": 4, "learning_rate": 0.01}
    model = evp.fit("coupling_flow", task, seeds=[0, 1], budget=budget, network=evp.Network(hidden=(8,)), **options)
    assert all(status.ok for status in model.status)
    x, y = task.sample(2000, split="test")
    truth = -0.5 * (y.square() + math.log(2 * math.pi)).sum(-1)
    gap = (truth - model.log_prob(x, y).double()).mean(-1)
    assert float(gap.max()) < 0.15


def test_an_energy_score_of_one_draw_has_no_pair():
    with pytest.raises(ValueError, match="noise_draws >= 2"):
        evp.fit("coupling_flow", gaussian(2), objective="energy_score", noise_draws=1)


def test_a_target_without_blur_takes_none():
    task = evp.get_task("circle", thickness=0.1)
    with pytest.raises(ValueError, match="reverse_kl"):
        evp.fit("mixture_density", task, objective="reverse_kl", sigma=0.1)
    with pytest.raises(ValueError, match="truth"):
        evp.fit("vae", evp.get_task("linear_gaussian"), decoder="truth", sigma=0.1)
