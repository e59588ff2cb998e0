"""What some tasks and references know of the latent behind y: asked by `isinstance`, so that anyone's may know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch


@runtime_checkable
class HasEllipses(Protocol):
    """A task whose answers to each x are an ellipse (a cos z, b sin z), z its latent."""

    def axes(self, x: torch.Tensor) -> torch.Tensor:
        """Semi-axes a and b at x (..., dx): (..., 2) float64."""
        ...


@runtime_checkable
class HasLinearMap(Protocol):
    """A task whose y is W z + B x + thickness * n, z standard normal."""

    thickness: float
    weight: np.ndarray
    input_map: np.ndarray


@runtime_checkable
class HasCusps(Protocol):
    """A reference that knows where an answer is the nearest to fourth order: the cusps of the evolute."""

    def cusps(self, x: torch.Tensor) -> torch.Tensor:
        """Those whose nearest answer is one where the curve bends most, at x (n, dx): (n, k, dy) float64."""
        ...
