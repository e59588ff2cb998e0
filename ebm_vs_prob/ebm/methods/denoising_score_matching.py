"""Denoising score matching: the energy's gradient learns to point back to the data from a noisy copy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...energies.evaluation import energy_and_gradient
from ...models.model import Model
from ...models.record import Training
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ..objectives.score import denoising_score_matching_loss
from ..regularisers import RegularisedMethod, RegularisedOptions


class DenoisingScoreMatchingOptions(RegularisedOptions, SmoothingOptions):
    sigma: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="standard deviation of the denoising noise, in units of `scale`")
    ] = 0.1


@METHODS.register
class DenoisingScoreMatching(RegularisedMethod, SmoothingMethod):
    """E learns -ln p_sigma, the log-density of the data blurred by sigma, up to a constant (Vincent 2011, eq. 9)."""

    name = "denoising_score_matching"
    principle = "score"
    summary = "denoising score matching at one noise level (Vincent 2011)"
    references = ("vincent2011connection",)
    Options: ClassVar[type[MethodOptions]] = DenoisingScoreMatchingOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # Forward 1 and its backward to y 2; the backward of the loss goes back through all three.
        return 9.0

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, blur = model.module, Blur(model)

        def loss(batch: Batch) -> torch.Tensor:
            _, gradient = energy_and_gradient(energy, batch.x, blur(batch))
            return denoising_score_matching_loss(gradient, batch.noise["y"], blur.sigma)

        return train(model, loss, blur.noise)
