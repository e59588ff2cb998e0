"""The latent of lowest energy: of an ellipse its angle, by Newton's method; of any other decoder by descent."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from ..core.process_state import readable
from ..energies.decoders import AngleDecoder
from .answers import LATENT_SEARCH, LatentAnswers, Search
from .latent import JointEnergy, lowest, search_latent

#: Up to so many steps of Newton's method are the same operations whatever they find, where they are recorded.
MOST_RECORDED = 16


def best_latent(
    energy: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    nodes: torch.Tensor,
    bounds: tuple[float, float],
    search: Search = LATENT_SEARCH,
) -> LatentAnswers:
    """The z of lowest energy from the best node on, as `search_latent`; of an angle by Newton's method."""
    if isinstance(energy, AngleDecoder):
        return nearest_angle(energy, x, y, nodes, search)
    return search_latent(cast("JointEnergy", energy), x, y, nodes, bounds, search)


@torch.no_grad()
def nearest_angle(
    decoder: AngleDecoder, x: torch.Tensor, y: torch.Tensor, nodes: torch.Tensor, search: Search
) -> LatentAnswers:
    """The angle of lowest energy, within ±π, by Newton's method from the best of nodes (m, 1).

    Shapes are those of `infer_latent`. A step is -E' / |E''|, of two nodes at most; where it does not lower the
    energy it is halved. Of `search` the count and the tolerance are taken. More than `MOST_RECORDED` steps end once all
    angles have converged, and cannot be recorded.
    """
    axes, longest = decoder.semi_axes(x), 4 * math.pi / len(nodes)
    # By coordinates: sums over a dimension of two would take most of the time.
    (a, b), (p, q) = axes.unbind(-1), y.unbind(-1)
    grid = nodes.reshape(*[1] * (y.ndim - 1), -1)
    misfits = p.unsqueeze(-1) - a.unsqueeze(-1) * grid.cos(), q.unsqueeze(-1) - b.unsqueeze(-1) * grid.sin()
    squares = misfits[0].square() + misfits[1].square()
    where = lowest(squares)
    best, z = squares.gather(-1, where.unsqueeze(-1)).squeeze(-1), nodes[where, 0]
    share, converged = torch.ones_like(best), torch.zeros_like(where, dtype=torch.bool)
    cosine, sine = z.cos(), z.sin()
    for _ in range(search.max_steps):
        right, up = p - a * cosine, q - b * sine
        slope = a * sine * right - b * cosine * up
        bend = a * cosine * right + b * sine * up + (a * sine).square() + (b * cosine).square()
        step = (slope / bend.abs().clamp_min(torch.finfo(bend.dtype).tiny)).clamp(-longest, longest) * share
        moved = z - step
        trial = moved.cos(), moved.sin()
        energy = (p - a * trial[0]).square() + (q - b * trial[1]).square()
        # One that has converged stays, so that no point depends on how long the others search.
        lower = (energy < best) & ~converged
        z, best = torch.where(lower, moved, z), torch.where(lower, energy, best)
        cosine, sine = torch.where(lower, trial[0], cosine), torch.where(lower, trial[1], sine)
        share = torch.where(lower, 1.0, share / 2)
        converged = converged | (step.abs() < search.tolerance)
        # No later step would change anything; one that is recorded is taken by others too, which may need it.
        if (search.max_steps > MOST_RECORDED or readable(converged)) and bool(converged.all()):
            break
    z = (z + math.pi).remainder(2 * math.pi) - math.pi
    energy = 0.5 * ((p - a * z.cos()).square() + (q - b * z.sin()).square())
    return LatentAnswers(z.unsqueeze(-1), energy, converged & energy.isfinite())
