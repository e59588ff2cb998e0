"""Mixture density network: the trunk on x, its head a mixture of diagonal Gaussians over y; by likelihood or another
proper score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import pyro
import pyro.distributions as dist
import torch
from pydantic import Field, model_validator
from torch import nn

from ...core.errors import check_count, invalid
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_noise, replicate_points
from ...energies.activations import softplus
from ...energies.evaluation import distinct
from ...energies.mlp import ReplicatedMLP
from ...models.building import build_head
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims
from ...training.batches import Batch, Loss, Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ...training.smoothing import Blur, SmoothingMethod, SmoothingOptions
from ...training.step import Traces
from ..objectives.bounds import ReplicatedELBO, no_guide
from ..objectives.scoring_rules import (
    density_noise_contrast,
    mixture_crps,
    mixture_energy_score,
    mixture_reverse_divergence,
    mixture_score_matching,
)


class MixtureDensityOptions(SmoothingOptions):
    components: Annotated[int, Field(ge=1, description="Gaussians in the mixture")] = 16
    min_scale: Annotated[
        float, Field(gt=0, description="floor of the components' standard deviations, in units of `scale`")
    ] = 1e-4
    objective: Annotated[
        Literal["nll", "crps", "energy_score", "score_matching", "nce", "reverse_kl"],
        Field(
            description="what is minimised: negative log-likelihood; continuous ranked probability score, where y is "
            "one number; energy score; score matching; contrast with uniform noise in the box; or the reverse "
            "divergence from the task's own density, which variational inference minimises and data alone do not give"
        ),
    ] = "nll"
    noise_draws: Annotated[
        int, Field(ge=1, le=1 << 16, description="draws an example: of noise by `nce`, of a component by `reverse_kl`")
    ] = 16

    @model_validator(mode="after")
    def _target_has_no_blur(self) -> Self:
        if self.objective == "reverse_kl" and self.sigma > 0:
            raise ValueError(f'sigma = 0 with objective = "reverse_kl", whose target is not blurred, not {self.sigma}')
        return self


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

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """The means of the Gaussians, (R, n, K, dy), of x (n, dx) or (R, n, dx): where each label leads.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        with torch.no_grad():
            x = self._placed("x", x)
            means: torch.Tensor = self.module.conditional(x).component_distribution.base_dist.loc
        return means.expand(self.num_replicates, x.shape[1], -1, -1)

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

    Recorded in training: `gradient_norm`, that of the objective in all parameters.
    With `sigma` above 0 it is fitted to blurred data, the spread likelihood of Zhang et al. 2020 (section 2). With
    another `objective` it is fitted by another proper score, whose minimum is the same truth (Gneiting and Raftery
    2007; Hyvärinen 2005; Gutmann and Hyvärinen 2012); `principle` is that of the default.
    """

    name = "mixture_density"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "mixture density network by maximum likelihood (Bishop 1994)"
    references = (
        *("bishop1994mixture", "grimit2006continuous", "gneiting2007strictly"),
        *("hyvarinen2005estimation", "gutmann2012noise", "roeder2017sticking"),
    )
    cited_with: ClassVar = {
        "grimit2006continuous": ("objective", ("crps",)),
        "gneiting2007strictly": ("objective", ("crps", "energy_score")),
        "hyvarinen2005estimation": ("objective", ("score_matching",)),
        "gutmann2012noise": ("objective", ("nce",)),
        "roeder2017sticking": ("objective", ("reverse_kl",)),
    }
    Options: ClassVar[type[MethodOptions]] = MixtureDensityOptions

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (1 + options.noise_draws) if options.objective == "nce" else 3.0

    @classmethod
    def build(cls, setting: Setting) -> MixtureDensityModel:
        _, y_dim = box_dims(setting)
        if setting.options.objective == "crps" and y_dim != 1:
            raise invalid("objective", "crps", f"'energy_score' on {setting.tasks[0].name}: y has {y_dim} dimensions")
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
        if model.setting.options.objective == "nll":
            loss = _likelihood(energy, blur, model.setting.budget.batch_size)
            noise: dict[str, Noise] = {}
        else:
            loss, noise = _score(model, energy, blur)
        return train(model, loss, {**blur.noise, **noise}, Traces(list(energy.parameters())))


def _likelihood(energy: MixtureDensityEnergy, blur: Blur, size: int) -> Loss:
    elbo = ReplicatedELBO()

    def mixture(x: torch.Tensor, y: torch.Tensor) -> None:
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            pyro.sample("y", energy.conditional(distinct(x)), obs=y)

    def loss(batch: Batch) -> torch.Tensor:
        return elbo.replicate_losses(mixture, no_guide, batch.x, blur(batch)) / size

    return loss


def _score(model: Model, energy: MixtureDensityEnergy, blur: Blur) -> tuple[Loss, dict[str, Noise]]:
    """The loss of any other objective, and the noise it takes."""
    options, size, box = model.setting.options, model.setting.budget.batch_size, model.y_box
    low, high = box.bounds

    def given(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mixture = energy.conditional(distinct(x))
        normal = mixture.component_distribution.base_dist
        return mixture.mixture_distribution.logits, normal.loc, normal.scale

    def crps(batch: Batch) -> torch.Tensor:
        return mixture_crps(*given(batch.x), blur(batch))

    def energy_score(batch: Batch) -> torch.Tensor:
        return mixture_energy_score(*given(batch.x), blur(batch), batch.noise["draws"])

    def score_matching(batch: Batch) -> torch.Tensor:
        return mixture_score_matching(*given(batch.x), blur(batch))

    def reverse_kl(batch: Batch) -> torch.Tensor:
        def log_target(y: torch.Tensor) -> torch.Tensor:
            x = batch.x.repeat_interleave(y.shape[1] // batch.x.shape[1], dim=1)
            return _exact_log_density(model.tasks, x, y)

        return mixture_reverse_divergence(*given(batch.x), log_target, batch.noise["drawn"])

    def nce(batch: Batch) -> torch.Tensor:
        noise = low + (high - low) * batch.noise["uniform"]
        log_noise = -energy(batch.x.unsqueeze(2), noise)
        return density_noise_contrast(-energy(batch.x, blur(batch)), log_noise, -box.dim * math.log(high - low))

    losses: dict[str, tuple[Loss, dict[str, Noise]]] = {
        "crps": (crps, {}),
        "energy_score": (energy_score, {"draws": Noise("normal", (size, 2, options.components, box.dim))}),
        "reverse_kl": (
            reverse_kl,
            {"drawn": Noise("normal", (size, options.noise_draws, options.components, box.dim))},
        ),
        "score_matching": (score_matching, {}),
        "nce": (nce, {"uniform": Noise("uniform", (size, options.noise_draws, box.dim))}),
    }
    return losses[options.objective]


def _exact_log_density(tasks: Sequence[Any], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """ln p(y | x) of each replicate's own task, (R, n) for (R, n, dx) and (R, n, dy); equal tasks together."""
    same: dict[str, list[int]] = {}
    for replicate, task in enumerate(tasks):
        same.setdefault(repr(task.specification()), []).append(replicate)
    rows: list[torch.Tensor] = [y] * len(tasks)
    for members in same.values():
        density = tasks[members[0]].reference.log_density(x[members], y[members])
        for row, member in zip(density, members, strict=True):
            rows[member] = row
    return torch.stack(rows)
