"""The Gibbs-Boltzmann distribution of any energy, over any space, as a Pyro distribution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from ..core.errors import NormalizerWarning, invalid
from ..core.process_state import holds
from ..core.replicate_noise import Generators, ReplicateStreams
from ..core.seeding import torch_generator
from ..core.spaces import Box, Discrete
from .arguments import checked_inputs, checked_space
from .batching import fold, folded_uniforms
from .normalizers import normalizer_of
from .normalizers.partition import ExactPartition, Normalizer, Target
from .partition_memory import PartitionMemory
from .trust import lines_of, warns

Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

#: Answers up to which a discrete density lists its support, for Pyro to sum over.
_LISTED = 1 << 12


class GibbsBoltzmann(TorchDistribution):
    """p(y | x) = exp(-beta E(x, y)) / Z(x) over real vectors in a box, labels or sequences (LeCun et al. 2006, 1.3).

    The batch shape is that of x's leading dimensions and beta, broadcast; the event shape is that of the space:
    (y_dim,) in the dtype of the energy, () int64 for labels, (T,) int64 for sequences. Whatever the shapes asked for,
    the energy is called with x (*batch, 1, dx) and y (*batch, K, *event) and owes (*batch, K): an energy of R
    replicates finds its leading axis. The partition function is found when first needed and kept, until the parameters
    or buffers of the energy are written to, or x or beta are: then it is found anew. That is seen of an energy that is
    a module, or a method of one; a density of another callable, or of tensors written to through `.data`, must be built
    again when what it computes has changed.

    A discrete density of up to 4096 answers has `enumerate_support`, so that Pyro's `TraceEnum_ELBO` sums it out.

    Args:
        energy: any callable energy(x, y) that broadcasts its leading dimensions, differentiable by torch or not; for
            "messages", anything with graph(x (*batch, dx)) -> `FactorGraph` of that batch.
        y_dim: dimension of real y; 1 by default.
        x: (*n, dx) what is conditioned on; None for an unconditional energy, which is then called with width 0.
        beta: inverse temperature(s), in one over the energy's unit; may require gradient.
        bounds: the box, the same interval for every entry of y, in y's unit, (-8, 8) by default; the density is 0
            outside.
        normalizer: a name or a normaliser, such as `Quadrature(rtol=...)` or `ImportanceSampling(proposal)`. Over boxes
            "quadrature" (up to three dimensions; the default), "importance" (uniform proposals) or "annealed". Over
            discrete answers "messages" (exact; the default for an energy with a graph), "enumeration" (exact; the
            default for others) or "importance".
        validate_args: False skips the check of beta, so that one NaN replicate leaves the others their densities.
        space: `Box`, `Labels` or `Sequences`, in place of y_dim and bounds.

    The dtype of energies, densities and real y is that of the energy's parameters where it has any, else float64.

    Raises:
        ValueError: a bad beta, y_dim, x, bounds, space or normaliser; a normaliser that does not fit the space, and
            quadrature beyond three dimensions (when it is run).
        UnknownName: a normaliser that does not exist.

    Warns:
        NormalizerWarning: a density is evaluated or drawn from whose partition function cannot be trusted (once for
            each reason; evaluations in training on given importance samples are exempt); `warnings()` says why.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"beta": constraints.positive}
    has_rsample = False

    def __init__(
        self,
        energy: Energy | Any,
        y_dim: int | None = None,
        x: torch.Tensor | None = None,
        beta: torch.Tensor | float = 1.0,
        bounds: tuple[float, float] | None = None,
        normalizer: str | Normalizer | None = None,
        validate_args: bool | None = None,
        *,
        space: Box | Discrete | None = None,
    ) -> None:
        has_graph = callable(getattr(energy, "graph", None))
        if not callable(energy) and not has_graph:
            raise invalid("energy", energy, "a callable energy(x, y), or an object with graph(x)")
        self.space = checked_space(space, y_dim, bounds)
        self.energy = energy
        if normalizer is None:
            exact = "messages" if has_graph else "enumeration"
            normalizer = exact if isinstance(self.space, Discrete) else "quadrature"
        self.normalizer = normalizer_of(normalizer)
        self.x, self.beta = checked_inputs(energy, x, beta, check_beta=validate_args is not False)
        self._memory = PartitionMemory(energy, self.x, self.beta, self.space, self.normalizer)
        super().__init__(self.beta.shape, torch.Size(self.space.event_shape), validate_args=False)
        self._validate_args = (
            torch.distributions.Distribution._validate_args if validate_args is None else validate_args
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """The box's interval; a `ValueError` if the answers are discrete."""
        if not isinstance(self.space, Box):
            raise invalid("space", self.space, "a Box: labels and sequences have no bounds")
        return self.space.bounds

    @property
    def support(self) -> constraints.Constraint:
        """The space. A real y outside the box has log-density -inf, under validation too."""
        low, high = self.space.bounds if isinstance(self.space, Box) else (0, self.space.num_values - 1)
        one = (
            constraints.interval(low, high) if isinstance(self.space, Box) else constraints.integer_interval(low, high)
        )
        return constraints.independent(one, len(self.event_shape))

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether `enumerate_support` lists the answers: discrete ones, up to 4096."""
        return isinstance(self.space, Discrete) and self.space.num_answers <= _LISTED

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """Every answer, (M, *batch, *event) int64; with 1 for each batch dimension unless `expand`.

        Raises `NotImplementedError` over real vectors, or more than 4096 answers.
        """
        if not isinstance(self.space, Discrete) or not self.has_enumerate_support:
            raise NotImplementedError(f"GibbsBoltzmann over {self.space!r} does not list its support")
        answers = self.space.every_answer().to(self.x.device)
        answers = answers.reshape(len(answers), *[1] * len(self.batch_shape), *self.event_shape)
        return answers.expand(-1, *self.batch_shape, *self.event_shape) if expand else answers

    def expand(self, batch_shape: Any, _instance: Any = None) -> GibbsBoltzmann:
        """The same densities in a larger batch; they share one partition function."""
        new = self._get_checked_instance(GibbsBoltzmann, _instance)
        batch_shape = torch.Size(batch_shape)
        new.space, new.energy, new.normalizer = self.space, self.energy, self.normalizer
        new.x, new.beta = self.x.expand(*batch_shape, -1), self.beta.expand(batch_shape)
        new._memory = self._memory
        super(GibbsBoltzmann, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_partition(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z and its error in nats, both of the batch shape.

        The value is differentiable in the energy's parameters, in x and in beta. The error is an estimate of the
        absolute error by quadrature, one standard error by importance and annealed importance sampling, and 0 for sums;
        it is infinite where ln Z is.
        """
        return self._checked_log_z(stacklevel=3)

    def _checked_log_z(self, stacklevel: int) -> tuple[torch.Tensor, torch.Tensor]:
        log_z, error = self._memory.log_z()
        training = log_z.requires_grad and getattr(self.normalizer, "fixed", False)
        if not training:
            self._warn(stacklevel + 1)
        error = error.masked_fill(log_z.isinf(), math.inf)
        return log_z.expand(self.batch_shape), error.expand(self.batch_shape)

    def _warn(self, stacklevel: int) -> None:
        if warns():
            for line in self._memory.new_doubts():
                warnings.warn(line, NormalizerWarning, stacklevel=stacklevel)

    @property
    def diagnostics(self) -> dict[str, torch.Tensor]:
        """What the normaliser knows of its own quality, each of the batch shape.

        Quadrature: `unresolved` (its node cap left a large error, or ln Z is not finite), `evaluations`. Importance:
        `pareto_k`, `effective_sample_size`, `undrawn` (no k can be fitted, and the draws met few answers). Annealed:
        these and `acceptance`, and where the box was searched `excess` (nats by which a second estimate is larger) and
        `confirmed` (it agrees). Sums over discrete answers are exact and have none.
        """
        return {name: value.expand(self.batch_shape) for name, value in self._memory.partition().diagnostics().items()}

    def doubts(self) -> dict[str, torch.Tensor]:
        """Reasons not to trust the partition functions, and for which of them each holds: bool, of the batch shape."""
        return {reason: where.expand(self.batch_shape) for reason, where in self._memory.doubts().items()}

    def warnings(self) -> tuple[str, ...]:
        """Why the partition functions cannot be trusted, a line for each reason; empty if nothing speaks against."""
        return lines_of(self.doubts())

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """-beta E(x, y) - ln Z(x) in nats for y (*sample, *batch, *event): (*sample, *batch).

        -inf outside the box; symbols that do not exist are an error.
        """
        if self._validate_args or isinstance(self.space, Discrete):
            self._validate_sample(value)
        rows = value.to(self.x) if isinstance(self.space, Box) else self.space.to_variables(value.to(self.x.device))
        try:
            shape = torch.broadcast_shapes(rows.shape[:-1], self.batch_shape)
        except RuntimeError:
            raise invalid("y.shape", tuple(value.shape), self._valid_shape) from None
        folded, unfold = fold(rows.expand(*shape, -1), self._memory.batch_shape)
        if isinstance(partition := self._memory.partition(), ExactPartition):
            found = unfold(partition.log_prob(folded).to(self.x.dtype))
            if not holds(lambda: found.isfinite().all()):  # a sum is exact wherever it is finite
                self._warn(stacklevel=3)
            return found
        log_density = unfold(self._memory.log_density(folded)) - self._checked_log_z(stacklevel=3)[0]
        return log_density.masked_fill(~self.target.inside(rows) & ~rows.isnan().any(-1), -math.inf)

    def sample(
        self,
        sample_shape: Any = torch.Size(),  # noqa: B008
        seed: int | None = None,
        generators: Generators | None = None,
    ) -> torch.Tensor:
        """Draws of shape (*sample_shape, *batch, *event); NaN (of discrete answers, any) where ln Z is not finite.

        Of discrete answers they are exact by enumeration and messages. By quadrature they are exact but for what the
        envelope of `rejection` misses; by importance and annealed importance sampling they are resampled proposals.

        Args:
            sample_shape: a shape, or a number of draws.
            seed: of a stream for each entry of the first batch dimension, so that none depends on those after it;
                without it, and without generators, torch's global generator is moved.
            generators: one for each entry of the first batch dimension; its draws then do not depend on the others.

        Raises:
            ValueError: both, a bad seed, or generators that do not fit the batch shape.
        """
        sample_shape = torch.Size([sample_shape] if isinstance(sample_shape, int) else sample_shape)
        batch, root = self.batch_shape, self._memory.batch_shape
        if generators is not None and (seed is not None or not batch or len(generators) != batch[0]):
            field = "seed, generators" if seed is not None else "generators"
            valid = f"one of them, generators as many as batch_shape[0] of {tuple(batch)}"
            raise invalid(field, (seed, len(generators)), valid)
        source: torch.Generator | Generators | None = generators
        if seed is not None:
            alone = torch_generator(seed, "gibbs")
            source = ReplicateStreams(seed, "gibbs", seeds=range(batch[0])) if batch else alone
        _, unfold = fold(self.x.new_empty(0).expand(*sample_shape, *batch, 0), root)
        uniforms = folded_uniforms(sample_shape, batch, root, source, self.x.device)
        with torch.no_grad():
            drawn = self._memory.partition().sample(uniforms)
            self._warn(stacklevel=3)
        rows = torch.stack([unfold(column.reshape(*root, -1)) for column in drawn.unbind(-1)], -1)
        return rows.to(self.x) if isinstance(self.space, Box) else self.space.from_variables(rows)

    @property
    def target(self) -> Target:
        """The unnormalised density, as normalisers take it, before any expansion."""
        return self._memory.target

    @property
    def _valid_shape(self) -> str:
        event = ", ".join(["...", *map(str, self.event_shape)])
        return f"({event}), ... to broadcast with {tuple(self.batch_shape)}"

    def _validate_sample(self, value: torch.Tensor) -> None:
        width = len(self.event_shape)
        if value.ndim < width or value.shape[value.ndim - width :] != self.event_shape:
            raise invalid("y.shape", tuple(value.shape), self._valid_shape)
        if isinstance(self.space, Discrete):
            self.space.check("y", value)
        elif bool(value.isnan().any()):
            raise invalid("y", "NaN entries", "numbers")


__all__ = ["Energy", "GibbsBoltzmann"]
