"""Softmax classification: the trunk on x, one energy a label, fitted by maximum likelihood."""

from __future__ import annotations

from typing import cast

import pyro
import pyro.distributions as dist
import torch

from ...core.registry import METHODS
from ...core.spaces import Labels
from ...energies.graphs import GraphEnergy
from ...models.building import build_graph_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import Method
from ..densities.enumerated import DiscreteDensityModel
from ..objectives.bounds import ReplicatedELBO, no_guide


@METHODS.register
class SoftmaxClassifier(Method):
    """P(y | x) = exp(-E(x, y)) / Σ_y' exp(-E(x, y')) over labels, by maximum likelihood (Bridle 1990).

    Its loss is that of `negative_log_likelihood` at beta = 1, whose sum over labels is exact too: the normalised model
    and the energy read at a fitted temperature differ in what is done with them, not in training.
    """

    name = "softmax_classifier"
    twin = "negative_log_likelihood"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "softmax over labels by maximum likelihood (Bridle 1990)"
    references = ("bridle1990probabilistic",)
    y_spaces = (Labels,)

    @classmethod
    def build(cls, setting: Setting) -> DiscreteDensityModel:
        return DiscreteDensityModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, elbo = cast("GraphEnergy", model.module), ReplicatedELBO()
        size = model.setting.budget.batch_size

        def classifier(x: torch.Tensor, y: torch.Tensor) -> None:
            energies = energy.graph(x).unary[..., 0, :]
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", dist.Categorical(logits=-energies, validate_args=False), obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            return elbo.replicate_losses(classifier, no_guide, batch.x, batch.y) / size

        return train(model, loss)
