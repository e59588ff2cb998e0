"""Priors over the weights of an energy, as Pyro programs, each with the regulariser that is its twin.

Minus the logarithm of a prior is a penalty (LeCun 2020: exp(E) · exp(R) = exp(E + R)). The objective of Bayes is a sum
over the N training examples, that of an energy-based model a mean, so a twin's weight is the prior's strength over N,
up to the factor that `twin_weight` gives.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints

from ..core.errors import invalid, unknown
from ..core.tensors import tensor_of
from .weights import WeightedEnergy, WeightSpace


class WeightPrior(ABC):
    """A prior over a replicated energy's weights; `sample` is written for a model inside a plate of replicates.

    Args:
        strength: what grows as the prior pulls harder, a number or one a replicate (R,), > 0; its unit is the prior's.
        base_scale: standard deviation of a normal prior on the parameters that the prior leaves free, in the weights'
            unit; None leaves them flat, as penalties do. A flat prior is improper: right for a mode, not for draws.

    Raises:
        ValueError: a strength or scale that is not a finite number > 0.
    """

    name: ClassVar[str]
    #: The option of `ebm.regularisers` whose penalty it is, or None.
    twin: ClassVar[str | None] = None

    def __init__(self, strength: torch.Tensor | float, base_scale: float | None = None) -> None:
        self.strength = torch.as_tensor(
            strength, dtype=torch.float64, device=getattr(strength, "device", "cpu")
        ).reshape(-1)
        if not bool((self.strength.isfinite() & (self.strength > 0)).all()):
            raise invalid("strength", self.strength.tolist(), "finite numbers > 0")
        if base_scale is not None and not (math.isfinite(base_scale) and base_scale > 0):
            raise invalid("base_scale", base_scale, "None or a finite number > 0")
        self.base_scale = base_scale

    def twin_weight(self, num_examples: int) -> torch.Tensor:
        """Weight of the twin in a loss that is a mean over N examples, (R,) or (1,).

        Raises:
            ValueError: no regulariser is its twin.
        """
        if self.twin is None:
            raise invalid("prior", self.name, "one whose twin is a regulariser")
        return self.strength / num_examples

    def sample(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        """The Pyro statements: weights by name, (*plates, *shape), the plate of replicates at dim -2, data's at -1.

        Raises:
            ValueError: an energy without a weight matrix.
        """
        if not space.matrices:
            raise invalid("prior", self.name, "an energy with weight matrices")
        weights = self._weights(space)
        return {name: weights[name] if name in weights else self._free(space, name) for name in space.shapes}

    def factor(self, energy: WeightedEnergy, x: torch.Tensor, y: torch.Tensor) -> None:
        """What the prior adds by `pyro.factor`, of data x (R, B, dx), y (R, B, dy), within the replicates' plate."""
        return

    @abstractmethod
    def _weights(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        """The statements of the weights that the prior is of."""

    def sites_at(self, space: WeightSpace, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Values of the sites, (R, *event) each, at which `sample` gives the weights (R, *shape)."""
        return weights

    def _column(self, space: WeightSpace, name: str) -> torch.Tensor:
        """The strength as (R or 1, 1, 1, ...), to broadcast with (R, 1, *shape)."""
        like = space.energy.get_parameter(name)
        return self.strength.to(like).reshape(-1, *[1] * like.ndim)

    def _expanded(self, value: torch.Tensor, space: WeightSpace, name: str) -> torch.Tensor:
        return value.expand(space.num_replicates, 1, *space.shapes[name])

    def _free(self, space: WeightSpace, name: str) -> torch.Tensor:
        shape = space.shapes[name]
        if self.base_scale is None:
            flat = dist.ImproperUniform(constraints.real, torch.Size((space.num_replicates, 1)), shape)
            drawn: torch.Tensor = pyro.sample(name, flat)
            return drawn
        scale = tensor_of(self.base_scale).to(space.energy.get_parameter(name))
        normal = dist.Normal(torch.zeros_like(scale), scale).expand([space.num_replicates, 1, *shape])
        base: torch.Tensor = pyro.sample(name, normal.to_event(len(shape)))
        return base


class GaussianPrior(WeightPrior):
    """Each weight N(0, 1 / strength) (MacKay 1992, eq. 5); the twin is `weight_decay`, ½ Σ W²."""

    name = "gaussian"
    twin = "weight_decay"

    def _weights(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        def drawn(name: str) -> torch.Tensor:
            scale = self._expanded(self._column(space, name).rsqrt(), space, name)
            value: torch.Tensor = pyro.sample(
                name, dist.Normal(torch.zeros_like(scale), scale).to_event(len(space.shapes[name]))
            )
            return value

        return {name: drawn(name) for name in space.matrices}


class LaplacePrior(WeightPrior):
    """Each weight Laplace of mean 0 and scale 1 / strength (Tibshirani 1996, section 5); the twin is `l1_penalty`."""

    name = "laplace"
    twin = "l1_penalty"

    def _weights(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        def drawn(name: str) -> torch.Tensor:
            scale = self._expanded(self._column(space, name).reciprocal(), space, name)
            value: torch.Tensor = pyro.sample(
                name, dist.Laplace(torch.zeros_like(scale), scale).to_event(len(space.shapes[name]))
            )
            return value

        return {name: drawn(name) for name in space.matrices}


class HorseshoePrior(WeightPrior):
    """Weight = raw · local · global: raw ~ N(0, 1), local ~ C⁺(0, 1) each, one global ~ C⁺(0, 1 / strength).

    Carvalho, Polson and Scott 2010, eq. 1, without centring (Piironen and Vehtari 2017, appendix C), so that no mode
    lies at a pole. It is the prior of no penalty in closed form, so it has no twin.
    """

    name = "horseshoe"

    def _weights(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        first = space.matrices[0]
        rate = self._column(space, first).reshape(-1, 1).expand(space.num_replicates, 1)
        whole = pyro.sample("global_scale", dist.HalfCauchy(rate.reciprocal()))
        weights = {}
        for name in space.matrices:
            shape = space.shapes[name]
            one = self._expanded(torch.ones_like(self._column(space, name)), space, name)
            raw = pyro.sample(f"{name}.raw", dist.Normal(torch.zeros_like(one), one).to_event(len(shape)))
            local = pyro.sample(f"{name}.local", dist.HalfCauchy(one).to_event(len(shape)))
            weights[name] = raw * local * whole.reshape(*whole.shape, *[1] * len(shape))
        return weights

    def sites_at(self, space: WeightSpace, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        sites = {name: value for name, value in weights.items() if name not in space.matrices}
        like = weights[space.matrices[0]]
        sites["global_scale"] = whole = self.strength.to(like).reciprocal().expand(space.num_replicates)
        for name in space.matrices:
            value = weights[name]
            local = value.abs() / whole.reshape(-1, *[1] * (value.ndim - 1))
            sites[f"{name}.raw"] = torch.ones_like(value).copysign(value)
            sites[f"{name}.local"] = local.clamp_min(torch.finfo(value.dtype).tiny)
        return sites


class SmoothnessPrior(WeightPrior):
    """exp(-strength · E ‖∇_y F‖²), the mean over the data: LeCun 2020's smoothness as a prior, by `pyro.factor`.

    A factor of the weights given the data's places, and no density by itself: without a base it is improper. The twin
    is `gradient_penalty`, ½ E ‖∇_y F‖² at the data.
    """

    name = "smoothness"
    twin = "gradient_penalty"

    def twin_weight(self, num_examples: int) -> torch.Tensor:
        return 2 * super().twin_weight(num_examples)

    def _weights(self, space: WeightSpace) -> dict[str, torch.Tensor]:
        return {}

    def factor(self, energy: WeightedEnergy, x: torch.Tensor, y: torch.Tensor) -> None:
        _, gradient = energy.energy_and_gradient(x.unsqueeze(0), y.unsqueeze(0))
        mean = gradient.square().sum(-1).mean(-1, keepdim=True)
        pyro.factor("smoothness", -self.strength.to(mean).reshape(-1, 1) * mean)


PRIORS: dict[str, type[WeightPrior]] = {
    prior.name: prior for prior in (GaussianPrior, LaplacePrior, HorseshoePrior, SmoothnessPrior)
}


def weight_prior(name: str, strength: torch.Tensor | float, base_scale: float | None = None) -> WeightPrior:
    """The prior of that name.

    Raises:
        UnknownName: no such prior.
        ValueError: a bad strength or scale.
    """
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    return PRIORS[name](strength, base_scale)
