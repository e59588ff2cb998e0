"""Autoregressive sequence models: a softmax for each next symbol, by maximum likelihood."""

from __future__ import annotations

from typing import cast

import pyro
import pyro.distributions as dist
import torch

from ...core.errors import invalid
from ...core.registry import METHODS
from ...core.spaces import Box, Sequences
from ...energies.mlp import Network
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import Method
from ..densities.autoregressive import AutoregressiveEnergy, AutoregressiveModel
from ..objectives.bounds import ReplicatedELBO, no_guide


@METHODS.register
class Autoregressive(Method):
    """q(y | x) = Π_t q(y_t | y_<t, x), all factors by one network, by maximum likelihood (Bengio, Ducharme, Vincent and
    Jauvin 2003, whose windows of past symbols are here all of them).

    Normalised at T sums over K symbols, whatever the law. What it asks of the network is the next symbol's
    probability, which may be hard where the energy of the whole is easy (Lin et al. 2021).
    """

    name = "autoregressive"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "next-symbol softmax by maximum likelihood (Bengio et al. 2003)"
    references = ("bengio2003neural", "lin2021limitations")
    y_spaces = (Sequences,)

    @classmethod
    def build(cls, setting: Setting) -> AutoregressiveModel:
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, "None: this method reads prefixes, so it needs a Network")
        task = setting.tasks[0]
        assert isinstance(task.x_space, Box)
        assert isinstance(task.y_space, Sequences)
        energy = AutoregressiveEnergy(setting.seeds, task.x_space.dim, task.y_space, setting.network)
        return AutoregressiveModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, elbo = cast("AutoregressiveEnergy", model.module), ReplicatedELBO()
        size = model.setting.budget.batch_size

        def writer(x: torch.Tensor, y: torch.Tensor) -> None:
            next_symbol = dist.Categorical(logits=energy.logits(x, y), validate_args=False)
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", dist.Independent(next_symbol, 1, validate_args=False), obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            return elbo.replicate_losses(writer, no_guide, batch.x, batch.y) / size

        return train(model, loss)
