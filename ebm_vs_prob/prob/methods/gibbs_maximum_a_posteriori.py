"""The Gibbs-Boltzmann model of an energy, its weights at the mode of their posterior."""

from __future__ import annotations

from typing import ClassVar, cast

from ...core.registry import METHODS
from ...models.building import build_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.loop import train
from ...training.method import MethodOptions
from ..posteriors.posterior import PosteriorModel
from ..posteriors.posterior_method import PosteriorMethod
from ..posteriors.weight_guides import PointGuide
from ..posteriors.weight_posteriors import PosteriorLoss, PriorOptions, latent_of, starts


@METHODS.register
class GibbsMaximumAPosteriori(PosteriorMethod):
    """max over theta of p(theta) Π exp(-E_theta(x_i, y_i)) / Z_theta(x_i): `gibbs_maximum_likelihood` with a prior.

    In Pyro: the weights are sample sites, the guide is a Delta at each, and log Z is kept. Over the number N of
    examples the objective is that of an energy-based model with a regulariser: strength / N is the weight of
    `weight_decay` (gaussian) or `l1_penalty` (laplace), 2 strength / N that of `gradient_penalty` (smoothness).

    log Z is importance-sampled as in `gibbs_maximum_likelihood`, so it is the mode of a biased posterior: ln Z^ is too
    low in expectation, with x by tenths of a nat an example at 8 proposals (`PosteriorModel.partition_gap`). More
    `proposals` lower that in proportion; 8 is the default of `importance_sampled_likelihood`.
    """

    name = "gibbs_maximum_a_posteriori"
    version = 2
    summary = "Gibbs-Boltzmann model at the mode of a posterior over its weights (MacKay 1992)"
    references = ("mackay1992practical", "carvalho2010horseshoe")
    cited_with: ClassVar = {"carvalho2010horseshoe": ("prior", ("horseshoe",))}
    Options: ClassVar[type[MethodOptions]] = PriorOptions

    @classmethod
    def build(cls, setting: Setting) -> PosteriorModel:
        count = cls.trained_together(setting.options)
        model = PosteriorModel(cls, setting, build_energy(setting), count)
        latent = latent_of(setting, model.module.space)
        model.module.guide = PointGuide(latent, starts(setting, latent, count))
        return model

    @classmethod
    def train(cls, model: Model) -> Training:
        guide = cast("PointGuide", cast("PosteriorModel", model).module.guide)
        posterior = PosteriorLoss(model)
        training = train(model, posterior.of(lambda batch: guide.sample(), guide.loc.shape[1]), posterior.noise)
        cls.keep(cast("PosteriorModel", model), guide.weights(), posterior)
        return training
