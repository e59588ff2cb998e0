"""Denoising score matching: the energy's gradient learns to point back to the data from a noisy copy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from ...energies import build_energy, energy_and_gradient
from ...method import GaussianOptimum, Method, MethodOptions, Setting
from ...model import EnergyModel, Model, Training
from ...options import PER_REPLICATE
from ...registry import METHODS
from ...training import Batch, Noise, train
from ..regularisers import RegularisedOptions
from ..score_objectives import denoising_score_matching_loss


class DenoisingScoreMatchingOptions(RegularisedOptions):
    sigma: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="standard deviation of the denoising noise, in units of `scale`")
    ] = 0.1


@METHODS.register
class DenoisingScoreMatching(Method):
    """E learns -ln p_sigma, the log-density of the data blurred by sigma, up to a constant (Vincent 2011, eq. 9)."""

    name = "denoising_score_matching"
    family = "ebm"
    principle = "score"
    normalised = False
    summary = "denoising score matching at one noise level (Vincent 2011)"
    Options: ClassVar[type[MethodOptions]] = DenoisingScoreMatchingOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + (options.sigma * options.scale) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.sigma * options.scale)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # Forward 1 and its backward to y 2; the backward of the loss goes back through all three.
        return 9.0

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, energy = model.setting, model.module
        sigma = (setting.options.sigma * setting.options.scale).to(device=setting.device, dtype=setting.dtype)
        sigma = sigma.reshape(-1, 1, 1)

        def loss(batch: Batch) -> torch.Tensor:
            noise = batch.noise["y"]
            _, gradient = energy_and_gradient(energy, batch.x, batch.y + sigma * noise)
            return denoising_score_matching_loss(gradient, noise, sigma)

        noise = {"y": Noise("normal", (setting.budget.batch_size, model.y_box.dim))}
        return train(model, loss, noise)
