"""The hinge loss with a margin that grows with the distance from the answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from ...energies import build_energy
from ...method import GaussianOptimum, Method, MethodOptions, Setting
from ...model import EnergyModel, Model, Training
from ...options import PER_REPLICATE
from ...registry import METHODS
from ...training import Batch, Noise, train
from ..negatives import descended, nearest_distance, noisy_answers
from ..objectives import distance_scaled_margin, hinge_loss

#: Without x, distances are taken to all training answers up to this many.
MAX_SHARED_ANSWERS = 1024


class HingeOptions(MethodOptions):
    margin: Annotated[float, PER_REPLICATE, Field(gt=0, description="energy gap owed far from every answer")] = 1.0
    radius: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="distance at which the full margin is owed, in units of `scale`")
    ] = 0.3
    min_width: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="narrowest noise of a negative, in units of `scale`")
    ] = 0.03
    max_width: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="widest noise of a negative, in units of `scale`")
    ] = 0.5
    noise_negatives: Annotated[int, Field(ge=1, description="noisy answers an example")] = 2
    descent_negatives: Annotated[int, Field(ge=1, description="points an example found by descent from the box")] = 1
    descent_steps: Annotated[int, Field(ge=1, description="moves of each descent")] = 4
    answers: Annotated[
        int, Field(ge=1, description="nearest training answers to measure a distance to; without x all, up to 1024")
    ] = 64

    @model_validator(mode="after")
    def _widths_are_ordered(self) -> Self:
        if self.max_width < self.min_width:
            raise ValueError(f"a max_width >= min_width = {self.min_width}")
        return self


@METHODS.register
class Hinge(Method):
    """(m·min(1, d/rho) + E(x, y) - E(x, y'))₊ over negatives y' (LeCun et al. 2006, eq. 10, its margin scaled).

    d is the negative's distance to the nearest training answer. With a plain ball round one answer, a constant energy
    would tie with the perfect one wherever an x has many answers.
    """

    name = "hinge"
    family = "ebm"
    principle = "margin"
    normalised = False
    summary = "hinge loss, distance-scaled margin, negatives by noise and own descent (LeCun et al. 2006)"
    Options: ClassVar[type[MethodOptions]] = HingeOptions
    gaussian_optimum = GaussianOptimum(curvature=None)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        found, descent = options.descent_negatives, options.descent_negatives * options.descent_steps
        return 3.0 * (descent + 1 + options.noise_negatives + 2 * found)

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        size, y_dim, bounds = setting.budget.batch_size, model.y_box.dim, model.y_box.bounds
        noisy, found, steps = options.noise_negatives, options.descent_negatives, options.descent_steps
        kernel = model.data_kernel
        # Without x every training answer is an answer: (R, 1, N, dy); else those nearest in x: (R, N, C, dy).
        answers = kernel.centers(kernel.x, options.answers if kernel.x.shape[-1] else MAX_SHARED_ANSWERS)
        replicates = torch.arange(setting.num_replicates, device=answers.device).unsqueeze(1)

        def column(values: torch.Tensor) -> torch.Tensor:
            return values.to(answers).reshape(-1, 1, 1, 1)

        radius, margin = column(options.radius * options.scale), column(options.margin)
        widths = column(options.min_width * options.scale), column(options.max_width * options.scale)
        # From a quarter of the box down to the radius: far starts arrive, and the last moves are as fine as the margin.
        first = 0.25 * (bounds[1] - bounds[0])
        fractions = torch.linspace(0, 1, steps, device=answers.device, dtype=answers.dtype).reshape(-1, 1, 1, 1, 1)
        lengths = first * (radius.unsqueeze(0) / first).clamp_max(1.0) ** fractions

        def loss(batch: Batch) -> torch.Tensor:
            box = bounds[0] + (bounds[1] - bounds[0]) * batch.noise["box"]
            near = noisy_answers(batch.y, batch.noise["near"], batch.noise["width"], widths)
            x = batch.x.unsqueeze(2)
            offending = torch.cat([near, box, descended(energy, x, box, lengths, bounds)], 2)
            own = answers if answers.shape[1] == 1 else answers[replicates, batch.rows]
            owed = distance_scaled_margin(nearest_distance(offending, own), margin[..., 0], radius[..., 0])
            positive = energy(x, batch.y.unsqueeze(2)).squeeze(2)
            return hinge_loss(positive, energy(x, offending), owed)

        noise = {
            "near": Noise("normal", (size, noisy, y_dim)),
            "width": Noise("uniform", (size, noisy, 1)),
            "box": Noise("uniform", (size, found, y_dim)),
        }
        return train(model, loss, noise)
