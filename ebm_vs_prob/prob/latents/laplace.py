"""Laplace's approximation of a latent variable: a normal at the minimum of its energy, and what evidence follows."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch

from ...errors import invalid
from ...latent_inference import JointEnergy, search_latent
from .guide_densities import WrappedNormal, wrapped
from .guides import Guide

#: Least curvature, in nats over z squared, that is taken for that of a minimum.
LEAST_CURVATURE = 1e-6


class LaplaceGuide(Guide):
    """The normal at the minimum over z of a potential U(x, y, z), with the inverse Hessian there for its covariance.

    Nothing is trained: the minimum is searched from the best of `starts`, and the Hessian is `torch.func`'s (MacKay
    2003, *Information theory, inference and learning algorithms*, ch. 27). An angle's density is the wrapped normal.

    As a guide it gives bounds, like any other; `log_evidence` is Laplace's own approximation, which is not one.

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
        max_steps: int = 200,
        tolerance: float = 1e-8,
    ) -> None:
        super().__init__()
        if starts.ndim != 2 or not len(starts):
            raise invalid("starts.shape", tuple(starts.shape), "(m, dz) with m >= 1")
        if periodic and starts.shape[1] != 1:
            raise invalid("periodic", periodic, f"False where z has {starts.shape[1]} entries")
        self._potential = (potential,)  # held outside the module tree: its parameters are not ours
        # Half a turn beyond either end, so that a search may cross where the angle jumps.
        self.starts, self.bounds = starts, (bounds[0] - math.pi, bounds[1] + math.pi) if periodic else bounds
        self.num_replicates, self.latent_dim, self.periodic = num_replicates, starts.shape[1], periodic
        self.max_steps, self.tolerance = max_steps, tolerance

    def minimum(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """z (R, *n, dz) of least potential, U there (R, *n), and its Hessian (R, *n, dz, dz); without gradient."""
        potential = self._potential[0]
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        given = x.detach().expand(*shape, -1), y.detach().expand(*shape, -1)
        found = search_latent(
            potential, *given, self.starts.to(y), self.bounds, max_steps=self.max_steps, tolerance=self.tolerance
        )
        slope = torch.func.grad(lambda z: potential(*given, z).sum())
        with torch.no_grad():
            rows = [
                torch.func.jvp(slope, (found.z,), (unit.expand_as(found.z),))[1]
                for unit in torch.eye(self.latent_dim, dtype=y.dtype, device=y.device)
            ]
        hessian = torch.stack(rows, -2).detach()
        z = wrapped(found.z) if self.periodic else found.z
        return z, found.free_energy, 0.5 * (hessian + hessian.mT)

    def distribution(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        z, _, hessian = self.minimum(x, y)
        values, vectors = torch.linalg.eigh(hessian)
        scales = values.clamp_min(LEAST_CURVATURE).rsqrt()
        if self.periodic:
            normal = WrappedNormal(z, scales, validate_args=False)
            return dist.Independent(normal, 1, validate_args=False)
        covariance = (vectors * scales.square().unsqueeze(-2)) @ vectors.mT
        return dist.MultivariateNormal(z, covariance_matrix=covariance, validate_args=False)

    def log_evidence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-U(z*) + dz/2 ln 2π - ½ ln det H: ln ∫ exp(-U) dz as if U were quadratic, (R, *n) nats. No bound."""
        _, least, hessian = self.minimum(x, y)
        curvature = torch.linalg.eigvalsh(hessian).clamp_min(LEAST_CURVATURE)
        return -least + 0.5 * (self.latent_dim * math.log(2 * math.pi) - curvature.log().sum(-1))
