"""Kernel density estimation, conditional and not: no network and no gradient steps, its bandwidths by likelihood."""

from __future__ import annotations

import time
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ...core.budget import Cost
from ...core.errors import check_count, invalid
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_noise
from ...core.spaces import Box
from ...energies.mlp import Network
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import ReplicateStatus, Training
from ...models.setting import Setting, box_dims, training_data
from ...training.method import GaussianOptimum, MethodOptions
from ...training.smoothing import SmoothingMethod, SmoothingOptions
from ..densities.gaussian_kernels import KernelDensityEnergy, leave_one_out_bandwidths


class KernelDensityOptions(SmoothingOptions):
    """Options of `kernel_density`. There are no gradient steps: `learning_rate` has no effect."""

    held_out: Annotated[int, Field(ge=2, description="training examples left out in turn to choose the bandwidths")] = (
        512
    )


class KernelDensityModel(DensityModel):
    """A kernel density is normalised as it stands: no partition function, exact ancestral samples."""

    module: KernelDensityEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        return self.module.sample(self._placed("x", x), num_samples, self._streams(seed))

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"


@METHODS.register
class KernelDensity(SmoothingMethod):
    """q(y | x) = Σ_i w_i(x) N(y; y_i, h² I) over the training pairs, w_i(x) ∝ exp(-|x - x_i|² / (2 h_x²)), w_i equal
    without x (Parzen 1962; Rosenblatt 1969); h and h_x of highest leave-one-out likelihood (Duin 1976; Holmes, Gray and
    Isbell 2007).

    With `sigma` above 0 it is the density of blurred data: the left-out answers are blurred, the kernels are
    sqrt(h² + sigma²) wide. Its cost: no steps; the leave-one-out densities that the search took, each over all training
    examples, and that many examples in every density afterwards. Bandwidths are found one replicate after the other.
    """

    name = "kernel_density"
    compilable = False
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "kernel density, bandwidths by leave-one-out likelihood (Parzen 1962; Holmes, Gray and Isbell 2007)"
    references = ("parzen1962estimation", "rosenblatt1969conditional", "holmes2007fast")
    Options: ClassVar[type[MethodOptions]] = KernelDensityOptions
    gaussian_optimum = GaussianOptimum(curvature=None)  # kernels widen the data's law, by how much depends on N

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 0.0

    @classmethod
    def build(cls, setting: Setting) -> KernelDensityModel:
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, "None: a kernel density has no network")
        shape = (setting.num_replicates, setting.budget.examples)
        x, y = (torch.zeros(*shape, dim, dtype=torch.float32, device="cpu") for dim in box_dims(setting))
        one = torch.ones(setting.num_replicates, dtype=torch.float32, device="cpu")
        energy = KernelDensityEnergy(x, y, one, one.clone())
        return KernelDensityModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, energy = model.setting, cast("KernelDensityEnergy", model.module)
        x, y = training_data(setting)
        sigma = (setting.options.sigma * setting.options.scale).tolist()
        boxes = model.y_box, cast("Box", model.tasks[0].x_space)
        y_extent, x_extent = (box.bounds[1] - box.bounds[0] for box in boxes)
        losses, costs = [], []
        energy.x.copy_(x)
        energy.y.copy_(y)
        for r, seed in enumerate(setting.seeds):
            started = time.perf_counter()
            blurred = None
            if sigma[r]:
                generators = replicate_generators([seed], "noise", "y")
                noise = replicate_noise(generators, y[r].shape, dtype=y.dtype, device=y.device)
                blurred = y[r] + sigma[r] * noise[0]
            held_out = setting.options.held_out
            found = leave_one_out_bandwidths(x[r], y[r], y_extent, x_extent, held_out, blurred, sigma[r])
            energy.width[r], energy.x_width[r] = (found.y**2 + sigma[r] ** 2) ** 0.5, found.x
            losses.append(-found.log_score)
            costs.append(
                Cost(
                    steps=0,
                    energy_evaluations=float(found.evaluations),
                    multiply_adds=found.evaluations * energy.multiply_adds,
                    seconds=time.perf_counter() - started,
                )
            )
        return Training(
            torch.tensor(losses, dtype=torch.float32, device="cpu").unsqueeze(1),
            (ReplicateStatus(),) * len(costs),
            tuple(costs),
        )
