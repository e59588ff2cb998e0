"""Numbers as tensors, whatever the process has set as its default dtype and device."""

from __future__ import annotations

import torch


def tensor_of(value: torch.Tensor | float) -> torch.Tensor:
    """A tensor as it is; a number as a scalar on the CPU, float32, or int64 of an integer."""
    if isinstance(value, torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float32, device="cpu")
