"""Mixture density network: the trunk on x, its head a mixture of diagonal Gaussians over y."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, cast

import pyro
import pyro.distributions as dist
import torch
from pydantic import Field
from torch import nn

from ...core.errors import check_count
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_noise, replicate_points
from ...energies.activations import softplus
from ...energies.evaluation import distinct
from ...energies.mlp import ReplicatedMLP
from ...models.building import build_head
from ...models.model import DensityModel, Model
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ..objectives.bounds import ReplicatedELBO, no_guide


class MixtureDensityOptions(SmoothingOptions):
    components: Annotated[int, Field(ge=1, description="Gaussians in the mixture")] = 16
    min_scale: Annotated[
        float, Field(gt=0, description="floor of the components' standard deviations, in units of `scale`")
    ] = 1e-4


class MixtureDensityEnergy(nn.Module):
    """R mixture densities as energies: E(x, y) = -ln q(y | x), exactly normalised over all of space."""

    centers: torch.Tensor
    floor: torch.Tensor

    def __init__(self, head: ReplicatedMLP, centers: torch.Tensor, floor: torch.Tensor) -> None:
        super().__init__()
        self.head = head
        self.num_replicates, self.components, self.y_dim = centers.shape
        # Without x the trunk is a constant, and all components of a symmetric start would move as one.
        self.register_buffer("centers", centers)
        self.register_buffer("floor", floor)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one density of one example, as if each had an x of its own."""
        return self.head.multiply_adds + 2.0 * self.components * self.y_dim

    def conditional(self, x: torch.Tensor) -> dist.MixtureSameFamily:
        """The mixture given x (R or 1, *n, dx): batch shape (R, *n), event shape (dy,)."""
        logits, loc, log_scale = self.head(x).split(
            [self.components, self.components * self.y_dim, self.components * self.y_dim], dim=-1
        )
        shape = (*logits.shape, self.y_dim)
        lead = (-1, *[1] * (logits.ndim - 2), self.components, self.y_dim)
        scale = softplus(log_scale.reshape(shape)) + self.floor.reshape(-1, *[1] * (len(shape) - 1))
        normal = dist.Normal(self.centers.reshape(lead) + loc.reshape(shape), scale, validate_args=False)
        return dist.MixtureSameFamily(
            dist.Categorical(logits=logits, validate_args=False),
            dist.Independent(normal, 1, validate_args=False),
            validate_args=False,
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.conditional(distinct(x)).log_prob(y)

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy): the pulls of the components, by their shares in the density at y."""
        mixture = self.conditional(distinct(x))
        normal = mixture.component_distribution.base_dist
        pull = (y.unsqueeze(-2) - normal.loc) / normal.scale
        log_parts = mixture.mixture_distribution.logits - normal.scale.log().sum(-1) - 0.5 * pull.square().sum(-1)
        log_density = log_parts.logsumexp(-1) - 0.5 * math.log(2 * math.pi) * self.y_dim
        shares = (log_parts - log_parts.logsumexp(-1, keepdim=True)).exp()
        return -log_density, (shares.unsqueeze(-1) * pull / normal.scale).sum(-2)


class MixtureDensityModel(DensityModel):
    """A mixture density is normalised as it stands: no partition function, exact ancestral samples."""

    module: MixtureDensityEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        mixture = self.module.conditional(self._placed("x", x))
        probs = mixture.mixture_distribution.probs  # (R, n, K)
        normal = mixture.component_distribution.base_dist  # (R, n, K, dy)
        shape, y_dim, streams = (probs.shape[1], num_samples), self.y_box.dim, self._streams(seed)
        noise = replicate_noise(streams, (*shape, y_dim), dtype=self.setting.dtype, device=probs.device)
        uniform = replicate_noise(streams, shape, "uniform", dtype=torch.float64, device=probs.device)
        edges = probs.double().cumsum(-1)
        pick = torch.searchsorted(edges, uniform * edges[..., -1:]).clamp_max(self.module.components - 1)
        pick = pick.unsqueeze(-1).expand(-1, -1, -1, y_dim)
        return normal.loc.gather(2, pick) + normal.scale.gather(2, pick) * noise

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"


@METHODS.register
class MixtureDensity(SmoothingMethod):
    """q(y | x) = sum_k w_k(x) N(y; m_k(x), s_k(x)²), fitted by maximum likelihood (Bishop 1994, eq. 22-24).

    With `sigma` above 0 it is fitted to blurred data, the spread likelihood of Zhang et al. 2020 (section 2).
    """

    name = "mixture_density"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "mixture density network by maximum likelihood (Bishop 1994)"
    references = ("bishop1994mixture",)
    Options: ClassVar[type[MethodOptions]] = MixtureDensityOptions

    @classmethod
    def build(cls, setting: Setting) -> MixtureDensityModel:
        _, y_dim = box_dims(setting)
        box: Any = setting.tasks[0].y_space
        components = setting.options.components
        head = build_head(setting, components * (1 + 2 * y_dim))
        # Components start over the middle half of the box, where a bounded task's answers are.
        middle = 0.5 * sum(box.bounds)
        generators = replicate_generators(setting.seeds, "initialisation", "centers")
        centers = 0.5 * (middle + replicate_points(generators, box, (components,)))
        floor = setting.options.min_scale * setting.options.scale
        energy = MixtureDensityEnergy(head, centers, floor)
        return MixtureDensityModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, blur = cast("MixtureDensityEnergy", model.module), Blur(model)
        size = model.setting.budget.batch_size
        elbo = ReplicatedELBO()

        def mixture(x: torch.Tensor, y: torch.Tensor) -> None:
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", energy.conditional(distinct(x)), obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            return elbo.replicate_losses(mixture, no_guide, batch.x, blur(batch)) / size

        return train(model, loss, blur.noise)
