"""Laplace's approximation of a latent variable: a normal at the minimum of its energy, and what evidence follows."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from ...core.errors import NormalizerWarning, invalid
from ...descent.answers import Search
from ...descent.latent import JointEnergy, search_latent
from ...gibbs.trust import warns
from .guide_densities import WrappedNormal, wrapped
from .guides import Guide

#: Least curvature, in nats over z squared, that is taken for that of a minimum.
LEAST_CURVATURE = 1e-6
#: Nats by which the potential where the search ended may lie above the minimum of the parabola there.
SHORT = 1e-3
#: Share of the interval of z within which a z is at a bound of it.
AT_BOUND = 1e-9


@dataclass(frozen=True)
class LaplaceMinimum:
    """Where the search over z ended, without gradient.

    Attributes:
        z: (R, *n, dz). potential: U there, nats, (R, *n).
        curvatures: eigenvalues of the Hessian of U, nats over z squared, ascending, (R, *n, dz). axes: its
            eigenvectors, as columns, (R, *n, dz, dz).
        doubts: for each reason why this is no minimum that Laplace's approximation holds at, where: (R, *n) bool.
    """

    z: torch.Tensor
    potential: torch.Tensor
    curvatures: torch.Tensor
    axes: torch.Tensor
    doubts: dict[str, torch.Tensor]

    def doubtful(self) -> torch.Tensor:
        """Where any reason holds, (R, *n) bool."""
        return torch.stack(list(self.doubts.values())).any(0)


#: The search for the minimum that the normal is placed at.
LAPLACE_SEARCH = Search(tolerance=1e-8)


class LaplaceGuide(Guide):
    """The normal at the minimum over z of a potential U(x, y, z), with the inverse Hessian there for its covariance.

    Nothing is trained: the minimum is searched from the best of `starts`, and the Hessian is `torch.func`'s (MacKay
    2003, *Information theory, inference and learning algorithms*, ch. 27). An angle's density is the wrapped normal.

    As a guide it gives bounds, like any other, wherever the search ends: curvatures count for `LEAST_CURVATURE` at the
    least, so that it stays a density, and a poor one bounds loosely. `log_evidence` is Laplace's own approximation, no
    bound, and NaN where it does not hold. Both warn of a search that ended short of a minimum, of a curvature that is
    not positive, and of a z at an end of `bounds`, beyond which the minimum may lie.

    Args:
        potential: U in nats, -ln p(y, z | x) up to what z does not change: (R, *n) of x (R or 1, *n, dx), y and z.
        starts: candidates of z, (m, dz).
        bounds: the interval of every entry of z.
        num_replicates: R. periodic: z is one angle.

    Raises:
        ValueError: starts that are not (m, dz), or several angles.
    """

    is_lower_bound = False

    def __init__(
        self,
        potential: JointEnergy,
        starts: torch.Tensor,
        bounds: tuple[float, float],
        num_replicates: int = 1,
        periodic: bool = False,
        search: Search = LAPLACE_SEARCH,
    ) -> None:
        super().__init__()
        if starts.ndim != 2 or not len(starts):
            raise invalid("starts.shape", tuple(starts.shape), "(m, dz) with m >= 1")
        if periodic and starts.shape[1] != 1:
            raise invalid("periodic", periodic, f"False where z has {starts.shape[1]} entries")
        self._potential = (potential,)  # a tuple, so that its parameters are not among this module's
        # The interval goes half a turn beyond either end, so that a search may cross where the angle jumps.
        self.starts, self.bounds = starts, (bounds[0] - math.pi, bounds[1] + math.pi) if periodic else bounds
        self.num_replicates, self.latent_dim, self.periodic = num_replicates, starts.shape[1], periodic
        self.search = search

    def minimum(self, x: torch.Tensor, y: torch.Tensor) -> LaplaceMinimum:
        """Where the search over z ends at each (x, y), and what speaks against it.

        The search ended short where Newton's step would still lower U by more than a thousandth of a nat, whether or
        not it had stopped: a step's length says little where curvatures differ.
        """
        potential = self._potential[0]
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        given = x.detach().expand(*shape, -1), y.detach().expand(*shape, -1)
        found = search_latent(potential, *given, self.starts.to(y), self.bounds, self.search)
        slope = torch.func.grad(lambda z: potential(*given, z).sum())
        with torch.no_grad():
            steepness = slope(found.z)
            rows = [
                torch.func.jvp(slope, (found.z,), (unit.expand_as(found.z),))[1]
                for unit in torch.eye(self.latent_dim, dtype=y.dtype, device=y.device)
            ]
            hessian = torch.stack(rows, -2).nan_to_num(0.0, 0.0, 0.0)
            curvatures, axes = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
            along = (axes.mT @ steepness.unsqueeze(-1)).squeeze(-1)
            short = (0.5 * along.square() / curvatures.clamp_min(LEAST_CURVATURE)).sum(-1)
            low, high = self.bounds
            margin = AT_BOUND * (high - low)
            at_bound = ((found.z <= low + margin) | (found.z >= high - margin)).any(-1)
            settled = found.free_energy.isfinite() & (short <= SHORT)
            doubts = {
                "the search ended short of a minimum": ~settled & ~at_bound,
                "curvature not above 0": curvatures[..., 0] <= LEAST_CURVATURE,
                "z at an end of its bounds": at_bound,
            }
        z = wrapped(found.z) if self.periodic else found.z
        return LaplaceMinimum(z, found.free_energy, curvatures, axes, doubts)

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        """The normal, or wrapped normal, at the minimum: batch shape (R, *n), event shape (dz,).

        Warns:
            NormalizerWarning: it is not at a minimum; as a guide it then still bounds.
        """
        found = self._searched(x, y)
        scales = found.curvatures.clamp_min(LEAST_CURVATURE).rsqrt()
        if self.periodic:
            normal = WrappedNormal(found.z, scales, validate_args=False)
            return dist.Independent(normal, 1, validate_args=False)
        covariance = (found.axes * scales.square().unsqueeze(-2)) @ found.axes.mT
        return dist.MultivariateNormal(found.z, covariance_matrix=covariance, validate_args=False)

    def log_evidence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-U(z*) + dz/2 ln 2π - ½ ln det H: ln ∫ exp(-U) dz as if U were quadratic, (R, *n) nats. No bound.

        Warns:
            NormalizerWarning: at some (x, y) no minimum was found; there it is NaN.
        """
        found = self._searched(x, y)
        evidence = -found.potential + 0.5 * (self.latent_dim * math.log(2 * math.pi) - found.curvatures.log().sum(-1))
        return evidence.masked_fill(found.doubtful(), math.nan)

    def _searched(self, x: torch.Tensor, y: torch.Tensor) -> LaplaceMinimum:
        found = self.minimum(x, y)
        for reason, where in found.doubts.items() if warns() else ():
            if bool(where.any()):
                line = f"Laplace's approximation: {reason} at {int(where.sum())} of {where.numel()} pairs"
                warnings.warn(line, NormalizerWarning, stacklevel=3)
        return found
