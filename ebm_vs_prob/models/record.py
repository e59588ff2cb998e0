"""What trainings and inference leave: their records, which every model keeps or returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ..core.budget import Cost


@dataclass(frozen=True)
class ReplicateStatus:
    """Whether a replicate's training stayed finite; if not, the first bad step (from 0) and what went wrong."""

    ok: bool = True
    step: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Training:
    """The record of a training: loss (R, steps), the status and cost of each replicate, and what else was recorded.

    `traces` are further numbers at each step by name, (R, steps): see `training.step.Traces`. `compiled` tells whether
    the steps were compiled, whose numbers differ from others' by roundings.
    """

    loss: torch.Tensor
    status: tuple[ReplicateStatus, ...]
    cost: tuple[Cost, ...]
    traces: Mapping[str, torch.Tensor] = field(default_factory=dict)
    compiled: bool = False

    def only(self, r: int) -> Training:
        """The record of one replicate."""
        at = slice(r, r + 1)
        traces = {name: value[at] for name, value in self.traces.items()}
        return Training(self.loss[at], self.status[at], self.cost[at], traces, self.compiled)

    def first_of_two(self) -> Training:
        """The record of a replicate that was trained beside a copy of itself; it answers for the seconds of both."""
        cost = self.cost[0].model_copy(update={"seconds": 2 * self.cost[0].seconds})
        return replace(self.only(0), cost=(cost,))


@dataclass(frozen=True)
class PosteriorDiagnostics:
    """Of each replicate's chains, float64: `r_hat`, `ess` (bulk), `ess_tail` (R, K); `divergences`, `acceptance` and
    `partition_gap` (R, C), NaN where the sampler has none.

    `acceptance` is the share of transitions that moved. `partition_gap` is the largest of `PosteriorModel`'s over the
    chain's draws.

    They are of K functions of the weights, log-densities of training pairs, and not of the weights themselves, among
    which networks have symmetries that no chain need cross (Izmailov et al. 2021, section 5.1).
    """

    r_hat: torch.Tensor
    ess: torch.Tensor
    ess_tail: torch.Tensor
    divergences: torch.Tensor
    acceptance: torch.Tensor
    partition_gap: torch.Tensor
