"""Guides q(z | x, y): families of densities of a latent variable, with parameters that a network makes of (x, y).

Each is an `nn.Module` whose call is a Pyro guide inside the replicate plate, `guide(x, y)` with x (R, B, dx) and
y (R, B, dy), and whose `distribution(x, y)` is the density itself. Where z is an angle it is a density on the circle:
it is periodic and integrates to 1 over (-π, π]. `laplace` has the guide that is found and not trained.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineTransform
from pyro.distributions.transforms.householder import ConditionedHouseholder
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import nn

from ...core.errors import check_count, invalid, unknown
from ...core.tensors import angle
from ...energies.activations import sigmoid, softplus
from ...energies.mlp import ReplicatedMLP
from ..objectives.bounds import LOG_SHARES
from .guide_densities import StratifiedMixture, WrappedNormal

GuideName = Literal["mean_field", "full_rank", "flow", "mixture"]
#: Bins, and half-width of the interval, of the splines of a flow; beyond it they are the identity.
SPLINE_BINS, SPLINE_BOUND = 8, 4.0


class Guide(nn.Module, ABC):
    """A Pyro guide of the site `z` for R replicates.

    Attributes:
        num_replicates: R. latent_dim: dz.
        strata: draws come in multiples of this many, one of each stratum in turn.
        periodic: whether z is an angle.
    """

    num_replicates: int
    latent_dim: int
    strata = 1
    periodic = False

    @abstractmethod
    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        """q(. | x, y) of x (R or 1, *n, dx) and y (R or 1, *n, dy): batch shape (R, *n), event shape (dz,)."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """The guide as Pyro runs it."""
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            density = self.distribution(x, y)
            shares = self.log_shares(density)
            known: Any = {} if shares is None else {LOG_SHARES: shares}
            pyro.sample("z", density, infer=known)

    def log_shares(self, density: Any) -> torch.Tensor | None:
        """ln of the shares of the strata that draws of `density` come from in turn, (S, R, *n); None without strata."""
        return None


class AmortisedGuide(Guide):
    """A guide whose parameters are what a network, the encoder, makes of (x, y) (Kingma and Welling 2014).

    Args:
        seeds: of the replicates. x_dim, y_dim, latent_dim: dimensions. hidden: widths of the encoder.
        periodic: z is an angle.

    Raises:
        ValueError: an angle of a family that has no density on the circle.
    """

    circular: ClassVar[bool] = False

    def __init__(
        self,
        seeds: Sequence[int],
        x_dim: int,
        y_dim: int,
        latent_dim: int,
        hidden: Sequence[int],
        periodic: bool = False,
    ) -> None:
        super().__init__()
        check_count("latent_dim", latent_dim)
        if periodic and not self.circular:
            raise invalid("periodic", periodic, f"False: {type(self).__name__} is no density on the circle")
        self.num_replicates, self.latent_dim, self.periodic = len(seeds), latent_dim, periodic
        self.encoder = ReplicatedMLP(seeds, (x_dim + y_dim, *hidden, self._outputs()))

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the encoder for one (x, y)."""
        return self.encoder.multiply_adds

    @abstractmethod
    def _outputs(self) -> int:
        """Numbers that the encoder gives for one (x, y)."""

    def encoded(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of (x, y), (R, *n, outputs)."""
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return self.encoder(torch.cat([x.expand(*shape, -1), y.expand(*shape, -1)], -1))

    def _centers(self, given: torch.Tensor) -> torch.Tensor:
        """Locations; of an angle, the direction of a vector, which is continuous where the angle jumps."""
        if not self.periodic:
            return given
        up, right = given.chunk(2, -1)
        return angle(up, right)

    @property
    def _center_outputs(self) -> int:
        return self.latent_dim * (2 if self.periodic else 1)


class MeanFieldGuide(AmortisedGuide):
    """Independent normals, or wrapped normals where z is an angle."""

    circular = True

    def _outputs(self) -> int:
        return self._center_outputs + self.latent_dim

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        center, log_scale = self.encoded(x, y).split([self._center_outputs, self.latent_dim], -1)
        family = WrappedNormal if self.periodic else dist.Normal
        normal = family(self._centers(center), log_scale.exp(), validate_args=False)
        return dist.Independent(normal, 1, validate_args=False)


class FullRankGuide(AmortisedGuide):
    """A normal with any covariance, by its Cholesky factor."""

    def _outputs(self) -> int:
        return self.latent_dim + self.latent_dim * (self.latent_dim + 1) // 2

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        center, log_scale, lower = self.encoded(x, y).split(
            [self.latent_dim, self.latent_dim, self.latent_dim * (self.latent_dim - 1) // 2], -1
        )
        return dist.MultivariateNormal(center, scale_tril=_triangular(log_scale.exp(), lower), validate_args=False)


class _Spline(ConditionedSpline):
    """Pyro's spline without its indexing by where draws lie outside: the same operations whatever the draws, so that a
    step can be recorded once (`objectives.recorded`)."""

    def spline_op(self, x: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        inside = x.abs() <= self.bound
        y, log_derivative = super().spline_op(x.clamp(-self.bound, self.bound), **options)
        return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)


class FlowGuide(AmortisedGuide):
    """A neural spline flow of Pyro's transforms (Rezende and Mohamed 2015; Dolatabadi et al. 2020).

    A normal of unit variances and learned correlations goes through rational splines, entry by entry, which a
    Householder reflection parts, and is moved and scaled. With the splines at the identity it is the full-rank guide.
    """

    layers: ClassVar[int] = 2

    def _sizes(self) -> list[int]:
        dim = self.latent_dim
        reflections = dim * (self.layers - 1) if dim > 1 else 0
        splines = self.layers * dim * (4 * SPLINE_BINS - 1)
        return [dim, dim, dim * (dim - 1) // 2, reflections, splines]

    def _outputs(self) -> int:
        return sum(self._sizes())

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        center, log_scale, lower, reflections, splines = self.encoded(x, y).split(self._sizes(), -1)
        dim = self.latent_dim
        rows = _triangular(torch.ones_like(center), lower)
        base = dist.MultivariateNormal(
            torch.zeros_like(center), scale_tril=rows / rows.norm(dim=-1, keepdim=True), validate_args=False
        )
        parts: list[Any] = []
        knots = splines.reshape(*splines.shape[:-1], self.layers, dim, -1).unbind(-3)
        mirrors = reflections.reshape(*reflections.shape[:-1], -1, 1, dim).unbind(-3) if dim > 1 else ()
        for layer, knot in enumerate(knots):
            parts.append(_Spline(_spline(knot), bound=SPLINE_BOUND, order="linear"))
            if layer < len(mirrors):
                # The first axis is added, so that an encoder that gives 0 still names a reflection.
                axis = mirrors[layer] + torch.eye(dim, dtype=knot.dtype, device=knot.device)[:1]
                parts.append(ConditionedHouseholder(axis))
        # The cache lets the density at a draw go back without inverting the splines.
        parts.append(AffineTransform(center, log_scale.exp(), event_dim=1, cache_size=1))
        return dist.TransformedDistribution(base, parts, validate_args=False)


class MixtureGuide(AmortisedGuide):
    """A mixture of diagonal normals, or of wrapped normals where z is an angle, drawn from by strata.

    Particle k is a draw of component k mod C, weighted by that component's share, so that the draw is reparameterised
    and the shares are differentiated exactly (Morningstar et al. 2021). Objectives need a multiple of C particles.

    Args:
        components: C; the others are those of `AmortisedGuide`.
    """

    circular = True

    def __init__(self, *args: Any, components: int = 4, **options: Any) -> None:
        check_count("components", components)
        self.components = components
        super().__init__(*args, **options)
        self.strata = components

    def _outputs(self) -> int:
        return self.components * (1 + self._center_outputs + self.latent_dim)

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        sizes = [self.components * size for size in (1, self._center_outputs, self.latent_dim)]
        logits, center, log_scale = self.encoded(x, y).split(sizes, -1)
        shape = (*logits.shape, -1)
        return StratifiedMixture(
            logits, self._centers(center.reshape(shape)), log_scale.reshape(shape).exp(), self.periodic
        )

    def log_shares(self, density: Any) -> torch.Tensor:
        shares: torch.Tensor = density.log_shares()
        return shares


def _triangular(diagonal: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """A lower-triangular matrix (..., d, d) of its diagonal (..., d) and what lies below, (..., d(d-1)/2) by rows."""
    matrix = torch.diag_embed(diagonal)
    rows, columns = torch.tril_indices(
        matrix.shape[-1], matrix.shape[-1], -1, device=diagonal.device, dtype=torch.int64
    )
    matrix[..., rows, columns] = lower
    return matrix


def _spline(knots: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Widths, heights, derivatives and lambdas of linear rational splines, of (..., 4 bins - 1) numbers each.

    At 0 the knots are evenly spaced and the derivatives 1, so that the spline begins at the identity.
    """
    sizes = [SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1, SPLINE_BINS]
    widths, heights, derivatives, lambdas = knots.split(sizes, -1)
    unit = math.log(math.e - 1)
    return (
        widths.softmax(-1),
        heights.softmax(-1),
        softplus(derivatives + unit),
        sigmoid(lambdas),
    )


#: Amortised families by the names that options use.
GUIDES: dict[str, type[AmortisedGuide]] = {
    "mean_field": MeanFieldGuide,
    "full_rank": FullRankGuide,
    "flow": FlowGuide,
    "mixture": MixtureGuide,
}


def amortised_guide(name: str, *args: Any, **options: Any) -> AmortisedGuide:
    """The amortised guide of that name; arguments are those of its class.

    Raises:
        UnknownName: no such guide.
    """
    if name not in GUIDES:
        raise unknown("guide", name, GUIDES)
    return GUIDES[name](*args, **options)
