"""Normalising flows of Pyro's transforms, R of them side by side, as exactly normalised energies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast

import pyro.distributions as dist
import torch
from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import (
    AffineTransform,
    ConditionalAffineAutoregressive,
    ConditionalAffineCoupling,
    ConditionalSpline,
    ConditionalSplineAutoregressive,
    Permute,
    SplineCoupling,
)
from torch import nn

from ...core.errors import check_count
from ...core.replicate_noise import replicate_noise
from ...core.seeding import stream
from ...core.spaces import Box
from ...energies.evaluation import distinct
from ...energies.mlp import Network, ReplicatedMLP
from ...models.density_model import DensityModel
from .bounded_splines import Within
from .flow_networks import AutoregressiveHypernetwork, Hypernetwork

Transform = Literal["affine", "spline"]

#: Standard deviations of the base distribution from the middle of the task's box to its edges, and a spline's bound.
HALF_WIDTH = 4.0
#: ln of the most that one affine layer can shrink and widen the base distribution: Pyro's own bounds.
SHRINKS, WIDENS = 5.0, 3.0


class ReplicatedSplineCoupling(SplineCoupling):
    """Pyro's spline coupling given x, R of them: that of the lower coordinates too has parameters a replicate.

    Pyro draws these from the global generator, one set for all, and knows no context; nothing else is changed.

    Args:
        lower, upper: networks of the context alone, and of the lower coordinates beside it.
        dims: numbers of lower and upper coordinates.
        bins: segments of a spline.
        context: (R or 1, *n, dx).
    """

    def __init__(
        self, lower: Hypernetwork, upper: Hypernetwork, dims: tuple[int, int], bins: int, context: torch.Tensor
    ) -> None:
        TransformModule.__init__(self, cache_size=1)
        self.split_dim, self.identity = dims[0], False
        self.lower_spline = ConditionalSpline(lower, dims[0], bins, HALF_WIDTH).condition(context)
        self.upper_spline = ConditionalSpline(partial(upper, context=context), dims[1], bins, HALF_WIDTH)


class FlowLayer(nn.Module, ABC):
    """One invertible layer of R flows."""

    @abstractmethod
    def transforms(self, x: torch.Tensor) -> list[Any]:
        """Pyro transforms given x (R or 1, *n, dx), from noise to data, fresh: they cache what passes through them."""


class CouplingLayer(FlowLayer):
    """The upper half of the coordinates moved given the lower half and x, then all coordinates in reverse order.

    Affine: RealNVP, Dinh, Sohl-Dickstein and Bengio 2017, section 3.2. Spline: Durkan et al. 2019, section 3, with the
    rational linear splines of Dolatabadi et al. 2020.
    """

    order: torch.Tensor

    def __init__(
        self, seeds: Sequence[int], dims: tuple[int, int], network: Network, transform: Transform, bins: int
    ) -> None:
        super().__init__()
        x_dim, y_dim = dims
        self.split = (y_dim // 2, y_dim - y_dim // 2)
        self.bins = bins
        lower, upper = ([size * p for p in parameters(transform, bins)] for size in self.split)
        self.upper = Hypernetwork([stream(seed, "upper") for seed in seeds], self.split[0], x_dim, network, upper)
        self.lower: Hypernetwork | None = None
        if transform == "spline":
            self.lower = Hypernetwork([stream(seed, "lower") for seed in seeds], x_dim, 0, network, lower)
        self.register_buffer("order", torch.arange(y_dim - 1, -1, -1, dtype=torch.int64, device="cpu"))

    def transforms(self, x: torch.Tensor) -> list[Any]:
        if self.lower is None:
            clips = {"log_scale_min_clip": -SHRINKS, "log_scale_max_clip": WIDENS}
            coupling: Any = ConditionalAffineCoupling(self.split[0], self.upper, **clips).condition(x)
        else:
            coupling = Within(ReplicatedSplineCoupling(self.lower, self.upper, self.split, self.bins, x), HALF_WIDTH)
        return [coupling, Permute(self.order)]


class AutoregressiveLayer(FlowLayer):
    """Every coordinate moved given those before it and x; the order turns round from layer to layer.

    Data to noise is the direction of one pass, so that densities are cheap and samples take one pass a coordinate.
    Affine: the masked autoregressive flow of Papamakarios, Pavlakou and Murray 2017, section 3. Spline: Durkan et al.
    2019, section 3.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        dims: tuple[int, int],
        network: Network,
        transform: Transform,
        bins: int,
        turned: bool,
    ) -> None:
        super().__init__()
        x_dim, self.y_dim = dims
        self.transform: Transform = transform
        self.bins = bins
        order = torch.arange(self.y_dim, dtype=torch.int64, device="cpu")
        order = order.flip(0) if turned else order
        self.network = AutoregressiveHypernetwork(seeds, order, x_dim, network, parameters(transform, bins))

    def transforms(self, x: torch.Tensor) -> list[Any]:
        if self.transform == "affine":
            clips = {"log_scale_min_clip": -WIDENS, "log_scale_max_clip": SHRINKS}
            return [ConditionalAffineAutoregressive(self.network, **clips).condition(x).inv]
        layer = ConditionalSplineAutoregressive(self.y_dim, self.network, count_bins=self.bins, bound=HALF_WIDTH)
        return [Within(layer.condition(x), HALF_WIDTH).inv]


