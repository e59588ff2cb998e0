"""What score matching minimises: the Fisher divergence between data and model, up to a constant of the data.

The score of a model is -∇_y E, so no objective here sees the energy's level. F(p, E) = ½ E_p ‖∇ ln p + ∇E‖² is the
Fisher divergence; `score_matching_loss` is F - ½ E_p ‖∇ ln p‖², with p the density of the answers it is given.
"""

from __future__ import annotations

import torch

from ...core.tensors import power


def score_matching_loss(gradient: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """E [½ ‖∇E‖² - tr ∇²E], (R,): Hyvärinen 2005, eq. 4, with the score -∇E.

    Args:
        gradient: ∇_y E at the answers, (R, B, dy).
        trace: tr ∇_y² E there, (R, B).
    """
    return (0.5 * gradient.square().sum(-1) - trace).mean(-1)


def sliced_score_matching_loss(
    gradient: torch.Tensor, products: torch.Tensor, projections: torch.Tensor, variance_reduced: bool
) -> torch.Tensor:
    """E [½ (vᵀ∇E)² - vᵀ∇²E v] over examples and projections v with E vvᵀ = I, (R,): Song et al. 2019, sec. 3.

    Variance reduced, the first term's expectation over v is taken exactly: ½ ‖∇E‖² ("SSM-VR", ibid.).
    Either has the expectation of `score_matching_loss`.

    Args:
        gradient: ∇_y E at the answers, (R, B, dy).
        products: ∇_y² E v, (R, M, B, dy).
        projections: the v, (R, M, B, dy).
    """
    curvature = (products * projections).sum(-1).mean(1)
    if variance_reduced:
        return score_matching_loss(gradient, curvature)
    slope = (gradient.unsqueeze(1) * projections).sum(-1)
    return (0.5 * slope.square().mean(1) - curvature).mean(-1)


def denoising_score_matching_loss(gradient: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """½ E ‖sigma ∇E(x, y + sigma n) - n‖², (R,): Vincent 2011, eq. 9, times sigma² so that noise levels compare.

    The score of the blurred data is -∇E; its target at y + sigma n is -n / sigma. The loss is sigma² F(p_sigma, E) plus
    a constant, with p_sigma the density of the blurred data.

    Args:
        gradient: ∇_y E at the noisy points, (R, B, dy).
        noise: the standard normals n, (R, B, dy).
        sigma: noise level in the units of y, (R, 1, 1), or one an example, (R, B, 1).
    """
    return 0.5 * (sigma * gradient - noise).square().sum(-1).mean(-1)


def stratified_levels(low: torch.Tensor, high: torch.Tensor, levels: int, uniform: torch.Tensor) -> torch.Tensor:
    """A noise level an example, (R, B, 1), from a geometric progression of `levels` (Song and Ermon 2019, sec. 4.2).

    Example b takes level floor(levels · (b + u) / B): uniform over the levels, and spread evenly over the minibatch.

    Args:
        low: smallest level, (R, 1, 1). high: largest level, (R, 1, 1).
        levels: how many, at least 2.
        uniform: the u, on [0, 1), (R, B, 1).
    """
    size = uniform.shape[1]
    example = torch.arange(size, dtype=uniform.dtype, device=uniform.device).unsqueeze(-1)
    level = (levels * (example + uniform) / size).floor().clamp_max(levels - 1)
    return low * power(high / low, level / (levels - 1))
