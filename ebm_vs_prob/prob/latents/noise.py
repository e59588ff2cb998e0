"""Noise from outside: a Pyro messenger that makes sample sites out of numbers drawn beforehand.

Each replicate's numbers come from its own generator, so what it draws does not depend on the company it keeps; and no
random state is left inside the model, which can then be compiled.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import Independent, MultivariateNormal, Normal
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch.distributions import Distribution, TransformedDistribution
from torch.distributions.multivariate_normal import _batch_mv

from ...core.errors import invalid
from ...core.replicate_noise import Kind, replicate_noise
from ...core.seeding import forked
from ...gibbs.normalizers.proposal_draws import element

#: What changes shapes or densities of a distribution and not how it is drawn.
_WRAPPERS = (Independent, ExpandedDistribution, MaskedDistribution)


class SuppliedNoise(Messenger):
    """Draw the named sites from the given noise: standard normals for a normal site, uniforms on (0, 1) for others.

    A normal site's value is loc + scale * noise, a multivariate normal's loc + scale_tril @ noise. A transformed one's
    is that of its base, transformed; a distribution that knows how to draw itself from noise does so by its
    `from_noise`. Any other reparameterised site's is `icdf(noise)`. Sites that are not named draw as usual.
    """

    def __init__(self, noise: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or msg["value"] is not None or msg["name"] not in self.noise:
            return
        msg["value"] = drawn(msg["fn"], self.noise[msg["name"]])
        msg["done"] = True


class ReplicateNoise(Messenger):
    """Draw every latent site from streams of its replicates, by the rules of `SuppliedNoise` where they apply.

    Distributions that are not made of noise, such as gammas, are drawn from one replicate after the other.

    The sites lie inside `pyro.plate("replicate", R, dim=-2)`. What a replicate draws depends on its own generator and
    on the sites' shapes, not on R nor on the other replicates.

    Args:
        generators: of the R replicates, on the CPU. like: a tensor with the noise's dtype and device.

    Raises:
        ValueError: at a site that is not inside the replicate plate, or whose distribution is neither made of noise nor
            taken apart by its parameters.
    """

    def __init__(self, generators: Sequence[torch.Generator], like: torch.Tensor) -> None:
        super().__init__()
        self.generators, self.like = generators, like

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or msg["value"] is not None or isinstance(msg["fn"], _Subsample):
            return
        field, batch, count = f"shape of site {msg['name']!r}", tuple(msg["fn"].batch_shape), len(self.generators)
        if len(batch) < 2 or batch[-2] != count:
            raise invalid(field, batch, f"(..., {count}, n): inside the replicate plate, at dim -2")
        msg["value"] = self._drawn(msg["fn"], batch)
        msg["done"] = True

    def _drawn(self, distribution: Any, batch: tuple[int, ...]) -> torch.Tensor:
        base, shape = _source(distribution, distribution.shape())
        if not _is_made_of_normals(base) and type(base).icdf is Distribution.icdf:
            return self._one_by_one(distribution, batch)
        own = torch.Size((*shape[: len(batch) - 2], *shape[len(batch) - 1 :]))
        kind: Kind = "normal" if _is_made_of_normals(base) else "uniform"
        like, dim = self.like, len(batch) - 2
        noise = replicate_noise(self.generators, own, kind, dtype=like.dtype, device=like.device, dim=dim)
        if kind == "uniform":
            least = torch.finfo(like.dtype).eps  # an `icdf` may be infinite at the ends
            noise = noise.clamp(least, 1 - least)
        return drawn(distribution, noise)

    def _one_by_one(self, distribution: Any, batch: tuple[int, ...]) -> torch.Tensor:
        while isinstance(distribution, (ExpandedDistribution, MaskedDistribution)):
            distribution = distribution.base_dist.expand(batch)
        found = []
        for index in itertools.product(*map(range, batch[:-1])):
            seed = int(
                torch.randint(1 << 62, (), generator=self.generators[index[-1]], dtype=torch.int64, device="cpu")
            )
            with forked(seed, self.like.device):
                found.append(element(distribution, index).sample())
        return torch.stack(found).unflatten(0, batch[:-1])


def _source(distribution: Any, shape: torch.Size) -> tuple[Any, torch.Size]:
    """The distribution whose noise that of a site is, and the shape of the noise, for values of that shape."""
    while isinstance(distribution, _WRAPPERS):
        distribution = distribution.base_dist
    if isinstance(distribution, TransformedDistribution):
        for transform in reversed(distribution.transforms):
            shape = transform.inverse_shape(shape)
        return _source(distribution.base_dist, shape)
    return distribution, shape


def _is_made_of_normals(base: Any) -> bool:
    return isinstance(base, (Normal, MultivariateNormal)) or hasattr(base, "from_noise")


def drawn(distribution: Any, noise: torch.Tensor) -> torch.Tensor:
    """The value that a distribution makes of noise, by the rules of `SuppliedNoise`."""
    while isinstance(distribution, _WRAPPERS):
        distribution = distribution.base_dist
    if isinstance(distribution, Normal):
        return distribution.loc + distribution.scale * noise
    if hasattr(distribution, "from_noise"):
        value: torch.Tensor = distribution.from_noise(noise)
        return value
    if isinstance(distribution, MultivariateNormal):
        return distribution.loc + _batch_mv(distribution._unbroadcasted_scale_tril, noise)
    if isinstance(distribution, TransformedDistribution):
        value = drawn(distribution.base_dist, noise)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    return distribution.icdf(noise)
