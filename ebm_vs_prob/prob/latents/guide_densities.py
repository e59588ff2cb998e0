"""Densities that guides are made of and Pyro has not: on the circle, and mixtures drawn from stratum by stratum."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints
from torch.nn.functional import log_softmax

from ...core.errors import invalid

#: Scale, in radians, at which the density of a wrapped normal goes over from its images to its Fourier series.
WIDE = 2.0
#: Images to either side, and terms of the series: what is left out is below 1e-13 of the density.
IMAGES, TERMS = 3, 5


class WrappedNormal(TorchDistribution):
    """The law of loc + scale · n on the circle, n standard normal (Mardia and Jupp 2000, section 3.5.7).

    Values lie in [-π, π), the density is periodic and integrates to 1 over a turn; reparameterised.

    Args:
        loc, scale: tensors of one shape, radians.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.interval(-math.pi, math.pi)
    has_rsample = True

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WrappedNormal:
        new = self._get_checked_instance(WrappedNormal, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(WrappedNormal, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def from_noise(self, noise: torch.Tensor) -> torch.Tensor:
        """loc + scale · noise, brought into [-π, π)."""
        return wrapped(self.loc + self.scale * noise)

    def rsample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        return self.from_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """ln of the density of angles in radians; any turns beyond [-π, π) are taken off."""
        if self._validate_args:
            self._validate_sample(wrapped(value))
        apart = wrapped(value - self.loc)
        wide = self.scale >= WIDE
        narrow_scale = torch.where(wide, 1.0, self.scale)
        images = 2 * math.pi * torch.arange(-IMAGES, IMAGES + 1, dtype=apart.dtype, device=apart.device)
        exponents = -0.5 * ((apart.unsqueeze(-1) + images) / narrow_scale.unsqueeze(-1)).square()
        narrow = exponents.logsumexp(-1) - narrow_scale.log() - 0.5 * math.log(2 * math.pi)
        orders = torch.arange(1, TERMS + 1, dtype=apart.dtype, device=apart.device)
        wide_scale = torch.where(wide, self.scale, WIDE)
        moments = (-0.5 * (orders * wide_scale.unsqueeze(-1)).square()).exp()
        series = (moments * (orders * apart.unsqueeze(-1)).cos()).sum(-1)
        return torch.where(wide, (2 * series).log1p() - math.log(2 * math.pi), narrow)


class StratifiedMixture(TorchDistribution):
    """A mixture of C normals with independent entries, or of wrapped normals, whose draws are reparameterised.

    The mixture is the law of one draw. Draws along a leading dimension K, as of K particles, are not independent: draw
    k is one of component k mod C, and stands for the share w_c C / K of the mixture (Morningstar et al. 2021).

    Args:
        logits: (*batch, C), of the shares. locs, scales: (*batch, C, d). periodic: entries are angles.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, logits: torch.Tensor, locs: torch.Tensor, scales: torch.Tensor, periodic: bool = False) -> None:
        self.log_weights = log_softmax(logits, -1)
        self.periodic = periodic
        family = WrappedNormal if periodic else torch.distributions.Normal
        self.components: Any = family(locs, scales, validate_args=False)
        super().__init__(logits.shape[:-1], locs.shape[-1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(WrappedNormal.support, 1) if self.periodic else constraints.real_vector

    def expand(self, batch_shape: Any, _instance: Any = None) -> StratifiedMixture:
        """The same mixture for more draws: dimensions may be added in front.

        Raises:
            ValueError: other dimensions are expanded.
        """
        batch_shape, own = torch.Size(batch_shape), self.log_weights.shape[:-1]
        if batch_shape[len(batch_shape) - len(own) :] != own:
            raise invalid("batch_shape", tuple(batch_shape), f"(..., {', '.join(map(str, own))})")
        new = self._get_checked_instance(StratifiedMixture, _instance)
        new.log_weights, new.components, new.periodic = self.log_weights, self.components, self.periodic
        super(StratifiedMixture, new).__init__(batch_shape, self.event_shape, validate_args=False)
        return new

    def log_shares(self) -> torch.Tensor:
        """ln of the components' shares, (C, *batch) of the mixture as it was before any expansion."""
        return self.log_weights.movedim(-1, 0)

    def from_noise(self, noise: torch.Tensor) -> torch.Tensor:
        """Draws (K, *batch, d), or (*batch, d) of one component, of standard normals of that shape.

        Raises:
            ValueError: K is no multiple of the number of components.
        """
        count = self.log_weights.shape[-1]
        lead = noise.shape[: noise.ndim - self.log_weights.ndim]
        if lead.numel() % count:
            raise invalid("particles", lead.numel(), f"a multiple of the {count} components of the mixture")
        locs, scales = (part.movedim(-2, 0) for part in (self.components.loc, self.components.scale))
        strata = noise.reshape(-1, count, *noise.shape[len(lead) :])
        value = (locs + scales * strata).reshape(noise.shape)
        return wrapped(value) if self.periodic else value

    def rsample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        locs = self.components.loc
        return self.from_noise(torch.randn(shape, dtype=locs.dtype, device=locs.device))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        parts = self.components.log_prob(value.unsqueeze(-2)).sum(-1)
        return (parts + self.log_weights).logsumexp(-1)


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    """An angle in [-π, π), radians."""
    return (angle + math.pi).remainder(2 * math.pi) - math.pi
