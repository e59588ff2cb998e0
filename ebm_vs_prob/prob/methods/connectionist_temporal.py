"""Connectionist temporal classification: labels of columns, summed over all alignments."""

from __future__ import annotations

from typing import cast

import pyro
import pyro.distributions as dist
import torch

from ...core.registry import METHODS
from ...energies.lattices import FrameEnergy
from ...models.building import build_strip_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...models.strip_models import NormalisedStripModel
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import train
from ...training.strips import StripMethod
from ..objectives.bounds import ReplicatedELBO, no_guide


@METHODS.register
class ConnectionistTemporal(StripMethod):
    """-ln Σ_π Π_t q(π_t | x), over the paths π of column labels that read y (Graves, Fernández, Gomez and Schmidhuber
    2006, eq. 3 and section 4).

    Columns are labelled independently given x, so that one pass of the network says all. Training is by the
    probability of y among strings of any length, as there; the model is a law over strings of the task's length, which
    is that probability over the probability of the length, exact like its draws and answers.
    """

    name = "connectionist_temporal"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "column labels with a blank, summed over alignments (Graves et al. 2006)"
    references = ("graves2006connectionist",)

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is not None or task.strip is None:
            return reason
        # A string of one symbol T times is read from T columns and a blank between each two.
        length, columns = task.strip.length, task.strip.columns
        if columns >= 2 * length - 1:
            return None
        return (
            f"{length} symbols need {2 * length - 1} columns, blanks between them included, and its strip has {columns}"
        )

    @classmethod
    def build(cls, setting: Setting) -> NormalisedStripModel:
        return NormalisedStripModel(cls, setting, build_strip_energy(setting, FrameEnergy))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, elbo = cast("FrameEnergy", model.module), ReplicatedELBO()
        size = model.setting.budget.batch_size

        def labels(x: torch.Tensor, y: torch.Tensor) -> None:
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                # As `pyro.factor`, whose check would let one replicate that diverges end the others.
                observed = dist.Unit(-energy.graph(x).energy(y), validate_args=False)
                pyro.sample("y", observed, obs=observed.sample(), infer={"is_auxiliary": True})

        def loss(batch: Batch) -> torch.Tensor:
            return elbo.replicate_losses(labels, no_guide, batch.x, batch.y) / size

        return train(model, loss)
