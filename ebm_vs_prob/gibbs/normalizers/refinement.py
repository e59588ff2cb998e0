"""Adaptive refinement of a box into Gauss-Legendre cells, for many densities at once.

Cells are halved along every axis while their estimated errors (`CellRule.integral_and_error`) exceed the tolerance. The
estimates are themselves checked: whenever cells are split, the change of their integrals is compared with the errors
predicted, and later errors are scaled by the ratio. A jump between a cell's outer nodes and its faces shows at its
corners (`CellRule.beyond_nodes`). Minima are looked for on a lattice; cells where a descent from there ends lower than
all their nodes hide a minimum, and are split as well. So are cells in which a node of a larger cell that they were part
of saw more than their own nodes do.
"""

from __future__ import annotations

import itertools
import math

import torch

from ..trust import MAX_ERROR
from .cells import CellRule, Cells
from .minima import Minima
from .partition import Target

#: Smallest and largest ratio of measured to predicted error that a split may teach.
CALIBRATION = (0.5, 1e3)
#: Nats by which a probe must lie above its cell's nodes to show a minimum they do not.
HIDDEN = 0.5
#: A minimum may hide mass in cells whose half-width, so many times, reaches it: a well on an edge lies in both.
_REACH = 1.25
#: Cells measured in one call: on a CPU few enough that their finer nodes stay in cache.
_CELLS = {"cpu": 1 << 9, "cuda": 1 << 14}
#: Cells an axis of the coarse grid, by dimension.
_COARSE = {1: 16, 2: 6, 3: 3}
#: Relative differences of log-densities that rounding makes.
_ROUNDING = 1e-12


