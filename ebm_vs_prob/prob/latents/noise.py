"""Noise from outside: a Pyro messenger that makes sample sites out of numbers drawn beforehand.

Each replicate's numbers come from its own generator, so what it draws does not depend on the company it keeps; and no
random state is left inside the model, which can then be compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Independent, MultivariateNormal, Normal
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import TransformedDistribution
from torch.distributions.multivariate_normal import _batch_mv


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


def drawn(distribution: Any, noise: torch.Tensor) -> torch.Tensor:
    """The value that a distribution makes of noise, by the rules of `SuppliedNoise`."""
    while isinstance(distribution, (Independent, ExpandedDistribution)):
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
