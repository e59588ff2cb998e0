"""A variational posterior over a Gibbs-Boltzmann model's weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, cast

from pydantic import Field

from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_noise
from ...models.building import build_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.batches import Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ..posteriors.posterior import PosteriorModel
from ..posteriors.posterior_method import PosteriorMethod
from ..posteriors.weight_guides import NormalGuide
from ..posteriors.weight_posteriors import PosteriorLoss, ProperPriorOptions, latent_of


class GibbsVariationalBayesOptions(ProperPriorOptions):
    rank: Annotated[
        int, Field(ge=0, description="columns of the guide's low-rank covariance; 0 for a diagonal, mean-field one")
    ] = 0
    initial_scale: Annotated[
        float, Field(gt=0, description="standard deviation of the guide before training, in the weights' unit")
    ] = 0.01
    draws: Annotated[int, Field(ge=1, description="draws of the guide that make the model")] = 16


@METHODS.register
class GibbsVariationalBayes(PosteriorMethod):
    """A normal guide over the weights by the ELBO, mean-field or low-rank (Blundell et al. 2015; Ong et al. 2018).

    The guides of Pyro's `AutoNormal` and `AutoLowRankMultivariateNormal`, for R replicates at once; one reparameterised
    draw a step. The model is the mean density of `draws` draws of the trained guide.

    log Z is importance-sampled, so the objective is no lower bound on the evidence: ln Z^ is too low in expectation and
    the objective too high by N times that, which `PosteriorModel.partition_gap` has an example. It falls as
    1 / `proposals`.
    """

    name = "gibbs_variational_bayes"
    version = 2
    summary = "Gibbs-Boltzmann model, variational posterior over its weights (Blundell et al. 2015)"
    references = ("blundell2015weight", "ong2018gaussian", "carvalho2010horseshoe")
    cited_with: ClassVar = {
        "carvalho2010horseshoe": ("prior", ("horseshoe",)),
        "ong2018gaussian": ("rank", ()),
    }
    Options: ClassVar[type[MethodOptions]] = GibbsVariationalBayesOptions

    @classmethod
    def build(cls, setting: Setting) -> PosteriorModel:
        options = setting.options
        model = PosteriorModel(cls, setting, build_energy(setting), options.draws)
        latent = latent_of(setting, model.module.space)
        model.module.guide = NormalGuide(latent, latent.start(), options.initial_scale, options.rank)
        return model

    @classmethod
    def train(cls, model: Model) -> Training:
        setting = model.setting
        guide = cast("NormalGuide", cast("PosteriorModel", model).module.guide)
        posterior = PosteriorLoss(model, {"weights": Noise("normal", (guide.noise_size,))})
        training = train(model, posterior.of(lambda batch: guide.sample(batch.noise["weights"])), posterior.noise)
        shape = (setting.options.draws, guide.noise_size)
        generators = replicate_generators(setting.seeds, "posterior draws")
        noise = replicate_noise(generators, shape, dtype=setting.dtype, device=setting.device, dim=1)
        cls.keep(cast("PosteriorModel", model), guide.weights(noise), posterior)
        return training
