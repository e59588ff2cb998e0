"""Posterior draws of a small Gibbs-Boltzmann model's weights by Pyro's NUTS."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ...core.budget import Cost
from ...core.errors import invalid
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators
from ...core.seeding import stream
from ...models.building import build_energy
from ...models.model import Model
from ...models.record import ReplicateStatus, Training
from ...models.setting import Setting, training_data
from ...training.batches import Batch
from ...training.method import MethodOptions
from ..posteriors.nuts import Chain, nuts_chain
from ..posteriors.partition_gap import fixed_gap
from ..posteriors.posterior import PosteriorModel
from ..posteriors.posterior_diagnostics import Chains, FollowedFunctions
from ..posteriors.posterior_method import PosteriorMethod
from ..posteriors.weight_posteriors import ChainOptions, PosteriorLoss, chain_plan, latent_of, starts


class GibbsNutsOptions(ChainOptions):
    chains: Annotated[int, Field(ge=2, description="chains, from energies initialised apart")] = 2
    proposals: Annotated[
        int, Field(ge=2, description="importance samples of log Z an example, drawn once and kept")
    ] = 16
    max_tree_depth: Annotated[
        int, Field(ge=1, le=12, description="doublings of a transition: at most 2^depth gradients")
    ] = 5
    target_acceptance: Annotated[
        float, Field(gt=0, lt=1, description="mean acceptance probability that warm-up adapts the step to")
    ] = 0.8
    max_weights: Annotated[
        int, Field(ge=1, description="weights, and scales of the prior, that a network may have")
    ] = 2000


@METHODS.register
class GibbsNuts(PosteriorMethod):
    """Draws of the weights by the No-U-Turn sampler (Hoffman and Gelman 2014), Pyro's own, for small networks.

    The budget's steps are the transitions of each chain; `burn_in` of them warm up. Every gradient is of all training
    examples, and a budget of multiply-adds pays for as many transitions of the deepest trees. log Z is
    importance-sampled on draws made once, so that the potential is a function: with few of them the posterior prefers
    weights that they flatter. How far off they are, nats at the draws that are kept, is on record
    (`PosteriorModel.partition_gap`). One replicate at a time: trees of different depth do not stack.
    `energy_evaluations`, of planning, is that of the deepest trees; what was spent is counted: the steps on record are
    the transitions of each chain. The recorded loss is the potential over N after warm-up, chain after chain.
    """

    name = "gibbs_nuts"
    compilable = False
    version = 2
    batchable = False
    summary = "Gibbs-Boltzmann model, posterior over weights by NUTS, for small networks (Hoffman and Gelman 2014)"
    references = ("hoffman2014no", "carvalho2010horseshoe")
    cited_with: ClassVar = {"carvalho2010horseshoe": ("prior", ("horseshoe",))}
    Options: ClassVar[type[MethodOptions]] = GibbsNutsOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return float(options.chains * 2**options.max_tree_depth * cls.gradient_evaluations(options))

    @classmethod
    def build(cls, setting: Setting) -> PosteriorModel:
        options, energy = setting.options, build_energy(setting)
        plan = chain_plan(cls, setting, energy, setting.budget.examples)
        model = PosteriorModel(cls, setting, energy, options.chains * len(plan.kept))
        size = latent_of(setting, model.module.space).size
        if size > options.max_weights:
            valid = f"a network and a prior of at most max_weights = {options.max_weights}: NUTS is for small ones"
            raise invalid("network", f"{size} weights", valid)
        functions = FollowedFunctions.count_of(setting)
        model.module.follow(Chains(setting.num_replicates, options.chains, len(plan.states), functions))
        return model

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options = model.setting, model.setting.options
        module = cast("PosteriorModel", model).module
        posterior, batch = _of_all_examples(model)
        plan = chain_plan(cls, setting, module.space.energy, setting.budget.examples)
        if not bool((batch.x.isfinite().all() & batch.y.isfinite().all()).item()):
            module.set_draws(torch.full_like(module.draws, torch.nan))
            return _training(model, 0, [], ReplicateStatus(False, 0, "training data are not finite"), 0.0)
        latent = latent_of(setting, module.space)
        places = starts(setting, latent, options.chains)[0]
        program = posterior.program(batch)
        started = time.perf_counter()
        chains = [
            nuts_chain(
                program,
                latent,
                place,
                warmup=plan.burn_in,
                draws=plan.steps - plan.burn_in,
                max_tree_depth=options.max_tree_depth,
                target_acceptance=options.target_acceptance,
                seed=stream(setting.seeds[0], "nuts", number),
            )
            for number, place in enumerate(places)
        ]
        seconds = time.perf_counter() - started
        seen = [step - plan.burn_in - 1 for step in plan.states]
        states = torch.stack([chain.weights for chain in chains])[:, seen]
        record, followed = cast("Chains", module.chains), FollowedFunctions(model, module.space)
        for number, chain in enumerate(states):
            record.trace[0, number] = followed(chain.unsqueeze(1)).squeeze(1)
        diverged = torch.stack([chain.diverging for chain in chains]).cumsum(1)[:, seen]
        record.divergences[0] = diverged.diff(dim=1, prepend=torch.zeros_like(diverged[:, :1]))
        record.log_posterior[0] = -torch.stack([chain.potential for chain in chains])[:, seen]
        record.acceptance[0] = torch.tensor([chain.acceptance for chain in chains], dtype=torch.float32, device="cpu")
        module.set_draws(states[:, list(plan.kept)].flatten(0, 1).unsqueeze(0))
        module.partition_gap.copy_(fixed_gap(module, batch.x, posterior.normalizer(batch)))
        finite = bool(module.draws.isfinite().all())
        status = ReplicateStatus() if finite else ReplicateStatus(False, plan.steps - 1, "draws are not finite")
        return _training(model, plan.steps, chains, status, seconds)


def _of_all_examples(model: Model) -> tuple[PosteriorLoss, Batch]:
    """The posterior's model of one minibatch that holds all training examples in order, and its noise, drawn once."""
    setting = model.setting
    count = setting.budget.examples
    whole = copy.copy(model)
    whole.setting = replace(setting, budget=setting.budget.model_copy(update={"batch_size": count}))
    posterior = PosteriorLoss(whole)
    x, y = training_data(setting)
    noise = {
        name: spec.drawn(replicate_generators(setting.seeds, "noise", name), setting)[0]
        for name, spec in posterior.noise.items()
    }
    rows = torch.arange(count, device=x.device, dtype=torch.int64).expand(len(setting.seeds), -1)
    return posterior, Batch(x, y, rows, noise)


def _training(model: Model, steps: int, chains: list[Chain], status: ReplicateStatus, seconds: float) -> Training:
    setting = model.setting
    once = GibbsNuts.gradient_evaluations(setting.options.replicates[0])
    evaluations = once * setting.budget.examples * sum(chain.gradients for chain in chains)
    spent = Cost(
        steps=steps,
        energy_evaluations=evaluations,
        multiply_adds=evaluations * cast("PosteriorModel", model).module.multiply_adds,
        seconds=seconds,
    )
    empty = torch.empty(0, dtype=torch.float64, device="cpu")
    loss = torch.cat([empty, *[chain.potential for chain in chains]]) / setting.budget.examples
    return Training(loss.unsqueeze(0), (status,), (spent,))
