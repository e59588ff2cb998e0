"""A deep ensemble of Gibbs-Boltzmann models."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

from pydantic import Field

from ...core.registry import METHODS
from ...models.building import build_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ...training.smoothing import SmoothingMethod
from ..posteriors.partition_gap import resampled_gap
from ..posteriors.posterior import PosteriorModel
from ..posteriors.weight_guides import PointGuide
from ..posteriors.weight_posteriors import PosteriorLoss, PriorOptions, latent_of, starts


class GibbsEnsembleOptions(PriorOptions):
    members: Annotated[int, Field(ge=1, description="energies in the ensemble")] = 5


@METHODS.register
class GibbsEnsemble(SmoothingMethod):
    """The mean density of M modes of the posterior, found from M initialisations (Lakshminarayanan et al. 2017).

    The first member is `gibbs_maximum_a_posteriori`; all see the same minibatches and differ in where they start,
    which is what tells members apart (Fort, Hu and Lakshminarayanan 2019). Adversarial training is left out. The
    recorded loss is the sum over the members.

    log Z is importance-sampled, so each member is the mode of a biased posterior: ln Z^ is too low in expectation, with
    x by tenths of a nat an example at 8 proposals (`PosteriorModel.partition_gap`). More `proposals` lower that in
    proportion.
    """

    name = "gibbs_ensemble"
    version = 2
    family = "prob"
    principle = "likelihood"
    normalised = True
    groups_thickness = False
    summary = "deep ensemble of Gibbs-Boltzmann models (Lakshminarayanan, Pritzel and Blundell 2017)"
    references = ("lakshminarayanan2017simple", "carvalho2010horseshoe")
    Options: ClassVar[type[MethodOptions]] = GibbsEnsembleOptions
    gaussian_optimum = GaussianOptimum(curvature=None)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return float(options.members * (3.0 * (1 + options.proposals) + options.prior_evaluations()))

    @classmethod
    def build(cls, setting: Setting) -> PosteriorModel:
        members = setting.options.members
        model = PosteriorModel(cls, setting, build_energy(setting), members)
        latent = latent_of(setting, model.module.space)
        model.module.guide = PointGuide(latent, starts(setting, latent, members))
        return model

    @classmethod
    def train(cls, model: Model) -> Training:
        module = cast("PosteriorModel", model).module
        guide = cast("PointGuide", module.guide)
        posterior = PosteriorLoss(model)
        loss = posterior.of(lambda batch: guide.sample(), guide.loc.shape[1])
        training = train(model, loss, posterior.noise)
        module.set_draws(guide.weights())
        module.partition_gap.copy_(resampled_gap(cast("PosteriorModel", model), posterior))
        return training
