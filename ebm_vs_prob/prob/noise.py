"""Noise from outside: a Pyro messenger that makes sample sites out of numbers drawn beforehand.

Each replicate's numbers come from its own generator, so what it draws does not depend on the company it keeps; and no
random state is left inside the model, which can then be compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Independent, Normal
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger


class SuppliedNoise(Messenger):
    """Draw the named sites from the given noise: standard normals for a normal site, uniforms on (0, 1) for others.

    A normal site's value is loc + scale * noise; any other reparameterised site's is `icdf(noise)`. Sites that are not
    named draw as usual.
    """

    def __init__(self, noise: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or msg["value"] is not None or msg["name"] not in self.noise:
            return
        distribution: Any = msg["fn"]
        while isinstance(distribution, (Independent, ExpandedDistribution)):
            distribution = distribution.base_dist
        noise = self.noise[msg["name"]]
        if isinstance(distribution, Normal):
            msg["value"] = distribution.loc + distribution.scale * noise
        else:
            msg["value"] = distribution.icdf(noise)
        msg["done"] = True
