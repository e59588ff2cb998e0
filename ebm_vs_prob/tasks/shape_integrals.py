"""Integrals of a picture's likelihood over the kind and the angles of its shape, refined until they settle.

The angles live on a torus, where equal weights on a lattice converge faster than any power of its spacing once they
resolve the integrand. Where it is too thin for the table, Gauss-Hermite nodes stand round each of its modes; where that
does not settle either, the lattice is halved and halved again wherever the integrand counts.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from .bars_and_ellipses import AREA, KINDS, NODES, PERIODS, largest_step, pictures
from .shape_modes import NEGLIGIBLE, Modes, nearest

if TYPE_CHECKING:
    import torch

    from .shape_likelihood import Likelihood

#: Error of a log-integral, at most, in nats, and relative to its size, where that is large.
TOLERANCE, RELATIVE = 1e-7, 1e-14
#: Gauss-Hermite nodes of each direction, in turn.
ORDERS = (5, 8, 12, 18)
#: How often the lattice is halved, at most, and the nodes that a pair may have on it.
HALVINGS, MOST_NODES = 6, 1 << 16
#: Pairs looked at together, and pictures drawn together: 8 MB of either.
PAIRS, DRAWN = 32, 1 << 12


def log_integral_of_x(likelihood: Likelihood, x: torch.Tensor) -> torch.Tensor:
    """ln of the mean likelihood of x (B, 16) over all that makes a picture, (B,), whatever y.

    Raises:
        ArithmeticError: the table's lattice does not resolve it to `TOLERANCE`.
    """
    import torch

    values, settled = _lattice_mean(likelihood.on_lattice(x, None)[0])
    if not bool(settled.all()):
        raise ArithmeticError(f"the lattice of the angles does not resolve the likelihood of x to {TOLERANCE:.0e}")
    return torch.logsumexp(values, -1) - math.log(len(KINDS))


def log_integral(likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """ln of the mean likelihood of x (B, 16) and y (B, 256) over all that makes a picture, (B,) nats.

    Its error is at most `TOLERANCE`. Differentiable in both, as often as wanted, at the nodes that settled.

    Raises:
        ArithmeticError: no rule settles.
    """
    import torch

    parts = [_of_pairs(likelihood, *part) for part in zip(x.split(PAIRS), y.split(PAIRS), strict=True)]
    return torch.cat(parts) if parts else x.new_zeros(0)


def _of_pairs(likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    import torch

    whole, peaks = likelihood.on_lattice(x, y)
    by_kind, settled = _lattice_mean(whole)
    result = torch.logsumexp(by_kind, -1) - math.log(len(KINDS))
    left = (~settled.all(-1)).nonzero().squeeze(-1)
    if len(left):
        value, settled = _by_modes(likelihood, x[left], y[left], peaks[left].detach())
        result = result.index_put((left,), value)
        left = left[~settled]
    if len(left):
        value = torch.stack([_by_halving(likelihood, x[row], y[row], peaks[row].detach()) for row in left])
        result = result.index_put((left,), value)
    return result


def _settled(value: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    moved: torch.Tensor = (value - previous).detach().abs()
    return moved <= TOLERANCE + RELATIVE * value.detach().abs()


def _lattice_mean(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln of the mean of exp(values) over the table's nodes, (B, 2, N) -> (B, 2), and whether the lattice resolves it."""
    import torch

    rows, columns = (torch.arange(count) for count in NODES)
    even = ((rows[:, None] + columns) % 2 == 0).flatten()
    halves = torch.logsumexp(values[..., even], -1), torch.logsumexp(values[..., ~even], -1)
    total = torch.logaddexp(*halves) - math.log(NODES[0] * NODES[1])
    negligible = total.detach() < total.detach().amax(-1, keepdim=True) - NEGLIGIBLE
    return total, _resolved(*halves) | negligible & _resolved(*halves, 1.0)


def _resolved(even: torch.Tensor, odd: torch.Tensor, apart: float = 0.1 * math.sqrt(TOLERANCE)) -> torch.Tensor:
    """Whether a lattice resolves an integrand whose sums over its white and its black nodes, as of a chessboard, agree.

    Either is a lattice √2 as coarse. An error that falls as exp(-c / h²) is on the whole lattice the square of
    theirs, so that they need only agree to the square root of the tolerance.
    """
    return (even - odd).detach().abs() <= apart


