"""A decoder with a normal latent and learned noise, fitted by bounds on its likelihood."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator

from ...core.errors import NormalizerWarning, check_count
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_noise
from ...core.seeding import stream
from ...energies.decoders import Decoder
from ...energies.mlp import Network
from ...gibbs.trust import warns
from ...models.building import build_decoder, true_decoder
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ...training.step import Traces
from ..latents.autoencoder import LEAST_NODES, MAX_QUADRATURE_LATENT_DIM, VariationalAutoencoderEnergy
from ..latents.guides import GuideName, amortised_guide
from ..latents.noise import SuppliedNoise
from ..objectives.bounds import ReplicatedELBO, ReplicatedIWAE, ReplicatedRenyi
from ..thickness_priors import ThicknessPriorMethod, ThicknessPriorOptions

#: Values of z an axis that quadrature takes by default, by latent dimension.
NODES = {1: 512, 2: 64}
#: Components of a mixture, and the order of a Rényi objective, by default.
COMPONENTS, ORDER = 4, 0.5
#: Pairs at which a log-density is checked before it is given.
CHECKED = 16
#: Values of z that are decoded to show where it leads.
DECODED = 512


class VariationalAutoencoderOptions(SmoothingOptions, ThicknessPriorOptions):
    latent_dim: Annotated[int, Field(ge=1, le=64, description="dimension of z")] = 1
    decoder: Annotated[
        Literal["mlp", "linear", "truth"],
        Field(
            description="g of N(y; g(x, z), sigma²): the trunk with z beside x, or W z + B x + b; or the task's own "
            "W z + B x and noise, so that the guide alone learns"
        ),
    ] = "mlp"
    guide: Annotated[GuideName, Field(description="family of q(z | x, y), whose encoder has the trunk's widths")] = (
        "mean_field"
    )
    components: Annotated[
        int | None, Field(ge=1, le=64, description="components of the guide `mixture`, and of no other; by default 4")
    ] = None
    objective: Annotated[
        Literal["elbo", "iwae", "renyi"],
        Field(description="Kingma and Welling 2014, Burda et al. 2016, or Li and Turner 2016"),
    ] = "elbo"
    particles: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="draws of the guide a step; by default 1 for the ELBO, 8 otherwise, `components` for a mixture",
        ),
    ] = None
    alpha: Annotated[
        float | None,
        Field(
            description="order of the objective `renyi`, and of no other: 1 is the ELBO, 0 iwae, < 0 no bound; "
            "by default .5"
        ),
    ] = None
    initial_sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="standard deviation of the decoder's noise before training, in units of `scale`"),
    ] = 0.1
    marginal: Annotated[
        Literal["quadrature", "importance"] | None,
        Field(
            description="how log_prob integrates over z; by default quadrature up to two dimensions, else importance"
        ),
    ] = None
    nodes: Annotated[
        int | None,
        Field(
            ge=LEAST_NODES,
            le=1 << 14,
            description="values of z an axis, for quadrature; 512 in one dimension, 64 in two",
        ),
    ] = None
    importance_samples: Annotated[
        int,
        Field(
            ge=2, le=1 << 16, description="draws of the guide for importance sampling and for the ELBO in evaluation"
        ),
    ] = 512

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if self.components is not None and self.guide != "mixture":
            raise ValueError(f'guide = "mixture" with components = {self.components}, not "{self.guide}"')
        if self.alpha is not None and self.objective != "renyi":
            raise ValueError(f'objective = "renyi" with alpha = {self.alpha}, not "{self.objective}"')
        if self.decoder == "truth" and self.sigma > 0:
            raise ValueError(f'sigma = 0 with decoder = "truth", whose noise is that of the data, not {self.sigma}')
        strata = self.num_strata
        if self.num_particles % strata:
            raise ValueError(f"particles a multiple of components = {strata}, not {self.particles}")
        if self.importance_samples % strata:
            raise ValueError(f"importance_samples a multiple of components = {strata}, not {self.importance_samples}")
        if self.marginal == "quadrature" and self.latent_dim > MAX_QUADRATURE_LATENT_DIM:
            raise ValueError(f"marginal = 'importance' where latent_dim = {self.latent_dim} is above 2")
        if self.marginal == "importance" and self.nodes is not None:
            raise ValueError("no nodes where marginal = 'importance'")
        if self.latent_dim > MAX_QUADRATURE_LATENT_DIM and self.nodes is not None:
            raise ValueError(f"no nodes where latent_dim = {self.latent_dim} is above 2")
        return self

    @property
    def num_strata(self) -> int:
        """Strata that the guide draws from in turn."""
        return (self.components or COMPONENTS) if self.guide == "mixture" else 1

    @property
    def num_particles(self) -> int:
        """Draws of the guide a step."""
        if self.particles is not None:
            return self.particles
        least = 1 if self.objective == "elbo" else 8
        return -(-least // self.num_strata) * self.num_strata

    @property
    def num_nodes(self) -> int:
        """Values of z an axis, 0 for importance sampling."""
        if self.marginal == "importance" or self.latent_dim > MAX_QUADRATURE_LATENT_DIM:
            return 0
        return self.nodes or NODES[self.latent_dim]

    def bound(self) -> ReplicatedELBO:
        """The objective."""
        if self.objective == "iwae":
            return ReplicatedIWAE(self.num_particles)
        if self.objective == "renyi":
            return ReplicatedRenyi(ORDER if self.alpha is None else self.alpha, self.num_particles)
        return ReplicatedELBO(self.num_particles)


class VariationalAutoencoderModel(DensityModel):
    """A density by its latent variable: exact ancestral samples, and a log-density that is integrated over z."""

    module: VariationalAutoencoderEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) in nats, (R, n), differentiable in y; `log_prob_with_error` says how far off it may be.

        Warns:
            NormalizerWarning: it cannot be trusted at some of the pairs that are checked, at most 16 spread evenly over
                the n; `log_prob_warnings` says why.
        """
        if warns():
            for line in self._warnings(x, y, CHECKED):
                warnings.warn(line, NormalizerWarning, stacklevel=2)
        return -self.energy(x, y)

    def log_prob_with_error(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln q(y | x) and its error in nats, (R, n) each, without gradient.

        The error is one standard error by importance sampling; by quadrature the distance to that on half the nodes an
        axis, about ten times the error of what is given, and what lies just beyond the border of the grid.
        """
        value, error, _ = self.module.log_marginal(*self._whole(x, y))
        return value, error

    def log_prob_warnings(self, x: torch.Tensor, y: torch.Tensor) -> tuple[str, ...]:
        """Why the log-density cannot be trusted, a line a replicate and reason; empty if nothing speaks against it.

        Every pair is checked, where `log_prob` checks 16. A replicate whose training failed is passed over.
        """
        return self._warnings(x, y)

    def _warnings(self, x: torch.Tensor, y: torch.Tensor, most: int | None = None) -> tuple[str, ...]:
        x, y = self._whole(x, y)
        count = min(most or x.shape[1], x.shape[1])
        checked = torch.linspace(0, x.shape[1] - 1, count, dtype=torch.float64, device=x.device).round().long()
        _, error, doubts = self.module.log_marginal(x[:, checked], y[:, checked])
        return tuple(
            f"{self.method.name}, replicate {r}: {how} at {float(where[r].double().mean()):.0%} of {count} pairs "
            f"checked, error up to {float(error[r][where[r]].max()):.2g} nats"
            for r in range(self.num_replicates)
            for how, where in doubts.items()
            if bool(where[r].any()) and self.status[r].ok
        )

    def elbo(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The ELBO of the trained guide in nats, (R, n): a mean over `importance_samples` draws of it."""
        return self.module.elbo(*self._whole(x, y))

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """g(x, z), (R, n, 512, dy) of x (n, dx) or (R, n, dx), at quantiles of N(0, I) for z: a Sobol set of them.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        engine = torch.quasirandom.SobolEngine(self.module.latent_dim, scramble=False)
        unit = engine.draw(DECODED, dtype=torch.float64) + 0.5 / DECODED
        nodes = torch.special.ndtri(unit).to(device=self.setting.device, dtype=self.setting.dtype)
        return self.module.decoder.decoded(self._placed("x", x), nodes)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        streams = self._streams(seed)

        def normals(dim: int) -> torch.Tensor:
            shape = (x.shape[1], num_samples, dim)
            return replicate_noise(streams, shape, dtype=self.setting.dtype, device=x.device)

        with torch.no_grad():
            places = self.module.decoder.decode(x.unsqueeze(2), normals(self.module.latent_dim))
            return places + self.module.sigma.reshape(-1, 1, 1, 1) * normals(self.y_box.dim)

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"

    def _whole(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = self._paired(x, y)
        return x.expand(self.num_replicates, -1, -1), y.expand(self.num_replicates, -1, -1)


@METHODS.register
class VariationalAutoencoder(ThicknessPriorMethod, SmoothingMethod):
    """p(y | x) = ∫ N(z; 0, I) N(y; g(x, z), s² I) dz, decoder and s by a bound on the likelihood, through a guide.

    Kingma and Welling 2014, *Auto-encoding variational Bayes*, with the variance of the decoder learned (Dai and Wipf
    2019); conditional on x as Sohn, Lee and Yan 2015, but for the prior, which does not see x.
    `latent_variable_likelihood` marginalises over a grid of z instead. Recorded in training: `gradient_norm`, that of
    the mean objective in the decoder's parameters (s left out), and `thickness`, s before each step.
    """

    name = "vae"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "variational autoencoder, decoder variance learned (Kingma and Welling 2014; Dai and Wipf 2019)"
    references = ("kingma2014auto", "sohn2015learning", "dai2019diagnosing", "burda2016importance", "li2016renyi")
    cited_with: ClassVar = {"burda2016importance": ("objective", ("iwae",)), "li2016renyi": ("objective", ("renyi",))}
    Options: ClassVar[type[MethodOptions]] = VariationalAutoencoderOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        """An encoding and as many decodings as particles, forward and backward."""
        return 3.0 * (1 + options.num_particles)

    @classmethod
    def build(cls, setting: Setting) -> VariationalAutoencoderModel:
        options: Any = setting.options
        own = cast("VariationalAutoencoderOptions", options.replicates[0])
        decoder: Decoder
        if own.decoder == "truth":
            decoder = true_decoder(setting, own.latent_dim)
        else:
            decoder = build_decoder(setting, own.decoder, own.latent_dim)
        assert isinstance(setting.network, Network)
        seeds = [stream(seed, "guide") for seed in setting.seeds]
        family = {"components": own.num_strata} if own.guide == "mixture" else {}
        guide = amortised_guide(own.guide, seeds, *box_dims(setting), own.latent_dim, setting.network.hidden, **family)
        sigma = options.initial_sigma * options.scale
        if own.decoder == "truth":
            sigma = torch.tensor([task.thickness for task in setting.tasks], dtype=torch.float64, device="cpu")
        energy = VariationalAutoencoderEnergy(
            decoder, guide, sigma, own.num_nodes, own.importance_samples, own.num_particles, setting.seeds
        )
        energy.log_sigma.requires_grad_(own.decoder != "truth")
        return VariationalAutoencoderModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy = cast("VariationalAutoencoderEnergy", model.module)
        size, blur = model.setting.budget.batch_size, Blur(model)
        bound = cast("VariationalAutoencoderOptions", model.setting.options.replicates[0]).bound()
        several = energy.particles > 1

        def loss(batch: Batch) -> torch.Tensor:
            noise = batch.noise["z"].movedim(1, 0) if several else batch.noise["z"]
            with SuppliedNoise({"z": noise}):
                return bound.replicate_losses(energy.model, energy.guide, batch.x, blur(batch)) / size

        shape = (energy.particles, size, energy.latent_dim) if several else (size, energy.latent_dim)
        learned = [parameter for parameter in energy.decoder.parameters() if parameter.requires_grad]
        traces = Traces(learned, {"thickness": lambda: energy.sigma})
        return train(model, loss, {"z": Noise("normal", shape), **blur.noise}, traces)
