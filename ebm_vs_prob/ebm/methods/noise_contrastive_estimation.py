"""Noise-contrastive estimation: tell the data from draws of a known density, one against one or one among many."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ...energies import build_energy
from ...method import GaussianOptimum, Method, MethodOptions, Setting
from ...model import EnergyModel, Model, Training
from ...options import PER_REPLICATE
from ...proposals import KernelProposal
from ...registry import METHODS
from ...training import Batch, Noise, train
from ..contrastive_objectives import binary_noise_contrastive_loss, ranking_noise_contrastive_loss
from ..levels import LevelledModel, build_levelled
from ..proposal_options import ProposalOptions

Pair = tuple[torch.Tensor, torch.Tensor]


class NoiseContrastiveOptions(ProposalOptions):
    positive_noise: Annotated[
        float,
        PER_REPLICATE,
        Field(
            ge=0, description="standard deviation of Gaussian noise on the right answers (NCE+), in units of `scale`"
        ),
    ] = 0.0


class _NoiseContrast(Method):
    """What both forms share: right answers, blurred where asked for, and draws of the proposal, with ln q of each."""

    family = "ebm"
    principle = "contrastive"
    normalised = False
    Options: ClassVar[type[MethodOptions]] = NoiseContrastiveOptions
    gaussian_optimum = GaussianOptimum(
        curvature=lambda options: 1 / (1 + (options.positive_noise * options.scale) ** 2)
    )

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.positive_noise * options.scale)

    @classmethod
    @abstractmethod
    def contrast(cls, model: Model, x: torch.Tensor, energies: Pair, densities: Pair) -> torch.Tensor:
        """The objective, (R,), of (positive, negative) energies and ln q at the same points, for x (R, B, dx)."""

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        sigma = options.positive_noise * options.scale
        # Were an example's own answer among its kernels' centres, q would know what it is to be told from.
        proposal = KernelProposal(model, options, sigma, options.centers, leave_out=True)
        blur = sigma.to(proposal.widths).reshape(-1, 1, 1)

        def loss(batch: Batch) -> torch.Tensor:
            centers = proposal.centers(batch)
            samples, log_density = proposal.draw(batch, centers)
            y = batch.y + blur * batch.noise["y"] if "y" in batch.noise else batch.y
            energies = energy(batch.x, y), energy(proposal.queried(batch.x), samples)
            return cls.contrast(model, batch.x, energies, (proposal.log_density(y, centers), log_density))

        noise = proposal.noise
        if bool((sigma > 0).any()):
            noise["y"] = Noise("normal", (setting.budget.batch_size, model.y_box.dim))
        return train(model, loss, noise)


@METHODS.register
class NoiseContrastiveEstimation(_NoiseContrast):
    """Logistic regression of the data against draws of q: at the optimum E + b = -ln p (Gutmann and Hyvärinen 2012).

    b is learned beside the energy and estimates its ln Z: `model.log_normalizer(x)` gives it with an error.
    """

    name = "noise_contrastive_estimation"
    summary = "binary noise-contrastive estimation, its normaliser learned (Gutmann and Hyvärinen 2012)"

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # The log-normaliser, a network of the energy's size, once an example.
        return 3.0 * (2 + options.proposals)

    @classmethod
    def build(cls, setting: Setting) -> LevelledModel:
        return LevelledModel(cls, setting, build_levelled(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        cast("LevelledModel", model).start_log_normalizer()
        return super().train(model)

    @classmethod
    def contrast(cls, model: Model, x: torch.Tensor, energies: Pair, densities: Pair) -> torch.Tensor:
        return binary_noise_contrastive_loss(
            *energies, *densities, cast("LevelledModel", model).module.log_normalizer(x)
        )


@METHODS.register
class RankingNoiseContrastiveEstimation(_NoiseContrast):
    """Which of the answer and the draws is the answer? (Jozefowicz et al. 2016; Ma and Collins 2018, eq. 3.)

    Consistent for any number of draws where q does not know the answer (`centers = "neighbours"`). With
    `centers = "answer"` it is the NCE of Gustafsson et al. 2020, and with `positive_noise` their NCE+, whose noise on
    the answer is the proposal's mixture of kernels made narrower, and here one Gaussian.
    """

    name = "ranking_noise_contrastive_estimation"
    summary = "ranking noise-contrastive estimation (Jozefowicz et al. 2016; Ma and Collins 2018)"

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (1 + options.proposals)

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def contrast(cls, model: Model, x: torch.Tensor, energies: Pair, densities: Pair) -> torch.Tensor:
        return ranking_noise_contrastive_loss(*energies, *densities)
