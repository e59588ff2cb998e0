"""Objectives on draws of a proposal: noise contrast, likelihoods by importance sampling, self-normalisation.

Everywhere `positive` holds energies E(x, y) of right answers, (R, B); `negative` those of draws of a proposal q,
(R, Q, M), for Q = B queries or one that all B share; `log_density` is ln q of these draws in nats, (R, Q, M), +inf
where a draw fell outside the box, which leaves it out of the model and not of the count. Results are (R,), in nats.
"""

from __future__ import annotations

import math

import torch

from ...core.tensors import in_whole_vectors
from ...energies.activations import softplus
from ...gibbs.normalizers.pareto import log_mean_weight


def importance_log_partition(negative: torch.Tensor, log_density: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln Z ≈ ln 1/M Σ_m exp(-E(y_m)) / q(y_m) and its standard error, (R, Q) each, in nats: `log_mean_weight`."""
    return log_mean_weight(-negative - log_density)


def binary_noise_contrastive_loss(
    positive: torch.Tensor,
    negative: torch.Tensor,
    positive_log_density: torch.Tensor,
    log_density: torch.Tensor,
    log_normalizer: torch.Tensor,
) -> torch.Tensor:
    """-E ln h(y) - nu E ln(1 - h(y')), h = 1 / (1 + nu q / p), ln p = -E - b: Gutmann and Hyvärinen 2012, eq. 8.

    nu is the number of draws an example. At the optimum b = ln Z, so that p is normalised without being made so.

    Args:
        positive_log_density: ln q at the right answers, (R, B).
        log_normalizer: b at the x of each example, (R, B), or (R, 1) where one serves all.
    """
    draws = negative.shape[1] * negative.shape[2] / positive.shape[1]
    offset = log_normalizer + math.log(draws)
    data = -positive - offset - positive_log_density
    noise = -negative - offset.unsqueeze(-1) - log_density
    return softplus(-data).mean(-1) + draws * softplus(noise).mean((-2, -1))


def ranking_noise_contrastive_loss(
    positive: torch.Tensor, negative: torch.Tensor, positive_log_density: torch.Tensor, log_density: torch.Tensor
) -> torch.Tensor:
    """-E ln [w(y) / (w(y) + Σ_m w(y_m))], w = exp(-E) / q: Jozefowicz et al. 2016, eq. 5; Ma and Collins 2018, eq. 3.

    Which of M + 1 points came from the data? The loss sees differences of energies at one x only, so no constant added
    to E, of x or not, changes it, and it says nothing of ln Z.

    Args:
        positive_log_density: ln q at the right answers, (R, B).
    """
    data = -positive - positive_log_density
    noise = (-negative - log_density).logsumexp(-1)
    return softplus(noise - data).mean(-1)


def importance_sampled_loss(positive: torch.Tensor, negative: torch.Tensor, log_density: torch.Tensor) -> torch.Tensor:
    """E E(x, y) + ln Z(x), with ln Z by importance sampling: the ML-IS of Gustafsson et al. 2020."""
    log_z, _ = importance_log_partition(negative, log_density)
    return positive.mean(-1) + log_z.mean(-1)


def kl_divergence_importance_sampling_loss(
    negative: torch.Tensor, log_density: torch.Tensor, log_target: torch.Tensor
) -> torch.Tensor:
    """KL(k ‖ p) up to the entropy of k, by importance sampling: the KLD-IS of Gustafsson et al. 2020.

    1/M Σ_m k(y_m) / q(y_m) · E(x, y_m) + ln 1/M Σ_m exp(-E(x, y_m)) / q(y_m), with a Gaussian kernel k = N(y, sigma² I)
    round each answer: the likelihood of data blurred by sigma, its expectation under k taken with the draws of Z.

    Args:
        log_target: ln k at the draws, (R, Q, M); where one query serves all, of the even mixture over their kernels.
    """
    log_z, _ = importance_log_partition(negative, log_density)
    weight = (log_target - log_density).exp()
    return ((weight * negative).mean(-1) + log_z).mean(-1)


def self_normalised_loss(
    positive: torch.Tensor, negative: torch.Tensor, log_density: torch.Tensor, log_normalizer: torch.Tensor
) -> torch.Tensor:
    """E [E(x, y) + b(x) + exp(-b(x)) Ẑ(x) - 1], an upper bound of -ln p, tight at b = ln Z: Senetaire et al. 2025.

    ln Z = min_b {b + Z exp(-b) - 1}. Linear in Ẑ, so that, unlike in ML-IS, few draws bias neither loss nor gradient.

    Args:
        log_normalizer: b at the x of each example, (R, B), or (R, 1) where one serves all.
    """
    # As one exponential: exp(-b) and Z apart may overflow where their product does not.
    ratio = (-negative - log_density - log_normalizer.unsqueeze(-1)).exp().mean((-2, -1))
    return positive.mean(-1) + log_normalizer.mean(-1) + ratio - 1


def energy_discrepancy_loss(positive: torch.Tensor, negative: torch.Tensor, stabiliser: torch.Tensor) -> torch.Tensor:
    """E ln [(w + Σ_m e^{E(y) - E(y_m)}) / M], (R,): the stabilised estimate of Schröder et al. 2023.

    Args:
        negative: energies of the M rivals that the perturbed answer may as well have come from, (R, B, M).
        stabiliser: w > 0, which bounds the loss below by ln(w / M), (R, 1).
    """
    log_w = in_whole_vectors(torch.log, stabiliser)
    excess = positive + (-negative).logsumexp(-1) - log_w
    return (softplus(excess) + log_w).mean(-1) - math.log(negative.shape[-1])


def contrastive_divergence_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """mean E(y⁺) - mean E(y⁻), (R,).

    Its gradient estimates that of the negative log-likelihood where the y⁻ are draws from exp(-E) (Hinton 2002, eq. 5;
    Tieleman 2008, section 2). The value itself is no likelihood.

    Args:
        positive: energies of the data, (R, B). negative: energies of the chains' ends, (R, C).
    """
    return positive.mean(-1) - negative.mean(-1)
