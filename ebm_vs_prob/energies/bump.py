"""One quadratic well given x: the energy of a single Gaussian, wrong on purpose where there are several answers.

As a density it is the family that one Gaussian of a mixture density is (`mixture_density` with one component), so that
the same wrong model can be fitted by objectives that normalise and by objectives that do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.tensors import in_whole_vectors
from .evaluation import distinct

if TYPE_CHECKING:
    from .mlp import ReplicatedMLP


class BumpEnergy(nn.Module):
    """R energies E(x, y) = ½ ‖(y - m(x)) e^{-s(x)}‖² + c, m and s a number a coordinate each, from one network on x.

    Args:
        head: R networks of 2 dy outputs: m, then s.
        y_dim: dy.
        level: whether c is learned, one number a replicate, for an objective that sees it; else it is 0.
    """

    def __init__(self, head: ReplicatedMLP, y_dim: int, level: bool = False) -> None:
        super().__init__()
        self.head, self.y_dim = head, y_dim
        self.num_replicates = head.num_replicates
        zeros = torch.zeros(self.num_replicates, 1, dtype=torch.float32, device="cpu")
        self.level = nn.Parameter(zeros) if level else None

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example, as if each had an x of its own."""
        return self.head.multiply_adds + 2.0 * self.y_dim

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.energy_and_gradient(x, y)[0]

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy)."""
        place, log_width = self.head(distinct(x)).split(self.y_dim, dim=-1)
        inverse = in_whole_vectors(torch.exp, -log_width)
        standard = (y - place) * inverse
        shape = torch.broadcast_shapes(x.shape[1:-1], y.shape[1:-1])
        standard = standard.expand(-1, *shape, -1)
        energy = 0.5 * standard.square().sum(-1)
        if self.level is not None:
            energy = energy + self.level.reshape(-1, *[1] * len(shape))
        return energy, standard * inverse
