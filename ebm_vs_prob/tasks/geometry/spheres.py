"""Spheres in R^D: their area, and an energy of a thin shell whose partition function is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import check_count, invalid
from ...core.seeding import numpy_generator
from ..quadrature import refined

if TYPE_CHECKING:
    import torch

#: Standard deviations of the radius that a radial quadrature reaches to either side: beyond lies less than 1e-40.
_REACH = 14.0


def log_area(dim: int) -> float:
    """ln of the (dim - 1)-dimensional area of the unit sphere in R^dim: ln 2 + (dim/2) ln pi - ln Gamma(dim/2)."""
    check_count("dim", dim)
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def radial_nodes(centre: float, width: float, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights over radii within 14 widths of a centre, and >= 0."""
    low, high = max(0.0, centre - _REACH * width), centre + _REACH * width
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2


@dataclass(frozen=True)
class RadialEnergy:
    """E(x, y) = (|y| - 1)² / (2 thickness²): a thin shell round the unit sphere of R^D, whatever x.

    Its density exp(-E) / Z on all of R^D is not the sphere blurred by noise (the task `thin_sphere`): it has the factor
    |y|^(D-1) more of its mass outside.

    Args:
        thickness: eps > 0, in units of y.

    Raises:
        ValueError: thickness is not a finite number > 0.
    """

    thickness: float

    def __post_init__(self) -> None:
        if not (isinstance(self.thickness, (int, float)) and 0 < self.thickness < math.inf):
            raise invalid("thickness", self.thickness, "a finite number > 0")

    def __call__(self, x: torch.Tensor | None, y: torch.Tensor) -> torch.Tensor:
        """E of y (..., D), (...): no unit, the energy of a normalised model."""
        return (y.norm(dim=-1) - 1).square() / (2 * self.thickness**2)

    def log_partition(self, dim: int) -> float:
        """ln of the integral of exp(-E) over R^dim, to 1e-10: area(S^(dim-1)) times one integral over the radius.

        Raises:
            ValueError: dim is not an integer >= 1.
            ArithmeticError: the quadrature does not settle.
        """
        mode, top = self._mode(dim), self._log_radius(dim, self._mode(dim))

        def log_integral(num_nodes: int) -> float:
            radius, weight = radial_nodes(mode, self.thickness, num_nodes)
            return float(np.log(weight @ np.exp(self._log_radius(dim, radius) - top)))

        return log_area(dim) + float(top) + refined(log_integral, start=64)

    def log_partition_law(self, dim: int) -> float:
        """The limit of `log_partition` for thin shells, off by O(eps²): ln area(S^(dim-1)) + ln(eps sqrt(2 pi))."""
        return log_area(dim) + math.log(self.thickness * math.sqrt(2 * math.pi))

    def sample(self, num_samples: int, dim: int, seed: int = 0) -> torch.Tensor:
        """Exact draws from exp(-E) / Z on R^dim, (num_samples, dim) float64.

        The law of the radius is log-concave and curves at least as much as a normal one of standard deviation
        `thickness` at its mode, from which its draws are taken by rejection.

        Raises:
            ValueError: num_samples or dim is not an integer >= 1, or a bad seed.
        """
        import torch

        check_count("num_samples", num_samples)
        mode, rng = self._mode(dim), numpy_generator(seed, "radial energy", dim)
        top, kept = self._log_radius(dim, mode), np.empty(0)
        while len(kept) < num_samples:
            step = rng.standard_normal(2 * num_samples)
            radius = mode + self.thickness * step
            inside = radius > 0
            excess = self._log_radius(dim, np.where(inside, radius, 1.0)) - top + step**2 / 2
            kept = np.concatenate([kept, radius[inside & (np.log(rng.random(len(step))) < excess)]])
        direction = rng.standard_normal((num_samples, dim))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return torch.from_numpy(kept[:num_samples, None] * direction)

    def _mode(self, dim: int) -> float:
        """Where the density of the radius is largest."""
        check_count("dim", dim)
        return (1 + math.sqrt(1 + 4 * (dim - 1) * self.thickness**2)) / 2

    def _log_radius(self, dim: int, radius: np.ndarray | float) -> np.ndarray:
        """ln of r^(dim-1) exp(-E), without constants."""
        log_radius = np.log(np.maximum(radius, 1e-300))
        return np.asarray((dim - 1) * log_radius - (np.asarray(radius) - 1) ** 2 / (2 * self.thickness**2))


__all__ = ["RadialEnergy", "log_area", "radial_nodes"]
