"""A discrete latent variable: the answer lies at one of K places that x decides, and z says which."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from ...core.errors import invalid
from ...core.free_energies import free_energy
from ...core.options import PER_REPLICATE, ExtendedFloat
from ...core.process_state import holds
from ...core.registry import METHODS
from ...descent.answers import LATENT_SEARCH, LatentAnswers, Search
from ...energies.evaluation import distinct
from ...energies.mlp import ReplicatedMLP
from ...models.building import build_head
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, training_data
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ..latents.joint_search import JointSearch, LatentVariableModel
from ..regularisers import RegularisedMethod, RegularisedOptions


class LatentClusteringOptions(RegularisedOptions):
    clusters: Annotated[int, Field(ge=1, description="values of z, which limits what it can explain")] = 16
    beta: Annotated[
        ExtendedFloat,
        PER_REPLICATE,
        Field(
            gt=0, description='inverse temperature over z, per unit of y²; "inf" assigns each y to its nearest place'
        ),
    ] = float("inf")


class ClusteringEnergy(nn.Module):
    """R free energies of E(x, y, k) = ½ |y - c_k(x)|²: (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n)."""

    centers: torch.Tensor
    beta: torch.Tensor

    def __init__(self, head: ReplicatedMLP, centers: torch.Tensor, beta: torch.Tensor) -> None:
        super().__init__()
        self.head = head
        self.num_replicates, self.clusters, self.y_dim = centers.shape
        # The head moves the places away from these: from one start common to all, they would never part.
        self.register_buffer("centers", centers)
        self.register_buffer("beta", beta)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one free energy of one (x, y), as if each had an x of its own."""
        return self.head.multiply_adds + self.clusters * self.y_dim

    def places(self, x: torch.Tensor) -> torch.Tensor:
        """c_k(x) of x (R or 1, *n, dx): (R, *n, K, dy)."""
        moved = self.head(distinct(x))
        lead = (-1, *[1] * (moved.ndim - 2), self.clusters, self.y_dim)
        return self.centers.reshape(lead) + moved.reshape(*moved.shape[:-1], self.clusters, self.y_dim)

    def energies(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E(x, y, k), (R, *n, K)."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        return 0.5 * (y.unsqueeze(-2) - self.places(x)).square().sum(-1).expand(*shape, -1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        energies = self.energies(x, y)
        if holds(lambda: self.beta.isinf().all()):
            return energies.amin(-1)
        return free_energy(energies, self.beta.reshape(-1, *[1] * (energies.ndim - 2)), -1)

    def infer_latent(self, x: torch.Tensor, y: torch.Tensor, search: Search = LATENT_SEARCH) -> LatentAnswers:
        """The nearest place k (R, *n) int64 of each y, and F_inf; enumerated, so it always converges."""
        with torch.no_grad():
            lowest, which = self.energies(x, y).min(-1)
        return LatentAnswers(which, lowest, lowest.isfinite())


class _AtPlace(nn.Module):
    """E(., ., k) as a replicated energy of y, for descent: its `x` is the place c_k(x) itself."""

    def __init__(self, replicates: int) -> None:
        super().__init__()
        self.num_replicates = replicates

    def forward(self, place: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * (y - place).square().sum(-1)


class ClusteringModel(LatentVariableModel):
    """An energy whose z is one of K places: `infer` finds (y, z)."""

    module: ClusteringEnergy

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """The places c_k(x), (R, n, K, dy), of x (n, dx) or (R, n, dx).

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        x = self._placed("x", x)
        with torch.no_grad():
            return self.module.places(x).expand(-1, x.shape[1], -1, -1)

    def _joint_search(self, x: torch.Tensor, y: torch.Tensor) -> JointSearch:
        # Whatever z a start has, y then goes to its place, and no other is nearer there: z need not be assigned again.
        nearest = self.module.infer_latent(x, y).z
        places = self.module.places(x).expand(*y.shape[:-1], -1, -1)
        place = places.gather(-2, nearest[..., None, None].expand(*nearest.shape, 1, y.shape[-1])).squeeze(-2)
        return JointSearch(_AtPlace(len(y)), place, y[..., :0], (0.0, 0.0), lambda _: nearest)


@METHODS.register
class LatentClustering(RegularisedMethod):
    """K places that x decides, each y assigned to its nearest: k-means by gradient steps, its z limited to ln K nats.

    The free energy min_k |y - c_k(x)|² (LeCun, NYU Deep Learning 2020, week 7: k-means as a latent-variable energy);
    minibatch gradient steps on it are those of Bottou and Bengio 1995, section 3.
    """

    name = "latent_clustering"
    principle = "regularised"
    summary = "discrete latent variable: k-means given x (Bottou and Bengio 1995)"
    references = ("bottou1995convergence",)
    Options: ClassVar[type[MethodOptions]] = LatentClusteringOptions

    @classmethod
    def build(cls, setting: Setting) -> ClusteringModel:
        clusters = setting.options.clusters
        if clusters > setting.budget.examples:
            raise invalid(
                "clusters", clusters, f"at most budget.examples = {setting.budget.examples}: places start there"
            )
        centers = training_data(setting)[1][:, :clusters].clone()
        head = build_head(setting, clusters * centers.shape[-1])
        energy = ClusteringEnergy(head, centers, setting.options.beta)
        return ClusteringModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        def loss(batch: Batch) -> torch.Tensor:
            energy: torch.Tensor = model.module(batch.x, batch.y)
            return energy.mean(-1)

        return train(model, loss)
