"""The Gibbs-Boltzmann density of any energy, as a Pyro distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from ..errors import invalid
from ..seeding import torch_generator
from .normalizers import normalizer_of
from .partition import Normalizer, Partition, Target

Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class GibbsBoltzmann(TorchDistribution):
    """p(y | x) = exp(-beta E(x, y)) / Z(x) on the box bounds^y_dim (LeCun et al. 2006, section 1.3).

    The batch shape is that of x's leading dimensions and beta, broadcast; the event shape is (y_dim,). Whatever the
    shapes asked for, the energy is called with x (*batch, 1, dx) and y (*batch, K, y_dim) and owes (*batch, K): an
    energy of R replicates finds its leading axis. The partition function is found when first needed and kept.

    Args:
        energy: any callable energy(x, y) that broadcasts (..., dx), (..., dy) -> (...), differentiable by torch or not.
        y_dim: dimension of y.
        x: (*n, dx) what is conditioned on; None for an unconditional energy, which is then called with width 0.
        beta: inverse temperature(s), in one over the energy's unit; may require gradient.
        bounds: the box, the same interval for every entry of y, in y's unit; the density is 0 outside.
        normalizer: "quadrature" (up to three output dimensions), "importance" (uniform proposals), or a normaliser
            such as `Quadrature(rtol=...)` or `ImportanceSampling(proposal)`.
        validate_args: False skips the check of beta, so that one NaN replicate leaves the others their densities.

    The dtype is that of the energy's parameters where it has any, else float64.

    Raises:
        ValueError: a bad beta, y_dim, x, bounds or normaliser; quadrature beyond three dimensions (when it is run).
        UnknownName: a normaliser that does not exist.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"beta": constraints.positive}
    has_rsample = False

    def __init__(
        self,
        energy: Energy,
        y_dim: int = 1,
        x: torch.Tensor | None = None,
        beta: torch.Tensor | float = 1.0,
        bounds: tuple[float, float] = (-8.0, 8.0),
        normalizer: str | Normalizer = "quadrature",
        validate_args: bool | None = None,
    ) -> None:
        if not callable(energy):
            raise invalid("energy", energy, "a callable energy(x, y)")
        if isinstance(y_dim, bool) or not isinstance(y_dim, int) or y_dim < 1:
            raise invalid("y_dim", y_dim, "an integer >= 1")
        self.bounds = _bounds(bounds)
        self.energy = energy
        self.normalizer = normalizer_of(normalizer)
        parameter = _parameter(energy)
        dtype = torch.float64 if parameter is None else parameter.dtype
        device = parameter.device if parameter is not None else None if x is None else x.device
        x = (
            torch.zeros(0, dtype=dtype, device=device)
            if x is None
            else torch.as_tensor(x).to(dtype=dtype, device=device)
        )
        if x.ndim < 1:
            raise invalid("x.shape", tuple(x.shape), "(*n, dx)")
        beta = torch.as_tensor(beta, dtype=x.dtype, device=x.device)
        if validate_args is not False and not bool(((beta > 0) & beta.isfinite()).all()):
            raise invalid("beta", beta.tolist(), "finite numbers > 0")
        try:
            batch_shape = torch.broadcast_shapes(x.shape[:-1], beta.shape)
        except RuntimeError:
            shapes = tuple(x.shape), tuple(beta.shape)
            raise invalid("shapes of x, beta", shapes, "(*n, dx) and a shape that broadcasts with n") from None
        self.x = x.expand(*batch_shape, -1)
        self.beta = beta.expand(batch_shape)
        self._root = self
        self._partition: Partition | None = None
        self._log_z: tuple[torch.Tensor, torch.Tensor] | None = None
        super().__init__(batch_shape, torch.Size((y_dim,)), validate_args=False)
        self._validate_args = (
            torch.distributions.Distribution._validate_args if validate_args is None else validate_args
        )

    @property
    def support(self) -> constraints.Constraint:
        """The box. A y outside it has log-density -inf, under validation too."""
        return constraints.independent(constraints.interval(*self.bounds), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GibbsBoltzmann:
        """The same densities in a larger batch; they share one partition function."""
        new = self._get_checked_instance(GibbsBoltzmann, _instance)
        batch_shape = torch.Size(batch_shape)
        new.bounds, new.energy, new.normalizer = self.bounds, self.energy, self.normalizer
        new.x, new.beta = self.x.expand(*batch_shape, -1), self.beta.expand(batch_shape)
        new._root, new._partition, new._log_z = self._root, None, None
        super(GibbsBoltzmann, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_partition(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z and its error in nats, both of the batch shape.

        The value is differentiable in the energy's parameters, in x and in beta. The error is an estimate of the
        absolute error by quadrature, one standard error by importance sampling.
        """
        root = self._root
        result = root._log_z
        if result is None or torch.is_grad_enabled():
            value, error = root._density().log_z()
            result = value.to(root.x.dtype), error.detach().to(root.x.dtype)
            root._log_z = result[0].detach(), result[1]
        return result[0].expand(self.batch_shape), result[1].expand(self.batch_shape)

    @property
    def diagnostics(self) -> dict[str, torch.Tensor]:
        """What the normaliser knows of its own quality, each of the batch shape.

        Quadrature: `unresolved` (stopped by its node cap, or not finite), `evaluations`. Importance: `pareto_k`.
        """
        return {name: value.expand(self.batch_shape) for name, value in self._root._density().diagnostics().items()}

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """-beta E(x, y) - ln Z(x) in nats for y (*sample, *batch, y_dim): (*sample, *batch); -inf outside the box."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.x)
        try:
            shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError:
            raise invalid(
                "y.shape",
                tuple(value.shape),
                f"(..., {self.event_shape[0]}), ... to broadcast with {tuple(self.batch_shape)}",
            ) from None
        folded, unfold = self._fold(value.expand(*shape, -1))
        log_density = unfold(self._root._log_density(folded))
        low, high = self.bounds
        inside = ((value >= low) & (value <= high)).all(-1)
        return (log_density - self.log_partition()[0]).masked_fill(~inside & ~value.isnan().any(-1), -math.inf)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Any = torch.Size(),  # noqa: B008
        seed: int | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Draws of shape (*sample_shape, *batch, y_dim); NaN where the partition function is not finite.

        By quadrature they are exact but for what the envelope of `rejection` misses; by importance sampling they are
        resampled proposals.

        Args:
            seed: draws from a generator of its own; without it, and without generators, torch's global one is moved.
            generators: one for each entry of the first batch dimension; its draws then do not depend on the others.

        Raises:
            ValueError: both, a bad seed, or generators that do not fit the batch shape.
        """
        sample_shape, batch = torch.Size(sample_shape), self.batch_shape
        if generators is not None and (seed is not None or not batch or len(generators) != batch[0]):
            field = "seed, generators" if seed is not None else "generators"
            raise invalid(
                field, (seed, len(generators)), f"one of them, generators as many as batch_shape[0] of {tuple(batch)}"
            )
        own = None if seed is None else torch_generator(seed, "gibbs")
        _, unfold = self._fold(self.x.new_empty(0).expand(*sample_shape, *batch, 0))

        def uniforms(*tail: int) -> torch.Tensor:
            if generators is None:
                drawn = _uniform((*batch, *sample_shape, *tail), own)
            else:
                drawn = torch.stack([_uniform((*batch[1:], *sample_shape, *tail), each) for each in generators])
            front = drawn.flatten(len(batch) + len(sample_shape)) if tail else drawn[..., None]
            front = front.movedim(
                tuple(range(len(batch))), tuple(range(len(sample_shape), len(sample_shape) + len(batch)))
            )
            folded, _ = self._fold(front.to(self.x.device))
            folded = folded.flatten(0, -3) if self._root.batch_shape else folded[None]
            return folded.reshape(*folded.shape[:2], *tail)

        drawn = self._root._density().sample(uniforms).to(self.x)
        entries = [unfold(column.reshape(*self._root.batch_shape, -1)) for column in drawn.unbind(-1)]
        return torch.stack(entries, -1)

    @property
    def target(self) -> Target:
        """The unnormalised density, as normalisers take it."""
        shape, dim = self.batch_shape, self.event_shape[0]
        return Target(self._log_density, shape, dim, self.bounds, self.x.dtype, self.x.device)

    def _density(self) -> Partition:
        if self._partition is None:
            self._partition = self.normalizer.partition(self.target)
        return self._partition

    def _log_density(self, y: torch.Tensor) -> torch.Tensor:
        """-beta E at y (*batch, K, y_dim): (*batch, K)."""
        energy = self.energy(self.x.unsqueeze(-2), y)
        if energy.shape != y.shape[:-1]:
            raise invalid("energy(x, y).shape", tuple(energy.shape), f"{tuple(y.shape[:-1])} for y {tuple(y.shape)}")
        return -self.beta.unsqueeze(-1) * energy

    def _fold(self, value: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """(*sample, *batch, tail) as (*root batch, K, tail), and what leads from (*root batch, K) back.

        Dimensions that an expansion added become draws of the density that was expanded.
        """
        root = self._root.batch_shape
        lead = value.ndim - 1
        first = lead - len(root)
        kept = [first + d for d in range(len(root)) if value.shape[first + d] == root[d]]
        order = kept + [d for d in range(lead) if d not in kept]
        sizes = [value.shape[d] for d in order]
        inverse = [order.index(d) for d in range(lead)]
        folded = value.permute(*order, lead).reshape(
            *root, -1 if value.shape[-1] else math.prod(sizes), value.shape[-1]
        )
        return folded, lambda result: result.reshape(sizes).permute(inverse)

    def _validate_sample(self, value: torch.Tensor) -> None:
        if value.ndim < 1 or value.shape[-1:] != self.event_shape:
            raise invalid("y.shape", tuple(value.shape), f"(..., {self.event_shape[0]})")
        try:
            torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError:
            expected = f"(*sample, *{tuple(self.batch_shape)}, {self.event_shape[0]})"
            raise invalid("y.shape", tuple(value.shape), expected) from None
        if bool(value.isnan().any()):
            raise invalid("y", "NaN entries", "numbers")


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> torch.Tensor:
    device = None if generator is None else generator.device
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=device)


def _parameter(energy: Energy) -> torch.Tensor | None:
    if not isinstance(energy, torch.nn.Module):
        return None
    return next((parameter for parameter in energy.parameters() if parameter.is_floating_point()), None)


def _bounds(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise invalid("bounds", bounds, "two finite numbers, low < high") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise invalid("bounds", bounds, "two finite numbers, low < high")
    return low, high


__all__ = ["Energy", "GibbsBoltzmann"]
