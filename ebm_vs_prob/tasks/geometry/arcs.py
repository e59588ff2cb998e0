"""Integrals along a curve of a density that noise has blurred, by arcs on which the distance to the point grows.

The noise makes the integrand exp(-e(t) / eps²), e half the squared distance, times something smooth. Between
neighbouring extrema of e it falls along the arc, so Gauss-Legendre nodes from the nearer end as far as it counts
resolve it at any eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

#: Each arc is cut where the integrand is exp(-DEPTH) of its largest, and integrated in panels with NODES nodes each.
DEPTH, NODES, PANELS = 40.0, 16, (0.0, 0.25, 1.0)
#: An arc is cut to 2^-k of its length, k up to the first number, found by the second number of halvings.
CUTS, CUT_HALVINGS = 44.0, 7

Function = Callable[[torch.Tensor], torch.Tensor]


def log_integral(
    log_integrand: Function, energy: Function, breaks: torch.Tensor, eps: float, depth: float = DEPTH
) -> torch.Tensor:
    """ln of the integral of exp(log_integrand(t)) over t from the first to the last break, (...) float64.

    Args:
        log_integrand: of t (..., k), (..., k). Derivatives of the result pass through it.
        energy: half the squared distance at t (..., k), (..., k), not differentiated.
        breaks: (..., b) ascending, the extrema of the energy among them; more do no harm.
        eps: standard deviation of the noise.
        depth: nats below its largest at which the integrand is left out.
    """
    breaks = breaks.detach()
    value = energy(breaks)
    left, right = breaks[..., :-1], breaks[..., 1:]
    forwards = value[..., :-1] <= value[..., 1:]
    start = torch.where(forwards, left, right)
    length = torch.where(forwards, right - left, left - right)
    furthest = value.amin(-1, keepdim=True) + depth * eps**2

    low = torch.zeros_like(length)
    high = low + CUTS
    for _ in range(CUT_HALVINGS):
        middle = 0.5 * (low + high)
        far = energy(start + length * torch.exp2(-middle)) > furthest
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    length = length * torch.exp2(-low)

    node, weight = _rule(breaks)
    t = (start.unsqueeze(-1) + length.unsqueeze(-1) * node).flatten(-2)
    log_weight = (length.abs().unsqueeze(-1) * weight).flatten(-2).clamp_min(torch.finfo(t.dtype).tiny).log()
    return torch.logsumexp(log_integrand(t) + log_weight, -1)


def _rule(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights on [0, 1]."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    edges = np.array(PANELS)
    widths = np.diff(edges)[:, None]
    nodes, weights = edges[:-1, None] + widths * (node + 1) / 2, widths * weight / 2
    return torch.from_numpy(nodes.ravel()).to(like), torch.from_numpy(weights.ravel()).to(like)


def zero_between(function: Function, low: torch.Tensor, high: torch.Tensor, halvings: int) -> torch.Tensor:
    """A zero of a function with at most one sign change between `low` and `high`; an end where it has none."""
    sign = torch.where(function(high) >= 0, 1.0, -1.0).to(low)
    for _ in range(halvings):
        middle = 0.5 * (low + high)
        above = sign * function(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return 0.5 * (low + high)


def log_von_mises(angle: torch.Tensor, concentration: float) -> torch.Tensor:
    """ln of the von Mises density of mean 0."""
    from scipy.special import i0e

    return concentration * (angle.cos() - 1) - math.log(2 * math.pi * i0e(concentration))


__all__ = ["DEPTH", "log_integral", "log_von_mises", "zero_between"]
