"""Adaptive composite Gauss-Legendre quadrature of exp(-beta E) over a box."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.errors import check_count, invalid
from .cells import CellRule, Cells
from .minima import Minima, minima
from .partition import Partition, Target, Uniforms
from .refinement import Refinement
from .rejection import sample_cells

#: Nodes that may be held at once: of a larger batch that many, if every density goes to its cap. On a line few come
#: near it, but one that is rough down to its rounding has all others of its batch padded to it.
MOST_NODES, ON_A_LINE = 1 << 26, 2


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
    def minima(self, target: Target) -> Minima:
        """The minima of the energy that `probes` find, one set for all beta."""
        return minima(target, self.probes)

    @torch.no_grad()
    def cells(self, target: Target, known: Minima | None = None) -> Cells:
        """Refine until every element of the batch is resolved or at its cap.

        Args:
            known: `minima` of the same energies, if they have been found, with the log-densities of `target`.

        Raises:
            ValueError: more than three dimensions, or discrete answers.
        """
        if not 1 <= target.box("quadrature").dim <= 3:
            valid = "1, 2 or 3 for quadrature: take normalizer='importance' or 'annealed' beyond"
            raise invalid("y_dim", target.dim, valid)
        rule = CellRule(self.order, target.dim, target.device)
        usual = 1e-8 if target.dim == 1 and target.dtype == torch.float64 else 1e-4
        known = self.minima(target) if known is None else known
        return Refinement(self.rtol or usual, self.max_nodes, known, target, rule).run()

    def partition(self, target: Target) -> Partition:
        """The partition function of `target` on its own nodes; of a large batch in parts.

        Raises:
            ValueError: more than three dimensions, or discrete answers.
        """
        beside = target.batch_shape[:-1].numel() if target.batch_shape else 1
        size = max(1, (MOST_NODES if target.dim > 1 else MOST_NODES * ON_A_LINE) // (self.max_nodes * max(beside, 1)))
        if target.part is None or target.batch_shape[-1] <= size:
            return QuadraturePartition(target, self.cells(target))
        slices = [slice(start, start + size) for start in range(0, target.batch_shape[-1], size)]
        parts = [target.part(at) for at in slices]
        return JoinedPartition(tuple(QuadraturePartition(part, self.cells(part)) for part in parts), target.batch_shape)


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


@dataclass(frozen=True)
class JoinedPartition:
    """Partition functions of slices of the last dimension of a batch, one after the other."""

    parts: tuple[QuadraturePartition, ...]
    batch_shape: torch.Size

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        value, error = zip(*(part.log_z() for part in self.parts), strict=True)
        return torch.cat(value, -1), torch.cat(error, -1)

    def diagnostics(self) -> dict[str, torch.Tensor]:
        found = [part.diagnostics() for part in self.parts]
        return {name: torch.cat([each[name] for each in found], -1) for name in found[0]}

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        """Each part is given its own of the uniforms that the whole would be: its draws are those of the whole."""
        given: list[torch.Tensor] = []
        drawn, start = [], 0
        for part in self.parts:
            shape = part.target.batch_shape
            at = slice(start, start + shape[-1])
            drawn.append(part.sample(self._own(uniforms, given, at)).unflatten(0, shape))
            start = at.stop
        return torch.cat(drawn, len(self.batch_shape) - 1).flatten(0, len(self.batch_shape) - 1)

    def _own(self, uniforms: Uniforms, given: list[torch.Tensor], at: slice) -> Uniforms:
        asked = 0

        def own(*tail: int) -> torch.Tensor:
            nonlocal asked
            if asked == len(given):
                given.append(uniforms(*tail))
            asked += 1
            last = len(self.batch_shape) - 1
            whole = given[asked - 1].unflatten(0, self.batch_shape)
            return whole.narrow(last, at.start, at.stop - at.start).flatten(0, last)

        return own
