"""Maximum likelihood with a normaliser estimated from a proposal's draws: ML-IS, KLD-IS and self-normalised."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...models.data_kernel import squared_distances
from ...models.model import Model
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.method import MethodOptions
from ...training.proposals import KernelProposal, ProposalDraws, kernel_multiply_adds
from ...training.smoothing import SmoothingMethod
from ..objectives.contrastive import (
    importance_sampled_loss,
    kl_divergence_importance_sampling_loss,
    self_normalised_loss,
)
from ..proposal_method import LogNormalizerMethod, ProposalMethod, ProposalOptions


@METHODS.register
class ImportanceSampledLikelihood(ProposalMethod):
    """E(x, y) + ln Ẑ(x), Ẑ from draws of the proposal (ML-IS: Gustafsson et al. 2020).

    The estimator is that of `gibbs_maximum_likelihood`, and so is the training; the model answers as an unnormalised
    energy, whose temperature is fitted afterwards.
    """

    name = "importance_sampled_likelihood"
    twin = "gibbs_maximum_likelihood"
    principle = "likelihood"
    summary = "maximum likelihood, log Z by importance sampling: ML-IS (Gustafsson et al. 2020)"
    references = ("gustafsson2020how",)

    @classmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        return importance_sampled_loss(*drawn.energies(model), drawn.log_density)


@METHODS.register
class SelfNormalisedLikelihood(LogNormalizerMethod):
    """E(x, y) + b(x) + exp(-b(x)) Ẑ(x) - 1, minimised over E and b (Senetaire et al. 2025).

    b ends as an estimate of ln Z: `model.log_normalizer(x)` gives it with an error.
    """

    name = "self_normalised_likelihood"
    principle = "likelihood"
    summary = "maximum likelihood with a learned log-normaliser (Senetaire et al. 2025)"
    references = ("senetaire2025learning",)
    # Linear in Ẑ, which is unbiased wherever the kernels sit: exact for any number of draws.
    gaussian_optimum = SmoothingMethod.gaussian_optimum

    @classmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        return self_normalised_loss(*drawn.energies(model), drawn.log_density, cls.level(model, drawn))


class KLDivergenceOptions(ProposalOptions):
    sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="width of the Gaussian target round each answer, units of `scale`"),
    ] = 0.1
    propose_target: Annotated[
        bool,
        Field(description="make the target part of the proposal, which bounds the weights; off in the original"),
    ] = True


@METHODS.register
class KLDivergenceImportanceSampling(ProposalMethod):
    """KL(N(y, sigma² I) ‖ p(· | x)) by importance sampling: KLD-IS (Gustafsson et al. 2020).

    E learns -ln p_sigma, up to a constant of x. With `propose_target` the target's own kernel is part of the proposal,
    so that the weights k / q are bounded: half of the kernels at each x sit on the answer, the other half on its
    neighbours' (without x, all on the answers of the minibatch; with `centers = "answer"`, all on the answer). Without
    it, as in the original, a target narrower than the proposal is met by few draws, of great weight.
    """

    name = "kl_divergence_importance_sampling"
    principle = "contrastive"
    summary = "divergence to a Gaussian round each answer, by importance sampling: KLD-IS (Gustafsson et al. 2020)"
    references = ("gustafsson2020how",)
    adds_noise = False
    Options: ClassVar[type[MethodOptions]] = KLDivergenceOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * options.proposals

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        """The proposal's density at its draws, and their distances to what the target sits on."""
        x_dim, y_dim = (getattr(space, "dim", 0) for space in (task.x_space, task.y_space))
        shared = not x_dim and options.centers == "neighbours"
        kernels = batch_size if shared else 1 if options.centers == "answer" else 2 * options.neighbours
        target = options.proposals * y_dim * (batch_size if shared else 1)
        return kernel_multiply_adds(options, task, options.proposals, kernels, int(options.propose_target)) + target

    @classmethod
    def proposal(cls, model: Model, smoothing: torch.Tensor) -> KernelProposal:
        options = model.setting.options
        proposal = KernelProposal(model, options, smoothing, options.centers, leave_out=True, batch_centers=True)
        if options.propose_target:
            proposal.widths = torch.cat([smoothing.to(proposal.widths).unsqueeze(1), proposal.widths], 1)
        return proposal

    @classmethod
    def centers(cls, proposal: KernelProposal, batch: Batch) -> torch.Tensor:
        centers = proposal.centers(batch)
        if proposal.shared or centers.shape[2] == 1:
            return centers
        return torch.cat([centers, batch.y.unsqueeze(2).expand_as(centers)], 2)

    @classmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        options, samples = model.setting.options, drawn.samples
        answers = drawn.batch.y.unsqueeze(1 if drawn.proposal.shared else 2)
        sigma = (options.sigma * options.scale).to(samples).reshape(-1, 1, 1)
        squared = squared_distances(samples.flatten(0, 1), answers.flatten(0, 1)).unflatten(0, samples.shape[:2])
        log_norm = samples.shape[-1] * (sigma.log() + 0.5 * math.log(2 * math.pi))
        log_kernel = -0.5 * squared / sigma.unsqueeze(-1).square()
        log_target = log_kernel.logsumexp(-1) - math.log(answers.shape[2]) - log_norm
        return kl_divergence_importance_sampling_loss(drawn.negative_energy(model), drawn.log_density, log_target)