def parameters(transform: Transform, bins: int) -> list[int]:
    """Numbers a coordinate that a layer takes from its network: shift and log-scale; or widths, heights, slopes at
    the inner knots and the division points of a rational linear spline."""
    return [1, 1] if transform == "affine" else [bins, bins, bins - 1, bins]


class FlowEnergy(nn.Module):
    """R normalising flows as energies: E(x, y) = -ln q(y | x), exactly normalised over all of space.

    Args:
        layers: from noise to data.
        num_replicates: R.
        box: that of y. The base distribution is normal with four standard deviations from its middle to its edges, and
            splines are the identity outside of it.
    """

    def __init__(self, layers: Sequence[FlowLayer], num_replicates: int, box: Box) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.num_replicates = num_replicates
        low, high = box.bounds
        self.y_dim, self.middle, self.unit = box.dim, 0.5 * (low + high), 0.5 * (high - low) / HALF_WIDTH

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one density of one example, as if each had an x of its own."""
        return sum(part.multiply_adds for part in self.modules() if isinstance(part, ReplicatedMLP))

    def conditional(self, x: torch.Tensor) -> dist.TransformedDistribution:
        """The flow given x (R or 1, *n, dx): batch shape (R, *n), event shape (dy,)."""
        shape = (self.num_replicates, *x.shape[1:-1])
        base = dist.Normal(x.new_zeros(()), x.new_ones(()), validate_args=False).expand((*shape, self.y_dim))
        context = distinct(x)
        transforms = [part for layer in self.layers for part in cast("FlowLayer", layer).transforms(context)]
        transforms.append(AffineTransform(self.middle, self.unit, event_dim=1))
        return dist.TransformedDistribution(base.to_event(1), transforms, validate_args=False)

    def carried(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Where the flow given x (R or 1, *n, dx) carries standard normals (R, *n, dy): draws, differentiable."""
        value = noise
        for transform in self.conditional(x).transforms:
            value = transform(value)
        return value

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        log_prob: torch.Tensor = self.conditional(x).log_prob(y.expand(*shape, -1))
        return -log_prob


class FlowModel(DensityModel):
    """A flow is normalised as it stands: no partition function, exact ancestral samples."""

    module: FlowEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        x = self._placed("x", x)
        shape = (x.shape[1], num_samples, self.module.y_dim)
        noise = replicate_noise(self._streams(seed), shape, dtype=self.setting.dtype, device=x.device)
        with torch.no_grad():
            return self.module.carried(x.unsqueeze(2), noise)

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"
