"""Minima of an energy within its box: looked for on a lattice, and descended to from its lowest points.

A minimum is found if a lattice point lies in its basin and below the neighbouring points. One whose basin no point
meets leaves no sign, and stays unseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...descent.lbfgs import lbfgs
from .partition import Target, value_and_slope

#: Gradients a descent may take.
_TRIALS = 24
#: Of the box's width: a step by which a descent may end.
_TOLERANCE = 1e-7
_SUFFICIENT_DECREASE = 1e-4
#: Points an axis of the lattice on which minima are looked for with so many descents, by dimension.
_DESCENTS = 36
_LATTICE = {1: 1536, 2: 64, 3: 22}


@dataclass(frozen=True)
class Minima:
    """Where descents of an energy ended: y (B, P, dim), their log-density (B, P), and the energies evaluated, (B,)."""

    y: torch.Tensor
    log_density: torch.Tensor
    evaluations: torch.Tensor

    def scaled(self, ratio: torch.Tensor) -> Minima:
        """The same of densities whose beta is `ratio` (B,) times as large: minima do not move with it."""
        return Minima(self.y, self.log_density * ratio.unsqueeze(1), self.evaluations)


def minima(target: Target, count: int) -> Minima:
    """Minima that at most `count` descents from the peaks of a lattice find."""
    per_axis = round(_LATTICE[target.dim] * (count / _DESCENTS) ** (1 / target.dim))
    batch, dim = target.batch_shape.numel(), target.dim
    if not per_axis:
        y = torch.zeros(batch, 0, dim, dtype=torch.float64, device=target.device)
        return Minima(y, y[..., 0], torch.zeros(batch, dtype=torch.int64, device=target.device))
    y, heights = lattice_peaks(target, per_axis, count)
    evaluations = torch.full((batch,), per_axis**dim, dtype=torch.int64, device=target.device)
    if not heights.shape[1]:
        return Minima(y, heights, evaluations)
    low, high = target.bounds
    y, found, cost = descended(target, y, (high - low) / per_axis / 2)
    found = found.masked_fill(heights == -math.inf, -math.inf).nan_to_num(-math.inf, -math.inf, -math.inf)
    return Minima(y, found, evaluations + cost.masked_fill(heights == -math.inf, 0).sum(1))


class _Energy(nn.Module):
    """-ln f at points (B, K, dim), a replicate for each element of the target's batch."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target, self.num_replicates = target, target.batch_shape.numel()

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, slope = value_and_slope(self.target.at, y)
        return -value, -slope


def descended(target: Target, y: torch.Tensor, first_move: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where limited-memory BFGS leads within the box from starts (B, P, dim), float64.

    An energy that torch cannot differentiate, or that is flat, is left where it began.

    Args:
        first_move: length of the first step tried, units of y.

    Returns:
        Points (B, P, dim), their log-density (B, P), and the energies evaluated for each, (B, P): a gradient counts
        three.
    """
    low, high = (y.new_tensor(bound) for bound in target.bounds)
    tolerance = max(_TOLERANCE * float(high - low), 16 * torch.finfo(target.dtype).eps * float(max(-low, high)))
    none = torch.zeros(y.shape[:2], dtype=torch.int64, device=y.device)
    state = {"x": y[..., :0], "y": y, "steps": none, "converged": none.bool(), "active": ~none.bool()}
    found = lbfgs(_Energy(target), state, (low, high), _TRIALS, tolerance, first_move, _SUFFICIENT_DECREASE, 1)
    return found["y"], -found["energy"], 3 * (found["steps"] + 2)


def lattice_peaks(target: Target, per_axis: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest local maxima of the density on a lattice of per_axis^dim midpoints, at most `count` of them.

    Returns:
        Points (B, P, dim), highest first, and their log-density (B, P), -inf where an element has fewer.
    """
    (low, high), dim = target.bounds, target.dim
    axis = low + (high - low) * (torch.arange(per_axis, dtype=torch.float64, device=target.device) + 0.5) / per_axis
    points = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    batch = target.batch_shape.numel()
    values = target.at(points.to(target.dtype).expand(batch, -1, -1)).nan_to_num(-math.inf, math.inf, -math.inf)
    pool = {1: nn.functional.max_pool1d, 2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}[dim]
    highest = pool(values.reshape(batch, 1, *[per_axis] * dim), 3, 1, 1).reshape(batch, -1)
    peaks = values.masked_fill((values < highest) | (values == math.inf), -math.inf)
    enough = min(count, int((peaks > -math.inf).sum(1).amax())) if batch else 0
    heights, which = peaks.topk(enough, dim=1)
    return points[which], heights
