"""Equilibrium matching: an energy to be descended, whose gradient leads from noise to the data and vanishes there."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...energies.evaluation import energy_and_gradient
from ...models.model import Model
from ...models.record import Training
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ..objectives.equilibrium import decay_moments, equilibrium_matching_loss
from ..regularisers import RegularisedMethod, RegularisedOptions


class EquilibriumMatchingOptions(RegularisedOptions):
    noise: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="standard deviation of the noise, in units of `scale`")
    ] = 1.0
    decay: Annotated[
        Literal["truncated", "linear"],
        Field(description="how the slope falls to 0 at the data: from `plateau` on, or all the way"),
    ] = "truncated"
    plateau: Annotated[
        float, PER_REPLICATE, Field(ge=0, lt=1, description="a, the share of data up to which the slope is full")
    ] = 0.8
    multiplier: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="λ, what the slope is multiplied by")
    ] = 4.0


def gaussian_curvature(options: Any) -> float | None:
    """λ (σ² ∫c(1-γ) - ∫cγ) / ((σ² + 1) / 3), c for λ = 1: the slope of ∇E on y_γ by least squares, on N(0, 1).

    It is that of the best quadratic energy, and where noise of standard deviation σ is so narrow that the slope points
    away from the data, below 0: then it is not declared.
    """
    square = float(options.noise * options.scale) ** 2
    of_noise, of_data = decay_moments(0.0 if options.decay == "linear" else options.plateau)
    curvature = float(options.multiplier) * (square * of_noise - of_data) / ((square + 1.0) / 3.0)
    return curvature if curvature > 0 else None


@METHODS.register
class EquilibriumMatching(RegularisedMethod):
    """min E ‖∇E(x, y_γ) - (n - y) λ c(γ)‖², y_γ = γ y + (1 - γ) n, with an explicit energy (Wang and Du 2025).

    n is Gaussian noise and γ uniform on [0, 1], of which the energy is not told. c falls to 0 at γ = 1, so that right
    answers are at rest, and the gradient at y_γ is the mean of what leads there. The decay is linear, c = 1 - γ, or
    truncated, c = min(1, (1 - γ) / (1 - a)).

    It is no -ln p: the slope is bounded by that of the noise however thin the data are. Of data in one point m and the
    linear decay E = λ ‖y - m‖² / 2 exactly. On data that are not thin the energy is rounded off, and its Gibbs density
    at a fitted beta is what it may be.
    """

    name = "equilibrium_matching"
    principle = "score"
    summary = "an energy for descent: its gradient leads from noise to the data and vanishes there (Wang and Du 2025)"
    references = ("wang2025equilibrium",)
    Options: ClassVar[type[MethodOptions]] = EquilibriumMatchingOptions
    gaussian_optimum = GaussianOptimum(curvature=gaussian_curvature)

    @classmethod
    def in_nats(cls, options: Any) -> bool:
        return False

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # Forward 1 and its backward to y 2; the backward of the loss goes back through all three.
        return 9.0

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        like = torch.zeros(1, 1, 1, dtype=setting.dtype, device=setting.device)
        width = options.column("noise", like) * options.column("scale", like)
        plateau = options.column("plateau", like) * float(options.decay == "truncated")
        multiplier = options.column("multiplier", like)

        def loss(batch: Batch) -> torch.Tensor:
            noise, share = width * batch.noise["y"], batch.noise["share"]
            _, gradient = energy_and_gradient(energy, batch.x, share * batch.y + (1 - share) * noise)
            slope = multiplier * ((1 - share) / (1 - plateau)).clamp_max(1.0)
            return equilibrium_matching_loss(gradient, batch.y, noise, slope)

        size = setting.budget.batch_size
        return train(model, loss, {"y": Noise("normal", (size, model.y_box.dim)), "share": Noise("uniform", (size, 1))})
