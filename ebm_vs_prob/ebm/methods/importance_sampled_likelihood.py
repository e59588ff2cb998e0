"""Maximum likelihood with a normaliser estimated from a proposal's draws: ML-IS, KLD-IS and self-normalised."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ...data_kernel import squared_distances
from ...energies import build_energy
from ...method import GaussianOptimum, Method, MethodOptions, Setting
from ...model import EnergyModel, Model, Training
from ...options import PER_REPLICATE
from ...proposals import KernelProposal
from ...registry import METHODS
from ...training import Batch, Noise, train
from ..contrastive_objectives import (
    importance_sampled_loss,
    kl_divergence_importance_sampling_loss,
    self_normalised_loss,
)
from ..levels import LevelledModel, build_levelled
from ..proposal_options import ProposalOptions

Pair = tuple[torch.Tensor, torch.Tensor]


class ImportanceSampledOptions(ProposalOptions):
    sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, description="standard deviation of noise added to the data, in units of `scale`; 0 for raw data"),
    ] = 0.0


class _ImportanceSampled(Method):
    """Likelihood of the data, blurred where asked for, with Z(x) estimated from draws of the proposal."""

    family = "ebm"
    principle = "likelihood"
    normalised = False
    Options: ClassVar[type[MethodOptions]] = ImportanceSampledOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + (options.sigma * options.scale) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.sigma * options.scale)

    @classmethod
    @abstractmethod
    def objective(cls, model: Model, x: torch.Tensor, energies: Pair, log_density: torch.Tensor) -> torch.Tensor:
        """The objective, (R,), of (positive, negative) energies and ln q of the draws, for x (R, B, dx)."""

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        sigma = options.sigma * options.scale
        proposal = KernelProposal(model, options, sigma, options.centers)
        blur = sigma.to(proposal.widths).reshape(-1, 1, 1)

        def loss(batch: Batch) -> torch.Tensor:
            samples, log_density = proposal.draw(batch, proposal.centers(batch))
            y = batch.y + blur * batch.noise["y"] if "y" in batch.noise else batch.y
            energies = energy(batch.x, y), energy(proposal.queried(batch.x), samples)
            return cls.objective(model, batch.x, energies, log_density)

        noise = proposal.noise
        if bool((sigma > 0).any()):
            noise["y"] = Noise("normal", (setting.budget.batch_size, model.y_box.dim))
        return train(model, loss, noise)


@METHODS.register
class ImportanceSampledLikelihood(_ImportanceSampled):
    """E(x, y) + ln Ẑ(x) (Gustafsson et al. 2020, eq. 6): the estimator of `gibbs_maximum_likelihood`, and no density.

    The training is the same; the model answers as an unnormalised energy, whose temperature is fitted afterwards.
    """

    name = "importance_sampled_likelihood"
    summary = "maximum likelihood, log Z by importance sampling: ML-IS (Gustafsson et al. 2020)"

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (1 + options.proposals)

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def objective(cls, model: Model, x: torch.Tensor, energies: Pair, log_density: torch.Tensor) -> torch.Tensor:
        return importance_sampled_loss(*energies, log_density)


@METHODS.register
class SelfNormalisedLikelihood(_ImportanceSampled):
    """E(x, y) + b(x) + exp(-b(x)) Ẑ(x) - 1, minimised over E and b (Senetaire et al. 2025).

    b ends as an estimate of ln Z: `model.log_normalizer(x)` gives it with an error.
    """

    name = "self_normalised_likelihood"
    summary = "maximum likelihood with a learned log-normaliser (Senetaire et al. 2025)"

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
    def objective(cls, model: Model, x: torch.Tensor, energies: Pair, log_density: torch.Tensor) -> torch.Tensor:
        return self_normalised_loss(*energies, log_density, cast("LevelledModel", model).module.log_normalizer(x))


class KLDivergenceOptions(ProposalOptions):
    sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="width of the Gaussian target round each answer, units of `scale`"),
    ] = 0.1


@METHODS.register
class KLDivergenceImportanceSampling(Method):
    """KL(N(y, sigma² I) ‖ p(· | x)) by importance sampling: KLD-IS (Gustafsson et al. 2020, section 3.3).

    E learns -ln p_sigma, up to a constant of x. The target's own kernel is always part of the proposal, so the weights
    k / q are bounded; half of the kernels at each x sit on the answer, the other half on its neighbours' (without x,
    all on the answers of the minibatch; with `centers = "answer"`, all on the answer).
    """

    name = "kl_divergence_importance_sampling"
    family = "ebm"
    principle = "contrastive"
    normalised = False
    summary = "divergence to a Gaussian round each answer, by importance sampling: KLD-IS (Gustafsson et al. 2020)"
    Options: ClassVar[type[MethodOptions]] = KLDivergenceOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + (options.sigma * options.scale) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.sigma * options.scale)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * options.proposals

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        options, energy = model.setting.options, model.module
        width = options.sigma * options.scale
        proposal = KernelProposal(model, options, width, options.centers, leave_out=True, batch_centers=True)
        sigma = width.to(proposal.widths).reshape(-1, 1, 1)
        proposal.widths = torch.cat([sigma[..., 0], proposal.widths], 1)
        log_norm = model.y_box.dim * (sigma.log() + 0.5 * math.log(2 * math.pi))

        def loss(batch: Batch) -> torch.Tensor:
            answers = batch.y.unsqueeze(1 if proposal.shared else 2)
            centers = proposal.centers(batch)
            if not proposal.shared and centers.shape[2] > 1:
                centers = torch.cat([centers, answers.expand_as(centers)], 2)
            samples, log_density = proposal.draw(batch, centers)
            squared = squared_distances(samples.flatten(0, 1), answers.flatten(0, 1)).unflatten(0, samples.shape[:2])
            log_kernel = -0.5 * squared / sigma.unsqueeze(-1).square()
            log_target = log_kernel.logsumexp(-1) - math.log(answers.shape[2]) - log_norm
            negative = energy(proposal.queried(batch.x), samples)
            return kl_divergence_importance_sampling_loss(negative, log_density, log_target)

        return train(model, loss, proposal.noise)
