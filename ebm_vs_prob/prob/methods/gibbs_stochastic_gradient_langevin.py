"""Posterior draws of a Gibbs-Boltzmann model's weights by stochastic gradient Langevin dynamics."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import nn

from ...core.registry import METHODS
from ...models.building import build_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.loop import train
from ...training.method import MethodOptions
from ..posteriors.langevin import StochasticGradientLangevin
from ..posteriors.posterior import PosteriorModel
from ..posteriors.posterior_diagnostics import Chains, FollowedFunctions
from ..posteriors.posterior_method import PosteriorMethod
from ..posteriors.weight_guides import PointGuide
from ..posteriors.weight_posteriors import ChainOptions, PosteriorLoss, chain_plan, latent_of, starts


class GibbsStochasticGradientLangevinOptions(ChainOptions):
    decay: Annotated[float, Field(ge=0, le=1, description="the step falls as (1 + t / offset)^-decay")] = 0.55
    offset: Annotated[float, Field(gt=0, description="steps over which the first step size lasts")] = 100.0
    preconditioned: Annotated[
        bool, Field(description="scale steps and noise by the running gradient (Li et al. 2016)")
    ] = True


@METHODS.register
class GibbsStochasticGradientLangevin(PosteriorMethod):
    """Draws of the weights along noisy minibatch gradient steps, at no Metropolis test (Welling and Teh 2011).

    `learning_rate` is the first step in units of the mean loss: their ε is 2 learning_rate / N. C chains start from
    energies initialised apart; after burn-in D states of each are kept. The draws are biased by the step and by log Z
    estimated from few proposals, which R-hat does not show; the second is on record (`PosteriorModel.partition_gap`).
    The recorded loss is the sum over the chains.
    """

    name = "gibbs_stochastic_gradient_langevin"
    version = 2
    summary = "Gibbs-Boltzmann model, posterior over weights by stochastic gradient Langevin (Welling and Teh 2011)"
    references = ("welling2011bayesian", "li2016preconditioned", "carvalho2010horseshoe")
    cited_with: ClassVar = {
        "carvalho2010horseshoe": ("prior", ("horseshoe",)),
        "li2016preconditioned": ("preconditioned", (True,)),
    }
    Options: ClassVar[type[MethodOptions]] = GibbsStochasticGradientLangevinOptions

    @classmethod
    def trained_together(cls, options: Any) -> int:
        return int(options.chains)

    @classmethod
    def build(cls, setting: Setting) -> PosteriorModel:
        chains = setting.options.chains
        energy = build_energy(setting)
        plan = chain_plan(cls, setting, energy, setting.budget.batch_size)
        model = PosteriorModel(cls, setting, energy, chains * len(plan.kept))
        latent = latent_of(setting, model.module.space)
        model.module.guide = PointGuide(latent, starts(setting, latent, chains), jacobian=True)
        model.module.follow(
            Chains(setting.num_replicates, chains, len(plan.states), FollowedFunctions.count_of(setting))
        )
        return model

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, module = model.setting, model.setting.options, cast("PosteriorModel", model).module
        guide, record = cast("PointGuide", module.guide), cast("Chains", module.chains)
        plan = chain_plan(cls, setting, module.space.energy, setting.budget.batch_size)
        index = {step: number for number, step in enumerate(plan.states)}
        followed = FollowedFunctions(model, module.space)
        draws: list[torch.Tensor] = []

        def after_step(steps: int) -> None:
            number = index.get(steps)
            if number is None:
                return
            weights = guide.weights()
            record.trace[:, :, number] = followed(weights.movedim(1, 0)).movedim(0, 1).to(record.trace)
            if number in plan.kept:
                draws.append(weights)

        def dynamics(trained: nn.Module, rates: torch.Tensor) -> StochasticGradientLangevin:
            return StochasticGradientLangevin(
                trained,
                rates,
                seeds=setting.seeds,
                num_examples=setting.budget.examples,
                decay=options.decay,
                offset=options.offset,
                preconditioned=options.preconditioned,
            )

        posterior = PosteriorLoss(model)
        loss = posterior.of(lambda batch: guide.sample(), options.chains)
        training = train(model, loss, posterior.noise, make_optimizer=dynamics, after_step=after_step)
        cls.keep(cast("PosteriorModel", model), torch.stack(draws, 2).flatten(1, 2), posterior)
        return training
