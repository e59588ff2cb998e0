"""The latent z of an energy E(x, y, z): candidates of it, and the one of lowest energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ..core.errors import check_count, invalid
from .answers import LATENT_SEARCH, LatentAnswers, Search
from .search import descend

#: E(x, y, z) for broadcasting (..., dx), (..., dy), (..., dz) -> (...).
JointEnergy = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class _InLatent(nn.Module):
    """E(x, y, .) as a replicated energy of z, for descent: its `x` is (x, y) side by side."""

    def __init__(self, energy: JointEnergy, replicates: int, x_dim: int) -> None:
        super().__init__()
        self.energy = (energy,)  # held outside the module tree: its parameters are not ours
        self.num_replicates = replicates
        self.x_dim = x_dim

    def forward(self, xy: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.energy[0](xy[..., : self.x_dim], xy[..., self.x_dim :], z)


def infer_latent(
    energy: JointEnergy,
    x: torch.Tensor,
    y: torch.Tensor,
    starts: torch.Tensor,
    bounds: tuple[float, float],
    search: Search = LATENT_SEARCH,
) -> LatentAnswers:
    """argmin over z of E(x, y, z) and F_inf(x, y): the start of lowest energy, refined by `search`.

    Args:
        energy: any callable E(x, y, z) -> (...) that broadcasts (..., dx), (..., dy) and (..., dz).
        x: (R or 1, *n, dx) or (n, dx). y: likewise (R, *n, dy) or (n, dy).
        starts: candidates of z, (m, dz); a fine grid finds the basin, the descent its floor.
        bounds: the interval of every entry of z.
        search: of the descent on z; its tolerance in units of z.

    Returns:
        z (R, *n, dz) or (n, dz), F_inf and `converged` of the same leading shape, without gradient.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or bad bounds.
    """
    if starts.ndim != 2 or not starts.shape[0]:
        raise invalid("starts.shape", tuple(starts.shape), "(m, dz) with m >= 1")
    if not bounds[0] < bounds[1]:
        raise invalid("bounds", bounds, "(low, high) with low < high")
    if y.ndim < 2:
        raise invalid("y.shape", tuple(y.shape), "(n, dy) or (R, *n, dy)")
    if x.ndim != y.ndim or any(a != b and 1 not in (a, b) for a, b in zip(x.shape[:-1], y.shape[:-1], strict=True)):
        raise invalid("x.shape", tuple(x.shape), f"the rows of y, whose shape is {tuple(y.shape)}")
    for field, value in (("x", x), ("y", y), ("starts", starts)):
        if not bool(value.isfinite().all()):
            raise invalid(field, f"{int((~value.isfinite()).sum())} of {value.numel()} not finite", "finite numbers")
    single = y.ndim == 2
    x, y = (value.unsqueeze(0) if single else value for value in (x, y))
    found = search_latent(energy, x, y, starts, bounds, search)
    answers = (found.z, found.free_energy, found.converged)
    return LatentAnswers(*(value.squeeze(0) if single else value for value in answers))


def search_latent(
    energy: JointEnergy,
    x: torch.Tensor,
    y: torch.Tensor,
    starts: torch.Tensor,
    bounds: tuple[float, float],
    search: Search,
) -> LatentAnswers:
    """`infer_latent` of x (R or 1, *n, dx) and y (R or 1, *n, dy), which may hold values that are not finite.

    Where no energy is finite F_inf is not either, and the search has not converged.
    """
    with torch.no_grad():
        candidates = starts.to(y).reshape(*[1] * (y.ndim - 1), *starts.shape)
        energies = energy(x.unsqueeze(-2), y.unsqueeze(-2), candidates)
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], energies.shape[:-1])
        z = starts.to(y)[lowest(energies).expand(shape)]
    given = torch.cat([x.expand(*shape, -1), y.expand(*shape, -1)], -1)
    module = _InLatent(energy, shape[0], x.shape[-1])
    found = descend(module, given, z, bounds, search)
    return LatentAnswers(found.y, found.energy, found.converged & found.energy.isfinite())


def lowest(energies: torch.Tensor) -> torch.Tensor:
    """Index of the least energy along the last dimension, (..., m) -> (...) int64; one that is no number is never it.

    Where none is finite it is 0 or an index of an infinite one.
    """
    return energies.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).argmin(-1)


def latent_nodes(count: int, dim: int, bounds: tuple[float, float]) -> torch.Tensor:
    """`count` values of z in a box, (count, dim) float64: midpoints of a grid on a line, else a Sobol set."""
    check_count("nodes", count)
    low, high = bounds
    if dim == 1:
        unit = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5).unsqueeze(1) / count
    else:
        unit = torch.quasirandom.SobolEngine(dim, scramble=False).draw(count, dtype=torch.float64) + 0.5 / count
    return low + (high - low) * unit
