"""The normalised baselines that need no energy network: mixtures, kernel densities, Gaussian processes, two steps."""

from __future__ import annotations

import pytest
import torch
from gaussian import gaussian, mean_curvature

import ebm_vs_prob as evp

# ---- the spread mixture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_spread_mixture_learns_the_blurred_law(dim):
    """On N(0, I) blurred by sigma the energy's curvature is 1 / (1 + sigma²), for each replicate its own."""
    sigmas = [0.0, 0.5, 1.0]
    seeds = [seed for seed in range(3) for _ in sigmas]
    model = evp.fit(
        "mixture_density",
        gaussian(dim),
        seeds=seeds,
        sigma=sigmas * 3,
        components=1,
        budget=evp.Budget(steps=400, batch_size=256, examples=4000),
        learning_rate=0.02,
    )
    found = mean_curvature(model, dim).reshape(3, len(sigmas)).mean(0)
    for value, sigma in zip(found.tolist(), sigmas, strict=True):
        # Four standard errors of an inverse variance from 3 * 4000 draws, and .02 for the optimiser.
        assert value == pytest.approx(1 / (1 + sigma**2), abs=4 * (2 / (12_000 * dim)) ** 0.5 + 0.02)


def test_blur_is_in_units_of_scale_and_declared():
    options = evp.get_method("mixture_density").Options(sigma=0.2, scale=0.5)
    assert evp.get_method("mixture_density").smoothing(options) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="sigma = -0.1 is not valid"):
        evp.fit("mixture_density", gaussian(1), sigma=-0.1)
