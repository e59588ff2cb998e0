"""Importance sampling of a partition function, with or without Pareto smoothing of its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ...core.errors import check_count, invalid
from ...core.seeding import check_seed
from ...core.spaces import Box
from .pareto import log_mean_weight, pareto_smoothed
from .partition import Target, Uniforms
from .proposal_draws import check_proposal, drawn


@dataclass(frozen=True, eq=False)
class ImportanceSampling:
    """ln Z = ln mean_m exp(-beta E(y_m)) / q(y_m) for draws y_m of a proposal q.

    The error is the delta method's, std(w) / (mean(w) sqrt(M)), and no less than 1/M, the share of one draw: equal
    weights know no better. It understates itself where the proposal misses mass: the Pareto k of the weights tells
    (Vehtari et al. 2024; above .7 the estimate is not to be trusted). Where more draws than a tail holds share the
    largest weight, k is -inf and tells nothing: of real vectors that is doubted only if all draws are one point, of
    discrete answers if some were never drawn. Draws of the density resample the proposal's draws by weight (Rubin
    1987), so they repeat, and are approximate.

    Args:
        proposal: a distribution with `sample((M,))` and `log_prob`, whose event shape is the answers' and whose batch
            shape broadcasts to the density's; by default uniform. Drawn under `seed`, without touching the global
            generators. A batched one is drawn from one element at a time, each under the same seed: the draws of an
            element do not depend on the others, and the errors of different elements are correlated.
        num_samples: M.
        samples, log_density: instead of a proposal, its draws (*batch, M, *event) and their log-densities (*batch, M).
        seed: of the proposal's draws.
        pareto_smoothed: replace the largest weights by quantiles of the tail fitted to them (Vehtari et al. 2024),
            which trades a little bias for less variance. The gradient of ln Z is then the mean of -beta dE under the
            smoothed weights.

    Raises:
        ValueError: neither or both ways given, no distribution or no tensors, fewer than 2 draws, shapes that do not
            fit, a batched proposal that cannot be taken apart (when it is run).
    """

    proposal: Any = None
    num_samples: int = 4096
    samples: torch.Tensor | None = field(default=None, kw_only=True)
    log_density: torch.Tensor | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    pareto_smoothed: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not isinstance(self.pareto_smoothed, bool):
            raise invalid("pareto_smoothed", self.pareto_smoothed, "True or False")
        if (self.samples is None) != (self.log_density is None):
            raise invalid("samples, log_density", "one of them", "both, or neither")
        if self.samples is None or self.log_density is None:
            check_count("num_samples", self.num_samples)
            if self.num_samples < 2:
                raise invalid("num_samples", self.num_samples, "an integer >= 2")
            if self.proposal is not None:
                check_proposal("proposal", self.proposal)
        else:
            if self.proposal is not None:
                raise invalid("proposal", self.proposal, "None where samples are given")
            for name in ("samples", "log_density"):
                if not isinstance(getattr(self, name), torch.Tensor):
                    raise invalid(name, type(getattr(self, name)).__name__, "a tensor")
            given = self.log_density
            if not given.ndim or given.shape[-1] < 2 or self.samples.shape[: given.ndim] != given.shape:
                shapes = tuple(self.samples.shape), tuple(self.log_density.shape)
                raise invalid("shapes of samples, log_density", shapes, "(*batch, M, *event) and (*batch, M), M >= 2")

    @property
    def fixed(self) -> bool:
        """Whether the draws were given, as in training, where they are others at every step."""
        return self.samples is not None

    def partition(self, target: Target) -> ImportancePartition:
        if self.samples is not None and self.log_density is not None:
            samples, log_density = self.samples, self.log_density
        else:
            samples, log_density = drawn(self.proposal, self.num_samples, self.seed, target)
        event = tuple(target.space.event_shape)
        if samples.shape != (*log_density.shape, *event):
            shapes = tuple(samples.shape), tuple(log_density.shape)
            raise invalid("shapes of samples, log_density", shapes, f"(*batch, M, *{event}) and (*batch, M)")
        shape = torch.Size((*target.batch_shape, log_density.shape[-1]))
        rows = samples.to(target.dtype) if isinstance(target.space, Box) else target.space.to_variables(samples)
        try:
            rows, log_density = rows.expand(*shape, target.dim), log_density.expand(shape)
        except RuntimeError:
            expected = f"a shape that broadcasts to {(*shape, *event)}"
            raise invalid("samples.shape", tuple(samples.shape), expected) from None
        return ImportancePartition(target, rows, log_density, self.pareto_smoothed)


class ImportancePartition:
    """The partition function on fixed draws: rows (*batch, M, dim) and their log-density under the proposal.

    Diagnostics: `pareto_k` (Vehtari et al. 2024); `effective_sample_size`, 1 / Σ share² of the M draws (Kong 1992);
    `undrawn`, whether k is -inf while some answer was never drawn, or, of real vectors, all draws are one point.
    """

    def __init__(self, target: Target, rows: torch.Tensor, log_density: torch.Tensor, smoothed: bool = False) -> None:
        self.target = target
        self.rows = rows
        self.log_density = log_density
        self.smoothed = smoothed
        self._last: torch.Tensor | None = None

    def log_weights(self) -> torch.Tensor:
        """(*batch, M) logarithms of the importance weights; -inf outside the space, NaN where a draw is."""
        log_weights = self.target.log_density(self.rows) - self.log_density
        outside = ~self.target.inside(self.rows) & ~self.rows.isnan().any(-1)
        log_weights = log_weights.masked_fill(outside, -math.inf)
        self._last = log_weights.detach()
        return log_weights

    def _latest(self) -> torch.Tensor:
        """The weights that were last computed, without gradient."""
        if self._last is None:
            with torch.no_grad():
                return self.log_weights()
        return self._last

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        log_weights = self.log_weights()
        if self.smoothed:
            fitted = pareto_smoothed(log_weights)[0].to(log_weights)
            # Zero in value; its gradient makes that of the sum the mean under the smoothed weights.
            change = log_weights - log_weights.detach()
            log_weights = fitted + change.masked_fill(~log_weights.detach().isfinite(), 0.0)
        value, error = log_mean_weight(log_weights)
        return value, error.clamp_min(1 / log_weights.shape[-1])

    def diagnostics(self) -> dict[str, torch.Tensor]:
        log_weights = self._latest()
        smoothed, k = pareto_smoothed(log_weights)
        share = (smoothed if self.smoothed else log_weights.double()).softmax(-1)
        return {
            "pareto_k": k,
            "effective_sample_size": 1 / share.square().sum(-1),
            "undrawn": self._undrawn(k),
        }

    def _undrawn(self, k: torch.Tensor) -> torch.Tensor:
        space, suspects = self.target.space, (k == -math.inf).nonzero()
        enough = 2 if isinstance(space, Box) else space.num_answers
        found = torch.zeros_like(k, dtype=torch.bool)
        for index in map(tuple, suspects.tolist()):
            rows = self.rows[index]
            distinct = bool((rows != rows[:1]).any()) + 1 if enough == 2 else len(torch.unique(rows, dim=0))
            found[index] = distinct < enough
        return found

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        log_weights = self._latest().double()
        if self.smoothed:
            log_weights = pareto_smoothed(log_weights)[0]
        shares = log_weights.reshape(-1, log_weights.shape[-1]).softmax(-1)
        rows = self.rows.reshape(shares.shape[0], -1, self.target.dim)
        cumulative = shares.cumsum(-1)
        index = torch.searchsorted(cumulative, uniforms() * cumulative[:, -1:]).clamp_max(rows.shape[1] - 1)
        points = rows.gather(1, index[..., None].expand(-1, -1, self.target.dim))
        if not points.is_floating_point():
            return points
        return points.masked_fill(~cumulative[:, -1:, None].isfinite(), math.nan)


__all__ = ["ImportancePartition", "ImportanceSampling"]
