"""Mean-square regression: one answer for each x, the control of every task with many answers."""

from __future__ import annotations

import torch
from torch import nn

from ..core.errors import NotNormalised
from ..core.registry import METHODS
from ..energies.evaluation import distinct
from ..energies.mlp import ReplicatedMLP
from ..models.building import build_head
from ..models.model import Model
from ..models.record import Training
from ..models.setting import Setting, box_dims
from ..training.batches import Batch
from ..training.loop import train
from ..training.method import GaussianOptimum, Method


class RegressionEnergy(nn.Module):
    """R regressions as energies: E(x, y) = ½ ‖y - f(x)‖², whose minimum is the regression's answer."""

    def __init__(self, head: ReplicatedMLP) -> None:
        super().__init__()
        self.head = head
        self.num_replicates = head.num_replicates

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example, as if each had an x of its own."""
        return self.head.multiply_adds + self.head.sizes[-1]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * (y - self.head(distinct(x))).square().sum(-1)


class RegressionModel(Model):
    """A regression answers; it has no distribution to draw from."""

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        raise NotNormalised("mean_squared_error has no distribution to sample: use model.infer(x), its one answer")

    @property
    def sampling_kernel(self) -> str:
        return "none"


@METHODS.register
class MeanSquaredError(Method):
    """f(x) learns the conditional mean of y, which lies on the answer set only where that set is one point."""

    name = "mean_squared_error"
    family = "control"
    principle = "regression"
    normalised = False
    summary = "mean-square regression, y = f(x): what averaging the answers looks like"
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1.0)

    @classmethod
    def build(cls, setting: Setting) -> RegressionModel:
        _, y_dim = box_dims(setting)
        return RegressionModel(cls, setting, RegressionEnergy(build_head(setting, y_dim)))

    @classmethod
    def train(cls, model: Model) -> Training:
        def loss(batch: Batch) -> torch.Tensor:
            energy: torch.Tensor = model.module(batch.x, batch.y)
            return energy.mean(-1)

        return train(model, loss)
