"""Sparse coding: a latent vector of many entries, limited by what its L1 norm costs."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import nn

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_noise
from ...descent.answers import LATENT_SEARCH, LatentAnswers, Search
from ...energies.evaluation import distinct
from ...energies.mlp import ReplicatedMLP
from ...energies.products import in_order, product, whole_rows, without_padding
from ...models.building import build_head
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ..latents.joint_search import JointSearch, LatentVariableModel
from ..regularisers import RegularisedMethod, RegularisedOptions


class SparseCodingOptions(RegularisedOptions):
    atoms: Annotated[int, Field(ge=1, description="entries of z and columns of the dictionary")] = 32
    l1: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="cost of |z|_1 per unit of y; 0 lets z explain every y")
    ] = 0.1
    iterations: Annotated[int, Field(ge=1, description="steps of FISTA that find z")] = 30


class SparseCodingEnergy(nn.Module):
    """R free energies min_z ½ |y - c(x) - D z|² + l1 |z|_1, D of columns of norm 1: (R or 1, *n, d...) -> (R, *n).

    The columns are normalised, or a growing D would make the cost of z as small as it likes (Olshausen and Field 1997).
    """

    l1: torch.Tensor

    def __init__(self, head: ReplicatedMLP, dictionary: torch.Tensor, l1: torch.Tensor, iterations: int) -> None:
        super().__init__()
        self.head = head
        self.num_replicates, self.y_dim, self.atoms = dictionary.shape
        self.iterations = iterations
        self.dictionary = nn.Parameter(dictionary)
        self.register_buffer("l1", l1)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one free energy of one (x, y): two products with the dictionary a step of FISTA."""
        return self.head.multiply_adds + (2.0 * self.iterations + 1) * self.y_dim * self.atoms

    @property
    def evaluation_multiply_adds(self) -> float:
        """A third of those of a step's one free energy and its gradient, which does not go through FISTA."""
        products = float(self.y_dim * self.atoms)
        return self.head.multiply_adds + products + 2.0 * self.iterations * products / 3.0

    def columns(self) -> torch.Tensor:
        """D (R, dy, K), columns of norm 1."""
        return nn.functional.normalize(self.dictionary, dim=1)

    def residual(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """y - c(x) as (R, n, dy) with all leading points in one."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        return (y - self.head(distinct(x))).expand(*shape, -1).flatten(1, -2)

    def code(self, residual: torch.Tensor) -> torch.Tensor:
        """argmin over z of ½ |r - D z|² + l1 |z|_1 for r (R, n, dy): (R, n, K), by FISTA (Beck and Teboulle 2009)."""
        columns = self.columns()
        rows = in_order(columns.mT)
        # Of a replicate that diverged there is no norm, and to ask for it would end the others: its step is NaN.
        known = columns.detach()
        sound = known.isfinite().all(-1).all(-1)
        largest = torch.linalg.matrix_norm(torch.where(sound[:, None, None], known, 0.0), ord=2)
        step = torch.where(sound, 1 / largest.square(), math.nan).reshape(-1, 1, 1)
        cost = step * self.l1.reshape(-1, 1, 1)
        z = residual.new_zeros(*residual.shape[:2], self.atoms)
        ahead, momentum = z, 1.0
        for _ in range(self.iterations):
            downhill = ahead + step * product(residual - product(ahead, rows), columns)
            following = downhill.sign() * (downhill.abs() - cost).clamp_min(0.0)
            grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = following + (momentum - 1) / grown * (following - z)
            z, momentum = following, grown
        return z

    def energy_of(self, residual: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """E (R, n) of r (R, n, dy) and z (R, n, K)."""
        misfit = residual - product(z, in_order(self.columns().mT))
        return 0.5 * misfit.square().sum(-1) + self.l1.reshape(-1, 1) * z.abs().sum(-1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # Differentiated through the search, so that Hessians see how z follows y.
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        residual = self.padded(self.residual(x, y))
        energy = self.energy_of(residual, self.code(residual)).unsqueeze(-1)
        return without_padding(energy, shape[1:]).squeeze(-1)

    def padded(self, residual: torch.Tensor) -> torch.Tensor:
        """A residual (R, n, dy), once trained with rows of zeros to fill up the products with the dictionary."""
        return residual if self.training else whole_rows(residual, self.y_dim * self.atoms)

    @torch.no_grad()
    def infer_latent(self, x: torch.Tensor, y: torch.Tensor, search: Search = LATENT_SEARCH) -> LatentAnswers:
        """z (R, *n, K) of lowest energy and F_inf (R, *n); converged where the last entry of the subgradient is met.

        The condition is |Dᵀ(r - D z)|_inf <= l1 (1 + 1e-2), which the minimiser meets with equality or less.
        """
        residual = self.padded(self.residual(x, y))
        z = self.code(residual)
        pull = product(residual - product(z, in_order(self.columns().mT)), self.columns()).abs().amax(-1)
        converged = pull <= self.l1.reshape(-1, 1) * 1.01 + 1e-4
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        energy = self.energy_of(residual, z)
        found = (z, energy.unsqueeze(-1), converged.unsqueeze(-1))
        z, energy, converged = (without_padding(value, shape[1:]) for value in found)
        return LatentAnswers(z, energy.squeeze(-1), converged.squeeze(-1))


class _OfParts(nn.Module):
    """E(x, ., .) as a replicated energy of (y, z⁺, z⁻) with z = z⁺ - z⁻: smooth where the parts are >= 0."""

    def __init__(self, energy: SparseCodingEnergy) -> None:
        super().__init__()
        self.energy = energy
        self.num_replicates = energy.num_replicates

    def forward(self, x: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
        y, positive, negative = parts.split([self.energy.y_dim, self.energy.atoms, self.energy.atoms], -1)
        residual = self.energy.residual(x, y)
        misfit = residual - torch.bmm((positive - negative).flatten(1, -2), self.energy.columns().mT)
        cost = self.energy.l1.reshape(-1, 1) * (positive + negative).sum(-1).flatten(1)
        return (0.5 * misfit.square().sum(-1) + cost).reshape(parts.shape[:-1])


class _OfShares(nn.Module):
    """E(x, ., .) as a replicated energy of (y, u) of the given (x, bound), with z = bound · u of either sign."""

    def __init__(self, energy: SparseCodingEnergy) -> None:
        super().__init__()
        self.energy = energy
        self.num_replicates = energy.num_replicates

    def forward(self, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        x, bound = given[..., :-1], given[..., -1:]
        y, share = shares.split([self.energy.y_dim, self.energy.atoms], -1)
        z = (bound * share).flatten(1, -2)
        return self.energy.energy_of(self.energy.residual(x, y), z).reshape(shares.shape[:-1])


class SparseCodingModel(LatentVariableModel):
    """An energy whose z is a sparse vector: `infer` finds (y, z)."""

    module: SparseCodingEnergy

    def _joint_search(self, x: torch.Tensor, y: torch.Tensor) -> JointSearch:
        found = self.module.infer_latent(x, y)
        code = found.z
        parts = torch.cat([code.clamp_min(0.0), (-code).clamp_min(0.0)], -1)
        atoms = self.module.atoms
        within = None
        if bool((self.module.l1 > 0).all()):
            # l1 |z|_1 <= E(x, y, z), so that no (y, z) better than the start has an entry beyond this.
            bound = (found.free_energy / self.module.l1.reshape(-1, 1, 1)).unsqueeze(-1)
            bound = bound.clamp_min(torch.finfo(bound.dtype).tiny)
            given = torch.cat([x.expand(*bound.shape[:-1], -1), bound], -1)
            within = JointSearch(_OfShares(self.module), given, code / bound, (-1.0, 1.0), lambda u: bound * u)
        return JointSearch(
            _OfParts(self.module), x, parts, (0.0, math.inf), lambda u: u[..., :atoms] - u[..., atoms:], within
        )


@METHODS.register
class SparseCoding(RegularisedMethod):
    """Answers are a place that x decides plus few columns of a dictionary: z is limited by its L1 norm.

    Descent on min_z ½ |y - c(x) - D z|² + l1 |z|_1 at the data (Olshausen and Field 1997, eq. 8; LeCun, NYU Deep
    Learning 2020, week 8). With l1 = 0 and as many atoms as y has entries F is 0 everywhere: the collapse.
    """

    name = "sparse_coding"
    principle = "regularised"
    summary = "sparse latent vector, L1-limited (Olshausen and Field 1997)"
    references = ("olshausen1997sparse", "beck2009fast")
    Options: ClassVar[type[MethodOptions]] = SparseCodingOptions

    @classmethod
    def build(cls, setting: Setting) -> SparseCodingModel:
        options, y_dim = setting.options, cast("Any", setting.tasks[0].y_space).dim
        generators = replicate_generators(setting.seeds, "initialisation", "dictionary")
        dictionary = replicate_noise(generators, (y_dim, options.atoms))
        energy = SparseCodingEnergy(build_head(setting, y_dim), dictionary, options.l1, options.iterations)
        return SparseCodingModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy = cast("SparseCodingEnergy", model.module)

        def loss(batch: Batch) -> torch.Tensor:
            residual = energy.residual(batch.x, batch.y)
            with torch.no_grad():
                z = energy.code(residual)
            # At the minimum over z the loss has no slope in z (the envelope theorem), so z is taken as a constant.
            return energy.energy_of(residual, z).mean(-1)

        return train(model, loss)
