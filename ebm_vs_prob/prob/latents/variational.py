"""The latent z of any energy E(x, y, z) marginalised in Pyro: exactly by enumeration, or bounded by a guide.

The model is z ~ μ, then `pyro.factor` of -beta E(x, y, z), so that its evidence is ln ∫ exp(-beta E) dμ, which is
-beta F_beta(x, y): marginalising z is Gibbs and Boltzmann on the free energy. What an objective says of the evidence
from below says -1/beta times as much of F_beta from above (Neal and Hinton 1998, *A view of the EM algorithm that
justifies incremental, sparse, and other variants*).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO
from pyro.ops.indexing import Vindex

from ...core.errors import check_count, invalid
from ...core.seeding import torch_generator
from ...core.tensors import tensor_of
from ...descent.latent import JointEnergy
from ..objectives.bounds import ReplicatedELBO, no_guide
from .laplace import LaplaceGuide
from .noise import ReplicateNoise


@dataclass(frozen=True)
class VariationalFreeEnergy:
    """An estimate of F_beta(x, y): value and standard error (R, n), in the energy's unit.

    The value is NaN where there is none that can be trusted, the error where it is not known.

    Attributes:
        is_upper_bound: whether its expectation is at least F_beta, whatever the guide.
    """

    value: torch.Tensor
    error: torch.Tensor
    is_upper_bound: bool


class LatentModel:
    """A Pyro model of the latent z at given (x, y): z ~ prior, and a factor exp(-beta E(x, y, z)).

    Args:
        energy: E(x, y, z) that broadcasts (R or 1, *n, dx), (R or 1, *n, dy), (R or 1, *n, dz) to (R, *n).
        prior: the base measure μ of z, normalised: a distribution of event shape (dz,), uniform for the F_beta of
            `free_energy`.
        beta: inverse temperature, one number or (R,), in the inverse unit of the energy.

    Raises:
        ValueError: a beta that is not finite and above 0, or a prior without an event dimension.
    """

    def __init__(self, energy: JointEnergy, prior: Any, beta: torch.Tensor | float = 1.0) -> None:
        self.energy, self.prior = energy, prior
        self.beta = _checked_beta(beta)
        if len(prior.event_shape) != 1:
            raise invalid("prior.event_shape", tuple(prior.event_shape), "(dz,): Pyro's `.to_event(1)` makes it so")

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
            z = pyro.sample("z", self.prior)
            energy = over_particles(self.energy, z, x, y)
            pyro.factor("energy", -self.beta.to(energy).reshape(-1, 1) * energy)

    def potential(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """beta E(x, y, z) - ln μ(z) in nats, (R, *n): what Laplace's approximation is at the minimum of."""
        energy = self.energy(x, y, z)
        beta = self.beta.to(energy).reshape(-1, *[1] * (energy.ndim - 1))
        potential: torch.Tensor = beta * energy - self.prior.log_prob(z)
        return potential


