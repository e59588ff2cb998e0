"""Score matching: exact, sliced, and denoising at many noise levels. `denoising_score_matching` has a single one."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...energies.derivatives import gradient_and_products, gradient_and_trace
from ...energies.evaluation import energy_and_gradient
from ...models.model import Model
from ...models.record import Training
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ..objectives.score import (
    denoising_score_matching_loss,
    score_matching_loss,
    sliced_score_matching_loss,
    stratified_levels,
)
from ..regularisers import RegularisedMethod, RegularisedOptions


class ScoreMatchingOptions(RegularisedOptions, SmoothingOptions):
    """Options of `score_matching`; `sigma` bounds it on data without a smooth density."""


@METHODS.register
class ScoreMatching(RegularisedMethod, SmoothingMethod):
    """E learns -ln p up to a constant by ½‖∇E‖² - tr ∇²E, its trace exact (Hyvärinen 2005, eq. 4).

    The objective integrates by parts, so it needs data with a smooth density: on data that are thin or discrete it has
    no lower bound, for the curvature at the data may grow while the gradient there is 0. Such a training ends as steep
    as its budget lets it. `sigma` bounds it, and in expectation makes it `denoising_score_matching`, which needs no
    second derivative. The trace costs one Hessian-vector product a dimension of y.
    """

    name = "score_matching"
    principle = "score"
    summary = "score matching with the exact trace of the Hessian (Hyvärinen 2005)"
    references = ("hyvarinen2005estimation",)
    Options: ClassVar[type[MethodOptions]] = ScoreMatchingOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # Forward 1 and its backward to y 2; the backward of the loss goes back through all three.
        return 9.0

    @classmethod
    def evaluations_a_dimension(cls, options: Any) -> float:
        # The tangent of those three along one axis, and its backward.
        return 9.0

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, blur = model.module, Blur(model)

        def loss(batch: Batch) -> torch.Tensor:
            return score_matching_loss(*gradient_and_trace(energy, batch.x, blur(batch)))

        return train(model, loss, blur.noise)


class SlicedScoreMatchingOptions(ScoreMatchingOptions):
    projections: Annotated[int, Field(ge=1, description="random directions an example")] = 1
    projection: Annotated[
        Literal["normal", "rademacher"], Field(description="their distribution; rademacher has the smaller variance")
    ] = "rademacher"
    variance_reduced: Annotated[
        bool, Field(description="take the squared slope in all directions, where its expectation is known")
    ] = True


@METHODS.register
class SlicedScoreMatching(RegularisedMethod, SmoothingMethod):
    """Score matching along random directions: vᵀ∇²E v in place of the trace (Song et al. 2019, sec. 3).

    Its expectation is that of `score_matching`, and so are its optimum and what it does on thin data; its cost does not
    grow with the dimension of y.
    """

    name = "sliced_score_matching"
    principle = "score"
    summary = "score matching along random directions (Song et al. 2019)"
    references = ("song2019sliced",)
    Options: ClassVar[type[MethodOptions]] = SlicedScoreMatchingOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 9.0 * (1 + options.projections)

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        gaussian = options.projection == "normal"
        shape = (options.projections, setting.budget.batch_size, model.y_box.dim)
        blur = Blur(model)

        def loss(batch: Batch) -> torch.Tensor:
            drawn = batch.noise["projection"]
            directions = drawn if gaussian else 1 - 2 * (drawn < 0.5).to(drawn)
            gradient, products = gradient_and_products(energy, batch.x, blur(batch), directions)
            return sliced_score_matching_loss(gradient, products, directions, options.variance_reduced)

        projection = Noise("normal" if gaussian else "uniform", shape)
        return train(model, loss, {"projection": projection, **blur.noise})


class MultiscaleDenoisingScoreMatchingOptions(RegularisedOptions):
    sigma_min: Annotated[float, PER_REPLICATE, Field(gt=0, description="smallest noise level, in units of `scale`")] = (
        0.03
    )
    sigma_max: Annotated[float, PER_REPLICATE, Field(gt=0, description="largest noise level, in units of `scale`")] = (
        0.5
    )
    levels: Annotated[int, Field(ge=2, description="noise levels, in geometric progression")] = 10

    @model_validator(mode="after")
    def _levels_are_ordered(self) -> Self:
        if self.sigma_max < self.sigma_min:
            raise ValueError(f"a sigma_max >= sigma_min = {self.sigma_min}")
        return self


def mixture_smoothing(options: Any) -> float:
    """Standard deviation of the scale mixture that multi-scale denoising blurs with: sqrt(Σ sigma⁴ / Σ sigma²)."""
    ratio = options.sigma_max / options.sigma_min
    squares = [(options.sigma_min * ratio ** (k / (options.levels - 1))) ** 2 for k in range(options.levels)]
    return float(options.scale) * math.sqrt(sum(s * s for s in squares) / sum(squares))


@METHODS.register
class MultiscaleDenoisingScoreMatching(RegularisedMethod):
    """Denoising at geometric noise levels sigma_k, each weighted by sigma_k² (Song and Ermon 2019, eq. 6).

    One energy E(x, y) serves all levels, as in Li, Chen and Sommer 2019; unlike a noise-conditional score network it is
    not told the level, so it learns no single p_sigma. With p_k the data blurred by sigma_k, the minimiser of
    Σ_k sigma_k² E_{p_k} ‖∇E + ∇ ln p_k‖² is the weighted mean of the levels' scores,
    ∇E = -Σ_k sigma_k² ∇p_k / Σ_k sigma_k² p_k, which is the gradient of E = -ln Σ_k w_k p_k with w_k ∝ sigma_k². The
    method learns the data blurred by the scale mixture Σ_k w_k N(0, sigma_k² I), whose standard deviation is
    its declared smoothing. The declared curvature is that of the best quadratic energy, of the mixture's covariance.
    """

    name = "multiscale_denoising_score_matching"
    principle = "score"
    summary = "denoising score matching at many noise levels (Song and Ermon 2019; Li, Chen and Sommer 2019)"
    references = ("song2019generative", "li2019learning")
    Options: ClassVar[type[MethodOptions]] = MultiscaleDenoisingScoreMatchingOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + mixture_smoothing(options) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return mixture_smoothing(options)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 9.0

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module

        def column(values: torch.Tensor) -> torch.Tensor:
            return (values * options.scale).to(device=setting.device, dtype=setting.dtype).reshape(-1, 1, 1)

        low, high = column(options.sigma_min), column(options.sigma_max)

        def loss(batch: Batch) -> torch.Tensor:
            normal = batch.noise["y"]
            sigma = stratified_levels(low, high, options.levels, batch.noise["level"])
            _, gradient = energy_and_gradient(energy, batch.x, batch.y + sigma * normal)
            return denoising_score_matching_loss(gradient, normal, sigma)

        size = setting.budget.batch_size
        return train(model, loss, {"y": Noise("normal", (size, model.y_box.dim)), "level": Noise("uniform", (size, 1))})
