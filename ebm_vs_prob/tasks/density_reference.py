"""Exact truth of real answers that have a density."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ..core.errors import NoExactReference
from ..core.seeding import numpy_generator
from .base import check_inputs, check_pairs
from .reference import Reference

if TYPE_CHECKING:
    import torch


class DensityReference(Reference):
    """What references of real answers have in common: they check their input and hand it on to `log_density`.

    Args:
        task: whose spaces the input must fit.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self._thickness = float(task.thickness)

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.log_density(*check_pairs(self.task, x, y))

    @abstractmethod
    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for broadcasting (..., dx) and (..., dy), unchecked; `Reference.log_density` has more."""

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x by the task's own `draw`: (n, num_samples, dy) float64.

        Each row of x has a stream of its own, so its draws do not depend on which others are asked.

        Raises:
            ValueError: x that does not fit the task, a count below 1 or a bad seed.
        """
        import numpy as np
        import torch

        check_inputs(self.task, x, num_samples)
        drawn = np.empty((len(x), num_samples, *self.task.y_space.event_shape))
        for row, given in enumerate(x.detach().double().cpu().numpy()):
            repeated = np.broadcast_to(given, (num_samples, len(given)))
            drawn[row] = self.task.draw(repeated, numpy_generator(seed, "reference", self.task.name, row))[0]
        return torch.from_numpy(drawn).to(x.device)

    @property
    def noise(self) -> float:
        """The thickness, where there is any.

        Raises:
            NoExactReference: at thickness 0.
        """
        if self._thickness == 0.0:
            raise no_density(self.task.name)
        return self._thickness


def no_density(task: str) -> NoExactReference:
    """The error for a density asked for at thickness 0."""
    return NoExactReference(
        f"{task}: thickness = 0 leaves y on a set of measure zero, so it has no density and no entropy: "
        "use thickness > 0, or reference.distance"
    )
