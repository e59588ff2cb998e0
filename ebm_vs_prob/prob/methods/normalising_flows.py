"""Normalising flows by maximum likelihood: an invertible network carries a Gaussian to the data."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, cast

import pyro
import torch
from pydantic import Field

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.seeding import stream
from ...energies.mlp import Network
from ...models.building import unscaled
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ...training.step import Traces
from ..densities.flows import AutoregressiveLayer, CouplingLayer, FlowEnergy, FlowLayer, FlowModel, Transform
from ..objectives.bounds import ReplicatedELBO, no_guide


class FlowOptions(SmoothingOptions):
    learning_rate: Annotated[float, PER_REPLICATE, Field(gt=0, le=1e30, description="Adam's peak step size")] = 3e-3
    transform: Annotated[
        Transform, Field(description="what moves a coordinate: shift and scale, or a monotone rational linear spline")
    ] = "spline"
    layers: Annotated[int, Field(ge=1, le=64, description="invertible layers")] = 4
    bins: Annotated[int, Field(ge=2, le=256, description="segments of a spline over the task's box")] = 8


class NormalisingFlow(SmoothingMethod):
    """What the flows share: training by maximum likelihood in Pyro.

    With `sigma` > 0 the data are blurred by N(0, (sigma · scale)² I): the spread version (Zhang, Hayes, Bird,
    Habib and Barber 2020, *Spread divergence*), whose likelihood is bounded on data without thickness.
    Recorded in training: `gradient_norm`, that of the mean negative log-likelihood in all parameters.
    """

    family = "prob"
    principle = "likelihood"
    normalised = True
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
    def train(cls, model: Model) -> Training:
        energy, blur = cast("FlowEnergy", model.module), Blur(model)
        size = model.setting.budget.batch_size
        elbo = ReplicatedELBO()

        def flow(x: torch.Tensor, y: torch.Tensor) -> None:
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", energy.conditional(x), obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            return elbo.replicate_losses(flow, no_guide, batch.x, blur(batch)) / size

        return train(model, loss, blur.noise, Traces(list(energy.parameters())))


@METHODS.register
class AutoregressiveFlow(NormalisingFlow):
    """Layers in which every coordinate moves given those before it, and x where there is one.

    Affine: Papamakarios, Pavlakou and Murray 2017, section 3; by splines: Durkan, Bekasov, Murray and Papamakarios
    2019, section 3.
    """

    name = "autoregressive_flow"
    summary = "masked autoregressive flow by maximum likelihood (Papamakarios, Pavlakou and Murray 2017)"
    references = ("papamakarios2017masked", "durkan2019neural", "dolatabadi2020invertible")

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
    references = ("dinh2017density", "durkan2019neural", "dolatabadi2020invertible")

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