def _by_modes(
    likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, peaks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-integrals (B,) by nodes round the modes, and which settled."""
    import torch

    with torch.no_grad():
        modes = Modes(likelihood, x.detach(), y.detach(), peaks)
    result = x.new_zeros(len(x))
    open_pairs, settled = modes.separate.clone(), torch.zeros(len(x), dtype=torch.bool)
    previous = None
    for order in ORDERS:
        if not bool(open_pairs.any()):
            break
        value = _hermite(likelihood, x, y, modes, open_pairs, order)
        if previous is not None:
            now = open_pairs & _settled(value, previous)
            result = torch.where(now, value, result)
            settled, open_pairs = settled | now, open_pairs & ~now
        previous = value
    return result, settled


def _hermite(
    likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, modes: Modes, wanted: torch.Tensor, order: int
) -> torch.Tensor:
    """ln of the mean by Gauss-Hermite nodes round the modes of the pairs that are wanted, (B,); others are -inf."""
    import torch

    nodes, log_weights = _hermite_nodes(order)
    values, owners = [], []
    for kind in range(len(KINDS)):
        chosen = wanted[modes.rows[kind]].nonzero().squeeze(-1)
        for part in chosen.split(max(1, DRAWN // len(nodes))):
            row, spread = modes.rows[kind][part], modes.spread[kind][part]
            drawn = pictures(kind, modes.angles[kind][part, None] + nodes @ spread.mT)
            value = likelihood.at(x[row, None], y[row, None], drawn)[0] + log_weights
            values.append(torch.logsumexp(value, -1) + spread.diagonal(dim1=-2, dim2=-1).log().sum(-1))
            owners.append(row)
    return _log_sums(torch.cat(values), torch.cat(owners), len(x)) - math.log(len(KINDS) * AREA)


def _log_sums(values: torch.Tensor, owner: torch.Tensor, count: int) -> torch.Tensor:
    """ln of the sum of exp(values) of each owner 0 .. count-1, (count,)."""
    import torch

    floor = torch.finfo(values.dtype).min
    top = values.new_full((count,), floor).scatter_reduce(0, owner, values.detach(), "amax")
    return values.new_zeros(count).index_add(0, owner, (values - top[owner]).exp()).log() + top


@functools.cache
def _hermite_nodes(order: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (n, 2) in standard deviations and logarithms of weights (n,): ∫ e^f = Σ exp(f + log_weight)."""
    import torch

    node, weight = np.polynomial.hermite_e.hermegauss(order)
    own = np.log(weight) + 0.5 * node**2
    nodes, log_weights = np.stack(np.meshgrid(node, node, indexing="ij"), -1).reshape(-1, 2), np.add.outer(own, own)
    log_weights = log_weights.ravel()
    kept = 0.5 * (nodes**2).sum(1) - log_weights < NEGLIGIBLE  # corners, where a Gaussian has next to nothing
    return torch.from_numpy(nodes[kept]), torch.from_numpy(log_weights[kept])


def _by_halving(likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    """ln of the mean of one pair, x (16,) and y (256,), on lattices finer and finer wherever the integrand counts."""
    import torch

    step = likelihood.longest_step * largest_step()
    board = peaks.unflatten(-1, NODES)
    kept = (nearest(board, step) >= board.amax() - NEGLIGIBLE).nonzero()
    for halving in range(1, HALVINGS + 1):
        step *= 0.5
        corner = torch.cartesian_prod(torch.arange(2), torch.arange(2))
        nodes = torch.cat(
            [kept[:, None, :1].expand(-1, 4, -1), 2 * kept[:, None, 1:] + corner], -1
        ).flatten(0, 1)
        if len(nodes) > MOST_NODES:
            break
        fine = halving < HALVINGS
        with torch.no_grad():
            peak, value = _at_nodes(likelihood, x, y, nodes, halving)
        colour = (nodes[:, 1] + nodes[:, 2]) % 2
        even, odd = _log_sums(value, colour, 2)
        if bool(_resolved(even, odd)):
            nodes = nodes[value >= value.amax() - NEGLIGIBLE]
            value = _at_nodes(likelihood, x, y, nodes, halving)[1]
            return torch.logsumexp(value, 0) - math.log(len(KINDS) * NODES[0] * NODES[1] * 4**halving)
        if fine:
            kept = nodes[nearest(peak, step) >= peak.amax() - NEGLIGIBLE]
    raise ArithmeticError(f"no quadrature over the angles settles to {TOLERANCE:.0e} nats")


def _at_nodes(
    likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, nodes: torch.Tensor, halving: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln of the likelihood with the best brightness and with it integrated out, (n,), at nodes (kind, row, column)."""
    import torch

    spacing = x.new_tensor(PERIODS) / x.new_tensor(NODES) / 2**halving
    value, peak = x.new_zeros(len(nodes)), x.new_zeros(len(nodes))
    for kind in range(len(KINDS)):
        for part in (nodes[:, 0] == kind).nonzero().squeeze(-1).split(DRAWN):
            found = likelihood.at(x, y, pictures(kind, nodes[part, 1:] * spacing))
            value, peak = (old.index_put((part,), new) for old, new in zip((value, peak), found, strict=True))
    return peak, value