class EnumeratedLatentModel:
    """The same for a z of finitely many values: Pyro enumerates it in parallel.

    Train or evaluate it with `TraceEnum_ELBO(max_plate_nesting=2)` and an empty guide, whose loss is the sum of beta F.

    Args:
        energy, beta: as for `LatentModel`.
        nodes: the values of z, (m, dz).
        log_weights: unnormalised ln of their weights, (m,); equal by default.

    Raises:
        ValueError: a bad beta, or shapes that do not fit.
    """

    def __init__(
        self,
        energy: JointEnergy,
        nodes: torch.Tensor,
        beta: torch.Tensor | float = 1.0,
        log_weights: torch.Tensor | None = None,
    ) -> None:
        if nodes.ndim != 2 or not len(nodes):
            raise invalid("nodes.shape", tuple(nodes.shape), "(m, dz) with m >= 1")
        weights = torch.zeros(len(nodes), dtype=nodes.dtype, device="cpu") if log_weights is None else log_weights
        if weights.shape != nodes.shape[:1]:
            raise invalid("log_weights.shape", tuple(weights.shape), f"({len(nodes)},)")
        self.energy, self.nodes, self.beta = energy, nodes, _checked_beta(beta)
        self.log_weights = weights.log_softmax(0)

    def log_factors(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-beta E at every node, (R, B, m)."""
        nodes = self.nodes.to(y).reshape(1, 1, *self.nodes.shape)
        energy = self.energy(x.unsqueeze(-2), y.unsqueeze(-2), nodes)
        return -self.beta.to(energy).reshape(-1, 1, 1) * energy

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self._enumerated(self.log_factors(x, y))

    def _enumerated(self, factors: torch.Tensor) -> None:
        with pyro.plate("replicate", factors.shape[0], dim=-2), pyro.plate("data", factors.shape[1], dim=-1):
            which = dist.Categorical(logits=self.log_weights.to(factors), validate_args=False)
            z = pyro.sample("z", which, infer={"enumerate": "parallel"})
            pyro.factor("energy", Vindex(factors)[..., z])

    def free_energy(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """F_beta(x, y) by enumeration, (R, B): ln of the joint at the likeliest z, less ln of its posterior there.

        Pyro's marginals are those of each example, where `TraceEnum_ELBO`'s loss is summed over all.
        """
        factors = self.log_factors(x, y)
        replicates, examples = factors.shape[:2]
        # Pyro's contraction loses plates of size 1.
        whole = factors.expand(max(replicates, 2), -1, -1).repeat(1, 2 if examples == 1 else 1, 1)
        marginals = TraceEnum_ELBO(max_plate_nesting=2).compute_marginals(self._enumerated, no_guide, whole)
        log_posterior = marginals["z"].logits.log_softmax(-1)[:replicates, :examples]
        highest, where = log_posterior.max(-1, keepdim=True)
        joint = (factors + self.log_weights.to(factors)).gather(-1, where)
        return (highest - joint).squeeze(-1) / self.beta.to(factors).reshape(-1, 1)


def variational_free_energy(
    model: LatentModel,
    guide: Callable,
    x: torch.Tensor,
    y: torch.Tensor,
    objective: ReplicatedELBO | None = None,
    num_estimates: int = 16,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
) -> VariationalFreeEnergy:
    """-1/beta times an objective's estimate of the evidence at each (x, y): F_beta, bounded by a guide.

    Args:
        guide: a Pyro guide of the site `z`, called with (x, y); those of `guides` are ready made.
        x, y: (R, n, dx) and (R, n, dy).
        objective: `ReplicatedELBO()` by default, else `ReplicatedIWAE` or `ReplicatedRenyi`.
        num_estimates: independent estimates, whose mean and standard error are given.
        seed: of the draws, of which each replicate has a stream, so that it gets what it would alone.
        seeds: of the replicates, which name their streams; 0, 1, ... by default.

    Raises:
        ValueError: fewer than 2 estimates, a number of seeds other than R, or what noise or objective refuse.
    """
    check_count("num_estimates", num_estimates)
    if num_estimates < 2:
        raise invalid("num_estimates", num_estimates, "an integer >= 2: their spread is the error")
    objective = objective or ReplicatedELBO()
    seeds = range(y.shape[0]) if seeds is None else seeds
    if len(seeds) != y.shape[0]:
        raise invalid("seeds", list(seeds), f"{y.shape[0]} seeds, one a replicate")
    generators = [torch_generator(seed, "variational free energy", own) for own in seeds]
    with torch.no_grad(), ReplicateNoise(generators, y):
        values = torch.stack([objective.example_values(model, guide, x, y) for _ in range(num_estimates)])
    free = -values / model.beta.to(values).reshape(-1, 1)
    return VariationalFreeEnergy(free.mean(0), free.std(0) / math.sqrt(num_estimates), objective.is_lower_bound)


def laplace_free_energy(
    model: LatentModel,
    x: torch.Tensor,
    y: torch.Tensor,
    starts: torch.Tensor,
    bounds: tuple[float, float],
    periodic: bool = False,
) -> VariationalFreeEnergy:
    """Laplace's approximation of F_beta at the minimum over z found from `starts`, (R, n). It bounds nothing.

    Arguments are those of `LaplaceGuide`. The error is NaN: nothing is drawn, and how far off it is is not known.

    Warns:
        NormalizerWarning: no minimum was found at some (x, y), for which of three reasons; the value is NaN there.
    """
    guide = LaplaceGuide(model.potential, starts, bounds, y.shape[0], periodic)
    evidence = guide.log_evidence(x, y)
    value = -evidence / model.beta.to(evidence).reshape(-1, 1)
    return VariationalFreeEnergy(value, torch.full_like(value, math.nan), guide.is_lower_bound)


def over_particles(
    function: Callable[..., torch.Tensor], z: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None
) -> torch.Tensor:
    """function(x, y, z), or function(x, z), which wants replicates first, of draws z (R, B, dz) or (K, R, B, dz).

    The result leads as z does.
    """
    given = (x,) if y is None else (x, y)
    if z.ndim == x.ndim:
        return function(*given, z)
    return function(*(value.unsqueeze(1) for value in given), z.movedim(0, 1)).movedim(1, 0)


def _checked_beta(beta: torch.Tensor | float) -> torch.Tensor:
    checked = tensor_of(beta)
    if not bool(((checked > 0) & checked.isfinite()).all()):
        raise invalid("beta", beta, "finite numbers > 0")
    return checked if checked.is_floating_point() else checked.double()
