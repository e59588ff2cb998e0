"""Pieces of the plane blurred by noise: points, rings and segments, with their densities in closed form.

A piece carries a uniform law, and y = (a point of it) + thickness * n. Mixtures of pieces are the truth of
`three_modes`, and the ring, with a von Mises law, is that of `circle`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Where the squared argument of the Bessel function is below this, its logarithm is a series: sqrt is singular there.
_SERIES_BELOW = 1e-2
#: Standard deviations of noise that quadratures cover on either side; less than 1e-32 lies beyond.
REACH = 12.0
#: Gauss-Legendre nodes of a panel.
_ORDER = 8


def log_ring(y: torch.Tensor, eps: float, kappa: float) -> torch.Tensor:
    """ln p(y) in nats of a von Mises angle on the unit circle, blurred: (..., 2) -> (...), float64.

    The angle integrates to I0(w) / I0(kappa), w = |kappa e1 + y / eps^2|. Near the ring the exponent
    w - kappa - (r^2 + 1) / (2 eps^2) is a small difference of large terms, so it is taken in a form in which the
    largest have cancelled exactly: around the shifted radius eps^2 w, or around kappa where that exceeds 1 / eps^2.
    """
    import torch
    from scipy.special import i0e

    variance = eps**2
    squared_radius = y[..., 0] ** 2 + y[..., 1] ** 2
    squared_argument = ((y[..., 0] + kappa * variance) ** 2 + y[..., 1] ** 2) / variance**2
    near = squared_argument < _SERIES_BELOW
    # Each branch gets arguments at which it is regular, so that neither puts a NaN into the other's derivatives.
    argument = torch.where(near, 1.0, squared_argument).sqrt()
    if kappa * variance <= 1.0:
        exponent = kappa * y[..., 0] + kappa * (kappa * variance / 2.0 - 1.0)
        exponent = exponent - (argument * variance - 1.0) ** 2 / (2.0 * variance)
    else:
        exponent = (2.0 * kappa * y[..., 0] + squared_radius / variance) / (variance * (argument + kappa))
        exponent = exponent - (squared_radius + 1.0) / (2.0 * variance)
    far_value = torch.special.i0e(argument).log() + exponent
    square = torch.where(near, squared_argument, 0.0)
    series = square / 4.0 - square**2 / 64.0 + square**3 / 576.0 - 11.0 * square**4 / 49152.0
    near_value = series - kappa - (squared_radius + 1.0) / (2.0 * variance)
    return torch.where(near, near_value, far_value) - math.log(i0e(kappa)) - math.log(2.0 * math.pi * variance)


def log_interval(place: torch.Tensor, length: float, eps: float) -> torch.Tensor:
    """ln p of a uniform law on [-length/2, length/2], blurred, at places (...) along the line: (...) float64 nats.

    p = [Phi((length/2 + s) / eps) - Phi((s - length/2) / eps)] / length, in logarithms, so that its tails are right
    however far out. The error is some 1e-16 eps / length nats.
    """
    import torch

    # Even in s, hence taken on its left half, where the difference is one of lower tails.
    left = torch.where(place > 0.0, -place, place)
    upper = _log_normal_cdf((length / 2 + left) / eps)
    lower = _log_lower_tail((left - length / 2) / eps)
    return upper + torch.log(-torch.expm1(lower - upper)) - math.log(length)


def _log_lower_tail(standard: torch.Tensor) -> torch.Tensor:
    """ln Phi at values <= 0. `torch.special.log_ndtr` is the same, but cannot be batched by `torch.func.vmap`."""
    import torch

    return (torch.special.erfcx(-standard / math.sqrt(2.0)) / 2.0).log() - standard.square() / 2.0


def _log_normal_cdf(standard: torch.Tensor) -> torch.Tensor:
    """ln Phi at any value; each half gets arguments at which it is regular, derivatives included."""
    import torch

    low = _log_lower_tail(standard.clamp_max(0.0))
    high = torch.log1p(-torch.erfc(standard.clamp_min(0.0) / math.sqrt(2.0)) / 2.0)
    return torch.where(standard < 0.0, low, high)


def panels(low: float, high: float, marks: Sequence[float], scale: float, resolution: int) -> tuple[np.ndarray, ...]:
    """Nodes and weights (m,) of a composite Gauss-Legendre rule on [low, high] that is finer near marks.

    `resolution` panels over the whole, and as many over 12 scales to either side of each mark.
    """
    edges = [np.linspace(low, high, resolution + 1)]
    edges += [np.linspace(mark - REACH * scale, mark + REACH * scale, resolution + 1) for mark in marks]
    edge = np.unique(np.concatenate(edges).clip(low, high))
    node, weight = np.polynomial.legendre.leggauss(_ORDER)
    half = np.diff(edge)[:, None] / 2
    return (edge[:-1, None] + half * (1.0 + node)).ravel(), (half * weight).ravel()


def radius_cdf(radius: float, center: np.ndarray, eps: float) -> np.ndarray:
    """P(|y| <= radius) for y at the distances `center` (m,) from the origin, blurred in the plane: Rice's law, (m,).

    Its density is integrated by 256 Gauss-Legendre nodes over 12 standard deviations to either side, to 1e-13.
    """
    from scipy.special import i0e

    node, weight = np.polynomial.legendre.leggauss(256)
    low = np.maximum(center - REACH * eps, 0.0)
    half = (np.clip(radius, low, center + REACH * eps) - low)[:, None] / 2
    place = low[:, None] + half * (1.0 + node)
    offset = (place - center[:, None]) / eps
    density = place / eps**2 * np.exp(-0.5 * offset**2) * i0e(place * center[:, None] / eps**2)
    return np.minimum((half * weight * density).sum(1), 1.0)


class Piece(ABC):
    """A set in the plane with a uniform law on it."""

    @property
    @abstractmethod
    def length(self) -> float:
        """Its length; 0 of a point."""

    @abstractmethod
    def at(self, share: np.ndarray) -> np.ndarray:
        """The points (n, 2) up to which lie the shares (n,), in [0, 1), of the length."""

    @abstractmethod
    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        """ln p(y) in nats of the blurred law, (..., 2) -> (...), twice differentiable."""

    @abstractmethod
    def distance(self, y: torch.Tensor) -> torch.Tensor:
        """Distance of y (..., 2) to the set, (...)."""

    @abstractmethod
    def nodes(self, eps: float, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (m, 2) and weights (m,) that integrate over the plane what the blurred law's density multiplies."""


