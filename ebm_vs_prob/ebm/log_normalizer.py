"""Energies with a learned log-normaliser beside them: b(x), which some objectives bring to ln Z(x)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ..energies.evaluation import distinct, energy_and_gradient
from ..energies.mlp import Network, ReplicatedMLP
from ..models.building import build_energy
from ..models.energy_model import EnergyModel
from ..models.setting import box_dims
from .objectives.contrastive import importance_log_partition

if TYPE_CHECKING:
    from ..models.setting import Setting

#: Draws at each x, and inputs, that set the first value of the log-normaliser.
FIRST_DRAWS, FIRST_INPUTS = 256, 64
#: Draws behind the errors of a log-normaliser, shared among the inputs, and fewest at each.
ERROR_DRAWS, FEWEST_ERROR_DRAWS = 1 << 14, 256


class LevelledEnergy(nn.Module):
    """A replicated energy E(x, y) and a log-normaliser b(x): a number a replicate without x, a network of x with it.

    `forward` is E alone. b is read as `offset + dy · network`: ln Z grows with the dimension, and steps of one size
    must follow it.
    """

    offset: torch.Tensor

    def __init__(self, energy: nn.Module, setting: Setting) -> None:
        super().__init__()
        x_dim, self.y_dim = box_dims(setting)
        self.num_replicates = setting.num_replicates
        self.energy = energy
        self.register_buffer("offset", torch.zeros(self.num_replicates, 1, dtype=torch.float32, device="cpu"))
        self.constant: nn.Parameter | None = None
        self.network: ReplicatedMLP | None = None
        if x_dim == 0:
            self.constant = nn.Parameter(torch.zeros(self.num_replicates, 1, dtype=torch.float32, device="cpu"))
        else:
            shape = setting.network if isinstance(setting.network, Network) else Network()
            self.network = ReplicatedMLP(setting.seeds, (x_dim, *shape.hidden, 1), shape.activation)
            nn.init.zeros_(self.network.weights[-1])
            nn.init.zeros_(self.network.biases[-1])

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example."""
        return float(self.energy.multiply_adds)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.energy(x, y))

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy)."""
        return energy_and_gradient(self.energy, x, y)

    def log_normalizer(self, x: torch.Tensor) -> torch.Tensor:
        """b(x) in nats for x (R or 1, n, dx): (R, n), or (R, 1) without x."""
        learned = self.constant if self.network is None else self.network(x).squeeze(-1)
        return self.offset + self.y_dim * cast("torch.Tensor", learned)


class LogNormalizerModel(EnergyModel):
    """An energy whose training also estimates its partition function."""

    module: LevelledEnergy

    def log_normalizer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The learned estimate b(x) of ln Z(x) of exp(-E) at beta = 1, and its error, (R, n) each, in nats.

        The error joins the distance of b to a fresh importance-sampling estimate of ln Z and that estimate's own
        standard error, as the root of the sum of their squares. It understates itself where the kernel density of the
        training data misses mass that the model has.

        Raises:
            ValueError: an x that does not fit the task's space, or non-finite values.
        """
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        with torch.no_grad():
            value = self.module.log_normalizer(x)
            inputs = distinct(x)
            draws = max(FEWEST_ERROR_DRAWS, ERROR_DRAWS // inputs.shape[1])
            fresh, error = self._importance_sampled(inputs, draws)
            error = torch.hypot(value - fresh, error)
        return value.expand(x.shape[:2]), error.expand(x.shape[:2])

    def start_log_normalizer(self) -> None:
        """Set b to ln Z of the untrained energy, so that training starts from weights of order 1."""
        with torch.no_grad():
            log_z, _ = self._importance_sampled(distinct(self.data_kernel.x[:, :FIRST_INPUTS]), FIRST_DRAWS)
            self.module.offset.copy_(log_z.mean(1, keepdim=True))

    def _importance_sampled(self, x: torch.Tensor, draws: int) -> tuple[torch.Tensor, torch.Tensor]:
        samples, log_density = self.data_kernel.draw(x, draws, self.seeds)
        return importance_log_partition(self.module(x.unsqueeze(2), samples), log_density)


def build_log_normalizer(setting: Setting) -> LevelledEnergy:
    """The setting's energy with a log-normaliser beside it, on its device and in its dtype."""
    return LevelledEnergy(build_energy(setting), setting).to(device=setting.device, dtype=setting.dtype)
