"""A latent variable of limited capacity, minimised or marginalised over a finite set of its values."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import nn

from ...core.errors import invalid
from ...core.options import PER_REPLICATE, ExtendedFloat
from ...core.registry import METHODS
from ...descent.angle import MOST_RECORDED
from ...descent.latent import latent_nodes
from ...energies.decoders import ANGULAR, FULL_TURN, Decoder, DecoderName
from ...energies.mlp import Network
from ...models.building import build_decoder, replicated
from ...models.model import Model
from ...models.own_modules import Called
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.step import Traces
from ..latents.free_energy import FreeEnergy, JoinedEnergy
from ..latents.joint_search import JointSearch, LatentVariableModel
from ..regularisers import RegularisedMethod, RegularisedOptions

#: Values of a continuous z that are decoded to show where it leads.
DECODED = 512


class LatentFreeEnergyOptions(RegularisedOptions):
    decoder: Annotated[
        DecoderName,
        Field(
            description="g of E = ½ |y - g(x, z)|²: the trunk with z beside x, or with the angle z, W z + B x + b, or "
            "f(x) (cos z, sin z); network only"
        ),
    ] = "mlp"
    latent_dim: Annotated[int, Field(ge=1, le=8, description="dimension of z, which limits what it can explain")] = 1
    nodes: Annotated[
        int, Field(ge=2, le=1 << 16, description="values of z: a grid in one dimension, else a Sobol set")
    ] = 64
    low: Annotated[float, Field(description="least value of each entry of z; an angle goes from -π to π")] = -3.0
    high: Annotated[float, Field(description="greatest value of each entry of z")] = 3.0
    beta: Annotated[
        ExtendedFloat,
        PER_REPLICATE,
        Field(gt=0, description='inverse temperature of the free energy over z, per unit of y²; "inf" is its minimum'),
    ] = float("inf")
    latent_l1: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="cost of |z|, per unit of z; of the package's own network")
    ] = 0.0
    latent_noise: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, description="standard deviation of noise on the best z in training; beta = inf"),
    ] = 0.0
    refine: Annotated[
        int,
        Field(ge=0, description="steps on z from the best value, with beta = inf: descent, or Newton's of an angle"),
    ] = 0

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a low < high = {self.high}")
        if self.latent_noise > 0 and self.beta != float("inf"):
            raise ValueError('beta = "inf" with latent_noise > 0: the noise is on the minimiser')
        if self.refine and self.beta != float("inf"):
            raise ValueError('beta = "inf" with refine > 0: at a finite beta all values of z count, as they are')
        if self.decoder in ANGULAR and (self.latent_dim > 1 or self.latent_l1 > 0):
            reason = "no angle is longer than another"
            raise ValueError(f'latent_dim = 1 and latent_l1 = 0 with decoder = "{self.decoder}": {reason}')
        return self


class _OfAnswerAndLatent(nn.Module):
    """E(x, ., .) as a replicated energy of (y, z) side by side."""

    def __init__(self, energy: nn.Module, y_dim: int) -> None:
        super().__init__()
        self.energy, self.y_dim = energy, y_dim
        self.num_replicates = cast("int", energy.num_replicates)

    def forward(self, x: torch.Tensor, yz: torch.Tensor) -> torch.Tensor:
        energy: torch.Tensor = self.energy(x, yz[..., : self.y_dim], yz[..., self.y_dim :])
        return energy


class LatentFreeEnergyModel(LatentVariableModel):
    """An energy whose z is continuous: `infer` finds (y, z), `infer_latent` takes the `Search` of its descent."""

    module: FreeEnergy

    def _joint_search(self, x: torch.Tensor, y: torch.Tensor) -> JointSearch:
        free = self.module
        start = free.infer_latent(x.expand(*y.shape[:-1], -1), y).z
        if not free.energy.periodic:
            return JointSearch(_OfAnswerAndLatent(free.energy, y.shape[-1]), x, start, free.bounds, lambda z: z)
        low, turn = free.bounds[0], free.bounds[1] - free.bounds[0]
        energy, anywhere = _OfAnswerAndLatent(free.energy, y.shape[-1]), (-math.inf, math.inf)
        within = JointSearch(energy, x, start, free.bounds, lambda z: z)
        return JointSearch(energy, x, start, anywhere, lambda z: (z - low).remainder(turn) + low, within)

    @property
    def joint_energy(self) -> Decoder | None:
        """E(x, y, z) of a z of one dimension; None where it has more, or where the energy is the user's own."""
        energy = self.module.energy
        return energy if isinstance(energy, Decoder) and self.module.nodes.shape[1] == 1 else None

    @property
    def latent_bounds(self) -> tuple[float, float]:
        """Least and greatest value of z."""
        return self.module.bounds

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """g(x, z) over z: (R, n, m, dy), what the model takes for answers to x (n, dx) or (R, n, dx).

        z runs over the nodes; where they are only starts of a descent on one z, over a grid of `DECODED` at least.

        Raises:
            ValueError: an energy of the user's own, which decodes nothing, or shapes that do not fit.
        """
        energy, nodes = self.module.energy, self.module.nodes
        if not isinstance(energy, Decoder):
            raise invalid("energy", self.setting.network, "None: only the package's own decoders decode a latent")
        if self.module.refine and nodes.shape[1] == 1 and len(nodes) < DECODED:
            nodes = latent_nodes(DECODED, 1, self.module.bounds).to(nodes)
        return energy.decoded(self._placed("x", x), nodes)


