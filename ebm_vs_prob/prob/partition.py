"""What a normaliser is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ..energies import block_size

#: `uniforms(*tail)` gives fresh uniforms on [0, 1), float64, of shape (B, draws, *tail), B the flattened batch.
Uniforms = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Target:
    """An unnormalised density on a box: `log_density(y)` takes (*batch, K, dim) and gives -beta E as (*batch, K)."""

    log_density: Callable[[torch.Tensor], torch.Tensor]
    batch_shape: torch.Size
    dim: int
    bounds: tuple[float, float]
    dtype: torch.dtype
    device: torch.device

    def at(self, y: torch.Tensor) -> torch.Tensor:
        """float64 log-density at y (B, K, dim), B the flattened batch: (B, K), in calls of bounded size."""
        y = y.to(self.dtype).reshape(*self.batch_shape, *y.shape[1:])
        size = block_size(self.device, self.batch_shape.numel())
        parts = [self.log_density(part) for part in y.split(size, dim=-2)]
        return torch.cat(parts, dim=-1).double().reshape(self.batch_shape.numel(), -1)


class Partition(Protocol):
    """One partition function: its value and error, what is known of their quality, and draws from the density."""

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z, differentiable in what the log-density depends on, and its error: the batch shape, nats."""

    def diagnostics(self) -> dict[str, torch.Tensor]:
        """Named tensors of the batch shape."""

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        """(B, draws, dim) points of the density, B the flattened batch."""


class Normalizer(Protocol):
    """Anything that can make a `Partition` of a `Target`."""

    def partition(self, target: Target) -> Partition: ...
