"""Frames of a Gaussian blob that moves to the right and, beyond a fork, on one of three branches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Pixels on a side of a frame, and the radius (standard deviation) of the blob.
SIDE, RADIUS = 16, 1.3
#: Probabilities of the branches, and their directions in radians, downwards positive: up, straight on, down.
WEIGHTS, DIRECTIONS = (0.5, 0.3, 0.2), (-math.pi / 4, 0.0, math.pi / 4)
#: Column and row of the fork, in pixels from the first.
FORK = (7.0, 7.5)
#: The last frame seen is that far before the fork, at most, and the blob moves so many pixels a frame.
GAP, SPEEDS = 1.0, (1.5, 2.5)


def frames_before(motion: torch.Tensor, frames: int) -> torch.Tensor:
    """The last frames before the fork: motion (..., 2) -> (..., frames · 256)."""
    import torch

    back = torch.arange(frames - 1, -1, -1, dtype=motion.dtype, device=motion.device)
    column = FORK[0] - motion[..., 0, None] - motion[..., 1, None] * back
    return blobs(column, torch.tensor(FORK[1], dtype=motion.dtype, device=motion.device)).flatten(-2)


def futures(motion: torch.Tensor, branch: int, factor: torch.Tensor, frames: int) -> torch.Tensor:
    """The next frames without noise: motion (..., 2) and factor (...), broadcasting -> (..., frames · 256)."""
    import torch

    step = torch.arange(1, frames + 1, dtype=motion.dtype, device=motion.device)
    beyond = motion[..., 1, None] * step - motion[..., 0, None]
    beyond = beyond * factor.unsqueeze(-1)
    column, row = FORK[0] + beyond * math.cos(DIRECTIONS[branch]), FORK[1] + beyond * math.sin(DIRECTIONS[branch])
    return blobs(column, row).flatten(-2)


def blobs(column: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """exp(-½ d² / radius²) of every pixel's distance d to the centre (...): (..., 256), row by row of pixels."""
    import torch

    pixel = torch.arange(SIDE, dtype=column.dtype, device=column.device)
    across, down = (
        torch.exp(-0.5 * ((pixel - place.unsqueeze(-1)) / RADIUS).square())
        for place in torch.broadcast_tensors(column, row)
    )
    return (down.unsqueeze(-1) * across.unsqueeze(-2)).flatten(-2)
