"""The Gibbs-Boltzmann model of an energy, fitted by maximum likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import torch

from ...core.registry import METHODS
from ...energies.evaluation import distinct
from ...gibbs.density import GibbsBoltzmann
from ...gibbs.normalizers import ImportanceSampling
from ...models.building import build_energy
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.proposals import KernelProposalOptions, ProposedAnswers, kernel_multiply_adds, proposal_evaluations
from ...training.smoothing import SmoothingMethod
from ..objectives.bounds import ReplicatedELBO, no_guide


@METHODS.register
class GibbsMaximumLikelihood(SmoothingMethod):
    """q(y | x) = exp(-E(x, y)) / Z(x): maximum likelihood with log Z by importance sampling from a data kernel.

    The estimate is the ML-IS of Gustafsson et al. 2020: ln Z(x) ≈ ln mean_m exp(-E(x, y_m)) / q(y_m | x), whose
    gradient is exact as the number of proposals grows, for which the optimum is declared. In evaluation log Z is
    composite quadrature.
    """

    name = "gibbs_maximum_likelihood"
    twin = "importance_sampled_likelihood"
    family = "prob"
    principle = "likelihood"
    normalised = True
    groups_thickness = False
    summary = "Gibbs-Boltzmann model by maximum likelihood, log Z by importance sampling (Gustafsson et al. 2020)"
    references = ("gustafsson2020how",)
    Options: ClassVar[type[MethodOptions]] = KernelProposalOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return proposal_evaluations(options)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        return kernel_multiply_adds(options, task, options.proposals)

    @classmethod
    def build(cls, setting: Setting) -> DensityModel:
        return DensityModel(cls, setting, build_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, answers, elbo = model.module, ProposedAnswers.of(model), ReplicatedELBO()
        size, y_dim, bounds = model.setting.budget.batch_size, model.y_box.dim, model.y_box.bounds

        def gibbs(x: torch.Tensor, y: torch.Tensor, samples: torch.Tensor, log_density: torch.Tensor) -> None:
            normalizer = ImportanceSampling(samples=samples, log_density=log_density)
            density = GibbsBoltzmann(
                energy, y_dim=y_dim, x=distinct(x), bounds=bounds, normalizer=normalizer, validate_args=False
            )
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", density, obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            drawn = answers(batch)
            arguments = batch.x, drawn.batch.y, drawn.samples, drawn.log_density
            return elbo.replicate_losses(gibbs, no_guide, *arguments) / size

        return train(model, loss, answers.noise)
