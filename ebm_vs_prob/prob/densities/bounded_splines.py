"""Splines that are the identity beyond their bounds, by the same operations whatever lies beyond."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributions import constraints
from torch.distributions.transforms import Transform

#: Slope of Pyro's splines at the corners, 1 but for the least slope that it allows within.
CORNER_SLOPE = 1.0 - 1e-3


class Within(Transform):
    """A spline transform of vectors that sees no coordinate beyond its bound; those are left as they are.

    Pyro's splines pick out what lies beyond by a mask, so that how many numbers an operation has is decided by values,
    and a step that was recorded when none did fails at the first that does. Here they are held at the bound, where a
    spline goes through the corner, and put back afterwards: no value, gradient or Jacobian changes within, and beyond
    none but that other coordinates are moved by the held value.

    Args:
        inner: a bijection of vectors made of splines over [-bound, bound], its networks given.
        bound: in the unit of the base distribution.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, inner: Any, bound: float) -> None:
        super().__init__()
        self.inner, self.bound = inner, bound
        self._passed: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        held = x.clamp(-self.bound, self.bound)
        moved = self.inner(held)
        y = torch.where(x.abs() > self.bound, x, moved)
        self._passed = x, y, held, moved
        return y

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        moved = y.clamp(-self.bound, self.bound)
        held = self.inner.inv(moved)
        x = torch.where(y.abs() > self.bound, y, held)
        self._passed = x, y, held, moved
        return x

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln |det dy/dx|, the shape of x without its last dimension: the spline's, but for those that are put back."""
        if self._passed is None or self._passed[0] is not x or self._passed[1] is not y:
            self._call(x)
        assert self._passed is not None
        held: torch.Tensor = self.inner.log_abs_det_jacobian(*self._passed[2:])
        return held - math.log(CORNER_SLOPE) * (x.abs() > self.bound).sum(-1)
