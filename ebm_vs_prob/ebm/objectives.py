"""What training an unnormalised energy minimises: one number a replicate."""

from __future__ import annotations

import torch


def denoising_score_matching_loss(gradient: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """½ E ‖sigma ∇E(x, y + sigma n) - n‖², (R,): Vincent 2011, eq. 9, times sigma² so that noise levels compare.

    The score of the blurred data is -∇E; its target at y + sigma n is -n / sigma.

    Args:
        gradient: ∇_y E at the noisy points, (R, B, dy).
        noise: the standard normals n, (R, B, dy).
        sigma: noise level in the units of y, (R, 1, 1).
    """
    return 0.5 * (sigma * gradient - noise).square().sum(-1).mean(-1)


def hinge_loss(positive: torch.Tensor, negative: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """Mean of (margin + E⁺ - E⁻)₊ over examples and negatives, (R,): LeCun et al. 2006, table 1 and eq. 10.

    Args:
        positive: energies of the right answers, (R, B).
        negative: energies of the offending answers, (R, B, K).
        margin: what each of them is owed, (R, B, K).
    """
    return torch.relu(margin + positive.unsqueeze(-1) - negative).mean((-2, -1))


def distance_scaled_margin(distance: torch.Tensor, margin: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """margin · min(1, d / radius), with d the negative's distance to the nearest training answer.

    A negative that is itself an answer is owed nothing, so where an x has many answers the perfect energy has a smaller
    loss than a constant one. All arguments broadcast.
    """
    return margin * (distance / radius).clamp(max=1.0)
