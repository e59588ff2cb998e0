"""Gradients that lead from noise to the data and vanish there."""

from __future__ import annotations

import torch


def equilibrium_matching_loss(
    gradient: torch.Tensor, data: torch.Tensor, noise: torch.Tensor, slope: torch.Tensor
) -> torch.Tensor:
    """Mean of ‖∇E - (n - y) c‖² over a minibatch, (R,) (Wang and Du 2025).

    Args:
        gradient: ∇E between data and noise, (R, B, dy). data: y, noise: n, of that shape. slope: λ c, (R, B, 1).
    """
    return (gradient - (noise - data) * slope).square().sum(-1).mean(-1)


def decay_moments(plateau: float) -> tuple[float, float]:
    """∫ c(γ) (1 - γ) dγ and ∫ c(γ) γ dγ over [0, 1] of c = min(1, (1 - γ) / (1 - a)), which is linear at a = 0."""
    left = 1.0 - plateau
    return plateau - plateau**2 / 2 + left**2 / 3, plateau**2 / 2 + left / 2 - left**2 / 3
