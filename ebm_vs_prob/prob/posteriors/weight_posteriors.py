"""What methods with a prior over the energy's weights share: options, starts, the loss -ln(prior · likelihood)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import nn

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.seeding import stream
from ...core.tensors import inner
from ...gibbs.normalizers import ImportanceSampling
from ...models.building import build_energy
from ...models.setting import Setting
from ...training.batches import Batch, Loss, Noise
from ...training.method import Method
from ...training.proposals import KernelProposalOptions, ProposedAnswers
from ..objectives.bounds import ReplicatedELBO
from ..priors import WeightPrior, weight_prior
from ..weights import WeightSpace
from .posterior import PosteriorModel
from .posterior_diagnostics import kept_states
from .weight_guides import LatentSpace
from .weight_model import WeightModel

if TYPE_CHECKING:
    from ...models.model import Model

#: Energy evaluations that the gradient in y adds to an example's step, as `gradient_penalty`'s.
SMOOTHNESS_EVALUATIONS = 9.0
#: States of a chain that are looked at, at most, and what R-hat needs of them.
MOST_STATES, LEAST_STATES = 512, 4


class PriorOptions(KernelProposalOptions):
    """Options of a method whose objective is a likelihood times a prior over the weights."""

    prior: Annotated[
        Literal["gaussian", "laplace", "horseshoe", "smoothness"], Field(description="over the energy's weights")
    ] = "gaussian"
    strength: Annotated[
        float,
        PER_REPLICATE,
        Field(
            gt=0,
            description="1 / variance of a gaussian weight, 1 / scale of a laplace one, 1 / global scale of the "
            "horseshoe, or what multiplies E ‖∇_y F‖²; over the number of examples it is a regulariser's weight",
        ),
    ] = 1.0
    base_scale: Annotated[
        float | None,
        Field(
            gt=0,
            description="standard deviation of a normal prior on what the prior leaves free, biases and under "
            "smoothness all weights; flat where not given",
        ),
    ] = None


class ProperPriorOptions(PriorOptions):
    """The same where draws are taken, which needs a prior that is proper.

    The draws' spread is what such a method is for, so ln Z^ gets more proposals than that of a mode: with x its bias
    falls as one over their number.
    """

    proposals: Annotated[int, Field(ge=2, description="importance samples of log Z an example")] = 32
    base_scale: Annotated[
        float,
        Field(
            gt=0,
            description="standard deviation of a normal prior on what the prior leaves free, biases and under "
            "smoothness all weights",
        ),
    ] = 1.0


class ChainOptions(ProperPriorOptions):
    """The same where the draws are states of chains."""

    chains: Annotated[int, Field(ge=2, description="chains, from energies initialised apart")] = 4
    burn_in: Annotated[float, Field(ge=0, lt=1, description="share of the steps before the first state counts")] = 0.5
    draws: Annotated[
        int, Field(ge=1, description="states of each chain that make the model, evenly spaced after burn-in")
    ] = 8


@dataclass(frozen=True)
class ChainPlan:
    """Steps of each chain, those of its burn-in, the steps (from 1) after which it is looked at, and the numbers of the
    states there that make the model."""

    steps: int
    burn_in: int
    states: tuple[int, ...]
    kept: tuple[int, ...]


def chain_plan(method: type[Method], setting: Setting, energy: nn.Module, examples: int) -> ChainPlan:
    """What a budget makes of the options of chains whose every step is of so many examples.

    Raises:
        ValueError: too few steps after burn-in for what is asked for.
    """
    options = setting.options
    asked = options.replicates[0], setting.tasks[0], examples
    steps = setting.budget.steps_for(method.step_multiply_adds(*asked, cast("float", energy.multiply_adds)))
    first = int(options.burn_in * steps)
    least = max(options.draws, LEAST_STATES)
    if steps - first < least:
        valid = f"at least {least} steps after burn-in, for {options.draws} draws and for R-hat"
        raise invalid("budget", f"{steps - first} of {steps} steps after burn-in", valid)
    count = min(MOST_STATES, steps - first)
    states = tuple(first + round((number + 1) * (steps - first) / count) for number in range(count))
    return ChainPlan(steps, first, states, kept_states(count, options.draws))


def prior_of(setting: Setting) -> WeightPrior:
    """The prior that the options name."""
    options = setting.options
    return weight_prior(options.prior, options.strength, options.base_scale)


def latent_of(setting: Setting, space: WeightSpace) -> LatentSpace:
    """The unconstrained vector of that prior's sites."""
    return LatentSpace(prior_of(setting), space)


def starts(setting: Setting, latent: LatentSpace, count: int) -> torch.Tensor:
    """Latent vectors (R, count, Q) of energies initialised apart: the replicate's own, and others of its seed's."""
    found = [latent.start()]
    for member in range(1, count):
        seeds = tuple(stream(seed, "member", member) for seed in setting.seeds)
        other = LatentSpace(latent.prior, WeightSpace(build_energy(replace(setting, seeds=seeds))))
        found.append(other.start())
    return torch.stack(found, 1)


class PosteriorLoss:
    """-ELBO / N of a guide over the weights, minibatches scaled to all N examples, one number a replicate.

    log Z is importance-sampled anew at each step, as in `gibbs_maximum_likelihood`. ln Z^ is too low in expectation
    (Jensen's inequality), so the loss is below -ELBO / N by that much, and in expectation it is no bound on the
    evidence: energies that few proposals flatter are preferred. With x each example has its own proposals, without
    one a minibatch shares all of them, and the bias is small. Where the guide has S points the loss is their sum, so
    that each moves as it would alone.

    Args:
        model: its setting, data and module are used.
        noise: what the guide's draws are made of, by name.

    Attributes:
        noise: all that has to be drawn at each step. proposal_noise: what of it log Z takes.
    """

    def __init__(self, model: Model, noise: Mapping[str, Noise] | None = None) -> None:
        setting = model.setting
        self._answers = ProposedAnswers.of(model)
        self._elbo = ReplicatedELBO()
        self._elbo.max_plate_nesting = 3  # draws, replicates, data
        space = cast("PosteriorModel", model).module.space
        self._model = WeightModel(prior_of(setting), space, setting.budget.examples, model.y_box.bounds)
        self.proposal_noise = self._answers.proposal.noise
        self.noise = {**self._answers.noise, **(noise or {})}

    def normalizer(self, batch: Batch) -> ImportanceSampling:
        """Importance sampling of log Z from the proposal's draws at a minibatch."""
        proposal = self._answers.proposal
        samples, log_density = proposal.draw(batch, proposal.centers(batch))
        return ImportanceSampling(samples=samples, log_density=log_density)

    def program(self, batch: Batch, num_draws: int = 1) -> Callable[[], None]:
        """The Pyro model of a minibatch, of S sets of weights; what is random in the data and log Z is drawn now."""
        y, normalizer = self._answers.blurred(batch), self.normalizer(batch)
        return lambda: self._model(batch.x, y, normalizer, num_draws, raw=batch.y)

    def of(self, guide: Callable[[Batch], Any], num_draws: int = 1) -> Loss:
        """The loss of a guide whose statements `guide(batch)` makes, of S draws."""

        def loss(batch: Batch) -> torch.Tensor:
            losses = self._elbo.replicate_losses(self.program(batch, num_draws), lambda: guide(batch))
            return inner(losses).sum(-1) / self._model.num_examples

        return loss
