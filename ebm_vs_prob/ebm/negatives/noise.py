"""Where the energy must be high: points found by noise and by the model's own descent."""

from __future__ import annotations

import torch
from torch import nn

from ...core.tensors import power
from ...energies.evaluation import energy_and_gradient
from ...models.data_kernel import BY_DIFFERENCES, squared_distances


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


def nearest_distance(y: torch.Tensor, answers: torch.Tensor, fused: bool = False) -> torch.Tensor:
    """Distance of each y (R, B, K, dy) to the nearest of its training answers (R, B or 1, C, dy): (R, B, K).

    Args:
        fused: the step will be compiled, and a table of all differences is then never made.
    """
    if answers.shape[1] > 1:
        return squared_distances(y, answers).amin(-1).sqrt()
    points, own = y.flatten(1, 2), answers[:, 0]
    if fused and y.shape[-1] <= BY_DIFFERENCES:
        squared = squared_distances(points, own).amin(-1)
    else:
        # A replicate's distances at a time stay in cache; products in float64 keep the digits that differences would.
        # Half of each answer's square is subtracted within the product, as one more coordinate.
        halves = torch.cat([own.double(), -0.5 * own.double().square().sum(-1, keepdim=True)], -1).mT
        wide = torch.nn.functional.pad(points.double(), (0, 1), value=1.0)
        products = [(one @ other).amax(-1) for one, other in zip(wide, halves, strict=True)]
        squared = (points.double().square().sum(-1) - 2 * torch.stack(products)).clamp_min(0.0)
    return squared.sqrt().to(y).reshape(y.shape[:-1])
