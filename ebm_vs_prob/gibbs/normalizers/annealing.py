"""Annealed importance sampling of a partition function, and the bracket that it gives where exact samples exist."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch

from ...core.errors import check_count, invalid
from ...core.seeding import check_seed, stream, torch_generator
from ...samplers import HMC, MALA, Kernel, get_kernel
from .annealed_partition import AnnealedPartition
from .annealed_path import Annealed, AnnealedPath
from .modes import scanned
from .partition import HasTarget, Target
from .proposal_draws import check_proposal, drawn

#: Chains that find the steps and are thrown away.
_PILOTS = 64


@dataclass(frozen=True, eq=False)
class AnnealedImportanceSampling:
    """ln Z = ln mean_c w_c of chains annealed from a known density to exp(-beta E) (Neal 2001).

    The weights are importance weights on the space of whole paths, E[w] = Z, so error, effective sample size and Pareto
    k are those of importance sampling. The chains end in points that, so weighted, represent the density: the gradient
    of ln Z is the mean of -beta dE under these weights, and draws of the density resample them.

    From a uniform start narrow modes among wide ones are met by no chain. So the box is searched for isolated modes
    (`modes.scanned`), at four points for every five steps of the chains; what lies within them is sampled by itself,
    and two more estimates check the sum (`AnnealedPartition`).

    Every element of a batch sees the same random numbers, its starts under a batched `initial` too: none depends on the
    others, and their errors are correlated.

    Args:
        num_chains: C.
        num_temperatures: K, the steps of each chain; b_k = (k/K)^power, k = 0 .. K.
        initial: where the path begins, without a search beside it: a distribution on all of R^dim with `sample`, a
            differentiable `log_prob` and event shape (dim,), whose batch shape broadcasts to the density's; uniform on
            the box by default. A batched one is drawn from one element at a time, as by `ImportanceSampling`.
        power: of the schedule; 4 spends half of the temperatures below b = 1/16.
        kernel: "mala" or "hmc", or a kernel with a Metropolis test; one step at each temperature.
        step_size: length of the step at b = 1 in units of y (the standard deviation of MALA's noise, a leapfrog step of
            HMC); before, length / sqrt(b), as wells are wider. None finds every temperature's step with 64 chains that
            are then thrown away, so that the weights stay unbiased.
        seed: of all random numbers; no global generator is touched.

    Raises:
        ValueError: an argument out of range; discrete answers, or an `initial` that does not fit (when it is run).
        LookupError: an unknown kernel.
    """

    num_chains: int = 500
    num_temperatures: int = 1000
    initial: Any = None
    power: float = 4.0
    kernel: str | Kernel[Any] = "mala"
    step_size: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("num_chains", "num_temperatures"):
            check_count(name, getattr(self, name))
        if self.num_chains < 2:
            raise invalid("num_chains", self.num_chains, "an integer >= 2")
        for name in ("power", "step_size"):
            value = getattr(self, name)
            known = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (known and 0 < value < math.inf) and not (name == "step_size" and value is None):
                raise invalid(name, value, "a finite number > 0" + (" or None" if name == "step_size" else ""))
        kernel = self._kernel()
        if not isinstance(kernel, (MALA, HMC)):
            valid = "'mala' or 'hmc', or one of these with its options: weights are of the point that it proposes last"
            raise invalid("kernel", self.kernel, valid)
        if self.initial is not None:
            check_proposal("initial", self.initial, "event_shape", "batch_shape", "support")

    def _kernel(self) -> Kernel[Any]:
        return get_kernel(self.kernel) if isinstance(self.kernel, str) else self.kernel

    def partition(self, target: Target) -> AnnealedPartition:
        """Anneal the chains.

        Raises:
            ValueError: discrete answers, or an `initial` that does not fit.
        """
        path, steps = self._path(target)
        with torch.no_grad():
            forward = self._forward(path, steps)
            if not self._scanned:
                return AnnealedPartition(target, forward)
            scan = scanned(target, self._scanned, stream(self.seed, "annealing", "scan"))
            return AnnealedPartition(target, forward, scan, stream(self.seed, "annealing", "modes"))

    @property
    def _scanned(self) -> int:
        """Points at which modes are looked for: four for five of the chains' steps, none where the start is given."""
        return 0 if self.initial is not None else self.num_chains * self.num_temperatures * 4 // 5

    @torch.no_grad()
    def bracket(self, target: Target, exact: torch.Tensor) -> Bracket:
        """The bounds that `bidirectional_monte_carlo` gives, from exact samples (B, C, dim) of the target."""
        path, steps = self._path(target)
        forward = self._forward(path, steps).log_weights
        backward = path.backward(exact, steps, torch_generator(self.seed, "annealing", "backward"))
        bounds = [part.reshape(target.batch_shape) for each in (forward, backward) for part in _bound(each)]
        return Bracket(*bounds)

    @torch.no_grad()
    def _path(self, target: Target) -> tuple[AnnealedPath, torch.Tensor]:
        path = AnnealedPath(target, self.initial, self._kernel(), self.num_temperatures, self.power)
        if self.initial is not None:
            self._check_initial(target)
        if self.step_size is not None:
            return path, path.scaled_steps(self.step_size)
        pilots = self._starts(target, _PILOTS, "pilot start")
        return path, path.tuned_steps(pilots, torch_generator(self.seed, "annealing", "pilot"))

    def _forward(self, path: AnnealedPath, log_steps: torch.Tensor) -> Annealed:
        starts = self._starts(path.target, self.num_chains, "start")
        return path.forward(starts, log_steps, torch_generator(self.seed, "annealing", "forward"))

    def _starts(self, target: Target, count: int, name: str) -> torch.Tensor:
        """Draws (B, count, dim) of the initial density, float64."""
        points, _ = drawn(self.initial, count, stream(self.seed, "annealing", name), target)
        whole = points.expand(*target.batch_shape, -1, -1)
        return whole.reshape(target.batch_shape.numel(), count, target.dim).double()

    def _check_initial(self, target: Target) -> None:
        event, batch = tuple(self.initial.event_shape), self.initial.batch_shape
        try:
            fits = event == (target.dim,) and torch.broadcast_shapes(batch, target.batch_shape) == target.batch_shape
        except RuntimeError:
            fits = False
        if not fits:
            valid = f"({target.dim},) and one that broadcasts to {tuple(target.batch_shape)}"
            raise invalid("event, batch shape of initial", (event, tuple(batch)), valid)
        far = torch.full((*batch, target.dim), 1e30, dtype=target.dtype, device=target.device)
        if not bool((self.initial.support.check(far) & self.initial.support.check(-far)).all()):
            raise invalid("initial.support", self.initial.support, "all of R^dim; None is uniform on the box")


