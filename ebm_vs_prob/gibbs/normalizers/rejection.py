"""Exact draws from a density on the cells of its quadrature, by rejection from a piecewise constant envelope.

Every node of a Gauss-Legendre cell owns the interval that its weight spans (Chebyshev, Markov and Stieltjes), so the
quadrature sum is the mass of a piecewise constant density. The envelope raises each piece by what the log-density can
gain within it at the steepest slope to the neighbouring nodes. Draws are exact where the density stays below the
envelope; a piece that breaks it is drawn too rarely by the share it sticks out.
"""

from __future__ import annotations

import math
import warnings

import torch

from .cells import FORBIDDEN, Cells
from .partition import Target, Uniforms

#: Proposals an accepted draw is chosen from in one call of the energy, and calls before the rest is given up.
_PROPOSALS, _ROUNDS = 4, 200
#: Nats above the highest node that the envelope is capped at: a maximum between nodes that resolve it rises less.
_HEADROOM = 0.5


def envelope(cells: Cells) -> torch.Tensor:
    """(B, C, q) log-density that the density hardly exceeds in each node's interval."""
    rule, values = cells.rule, cells.log_density
    finite = values.isfinite()
    lowest = values.masked_fill(~finite, math.inf).amin(-1, keepdim=True)
    values = torch.where(finite, values, torch.where(lowest.isfinite(), lowest - FORBIDDEN, -1e30))
    grid = values.unflatten(-1, [rule.order] * rule.dim)
    raised = grid
    spacing = rule.axis_nodes.diff()
    reach = torch.maximum(rule.axis_nodes - rule.axis_edges[:-1], rule.axis_edges[1:] - rule.axis_nodes)
    for axis in range(grid.ndim - rule.dim, grid.ndim):
        slope = grid.movedim(axis, -1).diff(dim=-1).abs() / spacing
        inner = torch.nn.functional.pad(slope, (1, 0)), torch.nn.functional.pad(slope, (0, 1))
        raised = raised + (torch.maximum(*inner) * reach).movedim(-1, axis)
    # Padding, which there is the more of the larger the rest of the batch, holds cells that others have replaced.
    padded = (cells.half_width == 0)[..., None]
    top = values.masked_fill(padded, -math.inf).flatten(1).amax(1) + _HEADROOM
    return torch.minimum(raised.flatten(-rule.dim), top[:, None, None])


@torch.no_grad()
def sample_cells(cells: Cells, target: Target, uniforms: Uniforms) -> torch.Tensor:
    """(B, draws, dim) float64 draws; NaN for elements of the batch whose log Z is not finite.

    Warns:
        RuntimeWarning: some draws were still refused after the last round; they are left as last proposed.
    """
    rule, q = cells.rule, cells.log_density.shape[-1]
    top = envelope(cells)
    log_mass = top.flatten(1) + cells.log_weights()
    sound = cells.log_z.isfinite()
    shares = (log_mass - log_mass.logsumexp(1, keepdim=True)).exp().nan_to_num(0.0)
    cumulative = shares.cumsum(1)
    result: torch.Tensor | None = None
    done = torch.zeros((), dtype=torch.float32, device="cpu")
    for _ in range(_ROUNDS):
        u = uniforms(_PROPOSALS, rule.dim + 2)
        shape = u.shape[:3]
        u = u.flatten(1, 2)
        piece = torch.searchsorted(cumulative, u[..., 0].contiguous() * cumulative[:, -1:], right=True)
        piece = piece.clamp_max(cumulative.shape[1] - 1)
        rows = torch.arange(piece.shape[0], device=piece.device, dtype=torch.int64)[:, None]
        cell, node = piece // q, piece % q
        powers = rule.order ** torch.arange(rule.dim - 1, -1, -1, device=piece.device, dtype=torch.int64)
        index = node[..., None] // powers % rule.order
        low, high = rule.axis_edges[index], rule.axis_edges[index + 1]
        offset = low + (high - low) * u[..., 1:-1]
        y = cells.centers[rows, cell] + cells.half_width[rows, cell][..., None] * offset
        accepted = (u[..., -1].log() < target.at(y) - top[rows, cell, node]).reshape(shape)
        y = y.reshape(*shape, rule.dim)
        first = accepted.to(torch.uint8).argmax(-1)
        chosen = y.gather(2, first[..., None, None].expand(-1, -1, 1, rule.dim)).squeeze(2)
        result = chosen if result is None else torch.where(done[..., None], result, chosen)
        done = accepted.any(-1) | (done if done.ndim else ~sound[:, None])
        if bool(done.all()):
            break
    else:
        warnings.warn(
            f"{int((~done).sum())} of {done.numel()} draws were refused {_PROPOSALS * _ROUNDS} times: "
            "the quadrature does not resolve the density",
            RuntimeWarning,
            stacklevel=2,
        )
    assert result is not None
    return result.masked_fill(~sound[:, None, None], math.nan)
