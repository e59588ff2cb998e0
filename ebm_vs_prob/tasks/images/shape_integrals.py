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
from .shape_modes import NEGLIGIBLE, Modes

if TYPE_CHECKING:
    import torch

    from .shape_likelihood import Likelihood

#: Error of a log-integral, at most, in nats, and relative to its size, where that is large.
TOLERANCE, RELATIVE = 1e-7, 1e-14
#: Gauss-Hermite nodes of each direction, in turn.
ORDERS = (5, 8, 12, 18)
#: Deviations of the noise between neighbouring nodes above which the table's lattice resolves nothing.
COARSE = 3.0
#: How often the lattice is halved, at most, and the nodes that a pair may have on it.
HALVINGS, MOST_NODES = 6, 1 << 17
#: Pairs looked at together, and pictures drawn together: 8 MB of either.
PAIRS, DRAWN = 32, 1 << 12


def log_integral_of_x(likelihood: Likelihood, x: torch.Tensor) -> torch.Tensor:
    """ln of the mean likelihood of x (B, 16) over all that makes a picture, (B,), whatever y.

    Raises:
        ArithmeticError: the table's lattice does not resolve it to `TOLERANCE`.
    """
    import torch

    values, settled = _lattice_mean(likelihood.on_lattice(x, None).integrated)
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

    lattice = likelihood.on_lattice(x, y)
    if likelihood.longest_step * largest_step() > COARSE:
        return _thin(likelihood, x, y, lattice.largest.detach())
    by_kind, settled = _lattice_mean(lattice.integrated)
    result = torch.logsumexp(by_kind, -1) - math.log(len(KINDS))
    left = (~settled.all(-1)).nonzero().squeeze(-1)
    if len(left):
        value = _thin(likelihood, x[left], y[left], lattice.largest[left].detach())
        result = result.index_put((left,), value)
    return result