@METHODS.register
class LatentFreeEnergy(RegularisedMethod):
    """Descent on F_beta(x, y) at the data and nothing else: a z of limited capacity is what keeps F up elsewhere.

    The energy loss (LeCun et al. 2006, section 2.2.1) on E(x, y, z) = ½ |y - g(x, z)|²; regularised latent variables as
    in LeCun, NYU Deep Learning 2020, week 8. With z of the dimension of y, or of many values, g can reach every y and
    the energy collapses: the options are there to show it. A callable `energy` brings its own forward(x, y, z).
    The norm of the loss's gradient in the parameters of E is recorded as `gradient_norm`.
    """

    name = "latent_free_energy"
    twin = "latent_variable_likelihood"
    principle = "regularised"
    summary = "latent variable minimised or marginalised, its capacity limited (LeCun et al. 2006)"
    references = ("lecun2006tutorial",)
    Options: ClassVar[type[MethodOptions]] = LatentFreeEnergyOptions

    @classmethod
    def compilable_with(cls, options: Any) -> bool:
        """A descent on z, and a long Newton's method, end when every point has converged, which is no fixed step."""
        return not options.refine or (options.decoder == "angle" and options.refine <= MOST_RECORDED)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        """All nodes are decoded; at beta = inf the gradient passes through the best alone, and a step on z is three."""
        return options.nodes + 3.0 * (1 + options.refine) if options.beta == math.inf else 3.0 * options.nodes

    @classmethod
    def build(cls, setting: Setting) -> LatentFreeEnergyModel:
        options, (x_dim, y_dim) = setting.options, box_dims(setting)
        bounds = FULL_TURN if options.decoder in ANGULAR else (options.low, options.high)
        energy: nn.Module
        if isinstance(setting.network, Network) or options.decoder != "mlp":
            energy = build_decoder(setting, options.decoder, options.latent_dim, options.latent_l1)
        else:
            factory = setting.network
            stacked = replicated(
                lambda task: _Split(factory(task), y_dim),
                setting.tasks,
                setting.seeds,
                widths=(x_dim, y_dim + options.latent_dim),
            )
            energy = JoinedEnergy(stacked)
        nodes = latent_nodes(options.nodes, options.latent_dim, bounds)
        module = FreeEnergy(energy, nodes, options.beta, bounds, options.refine)
        return LatentFreeEnergyModel(cls, setting, module.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        options, free = model.setting.options, cast("FreeEnergy", model.module)
        spread = options.latent_noise.to(free.nodes).reshape(-1, 1, 1)
        noisy = bool((spread > 0).any())

        def loss(batch: Batch) -> torch.Tensor:
            if not noisy:
                value: torch.Tensor = free(batch.x, batch.y)
                return value.mean(-1)
            # The same minimiser as without noise, so that a replicate without any trains as it would alone.
            z = free.minimiser(batch.x, batch.y) + spread * batch.noise["latent"]
            energy: torch.Tensor = free.energy(batch.x, batch.y, z)
            return free.at_own_beta(energy, batch.x, batch.y).mean(-1)

        shape = (model.setting.budget.batch_size, options.latent_dim)
        traces = Traces(gradient_of=list(free.energy.parameters()))
        return train(model, loss, {"latent": Noise("normal", shape)} if noisy else None, traces)


class _Split(Called):
    """A user's forward(x, y, z) as a forward(x, (y, z))."""

    def __init__(self, energy: nn.Module, y_dim: int) -> None:
        super().__init__(energy)
        self.y_dim = y_dim

    def forward(self, x: torch.Tensor, yz: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.energy(x, yz[..., : self.y_dim], yz[..., self.y_dim :])
        return result
