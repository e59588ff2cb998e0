"""A latent variable marginalised, its decoder and noise fitted by maximum likelihood."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator

from ...core.errors import check_count
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_noise
from ...descent.latent import latent_nodes
from ...energies.decoders import ANGULAR, FULL_TURN, Decoder, DecoderName
from ...models.building import build_decoder
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.step import Traces
from ..latents.grid import LatentVariableEnergy
from ..thickness_priors import ThicknessPriorMethod, ThicknessPriorOptions


class LatentVariableLikelihoodOptions(ThicknessPriorOptions):
    decoder: Annotated[
        DecoderName,
        Field(
            description="g of N(y; g(x, z), sigma²): the trunk with z beside x, or with the angle z, W z + B x + b, or "
            "f(x) (cos z, sin z)"
        ),
    ] = "mlp"
    latent_dim: Annotated[int, Field(ge=1, le=8, description="dimension of z")] = 1
    nodes: Annotated[
        int,
        Field(ge=2, le=1 << 16, description="equally likely values of z: a grid in one dimension, else a Sobol set"),
    ] = 64
    low: Annotated[float, Field(description="least value of each entry of z; an angle goes from -π to π")] = -3.0
    high: Annotated[float, Field(description="greatest value of each entry of z")] = 3.0
    initial_sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="standard deviation of the noise before training, in units of `scale`"),
    ] = 1.0

    @model_validator(mode="after")
    def _latent_is_sound(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a low < high = {self.high}")
        if self.decoder in ANGULAR and self.latent_dim > 1:
            raise ValueError(f'latent_dim = 1 with decoder = "{self.decoder}"')
        return self


class LatentVariableDensity(DensityModel):
    """A mixture over the values of z, normalised as it stands: no partition function, exact ancestral samples."""

    module: LatentVariableEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.energy(x, y)

    @property
    def joint_energy(self) -> Decoder | None:
        """½ |y - g(x, z)|² of a z of one dimension; None where it has more."""
        return self.module.decoder if self.module.nodes.shape[1] == 1 else None

    @property
    def latent_bounds(self) -> tuple[float, float]:
        """Least and greatest value of z."""
        options = self.setting.options
        return FULL_TURN if self.module.decoder.periodic else (options.low, options.high)

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """g(x, z) at every node of z: (R, n, m, dy) of x (n, dx) or (R, n, dx), the centres of the mixture.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        return self.module.decoder.decoded(self._placed("x", x), self.module.nodes)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        places = self.decoded(x)
        _, n, count, y_dim = places.shape
        streams, device = self._streams(seed), places.device
        noise = replicate_noise(streams, (n, num_samples, y_dim), dtype=self.setting.dtype, device=device)
        uniform = replicate_noise(streams, (n, num_samples, 1), "uniform", dtype=torch.float64, device=device)
        which = (uniform * count).long().clamp_max(count - 1)
        return places.gather(2, which.expand(-1, -1, -1, y_dim)) + self.module.sigma.reshape(-1, 1, 1, 1) * noise

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"


@METHODS.register
class LatentVariableLikelihood(ThicknessPriorMethod):
    """p(y | x) = mean over z of N(y; g(x, z), sigma² I), decoder and sigma by maximum likelihood.

    Beside its twin, `latent_free_energy`, it has the same decoders, marginalises z in place of minimising over it, and
    learns a width.
    The generative topographic mapping of Bishop, Svensén and Williams 1998 (section 2), fitted by gradient steps.
    Recorded in training: `gradient_norm`, that of the mean negative log-likelihood in the decoder's parameters (sigma
    left out), and `thickness`, sigma before each step.
    """

    name = "latent_variable_likelihood"
    twin = "latent_free_energy"
    family = "prob"
    principle = "likelihood"
    normalised = True
    groups_thickness = False
    summary = "latent variable marginalised over a grid, noise learned (Bishop, Svensén and Williams 1998)"
    references = ("bishop1998gtm",)
    Options: ClassVar[type[MethodOptions]] = LatentVariableLikelihoodOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * options.nodes

    @classmethod
    def build(cls, setting: Setting) -> LatentVariableDensity:
        options = setting.options
        decoder = build_decoder(setting, options.decoder, options.latent_dim)
        bounds = FULL_TURN if options.decoder in ANGULAR else (options.low, options.high)
        nodes = latent_nodes(options.nodes, options.latent_dim, bounds)
        energy = LatentVariableEnergy(decoder, nodes, options.initial_sigma * options.scale)
        return LatentVariableDensity(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy = cast("LatentVariableEnergy", model.module)

        def loss(batch: Batch) -> torch.Tensor:
            value: torch.Tensor = energy(batch.x, batch.y)
            return value.mean(-1)

        traces = Traces(list(energy.decoder.parameters()), {"thickness": lambda: energy.sigma})
        return train(model, loss, traces=traces)
