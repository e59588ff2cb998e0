"""Unnormalised energies as models, read as a probability at an inverse temperature that is given or fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from .model import Model


class EnergyModel(Model):
    """An unnormalised energy. Its beta is `gibbs_beta`, or fitted to validation data when a density is first wanted."""

    _beta: torch.Tensor | None = None

    @property
    def beta(self) -> torch.Tensor:
        """Inverse temperature, (R,) float64: as given, or of highest validation likelihood (Guo et al. 2017: 1/T)."""
        if self._beta is None:
            given: float | None = getattr(self.setting.options, "gibbs_beta", None)
            if given is None:
                self._beta = self.fit_beta()
            else:
                values = [given if status.ok else math.nan for status in self.status]
                self._beta = torch.tensor(values, dtype=torch.float64, device=self.setting.device)
        return self._beta

    def beside(self) -> dict[str, torch.Tensor]:
        return {} if self._beta is None else {"beta": self._beta}

    def restore(self, arrays: Mapping[str, torch.Tensor]) -> None:
        self._beta = arrays.get("beta")
