"""The partition functions of draws of the weights, and what their errors mean for the mean of the draws' densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...gibbs.density import GibbsBoltzmann
from ...gibbs.normalizers.partition import Normalizer, Partition, Target, Uniforms
from ...gibbs.trust import MAX_ERROR, doubts_asked_for

#: How a diagnostic of S draws becomes that of the worst of them.
_WORST: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "unresolved": lambda each: each.any(1),
    "pareto_k": lambda each: each.amax(1),
    "effective_sample_size": lambda each: each.amin(1),
    "acceptance": lambda each: each.amin(1),
    "undrawn": lambda each: each.any(1),
    "excess": lambda each: each.amax(1),
    "confirmed": lambda each: each.all(1),
}


@dataclass(frozen=True)
class PartitionFunctions:
    """ln Z_s(x) of S draws: `log_z` and its `error` in nats, and why not to trust it, all (R, S, *n).

    Attributes:
        diagnostics: of their normaliser, by name.
        doubts: where each reason holds, bool.
    """

    log_z: torch.Tensor
    error: torch.Tensor
    diagnostics: dict[str, torch.Tensor]
    doubts: dict[str, torch.Tensor]

    @classmethod
    def of(cls, density: GibbsBoltzmann) -> PartitionFunctions:
        """Those of a density of batch shape (S, R, n)."""
        with doubts_asked_for():
            log_z, error = density.log_partition()
        kept = {name: value for name, value in density.diagnostics.items() if name in _WORST}
        large = f"the error of log Z exceeds {MAX_ERROR:.1f} nats"
        found = cls(log_z, error, kept, {**density.doubts(), large: error > MAX_ERROR})
        return found.mapped(lambda value: value.movedim(0, 1))

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> PartitionFunctions:
        """The same with a function applied to every tensor."""
        parts = ({name: function(value) for name, value in each.items()} for each in (self.diagnostics, self.doubts))
        return PartitionFunctions(function(self.log_z), function(self.error), *parts)

    @staticmethod
    def joined(parts: list[PartitionFunctions]) -> PartitionFunctions:
        """Those of several sets of inputs, one after the other."""

        def of(each: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            return {name: torch.cat([part[name] for part in each], -1) for name in each[0]}

        return PartitionFunctions(
            torch.cat([part.log_z for part in parts], -1),
            torch.cat([part.error for part in parts], -1),
            of([part.diagnostics for part in parts]),
            of([part.doubts for part in parts]),
        )

    def warnings(self) -> tuple[str, ...]:
        """A line for each reason that holds somewhere."""
        return tuple(
            f"{reason} in {int(where.sum())} of {where.numel()} densities of draws of the weights, "
            f"whose errors go up to {float(self.error[where].max()):.2g} nats"
            for reason, where in self.doubts.items()
            if bool(where.any())
        )


class MixtureNormalizer:
    """The normaliser of a mean of S normalised densities, which knows how well each of these is normalised.

    The mean's own ln Z is near 0 whatever the draws' errors are: a draw whose Z is wrong has the wrong share in it. So
    the error is never below that of the worst draw, which bounds what the draws' errors can do to the logarithm of
    their mean; and diagnostics are those of the worst, the mean's own among them.

    Args:
        normalizer: of the mean. draws: finds the draws' partition functions, (R, S, n).
    """

    def __init__(self, normalizer: Normalizer, draws: Callable[[], PartitionFunctions]) -> None:
        self.normalizer, self.draws = normalizer, draws

    def partition(self, target: Target) -> _MixturePartition:
        return _MixturePartition(self.normalizer.partition(target), self.draws())


class _MixturePartition:
    def __init__(self, own: Partition, draws: PartitionFunctions) -> None:
        self.own, self.draws = own, draws

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        value, error = self.own.log_z()
        return value, error.maximum(self.draws.error.amax(1).to(error))

    def diagnostics(self) -> dict[str, torch.Tensor]:
        found = self.own.diagnostics()
        for name, each in self.draws.diagnostics.items():
            if name in found:
                own = found[name].unsqueeze(1)
                found[name] = _WORST[name](torch.cat([own, each.to(own).expand(*each.shape[:2], *own.shape[2:])], 1))
        return found

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        return self.own.sample(uniforms)