@dataclass(frozen=True)
class Point(Piece):
    """One point."""

    center: tuple[float, float]
    length = 0.0

    def at(self, share: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.array(self.center), (len(share), 2))

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        standard = (y - y.new_tensor(self.center)) / eps
        return -0.5 * standard.square().sum(-1) - math.log(2.0 * math.pi * eps**2)

    def distance(self, y: torch.Tensor) -> torch.Tensor:
        return (y - y.new_tensor(self.center)).norm(dim=-1)

    def nodes(self, eps: float, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        place, weight = panels(-REACH * eps, REACH * eps, (), eps, resolution)
        return _grid(place, place) + np.array(self.center), np.outer(weight, weight).ravel()


@dataclass(frozen=True)
class Ring(Piece):
    """A circle about the origin.

    Attributes:
        radius: in the task's units.
        marks: angles at equal distances near which a mixture with other pieces changes. `nodes` take the mixture to be
            the same when mirrored at any of them, and to be round where there are none.
    """

    radius: float
    marks: tuple[float, ...] = ()

    @property
    def length(self) -> float:
        return 2.0 * math.pi * self.radius

    def at(self, share: np.ndarray) -> np.ndarray:
        return self.radius * _direction(2.0 * math.pi * share)

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        return log_ring(y / self.radius, eps / self.radius, 0.0) - 2.0 * math.log(self.radius)

    def distance(self, y: torch.Tensor) -> torch.Tensor:
        return (y.norm(dim=-1) - self.radius).abs()

    def nodes(self, eps: float, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = max(self.radius - REACH * eps, 0.0), self.radius + REACH * eps
        radius, radial_weight = panels(low, high, (), eps, resolution)
        angle, weight = np.zeros(1), np.full(1, 2.0 * math.pi)
        if self.marks:
            start, sectors = self.marks[0], 2 * len(self.marks)
            end = start + 2.0 * math.pi / sectors
            angle, weight = panels(start, end, (start,), eps / self.radius, resolution)
            weight = weight * sectors
        points = radius[:, None, None] * _direction(angle)
        return points.reshape(-1, 2), np.outer(radius * radial_weight, weight).ravel()


@dataclass(frozen=True)
class Segment(Piece):
    """A straight line from one point to another.

    Attributes:
        start, end: the points.
        marks: places in [0, length] near which a mixture with other pieces changes, beside the ends.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    marks: tuple[float, ...] = ()

    @property
    def length(self) -> float:
        return math.dist(self.start, self.end)

    def at(self, share: np.ndarray) -> np.ndarray:
        start, end = np.array(self.start), np.array(self.end)
        return start + share[:, None] * (end - start)

    def log_density(self, y: torch.Tensor, eps: float) -> torch.Tensor:
        along, across = self._split(y)
        normal = -0.5 * (across / eps).square() - 0.5 * math.log(2.0 * math.pi * eps**2)
        return log_interval(along, self.length, eps) + normal

    def distance(self, y: torch.Tensor) -> torch.Tensor:
        along, across = self._split(y)
        return (along.abs() - self.length / 2).clamp_min(0.0).hypot(across)

    def nodes(self, eps: float, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        marks = (0.0, *self.marks, self.length)
        along, weight = panels(-REACH * eps, self.length + REACH * eps, marks, eps, resolution)
        across, across_weight = panels(-REACH * eps, REACH * eps, (), eps, resolution)
        tangent = np.array(self._tangent)
        frame = np.stack([tangent, np.array([-tangent[1], tangent[0]])])
        return np.array(self.start) + _grid(along, across) @ frame, np.outer(weight, across_weight).ravel()

    @property
    def _tangent(self) -> tuple[float, float]:
        return (self.end[0] - self.start[0]) / self.length, (self.end[1] - self.start[1]) / self.length

    def _split(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places along the line, from its middle, and across it."""
        first, second = (y[..., k] - (self.start[k] + self.end[k]) / 2 for k in (0, 1))
        tangent = self._tangent
        return first * tangent[0] + second * tangent[1], second * tangent[0] - first * tangent[1]


def _direction(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _grid(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """All pairs, (m, 2), the second running fastest."""
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)


__all__ = ["Piece", "Point", "Ring", "Segment", "log_interval", "log_ring", "panels", "radius_cdf"]
