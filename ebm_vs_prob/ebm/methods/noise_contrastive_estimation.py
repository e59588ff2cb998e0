"""Noise-contrastive estimation: tell the data from draws of a known density, one against one or one among many."""

from __future__ import annotations

import torch

from ...core.registry import METHODS
from ...models.model import Model
from ...training.proposals import KernelProposal, ProposalDraws
from ..objectives.contrastive import binary_noise_contrastive_loss, ranking_noise_contrastive_loss
from ..proposal_method import LogNormalizerMethod, ProposalMethod


class _NoiseContrast(ProposalMethod):
    """A contrast with noise that does not know the answer it is to be told from, unless its kernels sit there."""

    principle = "contrastive"
    weighs_answers = True

    @classmethod
    def proposal(cls, model: Model, smoothing: torch.Tensor) -> KernelProposal:
        options = model.setting.options
        return KernelProposal(model, options, smoothing, options.centers, leave_out=True)


@METHODS.register
class NoiseContrastiveEstimation(LogNormalizerMethod, _NoiseContrast):
    """Logistic regression of the data against draws of q: at the optimum E + b = -ln p (Gutmann and Hyvärinen 2012).

    b is learned beside the energy and estimates its ln Z: `model.log_normalizer(x)` gives it with an error.
    """

    name = "noise_contrastive_estimation"
    summary = "binary noise-contrastive estimation, its normaliser learned (Gutmann and Hyvärinen 2012)"
    references = ("gutmann2012noise",)

    @classmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        return binary_noise_contrastive_loss(*drawn.energies(model), *drawn.log_densities(), cls.level(model, drawn))


@METHODS.register
class RankingNoiseContrastiveEstimation(_NoiseContrast):
    """Which of the answer and the draws is the answer? (Jozefowicz et al. 2016; Ma and Collins 2018.)

    Consistent for any number of draws where q does not know the answer (`centers = "neighbours"`). With
    `centers = "answer"` it is the NCE of Gustafsson et al. 2020, and with `sigma` their NCE+, whose noise on the answer
    is the proposal's mixture of kernels made narrower, and here one Gaussian.
    """

    name = "ranking_noise_contrastive_estimation"
    summary = "ranking noise-contrastive estimation (Jozefowicz et al. 2016; Ma and Collins 2018)"
    references = ("jozefowicz2016exploring", "ma2018noise")
    version = 2

    @classmethod
    def proposal(cls, model: Model, smoothing: torch.Tensor) -> KernelProposal:
        options = model.setting.options
        return KernelProposal(model, options, smoothing, options.centers, leave_out=True, stratified=False)

    @classmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        return ranking_noise_contrastive_loss(*drawn.energies(model), *drawn.log_densities())
