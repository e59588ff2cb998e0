"""Integrals and nearest points over one bounded parameter, many at once, however thin the integrand is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Error of a log-integral, at most, in nats, and relative to its size, where that is large.
TOLERANCE, RELATIVE = 1e-8, 1e-14
#: Nodes of the search at first, and then each time that it closes in, so often at most.
NODES, FEWER, CLOSINGS = 65, 17, 16
#: Nats below the largest value at which an integrand counts no more.
NEGLIGIBLE = 45.0
#: Gauss-Legendre nodes, in turn.
ORDERS = (32, 48, 72, 108, 162)


def log_mean_over(
    exponent: Callable[[torch.Tensor], torch.Tensor], count: int, bounds: tuple[float, float]
) -> torch.Tensor:
    """ln of the mean of exp(exponent(t)) over t uniform within the bounds, (count,): the exponent itself if they meet.

    Nodes close in on where the exponent counts, then Gauss-Legendre rules are refined until they settle.

    Args:
        exponent: takes t (count, m), gives (count, m) nats; features as wide as a 64th of the interval, or smooth ones
            scaled by a large number.

    Raises:
        ArithmeticError: no rule settles to 1e-8 nats.
    """
    import torch

    low, high = (torch.full((count, 1), bound, dtype=torch.float64, device="cpu") for bound in bounds)
    if bounds[0] == bounds[1]:
        return exponent(low).squeeze(-1)
    with torch.no_grad():
        for closing in range(CLOSINGS):
            nodes, width = FEWER if closing else NODES, high - low
            t = low + width * torch.linspace(0.0, 1.0, nodes, dtype=torch.float64, device="cpu")
            value = exponent(t)
            counts = value >= value.amax(-1, keepdim=True) - NEGLIGIBLE
            first = counts.to(torch.int8).argmax(-1, keepdim=True)
            last = nodes - 1 - counts.flip(-1).to(torch.int8).argmax(-1, keepdim=True)
            low, high = t.gather(-1, (first - 1).clamp_min(0)), t.gather(-1, (last + 1).clamp_max(nodes - 1))
            if bool((high - low > 0.5 * width).all()):
                break
    previous = None
    for order in ORDERS:
        node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(order))
        share = ((high - low) / (2.0 * (bounds[1] - bounds[0]))).log() + weight.log()
        value = torch.logsumexp(exponent(low + (high - low) * 0.5 * (1.0 + node)) + share, -1)
        if previous is not None:
            moved = (value - previous).detach().abs()
            if bool((moved <= TOLERANCE + RELATIVE * value.detach().abs()).all()):
                return value
        previous = value
    raise ArithmeticError(f"quadrature moved by {float(moved.max()):.1e} at its last order: expected {TOLERANCE:.0e}")


def nearest_on(square: Callable[[torch.Tensor], torch.Tensor], count: int, bounds: tuple[float, float]) -> torch.Tensor:
    """The root of the least square(t) within the bounds, (count,), whose t is found to a 1e-10 of the interval.

    Args:
        square: takes t (count, m), gives squared distances (count, m) with one minimum between neighbours of a 64th.
    """
    import torch

    low, high = (torch.full((count, 1), bound, dtype=torch.float64, device="cpu") for bound in bounds)
    if bounds[0] == bounds[1]:
        return square(low).squeeze(-1).sqrt()
    with torch.no_grad():
        for closing in range(1 + math.ceil(10.0 / math.log10((FEWER - 1) / 2.0))):
            nodes = FEWER if closing else NODES
            t = low + (high - low) * torch.linspace(0.0, 1.0, nodes, dtype=torch.float64, device="cpu")
            value, best = square(t).min(-1, keepdim=True)
            low, high = t.gather(-1, (best - 1).clamp_min(0)), t.gather(-1, (best + 1).clamp_max(nodes - 1))
    return value.squeeze(-1).sqrt()