def _settled(value: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    moved: torch.Tensor = (value - previous).detach().abs()
    return moved <= TOLERANCE + RELATIVE * value.detach().abs()


def _lattice_mean(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln of the mean of exp(values) (B, 2, N) over the table's nodes, (B, 2), and whether the lattice resolves it."""
    import torch

    parts = values.unflatten(-1, (NODES[0] // 2, 2, NODES[1] // 2, 2)).logsumexp((-4, -2)).flatten(-2)
    total = torch.logsumexp(parts, -1) - math.log(NODES[0] * NODES[1])
    negligible = total.detach() < total.detach().amax(-1, keepdim=True) - NEGLIGIBLE
    return total, _resolved(parts, math.sqrt(TOLERANCE)) | negligible & _resolved(parts, 1.0)


def _resolved(parts: torch.Tensor, apart: float) -> torch.Tensor:
    """Whether a lattice resolves an integrand whose log-sums over nodes of each parity of row and column are (..., 4).

    Sums over every other row, over every other column and over the white nodes, as of a chessboard, must agree with
    those over the others. They differ by the Fourier transform of the integrand at half the frequencies that the whole
    lattice takes for 0. It falls at least exponentially, so that they need only agree to the square root of the
    tolerance.
    """
    import torch

    sums = [
        [torch.logaddexp(parts[..., one], parts[..., other]).detach() for one, other in pairs]
        for pairs in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
    ]
    return torch.stack([(one - other).abs() <= apart for one, other in sums]).all(0)


def _thin(likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    """The log-integrals (B,) of pairs that the table's lattice does not resolve."""
    import torch

    with torch.no_grad():
        modes = Modes(likelihood, x.detach(), y.detach(), peaks)
    result, settled = _by_modes(likelihood, x, y, modes)
    left = (~settled).nonzero().squeeze(-1)
    if len(left):
        value = _by_halving(likelihood, x[left], y[left], peaks[left], modes.of(left))
        result = result.index_put((left,), value)
    return result


def _by_modes(
    likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, modes: Modes
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-integrals (B,) by Gauss-Hermite nodes round the modes, and which settled."""
    import torch

    result = x.new_zeros(len(x))
    open_pairs, settled = modes.separate.clone(), torch.zeros(len(x), dtype=torch.bool, device="cpu")
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


def _by_halving(
    likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, peaks: torch.Tensor, modes: Modes
) -> torch.Tensor:
    """The log-integrals (B,) on lattices finer and finer, as far from the modes as the integrand counts.

    Raises:
        ArithmeticError: the finest does not resolve it, or has too many nodes.
    """
    import torch

    result, left = x.new_zeros(len(x)), torch.arange(len(x), dtype=torch.int64, device="cpu")
    seeds = [(peaks >= modes.best[:, None, None] - NEGLIGIBLE).nonzero()]
    high = torch.cat([seeds[0][:, :2], seeds[0][:, 2:] // NODES[1], seeds[0][:, 2:] % NODES[1]], 1)
    for halving in range(1, HALVINGS + 1):
        lattice = _Lattice(likelihood, x, y, halving)
        starts = [torch.cat([high[:, :2], high[:, 2:] * 2**halving], 1)]
        for kind in range(len(KINDS)):
            places = (modes.angles[kind] / lattice.spacing).round().long()
            starts.append(torch.cat([modes.rows[kind][:, None], torch.full_like(places[:, :1], kind), places], 1))
        start = torch.cat(starts)
        with torch.no_grad():
            nodes, value = lattice.grown(start[torch.isin(start[:, 0], left)], modes.best - NEGLIGIBLE)
        parts = _log_sums(value, 4 * nodes[:, 0] + 2 * (nodes[:, 2] % 2) + nodes[:, 3] % 2, 4 * len(x))
        now = left[_resolved(parts.unflatten(0, (-1, 4))[left], math.sqrt(TOLERANCE))]
        if len(now):
            counts = torch.isin(nodes[:, 0], now) & (value >= modes.best[nodes[:, 0]] - NEGLIGIBLE)
            value = _log_sums(lattice.values(nodes[counts]), nodes[counts, 0], len(x)) - math.log(lattice.count)
            result = result.index_put((now,), value[now])
            left = left[~torch.isin(left, now)]
        if not len(left):
            return result
    raise ArithmeticError(f"no quadrature over the angles settles to {TOLERANCE:.0e} nats")


class _Lattice:
    """The table's lattice halved a few times, whose nodes are (pair, kind, row, column), (n, 4) int64."""

    def __init__(self, likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, halving: int) -> None:
        self.likelihood, self.x, self.y = likelihood, x, y
        self.shape = (len(x), len(KINDS), *(count << halving for count in NODES))
        self.spacing = x.new_tensor(PERIODS) / x.new_tensor(self.shape[2:])
        self.count = math.prod(self.shape[1:])

    def values(self, nodes: torch.Tensor) -> torch.Tensor:
        """ln of the likelihood with the brightness integrated out, (n,)."""
        value = self.x.new_zeros(len(nodes))
        for kind in range(len(KINDS)):
            for part in (nodes[:, 1] == kind).nonzero().squeeze(-1).split(DRAWN):
                drawn, row = pictures(kind, nodes[part, 2:] * self.spacing), nodes[part, 0]
                value = value.index_put((part,), self.likelihood.at(self.x[row], self.y[row], drawn)[0])
        return value

    def grown(self, nodes: torch.Tensor, floor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From some nodes on to all neighbours of nodes above the floor (B,) of their pair: nodes and values."""
        import torch

        beside = torch.tensor(
            [[0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 0, 1], [0, 0, 0, -1]], dtype=torch.int64, device="cpu"
        )
        known = torch.empty(0, dtype=torch.int64, device="cpu")
        found: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        while len(nodes):
            nodes[:, 2:] %= torch.tensor(self.shape[2:], dtype=torch.int64, device="cpu")
            key = (
                (
                    nodes
                    * torch.tensor(
                        [self.count, *(math.prod(self.shape[at:]) for at in (2, 3, 4))], dtype=torch.int64, device="cpu"
                    )
                )
                .sum(1)
                .unique()
            )
            key = key[~torch.isin(key, known)]
            known = torch.cat([known, key])
            if len(known) > MOST_NODES * len(self.x):
                raise ArithmeticError(f"the integrand is spread over more than {MOST_NODES} nodes")
            nodes = torch.stack(torch.unravel_index(key, self.shape), 1)
            found.append(nodes)
            values.append(self.values(nodes))
            above = values[-1] >= floor[nodes[:, 0]]
            nodes = (nodes[above, None] + beside).flatten(0, 1)
        return torch.cat(found), torch.cat(values)
