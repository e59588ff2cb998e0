"""The Gibbs-Boltzmann model of an energy, fitted by maximum likelihood."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyro
import torch
from pydantic import Field

from ...energies import build_energy, distinct
from ...method import GaussianOptimum, Method, MethodOptions, Setting
from ...model import DensityModel, Model, Training
from ...options import PER_REPLICATE
from ...proposals import KernelProposal
from ...registry import METHODS
from ...training import Batch, Noise, train
from ..gibbs import GibbsBoltzmann
from ..normalizers import ImportanceSampling
from ..objectives import ReplicatedELBO, no_guide


class GibbsMaximumLikelihoodOptions(MethodOptions):
    sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, description="standard deviation of noise added to the data, in units of `scale`; 0 for raw data"),
    ] = 0.0
    proposals: Annotated[int, Field(ge=2, description="importance samples of log Z an example")] = 8
    neighbours: Annotated[int, Field(ge=1, description="training answers that centre the proposal's kernels")] = 16
    widths: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        Field(description="the proposal's kernel widths in units of `scale`; learned from the data where not given"),
    ] = None


@METHODS.register
class GibbsMaximumLikelihood(Method):
    """q(y | x) = exp(-E(x, y)) / Z(x): maximum likelihood with log Z by importance sampling from a data kernel.

    The estimate is the ML-IS of Gustafsson et al. 2020, eq. 6: ln Z(x) ≈ ln mean_m exp(-E(x, y_m)) / q(y_m | x), whose
    gradient is exact as the number of proposals grows. In evaluation log Z is composite quadrature.
    """

    name = "gibbs_maximum_likelihood"
    family = "prob"
    principle = "likelihood"
    normalised = True
    groups_thickness = False
    summary = "Gibbs-Boltzmann model by maximum likelihood, log Z by importance sampling (Gustafsson et al. 2020)"
    Options: ClassVar[type[MethodOptions]] = GibbsMaximumLikelihoodOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + (options.sigma * options.scale) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.sigma * options.scale)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (1 + options.proposals)

    @classmethod
    def build(cls, setting: Setting) -> DensityModel:
        return DensityModel(cls, setting, build_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        size, y_dim, bounds = setting.budget.batch_size, model.y_box.dim, model.y_box.bounds
        width = options.sigma * options.scale
        proposal = KernelProposal(model, options, width)
        sigma = width.to(proposal.widths).reshape(-1, 1, 1)
        elbo = ReplicatedELBO()

        def gibbs(x: torch.Tensor, y: torch.Tensor, samples: torch.Tensor, log_density: torch.Tensor) -> None:
            normalizer = ImportanceSampling(samples=samples, log_density=log_density)
            density = GibbsBoltzmann(
                energy, y_dim=y_dim, x=distinct(x), bounds=bounds, normalizer=normalizer, validate_args=False
            )
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", density, obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            noise = batch.noise
            samples, log_density = proposal.draw(batch, proposal.centers(batch))
            y = batch.y + sigma * noise["y"] if "y" in noise else batch.y
            return elbo.replicate_losses(gibbs, no_guide, batch.x, y, samples, log_density) / size

        noise = proposal.noise
        if bool((sigma > 0).any()):
            noise["y"] = Noise("normal", (size, y_dim))
        return train(model, loss, noise)
