"""A latent variable of limited capacity, minimised or marginalised over a finite set of its values."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import nn

from ...energies import Network, box_dims
from ...method import Method, MethodOptions, Setting
from ...model import Answers, EnergyModel, Model, Training
from ...options import PER_REPLICATE, ExtendedFloat
from ...registry import METHODS
from ...replicated import replicated
from ...training import Batch, Noise, train
from ..latent import Decoder, FreeEnergy, JoinedEnergy, LatentAnswers, latent_nodes


class LatentFreeEnergyOptions(MethodOptions):
    latent_dim: Annotated[int, Field(ge=1, le=8, description="dimension of z, which limits what it can explain")] = 1
    nodes: Annotated[
        int, Field(ge=2, le=1 << 16, description="values of z: a grid in one dimension, else a Sobol set")
    ] = 64
    low: Annotated[float, Field(description="least value of each entry of z")] = -3.0
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
    refine: Annotated[int, Field(ge=0, description="steps of descent on z from the best value; with beta = inf")] = 0

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a low < high = {self.high}")
        if self.latent_noise > 0 and self.beta != float("inf"):
            raise ValueError('beta = "inf" with latent_noise > 0: the noise is on the minimiser')
        return self


class LatentModel(EnergyModel):
    """An energy with a latent variable: `infer` finds (y, z) together."""

    module: FreeEnergy

    def infer_latent(self, x: torch.Tensor, y: torch.Tensor, max_steps: int = 200) -> LatentAnswers:
        """z (R, n, dz) of lowest energy at each (x, y), F_inf (R, n) and whether the descent converged.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        return self.module.infer_latent(*self._paired(x, y), max_steps=max_steps)

    def infer(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Answers:
        found = super().infer(x, *args, **kwargs)
        given = self._placed("x", x).unsqueeze(2)
        latent = self.module.infer_latent(given, found.y).z
        return Answers(found.y, latent, found.energy, found.steps, found.converged)


@METHODS.register
class LatentFreeEnergy(Method):
    """Descent on F_beta(x, y) at the data and nothing else: a z of limited capacity is what keeps F up elsewhere.

    The energy loss (LeCun et al. 2006, eq. 7) on E(x, y, z) = ½ |y - g(x, z)|²; regularised latent variables as in
    LeCun, NYU Deep Learning 2020, week 8. With z of the dimension of y, or of many values, g can reach every y and the
    energy collapses: the options are there to show it. A callable `energy` brings its own forward(x, y, z).
    """

    name = "latent_free_energy"
    family = "ebm"
    principle = "regularised"
    normalised = False
    summary = "latent variable minimised or marginalised, its capacity limited (LeCun et al. 2006)"
    Options: ClassVar[type[MethodOptions]] = LatentFreeEnergyOptions

    @classmethod
    def build(cls, setting: Setting) -> LatentModel:
        options, (x_dim, y_dim) = setting.options, box_dims(setting)
        bounds = (options.low, options.high)
        energy: nn.Module
        if isinstance(setting.network, Network):
            energy = Decoder(setting.seeds, x_dim, y_dim, options.latent_dim, setting.network, options.latent_l1)
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
        return LatentModel(cls, setting, module.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        options, free = model.setting.options, cast("FreeEnergy", model.module)
        spread = options.latent_noise.to(free.nodes).reshape(-1, 1, 1)
        noisy = bool((spread > 0).any())

        def loss(batch: Batch) -> torch.Tensor:
            if not noisy:
                value: torch.Tensor = free(batch.x, batch.y)
                return value.mean(-1)
            best = free.infer_latent(batch.x, batch.y, max_steps=max(free.refine, 1)).z
            energy: torch.Tensor = free.energy(batch.x, batch.y, best + spread * batch.noise["latent"])
            return energy.mean(-1)

        shape = (model.setting.budget.batch_size, options.latent_dim)
        return train(model, loss, {"latent": Noise("normal", shape)} if noisy else None)


class _Split(nn.Module):
    """A user's forward(x, y, z) as a forward(x, (y, z))."""

    def __init__(self, energy: nn.Module, y_dim: int) -> None:
        super().__init__()
        self.energy = energy
        self.y_dim = y_dim

    def forward(self, x: torch.Tensor, yz: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.energy(x, yz[..., : self.y_dim], yz[..., self.y_dim :])
        return result
