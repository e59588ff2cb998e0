"""Guides over an energy's weights, replicate-native: what Pyro's autoguides are to one model, for R models at once.

Every guide works on one unconstrained vector of Q numbers, the sites of the prior end to end, as `AutoContinuous` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn
from torch.distributions import biject_to

from ...core.errors import invalid
from ..priors import WeightPrior
from ..weights import WeightSpace


class LatentSpace:
    """The sites of a prior over an energy's weights as one unconstrained vector of Q numbers a replicate.

    Attributes:
        size: Q. names: of the sites, in the order of the vector.
    """

    def __init__(self, prior: WeightPrior, space: WeightSpace) -> None:
        self.prior, self.space = prior, space
        sites = prior.sites_at(space, space.current())
        given = {name: value.unsqueeze(1) for name, value in sites.items()}
        with pyro.plate("replicate", space.num_replicates, dim=-2):
            trace = poutine.trace(poutine.condition(prior.sample, data=given)).get_trace(space)
        self._shapes = {name: value.shape[1:] for name, value in sites.items()}
        self._transforms = {name: biject_to(cast("Any", trace.nodes[name]["fn"]).support) for name in sites}
        self.names = tuple(sites)
        self.size = sum(shape.numel() for shape in self._shapes.values())
        self._start = sites

    def start(self) -> torch.Tensor:
        """The vector at which the weights are the energy's own, (R, Q)."""
        free = [self._transforms[name].inv(value) for name, value in self._start.items()]
        return torch.cat([part.reshape(self.space.num_replicates, -1) for part in free], -1)

    def sites(self, flat: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Values (*batch, *event) of the sites at (*batch, Q), and log-determinants of their transforms (*batch)."""
        values, jacobians = {}, {}
        for (name, shape), part in zip(
            self._shapes.items(), flat.split([shape.numel() for shape in self._shapes.values()], -1), strict=True
        ):
            free = part.reshape(*flat.shape[:-1], *shape)
            transform = self._transforms[name]
            values[name] = transform(free)
            jacobian = transform.log_abs_det_jacobian(free, values[name])
            jacobians[name] = jacobian.reshape(*flat.shape[:-1], -1).sum(-1)
        return values, jacobians

    def unconstrained(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """(S, R, Q) as each site's own unconstrained value (S, R, 1, *event), as Pyro's samplers take them."""
        parts = flat.unsqueeze(2).split([shape.numel() for shape in self._shapes.values()], -1)
        return {
            name: part.reshape(*part.shape[:-1], *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def shape(self, name: str) -> torch.Size:
        """Event shape of a site."""
        return self._shapes[name]

    def weights(self, flat: torch.Tensor) -> torch.Tensor:
        """Weight vectors (S, R, P) at (S, R, Q)."""
        return self.weights_of(self.sites(flat)[0])

    def weights_of(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Weight vectors (S, R, P) at values (S, R, *event) of the sites."""
        given = {name: value.unsqueeze(2) for name, value in values.items()}
        draws, replicates = next(iter(values.values())).shape[:2]
        with pyro.plate("draw", draws, dim=-3), pyro.plate("replicate", replicates, dim=-2):
            weights = poutine.condition(self.prior.sample, data=given)(self.space)
        return self.space.flat({name: value.squeeze(2) for name, value in weights.items()})

    def deltas(self, flat: torch.Tensor, jacobian: bool) -> None:
        """The guide's statements at (S, R, Q), within the plates of draws and replicates: a Delta at each site.

        With `jacobian` their density is that of the unconstrained vector.
        """
        values, jacobians = self.sites(flat)
        for name, value in values.items():
            log_density = -jacobians[name].unsqueeze(2) if jacobian else torch.zeros_like(flat[..., :1])
            pyro.sample(name, dist.Delta(value.unsqueeze(2), log_density, event_dim=len(self._shapes[name])))


class PointGuide(nn.Module):
    """S points of the latent vector, as `AutoDelta` has one: `loc` (R, S, Q).

    Args:
        jacobian: whether the density is that of the unconstrained vector (for Langevin draws) or of the sites as the
            model writes them (for modes, as `AutoDelta`'s). Without a constraint they are the same.
    """

    def __init__(self, latent: LatentSpace, starts: torch.Tensor, jacobian: bool = False) -> None:
        super().__init__()
        self.loc = nn.Parameter(starts)
        self._latent, self._jacobian = latent, jacobian

    def sample(self) -> None:
        """The Pyro statements."""
        points = self.loc.movedim(1, 0)
        with pyro.plate("draw", points.shape[0], dim=-3), pyro.plate("replicate", points.shape[1], dim=-2):
            self._latent.deltas(points, self._jacobian)

    def weights(self) -> torch.Tensor:
        """The energy's weight vectors at the points, (R, S, P), without gradient."""
        with torch.no_grad():
            return self._latent.weights(self.loc.movedim(1, 0)).movedim(0, 1)


class NormalGuide(nn.Module):
    """A normal law of the latent vector: diagonal, as `AutoNormal`'s, or of low rank plus diagonal (K > 0).

    The second is `AutoLowRankMultivariateNormal`, its covariance F Fᵀ + diag(scale²) with F (Q, K) (Ong, Nott and Smith
    2018, section 3).

    Args:
        start: (R, Q), the mean to begin with. scale: standard deviation to begin with. rank: K.

    Raises:
        ValueError: a rank that is not an integer from 0 to Q.
    """

    def __init__(self, latent: LatentSpace, start: torch.Tensor, scale: float, rank: int = 0) -> None:
        super().__init__()
        if not 0 <= rank <= latent.size:
            raise invalid("rank", rank, f"an integer from 0 to the {latent.size} weights")
        self.loc = nn.Parameter(start)
        self.log_scale = nn.Parameter(torch.full_like(start, math.log(scale)))
        self.factor = nn.Parameter(start.new_zeros(*start.shape, rank)) if rank else None
        if self.factor is not None:
            # A factor of zeros is a saddle point: the objective is even in it.
            with torch.no_grad():
                places, columns = (
                    torch.arange(count, device=start.device, dtype=torch.int64) for count in (latent.size, rank)
                )
                self.factor.copy_(0.1 * scale * (places[:, None] % rank == columns).to(start))
        self.rank = rank
        self._latent = latent

    @property
    def noise_size(self) -> int:
        """Standard normals that a draw takes: Q + K."""
        return self.loc.shape[-1] + self.rank

    def law(self) -> dist.TorchDistribution:
        """The law of the latent vector, batch shape (R, 1), event shape (Q,)."""
        loc, scale = self.loc.unsqueeze(1), self.log_scale.exp().unsqueeze(1)
        if self.factor is None:
            return dist.Normal(loc, scale, validate_args=False).to_event(1)
        factor, variance = self.factor.unsqueeze(1), scale.square()
        # A replicate that diverged has no Cholesky factor, and to ask for it would end the others: its density is NaN.
        unit = torch.eye(self.rank, dtype=loc.dtype, device=loc.device)
        capacitance = (factor.mT / variance.unsqueeze(-2)) @ factor + unit
        sound = (torch.linalg.cholesky_ex(capacitance.detach())[1] == 0).unsqueeze(-1)
        loc, variance = torch.where(sound, loc, math.nan), torch.where(sound, variance, 1.0)
        factor = torch.where(sound.unsqueeze(-1), factor, 0.0)
        return dist.LowRankMultivariateNormal(loc, factor, variance, validate_args=False)

    def at(self, noise: torch.Tensor) -> torch.Tensor:
        """The reparameterised draw of standard normals (..., R, Q + K): (..., R, Q)."""
        size = self.loc.shape[-1]
        drawn = self.loc + self.log_scale.exp() * noise[..., :size]
        if self.factor is not None:
            drawn = drawn + (self.factor @ noise[..., size:, None]).squeeze(-1)
        return drawn

    def weights(self, noise: torch.Tensor) -> torch.Tensor:
        """The energy's weight vectors (R, S, P) at the draws of noise (S, R, Q + K), without gradient."""
        with torch.no_grad():
            return self._latent.weights(self.at(noise)).movedim(0, 1)

    def sample(self, noise: torch.Tensor) -> None:
        """The Pyro statements, of one draw made of noise (R, Q + K)."""
        value = self.at(noise)
        with pyro.plate("replicate", value.shape[0], dim=-2):
            pyro.sample("latent_weights", _Supplied(self.law(), value.unsqueeze(1)), infer={"is_auxiliary": True})
            with pyro.plate("draw", 1, dim=-3):
                self._latent.deltas(value.unsqueeze(0), jacobian=True)


class _Supplied(dist.TorchDistribution):
    """A law whose draw was made beforehand of the replicates' own noise, so that no global generator moves."""

    has_rsample = True

    def __init__(self, law: dist.TorchDistribution, value: torch.Tensor) -> None:
        self.law, self.value = law, value
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Supplied:
        return _Supplied(self.law.expand(batch_shape), self.value.expand(*batch_shape, -1))

    def rsample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        return self.value.expand(*sample_shape, *self.value.shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        density: torch.Tensor = self.law.log_prob(value)
        return density
