"""Two steps: where the manifold is, by an autoencoder; the density on it, by a kernel density of the codes."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field

from ...core.errors import NormalizerWarning, check_count, invalid
from ...core.registry import METHODS
from ...core.replicate_noise import ReplicateStreams, replicate_noise
from ...core.spaces import Box
from ...energies.mlp import Network
from ...gibbs.trust import warns
from ...models.building import OF_DECODERS, unscaled
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims, training_data
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ...training.smoothing import SmoothingMethod, SmoothingOptions
from ..densities.gaussian_kernels import leave_one_out_bandwidths
from ..densities.latent_kernel_density import TwoStepEnergy

#: The grid of codes reaches so many bandwidths beyond the outermost one.
MARGIN = 4.0
#: Share of p(z | x) that may lie where the grid is coarser than sigma before the model warns.
MOST_UNRESOLVED = 0.01
#: Inputs whose grid is looked at.
CHECKED = 16


class TwoStepOptions(SmoothingOptions):
    latent_dim: Annotated[int, Field(ge=1, le=2, description="dimension of the code, below that of y")] = 1
    nodes: Annotated[
        int, Field(ge=8, le=4096, description="values of the code along each axis of the grid that the density sums")
    ] = 1024
    held_out: Annotated[int, Field(ge=2, description="training examples left out in turn to choose the bandwidths")] = (
        512
    )


class TwoStepModel(DensityModel):
    """A mixture over a grid of codes: normalised as it stands, exact ancestral samples."""

    module: TwoStepEnergy

    def encode(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The codes of pairs, (R, n, dz).

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        with torch.no_grad():
            return self.module.encode(*self._paired(x, y))

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats, (R, n).

        Warns:
            NormalizerWarning: the grid of codes is too coarse; `log_prob_warnings(x, y)` says where.
        """
        if warns():
            for line in self.log_prob_warnings(x, y):
                warnings.warn(line, NormalizerWarning, stacklevel=2)
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Draws of y given each x, (R, n, num_samples, dy): a code, decoded, and noise of standard deviation sigma."""
        points = self.decoded(x, num_samples, seed)
        shape, like = points.shape[1:], self.module.sigma
        streams = ReplicateStreams(seed, "sample", "noise", seeds=self.seeds)
        noise = replicate_noise(streams, shape, dtype=self.setting.dtype, device=like.device)
        return points + self.module.sigma.reshape(-1, 1, 1, 1) * noise

    def decoded(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Draws on the decoder's manifold, the same as those of `sample` without their noise.

        Raises:
            ValueError: shapes that do not fit the task's spaces, non-finite values, or a bad count.
        """
        check_count("num_samples", num_samples)
        x = self._placed("x", x)
        codes = self.module.codes.sample(x, num_samples, self._streams(seed))
        with torch.no_grad():
            return self.module.decoder.decode(x.unsqueeze(2), codes)

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"

    def log_prob_warnings(self, x: torch.Tensor, y: torch.Tensor) -> tuple[str, ...]:
        """Why the density is not that of the integral over codes at the first 16 pairs, a line a replicate; empty if
        nothing speaks against it. A replicate whose training failed is passed over."""
        x, _ = self._paired(x, y)
        share = self.module.unresolved(x[:, :CHECKED]).amax(1).tolist()
        return tuple(
            f"{self.method.name}, replicate {r}: grid of codes coarser than sigma = {float(self.module.sigma[r]):.2g} "
            f"at up to {own:.0%} of p(z | x)"
            for r, own in enumerate(share)
            if own > MOST_UNRESOLVED and self.status[r].ok
        )


@METHODS.register
class TwoStep(SmoothingMethod):
    """p(y | x) = ∫ p(z | x) N(y; g(x, z), sigma² I) dz: an autoencoder by least squares, then a kernel density of its
    codes (Loaiza-Ganem et al. 2022, section 4; Dai and Wipf 2019), so that where the manifold is and how much lies
    where on it are learned apart.

    The principle is likelihood, one part after the other: p(z | x) has the leave-one-out likelihood of the codes, and
    sigma² is the residual's variance in each of the dy - dz directions off the manifold (as in Tipping and Bishop 1999,
    eq. 8). The integral is a sum over a grid of codes, and where that is coarser than sigma the model warns. With the
    option `sigma` above 0 the density is convolved with that noise. Recorded: `thickness`, the residual's deviation.
    """

    name = "two_step"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "autoencoder, then a kernel density on its codes (Loaiza-Ganem et al. 2022)"
    references = ("loaizaganem2022diagnosing", "dai2019diagnosing")
    Options: ClassVar[type[MethodOptions]] = TwoStepOptions
    gaussian_optimum = GaussianOptimum(curvature=None)  # the residual has all but `latent_dim` directions

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is None and task.y_space.event_shape[0] < 2:
            return "its answers have one dimension, and there is nothing to code them by"
        return reason

    @classmethod
    def build(cls, setting: Setting) -> TwoStepModel:
        x_dim, y_dim = box_dims(setting)
        options, network = setting.options, setting.network
        if not isinstance(network, Network):
            raise invalid("energy", network, "None: encoder and decoder are made of a Network")
        if options.latent_dim >= y_dim:
            raise invalid("latent_dim", options.latent_dim, f"less than the {y_dim} dimensions of y")
        unscaled(network, OF_DECODERS)
        energy = TwoStepEnergy(
            setting.seeds, x_dim, y_dim, options.latent_dim, network, setting.budget.examples, options.nodes
        )
        return TwoStepModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy = cast("TwoStepEnergy", model.module)

        def loss(batch: Batch) -> torch.Tensor:
            return (batch.y - energy.reconstruct(batch.x, batch.y)).square().sum(-1).mean(-1)

        training = train(model, loss)
        return density_of_codes(model, training)


@torch.no_grad()
def density_of_codes(model: Model, training: Training) -> Training:
    """The second step, in place: codes, their bandwidths, sigma and the grid; the record with what that cost added."""
    setting, energy = model.setting, cast("TwoStepEnergy", model.module)
    x, y = training_data(setting)
    z = energy.encode(x, y)
    free = y.shape[-1] - energy.latent_dim
    residual = (y - energy.decoder.decode(x, z)).double().square().sum(-1).mean(-1) / free
    blur = (setting.options.sigma * setting.options.scale).to(residual)
    energy.sigma.copy_((residual + blur**2).sqrt())
    energy.codes.x.copy_(x)
    energy.codes.y.copy_(z)
    bounds = cast("Box", setting.tasks[0].x_space).bounds
    costs = []
    for r, cost in enumerate(training.cost):
        started = time.perf_counter()
        extent = float((z[r].amax(0) - z[r].amin(0)).max())
        if not training.status[r].ok or not extent > 0:
            costs.append(cost)
            continue
        with torch.enable_grad():
            found = leave_one_out_bandwidths(x[r], z[r], extent, bounds[1] - bounds[0], setting.options.held_out)
        energy.codes.width[r], energy.codes.x_width[r] = found.y, found.x
        margin = MARGIN * found.y
        energy.low[r], energy.high[r] = z[r].amin(0) - margin, z[r].amax(0) + margin
        further = found.evaluations * energy.codes.multiply_adds
        seconds = cost.seconds + time.perf_counter() - started
        costs.append(cost.model_copy(update={"multiply_adds": cost.multiply_adds + further, "seconds": seconds}))
    energy.settled()
    traces = {**training.traces, "thickness": residual.sqrt().unsqueeze(1).cpu()}
    return replace(training, cost=tuple(costs), traces=traces)
