"""The posterior predictive density of S draws of an energy's weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ...core.errors import NormalizerWarning, invalid
from ...core.tensors import inner
from ...gibbs.density import GibbsBoltzmann
from ...gibbs.snapshot import Snapshot
from ...gibbs.trust import warns
from ...models.density_model import DensityModel
from ...models.record import PosteriorDiagnostics
from ..weights import WeightSpace
from .partition_functions import MixtureNormalizer, PartitionFunctions
from .posterior_diagnostics import Chains, FollowedFunctions

if TYPE_CHECKING:
    from ...models.setting import Setting
    from ...training.method import Method

#: Partition functions found in one call, and sets of x whose partition functions are kept.
_PARTITIONS, _KEPT = 1 << 11, 4


class _Shared(torch.autograd.Function):
    """One y for S draws, (S, ...), whose gradient is summed over the draws along the innermost axis.

    torch's own sum over an outer axis depends on how many numbers stand beside, and so on the other replicates.
    """

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, num_draws: int) -> torch.Tensor:
        return y.expand(num_draws, *y.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return inner(gradient).sum(-1), None


class PosteriorEnergy(nn.Module):
    """E(x, y) = -ln (1/S) Σ_s exp(-E_s(x, y)) / Z_s(x) of R replicates: (R or 1, *n, dx), (R or 1, *n, dy) -> (R, *n).

    Each draw is normalised before the mean, so E is minus the log-density of the posterior predictive, as exactly as
    the partition functions are known; they are found once for each set of x and kept.

    Args:
        energy: the replicated energy that draws are of; its own parameters are not among this module's.
        num_draws: S.
        normalizer: gives the normaliser at x (R, n, dx), whose batch shape broadcasts with (S, R, n).
        bounds, y_dim: of the y-box.

    Attributes:
        draws: weight vectors (R, S, P), in the order of `space`.
        space: names and shapes of the weights.
        guide: what training moves, if anything: the draws are of it. chains: where the draws come from chains, one
            chain's after the other.
        partition_gap: (R, S) nats, how far the ln Z of training was from the draws'; NaN where it was not looked at.
    """

    draws: nn.Parameter
    partition_gap: torch.Tensor

    def __init__(
        self,
        energy: nn.Module,
        num_draws: int,
        normalizer: Callable[[torch.Tensor], Any],
        bounds: tuple[float, float],
        y_dim: int,
    ) -> None:
        super().__init__()
        self.guide: nn.Module | None = None
        self.chains: Chains | None = None
        self.space = WeightSpace(energy)
        self.num_replicates, self.bounds, self.y_dim = self.space.num_replicates, bounds, y_dim
        self._normalizer = normalizer
        self._known: list[tuple[torch.Tensor, PartitionFunctions]] = []
        self._seen: Snapshot | None = None  # the draws that these are of
        start = self.space.flat(self.space.current()).unsqueeze(1).repeat(1, num_draws, 1)
        self.draws = nn.Parameter(start, requires_grad=False)
        self.register_buffer("partition_gap", start.new_full(start.shape[:2], torch.nan))

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example under one set of weights."""
        return float(cast("float", self.space.energy.multiply_adds))

    def set_draws(self, draws: torch.Tensor) -> None:
        """Take other draws, (R, S, P).

        Raises:
            ValueError: another shape.
        """
        if draws.shape != self.draws.shape:
            raise invalid("draws.shape", tuple(draws.shape), f"{tuple(self.draws.shape)}")
        self.draws.copy_(draws.detach())
        self.partition_gap.fill_(torch.nan)

    def follow(self, chains: Chains) -> None:
        """Keep the record of the chains that the draws will come from."""
        self.chains = chains.to(self.draws)

    def weight_norm(self) -> torch.Tensor:
        """Root mean square over the draws of the Euclidean norm of all weights, (R,) float64."""
        return self.draws.double().square().sum(-1).mean(-1).sqrt()

    def train(self, mode: bool = True) -> PosteriorEnergy:
        self.space.energy.train(mode)
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> PosteriorEnergy:
        self.space.energy._apply(fn)
        super()._apply(fn, recurse)
        return self

    def log_partition(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z_s(x) of every draw and its error in nats, (R, S, *n) each, at x (R or 1, *n, dx)."""
        found = self.partition_functions(x)
        return found.log_z, found.error

    @torch.no_grad()
    def partition_functions(self, x: torch.Tensor) -> PartitionFunctions:
        """The same with what speaks against them."""
        shape = x.shape[1:-1]
        if not x.shape[-1]:
            one = [1] * len(shape)
            return self._partitions(x.new_zeros(1, 1, 0)).mapped(lambda value: value.reshape(*value.shape[:2], *one))
        rows, inverse = torch.unique(x.flatten(1, -2), dim=1, return_inverse=True)
        return self._partitions(rows).mapped(lambda value: value[..., inverse].unflatten(-1, shape))

    def _partitions(self, rows: torch.Tensor) -> PartitionFunctions:
        if self._seen is None or not self._seen.is_of(self, *self.space.energy.parameters()):
            self._seen, self._known = Snapshot(self, *self.space.energy.parameters()), []
        for known, found in self._known:
            if known.shape == rows.shape and torch.equal(known, rows):
                return found
        weights = {name: value.movedim(1, 0) for name, value in self.space.named(self.draws).items()}
        energy = self.space.at(weights)
        size = max(1, _PARTITIONS // self.draws.shape[:2].numel())
        parts = []
        for some in rows.expand(self.num_replicates, -1, -1).split(size, dim=1):
            density = GibbsBoltzmann(
                energy,
                y_dim=self.y_dim,
                x=some.expand(self.draws.shape[1], -1, -1, -1),
                bounds=self.bounds,
                normalizer=self._normalizer(some),
                validate_args=False,
            )
            parts.append(PartitionFunctions.of(density))
        found = PartitionFunctions.joined(parts)
        self._known = [(rows, found), *self._known[: _KEPT - 1]]
        return found

    def each(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) of every draw, (R, S, *n), in nats."""
        return -self._energies(x, y) - self.log_partition(x)[0]

    def _energies(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        named = self.space.named(self.draws)
        energy = self.space.at({name: value.movedim(1, 0) for name, value in named.items()})
        shared = cast("torch.Tensor", _Shared.apply(y, self.draws.shape[1]))
        result: torch.Tensor = energy(x.unsqueeze(0), shared).movedim(0, 1)
        return result

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        each = inner(self.each(x, y).movedim(1, 0))
        return math.log(each.shape[-1]) - each.logsumexp(-1)

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy): the draws' gradients by their shares in the density at y."""
        named = self.space.named(self.draws)
        energy = self.space.at({name: value.movedim(1, 0) for name, value in named.items()})
        value, gradient = energy.energy_and_gradient(x.unsqueeze(0), y.unsqueeze(0))
        each = inner(-value - self.log_partition(x)[0].movedim(1, 0))
        pulls = each.softmax(-1).unsqueeze(-2) * gradient.movedim(0, -1)
        return math.log(each.shape[-1]) - each.logsumexp(-1), pulls.contiguous().sum(-1)


class PosteriorModel(DensityModel):
    """The posterior predictive of S draws of the weights: the mean of S normalised densities.

    `log_prob` is its logarithm and `energy` minus that; `posterior_log_prob` has the draws apart. Each density is
    normalised by quadrature up to two output dimensions, by importance sampling from a kernel density beyond. The error
    of `gibbs(x).log_partition()` is never below that of the draw whose ln Z is known worst, and its doubts are theirs.

    Warns:
        NormalizerWarning: log-densities of draws whose partition functions cannot be trusted.
    """

    module: PosteriorEnergy

    def __init__(self, method: type[Method], setting: Setting, energy: nn.Module, num_draws: int) -> None:
        y_box: Any = setting.tasks[0].y_space
        # The normaliser is a bound method and not a closure, so that a copy of the model normalises with the copy.
        module = PosteriorEnergy(energy, num_draws, self._normalizer_of_draws, y_box.bounds, y_box.dim)
        super().__init__(method, setting, module.to(device=setting.device, dtype=setting.dtype))

    @property
    def num_draws(self) -> int:
        """S, the draws of each replicate."""
        return self.module.draws.shape[1]

    @property
    def partition_gap(self) -> torch.Tensor:
        """By how many nats the ln Z of training was off at each draw, (R, S) float64, at up to 8 training x.

        |E ln Z^ - ln Z|, averaged over x, where ln Z^ is estimated anew at each step: by Jensen's inequality it is too
        low, and the energy is not pushed up where proposals are few. The largest difference over x where its importance
        samples were drawn once. NaN where the training failed.
        """
        return self.module.partition_gap.double()

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln of the posterior predictive density in nats, (R, n)."""
        self._warn(x)
        return -self.energy(x, y)

    def posterior_log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x, draw) in nats, (R, S, n), for x and y of (n, d) or (R, n, d).

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        self._warn(x)
        return self.module.each(*self._paired(x, y))

    def posterior_warnings(self, x: torch.Tensor, members: list[int]) -> tuple[str, ...]:
        """Why the log-densities of the replicates `members` at x cannot be trusted, a line for each reason."""
        found = self.module.partition_functions(self._placed("x", x))
        return found.mapped(lambda value: value[members]).warnings()

    def posterior_weights(self) -> dict[str, torch.Tensor]:
        """The draws by the names of the energy's parameters, (R, S, *shape)."""
        return self.module.space.named(self.module.draws)

    @property
    def num_chains(self) -> int | None:
        """C, where the draws are D states of each of C chains, one chain after the other; None where there are none."""
        return None if self.module.chains is None else self.module.chains.count

    def posterior_diagnostics(self) -> PosteriorDiagnostics | None:
        """R-hat, effective sample sizes and divergences of the chains behind the draws; None where there are none."""
        return None if self.module.chains is None else self.module.chains.diagnostics(self.partition_gap)

    def posterior_statistics(self) -> dict[str, torch.Tensor]:
        """What is known of each draw of the chains, (R, C, D), by ArviZ's names; empty where there are no chains."""
        chains = self.module.chains
        return {} if chains is None else chains.statistics(self.num_draws // chains.count)

    def posterior_trace(self) -> torch.Tensor:
        """Log-densities of the first training pairs along the chains, (R, C, T, K) nats, their ln Z on fixed samples.

        Where there are no chains they are of the draws, (R, 1, S, K).
        """
        if self.module.chains is not None:
            return self.module.chains.trace
        followed = FollowedFunctions(self, self.module.space)
        return followed(self.module.draws.movedim(1, 0)).movedim(0, 1).unsqueeze(1)

    def _normalizer_of_draws(self, x: torch.Tensor) -> Any:
        return super()._usual_normalizer(x)

    def _usual_normalizer(self, x: torch.Tensor) -> MixtureNormalizer:
        return MixtureNormalizer(super()._usual_normalizer(x), partial(self.module.partition_functions, x))

    def _warn(self, x: torch.Tensor) -> None:
        if warns():
            for line in self.module.partition_functions(self._placed("x", x)).warnings():
                warnings.warn(line, NormalizerWarning, stacklevel=3)