@dataclass(frozen=True)
class Bracket:
    """Stochastic bounds of ln Z in nats and their standard errors, float64 tensors of the density's batch shape.

    The bounds hold in expectation: a tight bracket misses by its errors.
    """

    lower: torch.Tensor
    lower_error: torch.Tensor
    upper: torch.Tensor
    upper_error: torch.Tensor

    @property
    def gap(self) -> torch.Tensor:
        """upper - lower, whose expectation is the sum of two Kullback-Leibler divergences between paths."""
        return self.upper - self.lower

    def holds(self, log_z: torch.Tensor | float, errors: float = 3.0) -> torch.Tensor:
        """Whether ln Z lies within the bounds, each moved outwards by so many standard errors: bool."""
        above = self.lower - errors * self.lower_error <= log_z
        return above & (log_z <= self.upper + errors * self.upper_error)


def bidirectional_monte_carlo(
    density: HasTarget, exact_samples: torch.Tensor, annealing: AnnealedImportanceSampling | None = None
) -> Bracket:
    """Bounds of ln Z from both ends of an annealed path (Grosse, Ghahramani and Adams 2015, *Sandwiching*, section 3).

    E[ln w] <= ln Z of chains annealed forward, by Jensen's inequality; of chains walked back from EXACT samples of the
    density, E[ln w] >= ln Z, because 1/w is then an unbiased estimate of 1/Z. Chains walked back from where the forward
    chains ended bound nothing: these ends are not yet draws of the density, and what they miss is missed twice. Where
    the start has a share s of its mass outside the box, the upper bound is -ln(1 - s) further up.

    Args:
        density: what has a `target`, such as a `GibbsBoltzmann`: real y in a box, any batch shape.
        exact_samples: (C, *batch, y_dim) exact and independent draws, as `density.sample((C,))` gives by quadrature or
            a task's `reference.sample` gives of its truth.
        annealing: chains, temperatures and kernel; steps that are found are found before either direction.

    Raises:
        ValueError: no density, no chains, fewer than 2 samples, a shape that does not fit, samples that are not finite
            or outside the box.
    """
    target = getattr(density, "target", None)
    if not isinstance(target, Target):
        raise invalid("density", density, "a GibbsBoltzmann")
    target.box("annealed")
    if not isinstance(exact_samples, torch.Tensor):
        raise invalid("exact_samples", type(exact_samples).__name__, "a tensor")
    if not isinstance(annealing, (AnnealedImportanceSampling, NoneType)):
        raise invalid("annealing", annealing, "an AnnealedImportanceSampling, or None")
    expected = (*target.batch_shape, target.dim)
    if exact_samples.shape[1:] != expected or len(exact_samples) < 2:
        valid = f"(C, {', '.join(map(str, expected))}), C >= 2"
        raise invalid("exact_samples.shape", tuple(exact_samples.shape), valid)
    if not bool(target.inside(exact_samples).all()):
        raise invalid("exact_samples", "points outside the box or not finite", f"points within {target.bounds}")
    by_chain = exact_samples.to(target.device).double().movedim(0, -2)
    exact = by_chain.reshape(target.batch_shape.numel(), -1, target.dim)
    return (annealing or AnnealedImportanceSampling()).bracket(target, exact)


def _bound(log_weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of (B, C) over chains, and their standard errors.

    A chain without weight, which began outside the box or where the energy is infinite, would take the mean to -inf. Of
    a share s of chains with weight, ln s + their mean is a bound too, and higher: Z is s times their mean weight, and
    the logarithm of a share that is estimated is too low in expectation.
    """
    alive = log_weights != -math.inf
    count, share = alive.sum(1), alive.double().mean(1)
    mean = torch.where(alive, log_weights, 0.0).sum(1) / count
    spread = torch.where(alive, log_weights - mean.unsqueeze(1), 0.0).square().sum(1) / (count - 1) / count
    error = (spread + (1 - share) / (share * log_weights.shape[1])).sqrt()
    return torch.where(count > 0, mean + share.log(), -math.inf), torch.where(count > 1, error, math.inf)


__all__ = ["AnnealedImportanceSampling", "AnnealedPartition", "Bracket", "bidirectional_monte_carlo"]
