"""Where the energy must be high: points found by noise and by the model's own descent."""

from __future__ import annotations

import torch
from torch import nn

from ...core.tensors import power
from ...energies.evaluation import energy_and_gradient
from ...models.data_kernel import squared_distances


def noisy_answers(
    y: torch.Tensor, normal: torch.Tensor, uniform: torch.Tensor, widths: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """y moved by Gaussian noise whose width is log-uniform between two widths, a width a point: (R, B, K, dy).

    Args:
        y: right answers, (R, B, dy).
        normal: standard normals, (R, B, K, dy).
        uniform: uniforms on [0, 1), (R, B, K, 1).
        widths: smallest and largest width in the units of y, (R, 1, 1, 1) each.
    """
    low, high = widths
    return y.unsqueeze(2) + low * power(high / low, uniform) * normal


def descended(
    energy: nn.Module,
    x: torch.Tensor,
    start: torch.Tensor,
    lengths: torch.Tensor,
    bounds: tuple[float, float],
) -> torch.Tensor:
    """Where the energy's own descent leads: one move of each given length down the unit gradient, kept in the box.

    Moves of set lengths reach the same distance whatever the energy's scale, which is arbitrary.

    Args:
        x: (R, B, 1, dx). start: (R, B, K, dy). lengths: (steps, R, 1, 1, 1), units of y.
    """
    y = start
    with torch.no_grad():
        for length in lengths:
            _, gradient = energy_and_gradient(energy, x, y)
            direction = gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            y = (y - length * direction).clamp(*bounds)
    return y


def nearest_distance(y: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Distance of each y (R, B, K, dy) to the nearest of its training answers (R, B or 1, C, dy): (R, B, K)."""
    if answers.shape[1] > 1:
        return squared_distances(y, answers).amin(-1).sqrt()
    # A replicate's distances at a time stay in cache; products in float64 keep the digits that differences would.
    squared = [
        points.square().sum(-1) - 2 * torch.addmm(-0.5 * own.square().sum(-1), points, own.mT).amax(-1)
        for points, own in zip(y.flatten(1, 2).double(), answers[:, 0].double(), strict=True)
    ]
    return torch.stack(squared).clamp_min(0.0).sqrt().to(y).reshape(y.shape[:-1])
