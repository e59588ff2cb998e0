"""Numbers as tensors, whatever the process has set as its default dtype and device."""

from __future__ import annotations

import torch


def tensor_of(value: torch.Tensor | float) -> torch.Tensor:
    """A tensor as it is; a number as a scalar on the CPU, float32, or int64 of an integer."""
    if isinstance(value, torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float32, device="cpu")


def inner(value: torch.Tensor) -> torch.Tensor:
    """A tensor (K, ...) as (..., K) in memory too, to be reduced along its last axis.

    torch sums what lies side by side one way in whole vectors and another in what is left over, so that a sum along an
    outer axis depends on how many columns there are beside; along the innermost axis each row is summed by itself.
    """
    return value.movedim(0, -1).contiguous()
