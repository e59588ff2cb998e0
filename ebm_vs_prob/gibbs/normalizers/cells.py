"""Cells of a composite Gauss-Legendre quadrature: the rule on one cell, and the leaves of a refined box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

#: Nats by which a cell's log-density may rise above its nodes before its mass counts as unseen.
UNSEEN = 2.0
#: Nats below a cell's lowest node at which forbidden nodes (log-density -inf) enter its interpolant.
FORBIDDEN = 50.0


class CellRule:
    """The tensor Gauss-Legendre rule of `order` points an axis on [-1, 1]^dim, and the finer rule that checks it.

    Attributes:
        axis_nodes (order,); axis_edges (order + 1,): by the separation theorem of Chebyshev, Markov and Stieltjes
            the cumulated weights part the nodes, so interval q of the edges holds node q.
        nodes (q, dim), log_weights (q,), q = order^dim.
        corners (2^dim, dim).
    """

    def __init__(self, order: int, dim: int, device: torch.device) -> None:
        self.order, self.dim = order, dim
        axis, weights = np.polynomial.legendre.leggauss(order)
        fine_axis, fine_weights = np.polynomial.legendre.leggauss((5 if dim < 3 else 4) * order // 2)
        basis = np.polynomial.legendre.legvander(axis, order - 1)
        coefficients = (basis * (2 * np.arange(order) + 1) / 2 * weights[:, None]).T  # (degree, node)
        degrees = np.stack(np.meshgrid(*[np.arange(order)] * dim, indexing="ij")).max(0).reshape(-1)
        transform: np.ndarray = coefficients
        for _ in range(dim - 1):
            transform = np.kron(transform, coefficients)
        derivative = np.polynomial.legendre.legder(np.eye(order), axis=0)
        edges = np.concatenate([[-1.0], np.cumsum(fine_weights) - 1.0])

        def tensor(value: np.ndarray) -> torch.Tensor:
            return torch.tensor(value, dtype=torch.float64, device=device)

        def product(parts: np.ndarray) -> torch.Tensor:
            return tensor(np.stack(np.meshgrid(*[parts] * dim, indexing="ij"), -1).reshape(-1, dim))

        self.axis_nodes, self.axis_weights = tensor(axis), tensor(weights)
        self.axis_edges = tensor(np.concatenate([[-1.0], np.cumsum(weights) - 1.0]))
        self.axis_edges[-1] = 1.0
        self.nodes = product(axis)
        self.log_weights = product(np.log(weights)).sum(-1)
        self._fine_weights = product(fine_weights).prod(-1)
        self._value = tensor(np.polynomial.legendre.legvander(fine_axis, order - 1) @ coefficients)
        self._slope = tensor(np.polynomial.legendre.legvander(fine_axis, order - 2) @ derivative @ coefficients)
        self._tail = tensor(transform[degrees >= order - 2])
        weight_edges = np.concatenate([[-1.0], np.cumsum(weights) - 1.0])
        self._discrepancy = float(np.maximum(axis - weight_edges[:-1], weight_edges[1:] - axis).max())
        self._reach = tensor(np.maximum(fine_axis - edges[:-1], edges[1:] - fine_axis))
        ends = np.polynomial.legendre.legvander(np.array([-1.0, 1.0]), order - 1) @ coefficients
        extrapolation: np.ndarray = ends
        for _ in range(dim - 1):
            extrapolation = np.kron(extrapolation, ends)
        self.corners = product(np.array([-1.0, 1.0]))
        outer = torch.tensor([0, order - 1], dtype=torch.int64, device=device)
        grid = torch.arange(order**dim, dtype=torch.int64, device=device).reshape([order] * dim)
        for along in range(dim):
            grid = grid.index_select(along, outer)
        self._outermost = grid.flatten()
        self._at_corners = tensor(extrapolation)

    def _interpolated(self, values: torch.Tensor, sloping: int | None) -> torch.Tensor:
        """The interpolant (..., q) -> (..., fine nodes), differentiated along the axis `sloping`."""
        result = values.unflatten(-1, [self.order] * self.dim)
        for axis in range(self.dim):
            matrix = self._slope if axis == sloping else self._value
            result = (result.movedim(axis - self.dim, -1) @ matrix.T).movedim(-1, axis - self.dim)
        return result

    def _by_variation(self, density: torch.Tensor) -> torch.Tensor:
        """(N,) bound of the rule's error for a density (N, q) that is level but for jumps, from its variation.

        By Koksma's inequality along each axis: the discrepancy of the nodes times the variation along the lines of
        that axis, averaged over the lines.
        """
        grid = density.unflatten(-1, [self.order] * self.dim)
        found = torch.zeros_like(density[:, 0])
        for axis in range(self.dim):
            variation = grid.movedim(axis + 1, -1).diff(dim=-1).abs().sum(-1)
            for _ in range(self.dim - 1):
                variation = variation @ self.axis_weights
            found = found + self._discrepancy * variation
        return found

    def beyond_nodes(self, log_density: torch.Tensor, at_corners: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        """(N,) bound of the error of the integral over [-1, 1]^dim by a jump between the outer nodes and the faces.

        No node sees such a jump; a corner that the interpolant does not predict does. The volume between the nodes
        and the faces, times the largest difference of the density there, bounds what it adds or takes.

        Args:
            log_density: (N, q) at the nodes; `at_corners`: (N, 2^dim); `largest`: (N,) the largest log-density known.
        """
        finite = log_density.isfinite()
        lowest = log_density.masked_fill(~finite, math.inf).amin(-1, keepdim=True)
        floor = torch.where(lowest.isfinite(), lowest - FORBIDDEN, -1e30)
        values = torch.where(finite, log_density, floor) - largest[:, None]
        predicted = (values @ self._at_corners.T).clamp_max(0.5).exp()
        outermost = (log_density[:, self._outermost] - largest[:, None]).exp()
        predicted = torch.where(_walled(log_density)[:, None], outermost, predicted)
        found = (at_corners - largest[:, None]).nan_to_num(-math.inf, neginf=-math.inf).clamp_max(0.5).exp()
        shell = 2.0**self.dim - (2 * float(self.axis_nodes[-1])) ** self.dim
        return shell * (found - predicted).abs().amax(-1)

    def integral_and_error(self, log_density: torch.Tensor, largest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Integral of exp(log_density - largest) over [-1, 1]^dim and an estimate of its error, (N,) each.

        The log-density is smoother than the density: its polynomial interpolant, exponentiated and integrated by the
        finer rule, shows what the rule itself misses; the interpolant's own error is told from the last of its
        Legendre coefficients (Trefethen, Approximation Theory and Approximation Practice, 2013, ch. 4). Where even
        the finer nodes may step over a peak, the bound is the mass that one of their intervals holds if the
        log-density keeps its slope up to `largest`.

        Args:
            log_density: (N, q) at the nodes; `largest`: (N,) the largest log-density known.
        """
        finite = log_density.isfinite()
        lowest = log_density.masked_fill(~finite, math.inf).amin(-1, keepdim=True)
        floor = torch.where(lowest.isfinite(), lowest - FORBIDDEN, -1e30)
        values = torch.where(finite, log_density, floor) - largest[:, None]
        integral = (log_density - largest[:, None]).exp() @ self.log_weights.exp()
        interpolant = self._interpolated(values, None)
        fine = interpolant.clamp_max(0.5).exp().flatten(1) @ self._fine_weights
        tail = (values @ self._tail.T).abs().amax(-1).clamp_max(1.0)
        error = (fine - integral).abs() + 0.5 * tail * torch.maximum(fine, integral)
        level = torch.where(finite, log_density, lowest).amax(-1) - lowest.squeeze(-1) < UNSEEN
        walled = ~finite.all(-1) & finite.any(-1) & level
        error = torch.where(
            walled, torch.minimum(error, self._by_variation((log_density - largest[:, None]).exp())), error
        )
        reach = interpolant
        for axis in range(self.dim):
            extent = self._reach.reshape([-1 if other == axis else 1 for other in range(self.dim)])
            reach = reach + self._interpolated(values, axis).abs() * extent
        highest = reach.clamp_max(0.0).flatten(1)
        unseen = highest > values.amax(-1, keepdim=True) + UNSEEN
        return integral, error + (highest.exp() * self._fine_weights).masked_fill(~unseen, 0.0).amax(-1)


