"""Energy discrepancy: the energy of an answer against those of points that the same perturbation may have come from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...models.model import Model
from ...models.record import Training
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ..objectives.contrastive import energy_discrepancy_loss
from ..regularisers import RegularisedMethod, RegularisedOptions


class EnergyDiscrepancyOptions(RegularisedOptions, SmoothingOptions):
    perturbation: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="standard deviation sqrt(t) of the perturbation and of each way back, in `scale`s"),
    ] = 0.3
    draws: Annotated[int, Field(ge=1, le=1 << 16, description="M, ways back from each perturbed answer")] = 16
    stabiliser: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="w, how often the answer itself counts among its M rivals; 1 leaves no bias"),
    ] = 1.0


def gaussian_curvature(options: Any) -> float | None:
    """That of the data, blurred where asked for, at w = 1, whatever M and t are; else only the sign is known.

    On N(0, 1) with t = .25 one draw back gives 1.37 at w = .5 and .77 at w = 2, sixteen give 1.04 and .94.
    """
    if options.stabiliser != 1.0:
        return None
    return 1 / (1 + float(options.sigma * options.scale) ** 2)


@METHODS.register
class EnergyDiscrepancy(RegularisedMethod, SmoothingMethod):
    """ln (w + Σ_m e^{E(x, y) - E(x, y_m)}), y_m = y + sqrt(t) (n + n_m): Schröder et al. 2023.

    n is one Gaussian perturbation of the answer and the n_m are M ways back. Without w this estimates the energy
    discrepancy E E(y) - E E_t(y + sqrt(t) n), E_t the energy of the perturbed model, which no likelihood, score or
    chain enters. It is least at E = -ln p, turns into score matching as t falls and into maximum likelihood as t grows;
    w > 0 bounds the estimate below.

    At w = 1 -ln p is the minimum for any number of draws: given the perturbed answer, the answer is a draw of the law
    p times the Gaussian kernel round it, its rivals are draws of that kernel, and the loss is the ranking contrast
    between them, with noise that is conditional on the data (Ceylan and Gutmann 2018).
    """

    name = "energy_discrepancy"
    principle = "contrastive"
    summary = "energy discrepancy by a Gaussian perturbation and draws back from it (Schröder et al. 2023)"
    references = ("schroder2023energy", "ceylan2018conditional")
    Options: ClassVar[type[MethodOptions]] = EnergyDiscrepancyOptions
    gaussian_optimum = GaussianOptimum(curvature=gaussian_curvature)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (1 + options.draws)

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, blur, options = model.module, Blur(model), model.setting.options
        shape = (model.setting.budget.batch_size, model.y_box.dim)
        like = torch.zeros(1, 1, 1, 1, dtype=model.setting.dtype, device=model.setting.device)
        width = options.column("perturbation", like) * options.column("scale", like)
        stabiliser = options.column("stabiliser", like[0, 0])

        def loss(batch: Batch) -> torch.Tensor:
            y = blur(batch).unsqueeze(2)
            rivals = y + width * (batch.noise["perturbation"].unsqueeze(2) + batch.noise["back"])
            x = batch.x.unsqueeze(2)
            return energy_discrepancy_loss(energy(x, y).squeeze(2), energy(x, rivals), stabiliser)

        noise = {
            "perturbation": Noise("normal", shape),
            "back": Noise("normal", (shape[0], options.draws, shape[1])),
        }
        return train(model, loss, {**blur.noise, **noise})
