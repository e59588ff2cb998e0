"""Adaptive composite Gauss-Legendre quadrature of exp(-beta E) over a box."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.errors import check_count, invalid
from .cells import CellRule, Cells
from .partition import Target, Uniforms
from .refinement import Refinement
from .rejection import sample_cells


@dataclass(frozen=True)
class Quadrature:
    """Adaptive composite quadrature in one, two or three output dimensions.

    Args:
        rtol: largest estimated relative error of Z at which the refinement stops; by default 1e-8 for float64 energies
            on a line, where it costs little, and 1e-4 for others.
        max_nodes: cap on the energies evaluated for one element of the batch; an element that it stops with a stated
            error of more than .2 nats is `unresolved`.
        order: Gauss-Legendre points an axis in a cell.
        probes: descents of the energy from the highest peaks of a lattice, each against a minimum between the nodes.
            The lattice has 1536 points on a line, 64² in a plane and 22³ in space for the default, others in
            proportion. A minimum is found if a lattice point in its basin lies below its neighbours, and missed without
            a warning if none does.

    Raises:
        ValueError: an argument of another type or out of range.
    """

    rtol: float | None = None
    max_nodes: int = 1 << 18
    order: int = 8
    probes: int = 36

    def __post_init__(self) -> None:
        number = isinstance(self.rtol, (int, float)) and not isinstance(self.rtol, bool)
        if self.rtol is not None and not (number and 0 < self.rtol < 1):
            raise invalid("rtol", self.rtol, "a number in (0, 1), or None")
        check_count("max_nodes", self.max_nodes)
        whole = {name: type(getattr(self, name)) is int for name in ("order", "probes")}
        if not (whole["order"] and 4 <= self.order <= 32):
            raise invalid("order", self.order, "an integer from 4 to 32")
        if not (whole["probes"] and self.probes >= 0):
            raise invalid("probes", self.probes, "an integer >= 0")

    @torch.no_grad()
    def cells(self, target: Target) -> Cells:
        """Refine until every element of the batch is resolved or at its cap."""
        if not 1 <= target.box("quadrature").dim <= 3:
            valid = "1, 2 or 3 for quadrature: take normalizer='importance' or 'annealed' beyond"
            raise invalid("y_dim", target.dim, valid)
        rule = CellRule(self.order, target.dim, target.device)
        usual = 1e-8 if target.dim == 1 and target.dtype == torch.float64 else 1e-4
        return Refinement(self.rtol or usual, self.max_nodes, self.probes, target, rule).run()

    def partition(self, target: Target) -> QuadraturePartition:
        """The partition function of `target` on its own nodes.

        Raises:
            ValueError: more than three dimensions, or discrete answers.
        """
        return QuadraturePartition(target, self.cells(target))


@dataclass(frozen=True)
class QuadraturePartition:
    """The partition function on the nodes of an adaptive quadrature, which are found without gradient.

    Diagnostics: `unresolved`, whether the node cap left an error of more than .2 nats; `evaluations`, energies
    evaluated (a gradient counts three).
    """

    target: Target
    cells: Cells

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        shape = self.target.batch_shape
        value, error = self.cells.log_z.reshape(shape), self.cells.error.reshape(shape)
        if torch.is_grad_enabled():
            nodes = self.cells.nodes().to(self.target.dtype).reshape(*shape, -1, self.target.dim)
            if self.target.log_density(nodes[..., :1, :]).requires_grad:
                log_weights = self.cells.log_weights().reshape(*shape, -1)
                value = (self.target.log_density(nodes).double() + log_weights).logsumexp(-1)
        return value, error

    def diagnostics(self) -> dict[str, torch.Tensor]:
        shape = self.target.batch_shape
        return {
            "unresolved": self.cells.unresolved.reshape(shape),
            "evaluations": self.cells.evaluations.reshape(shape),
        }

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        return sample_cells(self.cells, self.target, uniforms)
