"""The partition functions of a density, found when they are first asked for and kept while they hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..core.errors import invalid
from ..core.process_state import default_state
from ..core.spaces import Box, Discrete
from .normalizers.partition import Normalizer, Partition, Target
from .snapshot import Snapshot
from .trust import doubts, lines_of


def _numbers_of_its_own() -> AbstractContextManager[None]:
    """What is kept must serve later calls too, whatever modes torch is in now; a compiler traces no such change."""
    return nullcontext() if torch.compiler.is_compiling() else default_state()


class PartitionMemory:
    """Z(x) = ∫ exp(-beta E(x, y)) dy of one batch of x and beta, found by a normaliser, and what speaks against it.

    What was found is forgotten when the parameters or buffers of the energy are written to, or x or beta are. A density
    and its expansions share one memory. A copy finds everything anew, for its tensors are others, and knows only which
    doubts have been warned of.

    Args:
        energy: takes x (*batch, 1, dx) and y (*batch, K, *event) and gives (*batch, K). x: (*batch, dx).
        beta: (*batch,). space: of y. normalizer: what finds them.
    """

    def __init__(
        self,
        energy: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | Any,
        x: torch.Tensor,
        beta: torch.Tensor,
        space: Box | Discrete,
        normalizer: Normalizer,
    ) -> None:
        self.energy, self.x, self.beta, self.space, self.normalizer = energy, x, beta, space, normalizer
        self._seen: Snapshot | None = None
        self._partition: Partition | None = None
        self._log_z: tuple[torch.Tensor, torch.Tensor] | None = None
        self._looked_at = False
        self._warned_of: set[str] = set()

    @property
    def batch_shape(self) -> torch.Size:
        """That of x and beta."""
        return self.beta.shape

    @property
    def target(self) -> Target:
        """The unnormalised density, as normalisers take it."""
        of_x = getattr(self.energy, "graph", None)
        graph = None if of_x is None else lambda: of_x(self.x)
        seen = self._seen or Snapshot(self.energy, self.x, self.beta)
        # Of an energy with buffers no part is given: what evaluating it writes is told from a change here alone.
        part = None if not self.batch_shape or seen.has_buffers else self._part
        return Target(
            self.log_density, self.batch_shape, self.space, self.x.dtype, self.x.device, self.beta, graph, part
        )

    def _part(self, at: slice) -> Target:
        own = PartitionMemory(self.energy, self.x[..., at, :], self.beta[..., at], self.space, self.normalizer)
        return own.target

    def log_density(self, rows: torch.Tensor) -> torch.Tensor:
        """-beta E at rows (*batch, K, dim): (*batch, K)."""
        y = rows if isinstance(self.space, Box) else self.space.from_variables(rows)
        unchanged = self._seen is not None and self._seen.has_buffers and self._holds()
        energy = self.energy(self.x.unsqueeze(-2), y)
        if energy.shape != rows.shape[:-1]:
            raise invalid("energy(x, y).shape", tuple(energy.shape), f"{tuple(rows.shape[:-1])} for y {tuple(y.shape)}")
        if unchanged:
            # What evaluating an energy writes, such as running statistics, is no change of it from outside.
            self._seen = Snapshot(self.energy, self.x, self.beta)
        return -self.beta.unsqueeze(-1) * energy

    def partition(self) -> Partition:
        """The partition functions as the normaliser left them."""
        self._forget_if_changed()
        if self._partition is None:
            with _numbers_of_its_own():
                self._partition = self.normalizer.partition(self.target)
        return self._partition

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z, differentiable where gradients are on, and its error without gradient, in nats, of the batch shape."""
        self._forget_if_changed()
        if self._log_z is not None and not torch.is_grad_enabled():
            return self._log_z
        partition = self.partition()
        with _numbers_of_its_own():
            value, error = partition.log_z()
        result = value.to(self.x.dtype), error.detach().to(self.x.dtype)
        self._log_z = result[0].detach(), result[1]
        return result

    def doubts(self) -> dict[str, torch.Tensor]:
        """Reasons not to trust the partition functions, and for which of them each holds: bool, of the batch shape."""
        self._forget_if_changed()
        if self._log_z is None:
            with torch.no_grad():
                self.log_z()
        assert self._log_z is not None
        return doubts(self._log_z[0], self.beta, self.partition().diagnostics())

    def new_doubts(self) -> tuple[str, ...]:
        """A line for each doubt that has not been warned of before; then it has."""
        self._forget_if_changed()
        if self._looked_at:
            return ()
        self._looked_at = True
        found = {reason: where for reason, where in self.doubts().items() if reason not in self._warned_of}
        self._warned_of |= {reason for reason, where in found.items() if bool(where.any())}
        return lines_of(found)

    def _holds(self) -> bool:
        return self._seen is not None and self._seen.is_of(self.energy, self.x, self.beta)

    def _forget_if_changed(self) -> None:
        if not self._holds():
            self._seen = Snapshot(self.energy, self.x, self.beta)
            self._partition, self._log_z, self._looked_at = None, None, False


__all__ = ["PartitionMemory"]
