"""Maximum likelihood of a Pyro program whose one site is the answer."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.distributions import TorchDistribution

from ..models.model import Model
from ..models.record import Training
from ..training.batches import Batch
from ..training.loop import train
from .objectives.bounds import ReplicatedELBO, no_guide


def maximise_likelihood(model: Model, law: Callable[[torch.Tensor], TorchDistribution]) -> Training:
    """Train a model by -ln q(y | x), q the distribution `law(x)` of batch (R, B) for x (R, B, dx)."""
    elbo, size = ReplicatedELBO(), model.setting.budget.batch_size

    def program(x: torch.Tensor, y: torch.Tensor) -> None:
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            pyro.sample("y", law(x), obs=y)

    def loss(batch: Batch) -> torch.Tensor:
        return elbo.replicate_losses(program, no_guide, batch.x, batch.y) / size

    return train(model, loss)
