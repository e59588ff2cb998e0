"""Pictures of bars and ellipses, 16 by 16 pixels, smooth in what makes them, and their 4 by 4 block means.

The centre of a shape is on a ring round the middle of the picture and its axis points anywhere, so that both angles are
periodic and no shape is at the end of a range. A bar is the rectangle that a camera with a Gaussian point spread sees;
an ellipse has an edge of the same softness on its short axis.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Pixels on a side of the picture and of its reduction.
SIDE, SMALL_SIDE = 16, 4
KINDS = ("bar", "ellipse")
#: Lengths in pixels: half the bar's sides, the ellipse's semi-axes, radius of the ring, softness of the edge.
BAR, ELLIPSE, RING, SOFTNESS = (4.5, 1.0), (5.0, 1.5), 3.0, 0.8
#: Grey level of the inside, uniform between these.
BRIGHTNESS = (0.5, 1.0)
#: Nodes of the table: of the axis in [0, π), and of the place in [0, 2π).
NODES = (64, 128)
#: Periods of the two angles, and their product.
PERIODS = (math.pi, 2.0 * math.pi)
AREA = 2.0 * math.pi**2


def pictures(kind: int, angles: torch.Tensor) -> torch.Tensor:
    """Pictures of brightness 1: angles (..., 2), of the axis and of the place on the ring in radians -> (..., 256)."""
    import torch

    axis, place = angles[..., 0, None], angles[..., 1, None]
    pixel = torch.arange(SIDE, dtype=angles.dtype, device=angles.device) - 0.5 * (SIDE - 1)
    across, down = pixel.repeat(SIDE), pixel.repeat_interleave(SIDE)
    across, down = across - RING * torch.cos(place), down - RING * torch.sin(place)
    along = across * torch.cos(axis) + down * torch.sin(axis)
    normal = down * torch.cos(axis) - across * torch.sin(axis)
    root = math.sqrt(2.0)
    if KINDS[kind] == "bar":
        sides = [
            torch.erf((length + half) / (root * SOFTNESS)) - torch.erf((length - half) / (root * SOFTNESS))
            for length, half in zip((along, normal), BAR, strict=True)
        ]
        return 0.25 * sides[0] * sides[1]
    inside = 1.0 - (along / ELLIPSE[0]).square() - (normal / ELLIPSE[1]).square()
    return 0.5 * (1.0 + torch.erf(inside * ELLIPSE[1] / (2.0 * root * SOFTNESS)))


def block_means(picture: torch.Tensor) -> torch.Tensor:
    """Means of blocks of 4 by 4 pixels: (..., 256) -> (..., 16)."""
    block = SIDE // SMALL_SIDE
    blocks = picture.reshape(*picture.shape[:-1], SMALL_SIDE, block, SMALL_SIDE, block)
    return blocks.mean((-3, -1)).flatten(-2)


@functools.cache
def table() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Angles (N, 2) of the nodes, and of each kind there the pictures (2, N, 256) and reductions (2, N, 16), float64.

    N = 64 · 128, the place running fastest; equal weights on either angle's period. 34 MB, so it is made once.
    """
    import torch

    nodes = [
        torch.arange(count, dtype=torch.float64, device="cpu") * (period / count)
        for count, period in zip(NODES, PERIODS, strict=True)
    ]
    angles = torch.cartesian_prod(*nodes)
    drawn = torch.stack([pictures(kind, angles) for kind in range(len(KINDS))])
    return angles, drawn, block_means(drawn)


@functools.cache
def largest_step() -> float:
    """How far, in R^256, a picture of brightness 1 may lie from that at the nearest node, at most.

    Half the diagonal of the largest cell, by the steps between neighbours, with a tenth on top for what bends.
    """
    drawn = table()[1].unflatten(1, NODES)
    steps = [(drawn.roll(1, axis) - drawn).norm(dim=-1).max() for axis in (1, 2)]
    return 0.55 * float(steps[0] + steps[1])
