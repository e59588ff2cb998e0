"""Priors over a learned thickness: their densities, and what they do to sigma."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import ebm_vs_prob as evp
from ebm_vs_prob.prob.thickness_priors import thickness_log_prior

BUDGET = evp.Budget(steps=300, batch_size=32, examples=20)
NETWORK = evp.Network(hidden=(8,))
METHODS = {
    "latent_variable_likelihood": {"decoder": "mlp", "initial_sigma": 0.5, "nodes": 16},
    "vae": {"initial_sigma": 0.5},
}


def test_densities():
    sigma, scale = torch.tensor([0.1, 0.7]).double(), torch.tensor([0.3, 2.0]).double()
    expected = stats.halfnorm(scale=scale.numpy()).logpdf(sigma.numpy())
    np.testing.assert_allclose(thickness_log_prior("half_normal", scale, sigma), expected)
    expected = stats.lognorm(1.0, scale=scale.numpy()).logpdf(sigma.numpy())
    np.testing.assert_allclose(thickness_log_prior("log_normal", scale, sigma), expected)


def test_the_log_normal_bounds_a_likelihood_that_is_unbounded_and_the_half_normal_does_not():
    """N examples thin in c directions, fitted without residuals: N c ln(1 / sigma) is what the likelihood gains."""
    gain, median = 20 * 1.0, torch.tensor([0.3]).double()
    log_sigma = torch.linspace(-60, 3, 6301, dtype=torch.float64)

    def log_posterior(name: str) -> torch.Tensor:
        return -gain * log_sigma + thickness_log_prior(name, median, log_sigma.exp())

    bounded = log_posterior("log_normal")
    assert float(log_sigma[bounded.argmax()]) == pytest.approx(math.log(0.3) - gain - 1, abs=0.01)
    assert bounded[0] < bounded.max() - 100
    unbounded = log_posterior("half_normal")
    assert unbounded.argmax() == 0
    assert (unbounded.diff() < 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_first_loss_has_the_prior_over_the_examples_added(method):
    task = evp.get_task("circle", thickness=0.1)
    budget = BUDGET.model_copy(update={"steps": 1})

    def first(**options) -> torch.Tensor:
        options = {**METHODS[method], **options}
        return evp.fit(method, task, [0, 1], budget=budget, network=NETWORK, **options).training.loss[:, 0]

    added = first(thickness_prior="log_normal", thickness_prior_scale=[0.2, 3.0]) - first()
    median = torch.tensor([0.2, 3.0])
    expected = math.log(0.5) + 0.5 * math.log(2 * math.pi) + 0.5 * (math.log(0.5) - median.log()) ** 2
    torch.testing.assert_close(added, expected / BUDGET.examples, rtol=1e-3, atol=1e-4)


def test_a_prior_holds_sigma_where_it_believes_it():
    """4 examples, which a decoder soon fits: a log-normal of median 50 keeps the model thicker than a flat prior."""
    task = evp.get_task("circle", thickness=0.01)
    budget = evp.Budget(steps=200, batch_size=16, examples=4)
    fit = {"budget": budget, "network": NETWORK, "learning_rate": 0.05, **METHODS["latent_variable_likelihood"]}
    flat = evp.fit("latent_variable_likelihood", task, [0, 1], **fit).module.sigma
    held = evp.fit(
        "latent_variable_likelihood", task, [0, 1], thickness_prior="log_normal", thickness_prior_scale=50.0, **fit
    ).module.sigma
    assert (held > 1.1 * flat).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"thickness_prior": "gamma"}, "thickness_prior"), ({"thickness_prior_scale": 0.0}, "thickness_prior_scale")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evp.fit("latent_variable_likelihood", evp.get_task("circle"), budget=BUDGET, **options)


def test_bad_values_are_named():
    one = torch.ones(1)
    with pytest.raises(LookupError, match="half_normal"):
        thickness_log_prior("half_norml", one, one)
    with pytest.raises(ValueError, match="scale"):
        thickness_log_prior("half_normal", -one, one)