def _walled(log_density: torch.Tensor) -> torch.Tensor:
    """(N,) whether a wall, and nothing else of note, stands in a cell: level nodes (N, q) beside forbidden ones."""
    finite = log_density.isfinite()
    highest = log_density.masked_fill(~finite, -math.inf).amax(-1)
    lowest = log_density.masked_fill(~finite, math.inf).amin(-1)
    return ~finite.all(-1) & (highest - lowest < UNSEEN) & finite.any(-1)


@dataclass(frozen=True)
class Cells:
    """The leaves of a quadrature, B elements of a batch padded to C cells of q nodes each; float64, without gradient.

    Attributes:
        centers: (B, C, dim).
        half_width: (B, C); -inf-weighted padding has half-width 0.
        log_density: (B, C, q), -beta E at the nodes.
        log_z: (B,) nats; `error`: (B,) its estimated error, nats.
        unresolved: (B,) whether the node cap left an error above `trust.MAX_ERROR`, or ln Z is not finite.
        evaluations: (B,) energies evaluated for each element's own cells (padding not counted).
        rule: the cell rule.
    """

    centers: torch.Tensor
    half_width: torch.Tensor
    log_density: torch.Tensor
    log_z: torch.Tensor
    error: torch.Tensor
    unresolved: torch.Tensor
    evaluations: torch.Tensor
    rule: CellRule

    def nodes(self) -> torch.Tensor:
        """(B, C * q, dim)."""
        return (self.centers[:, :, None] + self.half_width[:, :, None, None] * self.rule.nodes).flatten(1, 2)

    def log_weights(self) -> torch.Tensor:
        """(B, C * q) natural logarithms of the quadrature weights, -inf at padding."""
        dim = self.centers.shape[-1]
        return (dim * self.half_width.log()[..., None] + self.rule.log_weights).flatten(1)
