"""Square blocks of the plane, halved towards where an energy is least."""

from __future__ import annotations

from collections.abc import Callable

import torch


def halved_blocks(
    energy: Callable[[torch.Tensor], torch.Tensor],
    centre: torch.Tensor,
    half: torch.Tensor,
    halvings: torch.Tensor,
    root: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Middles (..., root², 2) of the square blocks of least energy within `half` (...) of a centre, and their side.

    Blocks are halved as often as `halvings` (...) says, and the root² best kept each time.
    """
    unit = (torch.arange(root, dtype=half.dtype, device=half.device) + 0.5) * (2 / root) - 1
    z = centre.unsqueeze(-2) + half[..., None, None] * torch.cartesian_prod(unit, unit)
    side = half * (2 / root)
    quarter = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=half.dtype, device="cpu").to(half.device)] * 2)
    for done in range(int(halvings.max()) if halvings.numel() else 0):
        finer = (z.unsqueeze(-2) + side[..., None, None, None] * quarter).flatten(-3, -2)
        best = energy(finer).topk(root**2, dim=-1, largest=False, sorted=False).indices
        finer = finer.gather(-2, best.unsqueeze(-1).expand(*best.shape, 2))
        coarse = halvings > done
        z, side = torch.where(coarse[..., None, None], finer, z), torch.where(coarse, side / 2, side)
    return z, side
