"""What trainings and inference leave: their records, which every model keeps or returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

    `traces` are further numbers at each step by name, (R, steps): see `training.loop.Traces`.
    """

    loss: torch.Tensor
    status: tuple[ReplicateStatus, ...]
    cost: tuple[Cost, ...]
    traces: Mapping[str, torch.Tensor] = field(default_factory=dict)
