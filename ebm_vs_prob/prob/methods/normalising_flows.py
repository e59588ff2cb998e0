"""Normalising flows: an invertible network carries a Gaussian to the data; by likelihood or another proper score."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import pyro
import torch
from pydantic import Field, model_validator

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.seeding import stream
from ...core.spaces import Box
from ...energies.mlp import Network
from ...models.building import unscaled
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...tasks.base import Task
from ...training.batches import Batch, Loss, Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ...training.step import Traces
from ..densities.flows import AutoregressiveLayer, CouplingLayer, FlowEnergy, FlowLayer, FlowModel, Transform
from ..objectives.bounds import ReplicatedELBO, no_guide
from ..objectives.scoring_rules import density_noise_contrast, sampled_energy_score

#: Papers of splines and of the objectives beside likelihood, by the option that they are behind.
CITED_WITH = {
    "durkan2019neural": ("transform", ("spline",)),
    "dolatabadi2020invertible": ("transform", ("spline",)),
    "gneiting2007strictly": ("objective", ("energy_score",)),
    "gutmann2012noise": ("objective", ("nce",)),
}


class FlowOptions(SmoothingOptions):
    learning_rate: Annotated[float, PER_REPLICATE, Field(gt=0, le=1e30, description="Adam's peak step size")] = 3e-3
    transform: Annotated[
        Transform, Field(description="what moves a coordinate: shift and scale, or a monotone rational linear spline")
    ] = "spline"
    layers: Annotated[int, Field(ge=1, le=64, description="invertible layers")] = 4
    bins: Annotated[int, Field(ge=2, le=256, description="segments of a spline over the task's box")] = 8
    objective: Annotated[
        Literal["nll", "energy_score", "nce"],
        Field(
            description="what is minimised: negative log-likelihood; energy score, by draws of the flow; or contrast "
            "with uniform noise in the box"
        ),
    ] = "nll"
    noise_draws: Annotated[
        int, Field(ge=1, le=1 << 16, description="draws an example: of noise by `nce`, of the flow by `energy_score`")
    ] = 16

    @model_validator(mode="after")
    def _draws_make_pairs(self) -> Self:
        if self.objective == "energy_score" and self.noise_draws < 2:
            raise ValueError(f"noise_draws >= 2 for objective = 'energy_score', not {self.noise_draws}")
        return self


class NormalisingFlow(SmoothingMethod):
    """What the flows share: training by maximum likelihood in Pyro, or by another proper score.

    With `sigma` > 0 the data are blurred by N(0, (sigma · scale)² I): the spread version (Zhang, Hayes, Bird,
    Habib and Barber 2020, *Spread divergence*), whose likelihood is bounded on data without thickness.
    With another `objective` they are fitted by the energy score (Gneiting and Raftery 2007, eq. 22) or by contrast with
    noise (Gutmann and Hyvärinen 2012, eq. 8), whose minimum is the same truth; `principle` is that of the default.
    Recorded in training: `gradient_norm`, that of the objective in all parameters.
    """

    family = "prob"
    principle = "likelihood"
    normalised = True
    cited_with: ClassVar = CITED_WITH
    Options: ClassVar[type[MethodOptions]] = FlowOptions

    @classmethod
    @abstractmethod
    def layer(cls, setting: Setting, seeds: list[int], place: int) -> FlowLayer:
        """The layer at a place, counted from the noise, with its own seed for each replicate."""

    @classmethod
    def build(cls, setting: Setting) -> FlowModel:
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, f"None: {cls.name} is made of networks of its own, from a Network")
        unscaled(setting.network)
        box: Any = setting.tasks[0].y_space
        places = range(setting.options.layers)
        layers = [cls.layer(setting, [stream(seed, "layer", k) for seed in setting.seeds], k) for k in places]
        energy = FlowEnergy(layers, setting.num_replicates, box)
        return FlowModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        own = {"nll": 1, "energy_score": options.noise_draws, "nce": 1 + options.noise_draws}
        return 3.0 * own[options.objective]

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, blur = cast("FlowEnergy", model.module), Blur(model)
        losses = {"nll": _likelihood, "energy_score": _energy_score, "nce": _noise_contrast}
        loss, noise = losses[model.setting.options.objective](model, energy, blur)
        return train(model, loss, {**blur.noise, **noise}, Traces(list(energy.parameters())))


def _likelihood(model: Model, energy: FlowEnergy, blur: Blur) -> tuple[Loss, dict[str, Noise]]:
    elbo, size = ReplicatedELBO(), model.setting.budget.batch_size

    def flow(x: torch.Tensor, y: torch.Tensor) -> None:
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            pyro.sample("y", energy.conditional(x), obs=y)

    def loss(batch: Batch) -> torch.Tensor:
        return elbo.replicate_losses(flow, no_guide, batch.x, blur(batch)) / size

    return loss, {}


def _energy_score(model: Model, energy: FlowEnergy, blur: Blur) -> tuple[Loss, dict[str, Noise]]:
    shape = (model.setting.budget.batch_size, model.setting.options.noise_draws, model.y_box.dim)

    def loss(batch: Batch) -> torch.Tensor:
        return sampled_energy_score(energy.carried(batch.x.unsqueeze(2), batch.noise["base"]), blur(batch))

    return loss, {"base": Noise("normal", shape)}


def _noise_contrast(model: Model, energy: FlowEnergy, blur: Blur) -> tuple[Loss, dict[str, Noise]]:
    (low, high), dim = model.y_box.bounds, model.y_box.dim

    def loss(batch: Batch) -> torch.Tensor:
        noise = low + (high - low) * batch.noise["uniform"]
        log_noise = -energy(batch.x.unsqueeze(2), noise)
        return density_noise_contrast(-energy(batch.x, blur(batch)), log_noise, -dim * math.log(high - low))

    shape = (model.setting.budget.batch_size, model.setting.options.noise_draws, dim)
    return loss, {"uniform": Noise("uniform", shape)}


@METHODS.register
class AutoregressiveFlow(NormalisingFlow):
    """Layers in which every coordinate moves given those before it, and x where there is one.

    Affine: Papamakarios, Pavlakou and Murray 2017, section 3; by splines: Durkan, Bekasov, Murray and Papamakarios
    2019, section 3.
    """

    name = "autoregressive_flow"
    summary = "masked autoregressive flow by maximum likelihood (Papamakarios, Pavlakou and Murray 2017)"
    references = ("papamakarios2017masked", *CITED_WITH)

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        """A draw takes a pass of the networks for each coordinate, and a density one."""
        passes = task.y_space.dim if options.objective == "energy_score" and isinstance(task.y_space, Box) else 1
        return passes * super().step_evaluations(options, task)

    @classmethod
    def layer(cls, setting: Setting, seeds: list[int], place: int) -> FlowLayer:
        return _autoregressive(setting, seeds, place)


@METHODS.register
class CouplingFlow(NormalisingFlow):
    """Layers in which half of the coordinates move given the other half, and x where there is one.

    Affine, RealNVP: Dinh, Sohl-Dickstein and Bengio 2017, section 3.2; by splines: Durkan, Bekasov, Murray and
    Papamakarios 2019, section 3. In one dimension there is nothing to couple: its layers are those of
    `autoregressive_flow`, given x alone.
    """

    name = "coupling_flow"
    summary = "coupling flow by maximum likelihood: RealNVP and spline couplings (Dinh et al. 2017, Durkan et al. 2019)"
    references = ("dinh2017density", *CITED_WITH)

    @classmethod
    def layer(cls, setting: Setting, seeds: list[int], place: int) -> FlowLayer:
        options, dims = setting.options, box_dims(setting)
        if dims[1] < 2:
            return _autoregressive(setting, seeds, place)
        return CouplingLayer(seeds, dims, cast("Network", setting.network), options.transform, options.bins)


def _autoregressive(setting: Setting, seeds: list[int], place: int) -> AutoregressiveLayer:
    options, network = setting.options, cast("Network", setting.network)
    turned = place % 2 == 1
    return AutoregressiveLayer(seeds, box_dims(setting), network, options.transform, options.bins, turned)
