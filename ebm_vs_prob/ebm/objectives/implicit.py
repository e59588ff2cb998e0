"""A map that is 0 on the data and regular there: its zero set is a manifold of known dimension."""

from __future__ import annotations

import torch

#: Least squared norm, of which the root has a slope.
SMALLEST = 1e-12


def norm(values: torch.Tensor) -> torch.Tensor:
    """Euclidean norm along the last dimension, whose slope at 0 is 0."""
    return values.square().sum(-1).clamp_min(SMALLEST).sqrt()


def singular_value_penalty(
    products: torch.Tensor, directions: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    """E (low - s)₊² + E (s - high)₊² with s = ‖Jᵀv‖ / ‖v‖ of random v: Ross et al. 2024, which has the first.

    s lies between the least and the largest singular value of J, and is 0 for a v only where J has not full rank.

    Args:
        products: Jᵀv, (R, B, D). directions: v, (R, B, K). low, high: (R, 1).

    Returns:
        (R,)
    """
    stretch = norm(products) / norm(directions)
    return ((low - stretch).clamp_min(0.0).square() + (stretch - high).clamp_min(0.0).square()).mean(-1)


def saturating_reward(sizes: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """E (‖F‖² / (2 level) - ‖F‖) at points off the data, (R,): least where ‖F‖ is the level.

    Args:
        sizes: ‖F‖ there, (R, B). level: (R, 1), > 0.
    """
    return (0.5 * sizes.square() / level - sizes).mean(-1)