class Refinement:
    """The state of one adaptive quadrature; every tensor's first axis is the flattened batch."""

    def __init__(self, rtol: float, max_nodes: int, minima: Minima, target: Target, rule: CellRule) -> None:
        self.target, self.rule = target, rule
        self.rtol, self.max_nodes, self.minima = rtol, max_nodes, minima
        self.batch = target.batch_shape.numel()
        low, high = target.bounds
        per_axis = _COARSE[target.dim]
        self.half = (high - low) / per_axis / 2
        edges = low + self.half * (2 * torch.arange(per_axis, dtype=torch.float64, device=target.device) + 1)
        grid = torch.cartesian_prod(*[edges] * target.dim).reshape(-1, target.dim)
        self.centers = grid.expand(self.batch, -1, -1)
        self.mask = torch.ones(self.centers.shape[:2], dtype=torch.bool, device=target.device)
        self.leaves: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.half_widths: list[torch.Tensor] = []
        zeros = torch.zeros(self.batch, dtype=torch.float64, device=target.device)
        self.leaf_log_z, self.leaf_log_error = zeros - math.inf, zeros - math.inf
        self.calibration = zeros + 1.0
        self.largest, self.lowest = zeros - math.inf, zeros + math.inf
        if minima.y.shape[1]:
            self.largest = torch.fmax(self.largest, minima.log_density.amax(1))
        self.evaluations = minima.evaluations

    def run(self) -> Cells:
        dim, q = self.target.dim, self._cost
        signs = torch.tensor(
            list(itertools.product((-0.5, 0.5), repeat=dim)), dtype=torch.float64, device=self.mask.device
        )
        resolution = torch.finfo(self.target.dtype).eps * max(abs(bound) for bound in self.target.bounds)
        parents: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        seen = self.centers, torch.full_like(self.centers[..., 0], -math.inf)
        while True:
            values, at_corners = self._evaluate()
            log_mass, log_error, log_beyond = self._measure(values, at_corners)
            if parents is not None:
                self._calibrate(*parents, log_mass.unflatten(1, (-1, len(signs))).logsumexp(-1))
            scaled = torch.logaddexp(log_error + self.calibration.log()[:, None], log_beyond)
            hidden = self._hidden(values, seen)
            scaled = torch.minimum(torch.logaddexp(scaled, hidden), scaled.new_tensor(math.inf))
            split = self._choose(log_mass, scaled, len(signs) * q)
            if self.half / 2 < 8 * resolution:
                split = torch.zeros_like(split)
            self._retire(values, log_mass, scaled, split)
            if not bool(split.any()):
                return self._finish()
            keep, order = _packing(split)
            parents = (_take(log_mass, order), _take(log_error, order), keep)
            place, known = self._highest(values, at_corners, seen)
            seen = (
                _take(place, order).repeat_interleave(len(signs), dim=1),
                _take(known, order).repeat_interleave(len(signs), dim=1),
            )
            self.centers = (_take(self.centers, order)[:, :, None] + self.half * signs).flatten(1, 2)
            self.mask = keep.repeat_interleave(len(signs), dim=1)
            self.half /= 2

    @property
    def _cost(self) -> int:
        """Energies evaluated in a cell."""
        return len(self.rule.nodes) + len(self.rule.corners)

    def _evaluate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-densities at the active cells' nodes (B, C, q) and corners (B, C, 2^dim)."""
        points = self.centers[:, :, None] + self.half * torch.cat([self.rule.nodes, self.rule.corners])
        self.evaluations = self.evaluations + self.mask.sum(1) * self._cost
        found = self.target.at(points.flatten(1, 2)).unflatten(1, (points.shape[1], -1))
        values, at_corners = found.split([len(self.rule.nodes), len(self.rule.corners)], dim=-1)
        return values, at_corners

    def _measure(
        self, values: torch.Tensor, at_corners: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, C) log of each active cell's integral, of its estimated error, and of a jump at its faces."""
        seen = torch.maximum(values.amax(-1), at_corners.amax(-1))
        largest = seen.masked_fill(~self.mask, -math.inf).amax(1)
        self.largest = torch.fmax(self.largest, largest.nan_to_num(-math.inf, posinf=-math.inf))
        self.lowest = torch.fmin(self.lowest, values.amin(-1).masked_fill(~self.mask, math.inf).amin(1))
        offset = self.largest.nan_to_num(neginf=0.0)[:, None].expand(self.mask.shape)
        shift = self.target.dim * math.log(self.half) + offset
        integral, error, beyond = (torch.zeros_like(offset) for _ in range(3))
        cells, heights, corners = values[self.mask], offset[self.mask], at_corners[self.mask]
        size = _CELLS[cells.device.type]
        parts = [
            self.rule.integral_and_error(*part) for part in zip(cells.split(size), heights.split(size), strict=True)
        ]
        integral[self.mask], error[self.mask] = (torch.cat(column) for column in zip(*parts, strict=True))
        beyond[self.mask] = self.rule.beyond_nodes(cells, corners, heights)
        return integral.log() + shift, error.log() + shift, beyond.log() + shift

    def _highest(
        self, values: torch.Tensor, at_corners: torch.Tensor, seen: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each active cell's log-density is highest of all that is known of it, (B, C, dim), and how high."""
        y, known = seen
        found, which = torch.cat([values, at_corners], -1).nan_to_num(-math.inf, -math.inf, -math.inf).max(-1)
        places = self.centers + self.half * torch.cat([self.rule.nodes, self.rule.corners])[which]
        within = ((self.centers - y).abs() <= self.half).all(-1) & (known > found)
        return torch.where(within.unsqueeze(-1), y, places), torch.where(within, known, found)

    def _hidden(self, values: torch.Tensor, seen: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(B, C) log of the mass a cell may hide: its volume times a density known in it that its nodes do not show.

        Known are minima descended to, and the highest point `seen` in the cell that each was split from. One just
        outside counts too: half of a narrow well beside an edge lies in the neighbour.
        """
        hidden = torch.full_like(values[..., 0], -math.inf)
        log_volume = self.target.dim * math.log(2 * self.half)
        shown = values.amax(-1)
        y, known = self.minima.y, self.minima.log_density
        points = [(y[:, p, None], known[:, p, None]) for p in range(y.shape[1])]
        for y, known in [*points, seen]:
            inside = ((self.centers - y).abs() <= _REACH * self.half).all(-1) & self.mask
            unseen = inside & (known > shown + HIDDEN)
            hidden = torch.where(unseen, torch.maximum(hidden, known + log_volume), hidden)
        return hidden

    def _calibrate(
        self, log_mass: torch.Tensor, log_error: torch.Tensor, keep: torch.Tensor, children: torch.Tensor
    ) -> None:
        """Scale later errors by the ratio of the changes that the split made to the errors predicted."""
        offset = (
            torch.maximum(log_mass, children).masked_fill(~keep, -math.inf).amax(1, keepdim=True).nan_to_num(0, 0, 0)
        )
        change = ((children - offset).exp() - (log_mass - offset).exp()).abs().masked_fill(~keep, 0).sum(1)
        predicted = (log_error - offset).exp().masked_fill(~keep, 0).sum(1)
        ratio = (change / predicted.clamp_min(1e-300)).nan_to_num(1.0).clamp(*CALIBRATION)
        self.calibration = torch.where(keep.any(1), ratio, self.calibration)

    def _choose(self, log_mass: torch.Tensor, log_error: torch.Tensor, cost: int) -> torch.Tensor:
        """(B, C) the fewest cells to split such that the others' errors spend at most half of what is left to spend."""
        log_z = torch.logaddexp(self.leaf_log_z, log_mass.logsumexp(1))
        # Where no node has any mass, what may be hidden is all that errors can be held against.
        log_z = torch.where(log_z == -math.inf, log_error.amax(1), log_z).nan_to_num(0.0, 0.0, 0.0)
        left = (self.rtol - (self.leaf_log_error - log_z).exp()).clamp_min(0.0) / 2
        relative = (log_error - log_z[:, None]).exp().nan_to_num(0.0, posinf=1e300)
        ascending, order = relative.sort(dim=1)
        rank = torch.arange(relative.shape[1], device=relative.device, dtype=torch.int64)
        total = relative.shape[1]
        affordable = ((self.max_nodes - self.evaluations) // cost).clamp_min(0)
        chosen = (ascending.cumsum(1) > left[:, None]) & (rank >= total - affordable[:, None])
        return torch.zeros_like(chosen).scatter(1, order, chosen) & self.mask

    def _retire(
        self, values: torch.Tensor, log_mass: torch.Tensor, log_error: torch.Tensor, split: torch.Tensor
    ) -> None:
        """Move the active cells that are not split to the leaves."""
        leaf = self.mask & ~split
        self.leaf_log_z = torch.logaddexp(self.leaf_log_z, log_mass.masked_fill(~leaf, -math.inf).logsumexp(1))
        self.leaf_log_error = torch.logaddexp(self.leaf_log_error, log_error.masked_fill(~leaf, -math.inf).logsumexp(1))
        keep, order = _packing(leaf)
        self.leaves.append((_take(self.centers, order), _take(values, order), keep))
        self.half_widths.append(torch.where(keep, self.half, 0.0).double())

    def _finish(self) -> Cells:
        centers, values, keep = (torch.cat(parts, dim=1) for parts in zip(*self.leaves, strict=True))
        half_width = torch.cat(self.half_widths, dim=1)
        keep, order = _packing(keep)
        half_width = _take(half_width, order).masked_fill(~keep, 0.0)
        error = (self.leaf_log_error - self.leaf_log_z).exp()
        # A density that looks constant has shown nothing of what it may hide: what none of N points met has a share of
        # some 3/N of the box, and adds less than a root of 1/N unless it is a root of N times as high.
        constant = self.largest - self.lowest <= _ROUNDING * self.largest.abs().clamp_min(1.0)
        error = torch.where(constant, error.clamp_min(self.evaluations**-0.5), error)
        return Cells(
            centers=_take(centers, order),
            half_width=half_width,
            log_density=_take(values, order),
            log_z=self.leaf_log_z,
            error=error,
            unresolved=~(error <= max(self.rtol, MAX_ERROR)),
            evaluations=self.evaluations,
            rule=self.rule,
        )


def _packing(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For a (B, C) choice: (B, K) which of the packed places are taken, and the indices (B, K) that pack them."""
    counts = chosen.sum(1)
    width = int(counts.max()) if counts.numel() else 0
    order = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return torch.arange(width, device=chosen.device, dtype=torch.int64) < counts[:, None], order


def _take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """values (B, C, ...) at index (B, K): (B, K, ...)."""
    return values[torch.arange(values.shape[0], device=values.device, dtype=torch.int64)[:, None], index]
