"""Models whose energy is that of a normalised density."""

from __future__ import annotations

import torch

from .model import Model


class DensityModel(Model):
    """A normalised model whose energy defines its density through a log-partition function."""

    normalised = True

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) in nats, (R, n). Its error is that of `gibbs(x).log_partition()`."""
        x, y = self._paired(x, y)
        return self.gibbs(x).log_prob(y)
