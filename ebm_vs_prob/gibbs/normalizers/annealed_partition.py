"""The partition function of annealed chains, with isolated modes done by themselves and two estimates as checks."""

from __future__ import annotations

import math

import torch

from ..trust import MAX_ERROR
from .annealed_path import Annealed
from .importance import ImportancePartition
from .modes import Scan
from .pareto import log_mean_weight, pareto_k
from .partition import Target

#: Draws of the modes for each chain: an energy each, where a chain takes a gradient at every temperature.
_DRAWS = 8
#: A part with a smaller share of Z is not asked for its Pareto k.
_SMALL_SHARE = 0.02


class AnnealedPartition(ImportancePartition):
    """The partition function on the ends of annealed chains, and within isolated modes on draws of the modes.

    Z is a sum: of the box without the modes' ellipsoids by the chains that ended there, and of the ellipsoids by
    importance sampling from the modes. Both are unbiased wherever the ellipsoids lie. All chains together and the
    search's points alone are two more estimates. Each may miss mass and so be too low; where one of these is higher
    than the errors allow, the excess enters the stated error. It is never below one over the root of the points
    searched: a set that none of N points met has a share of some 3/N of the box, and adds less than that to Z unless
    its density is a root of N times the mean.

    Diagnostics: those of importance sampling, k that of the worst part with more than a fiftieth of Z; `acceptance`,
    the mean over chains and temperatures; after a search also `excess`, nats by which a check exceeds ln Z beyond three
    errors, and `confirmed`, whether the search's points alone agree within .2 nats or three errors.

    Args:
        found: the chains. scan: what a search saw. seed: of the draws of its modes.
    """

    def __init__(self, target: Target, found: Annealed, scan: Scan | None = None, seed: int = 0) -> None:
        y, log_weights, shape = found.y, found.log_weights, target.batch_shape
        proposal = torch.where(log_weights == -math.inf, math.inf, found.ends.target - log_weights)
        self._num_chains = y.shape[1]
        self._chains_alone = log_mean_weight(log_weights)
        self._scan = scan
        if scan is not None and scan.modes.any:
            drawn, log_density = scan.modes.draws(_DRAWS * self._num_chains, seed)
            lone = ~scan.modes.inside(drawn)
            proposal = proposal.masked_fill(scan.modes.inside(y), math.inf)
            total = y.shape[1] + drawn.shape[1]
            # Of the mean over all rows each part is to be the mean over its own.
            proposal = proposal - math.log(total / y.shape[1])
            log_density = log_density.masked_fill(lone, math.inf) - math.log(total / drawn.shape[1])
            drawn = torch.where(lone.unsqueeze(-1), sum(target.bounds) / 2, drawn)
            y, proposal = torch.cat([y, drawn], 1), torch.cat([proposal, log_density], 1)
        rows = y.to(target.dtype).reshape(*shape, -1, target.dim)
        super().__init__(target, rows, proposal.reshape(*shape, -1))
        self._acceptance = found.acceptance.reshape(shape)

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        value, _ = log_mean_weight(self.log_weights())
        return value, torch.hypot(self._error(), self._excess(value.detach()))

    def _error(self) -> torch.Tensor:
        """One standard error of the sum of the parts' means, and no less than what the search may have missed."""
        variance: torch.Tensor | float = 0.0
        for part in self._parts(self._latest().double().softmax(-1)):
            count = part.shape[-1]
            spread = part.square().sum(-1) - part.sum(-1).square() / count
            variance = variance + spread.clamp_min(0.0) * count / (count - 1)
        assert isinstance(variance, torch.Tensor)
        return variance.sqrt() if self._scan is None else variance.sqrt().clamp_min(self._scan.count**-0.5)

    def _parts(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Of values (*batch, M) those of the chains, and those of the modes' draws where there are any."""
        parts = values[..., : self._num_chains], values[..., self._num_chains :]
        return [part for part in parts if part.shape[-1]]

    def _excess(self, log_z: torch.Tensor) -> torch.Tensor:
        """Nats by which another estimate exceeds ln Z by more than three errors."""
        found = torch.zeros_like(log_z, dtype=torch.float64)
        if self._scan is None:
            return found
        error = self._error()
        for other, its_error in (self._chains_alone, (self._scan.log_z, self._scan.error)):
            beyond = other.reshape(log_z.shape) - log_z - 3 * torch.hypot(error, its_error.reshape(log_z.shape))
            found = torch.fmax(found, beyond.nan_to_num(0.0, math.inf, 0.0))
        return found

    def diagnostics(self) -> dict[str, torch.Tensor]:
        log_weights = self._latest()
        found = super().diagnostics()
        shares = [part.sum(-1) for part in self._parts(log_weights.double().softmax(-1))]
        shapes = [pareto_k(part) for part in self._parts(log_weights)]
        if len(shapes) > 1:
            counts = (torch.where(share > _SMALL_SHARE, k, -math.inf) for share, k in zip(shares, shapes, strict=True))
            found["pareto_k"] = torch.where(log_weights.isnan().any(-1), math.nan, torch.stack(list(counts)).amax(0))
        found["acceptance"] = self._acceptance
        if self._scan is not None:
            log_z = log_mean_weight(log_weights)[0].double()
            other, its_error = (value.reshape(log_z.shape) for value in (self._scan.log_z, self._scan.error))
            near = (log_z - other).abs() <= 3 * torch.hypot(self._error(), its_error)
            found["excess"] = self._excess(log_z)
            found["confirmed"] = near & (its_error <= MAX_ERROR)
        return found
