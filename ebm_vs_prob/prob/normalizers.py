"""What normalises exp(-beta E): quadrature up to three output dimensions, importance sampling beyond."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..errors import invalid, unknown
from ..seeding import check_seed
from .partition import Normalizer, Target, Uniforms
from .quadrature import Quadrature


@dataclass(frozen=True, eq=False)
class ImportanceSampling:
    """ln Z = ln mean_m exp(-beta E(y_m)) / q(y_m) for draws y_m of a proposal q.

    The error is the delta method's, std(w) / (mean(w) sqrt(M)), and understates itself where the proposal misses mass:
    the Pareto k of the weights tells (Vehtari et al. 2024; above .7 the estimate is not to be trusted). Draws of the
    density resample the proposal's draws by weight (Rubin 1987), so they repeat, and are approximate.

    Args:
        proposal: a distribution with `sample((M,))` and `log_prob`, event shape (dim,), whose batch shape broadcasts to
            the density's; by default uniform on the box. Drawn under `seed`, without touching the global generator.
        num_samples: M.
        samples, log_density: instead of a proposal, its draws (*batch, M, dim) and their log-densities (*batch, M).
        seed: of the proposal's draws.

    Raises:
        ValueError: neither or both ways given, fewer than 2 draws, shapes that do not fit.
    """

    proposal: Any = None
    num_samples: int = 4096
    samples: torch.Tensor | None = field(default=None, kw_only=True)
    log_density: torch.Tensor | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if (self.samples is None) != (self.log_density is None):
            raise invalid("samples, log_density", "one of them", "both, or neither")
        if self.samples is not None and self.log_density is not None:
            if self.proposal is not None:
                raise invalid("proposal", self.proposal, "None where samples are given")
            if self.samples.shape[:-1] != self.log_density.shape or self.samples.shape[-2] < 2:
                shapes = tuple(self.samples.shape), tuple(self.log_density.shape)
                raise invalid("shapes of samples, log_density", shapes, "(*batch, M, dim) and (*batch, M), M >= 2")
        elif not isinstance(self.num_samples, int) or self.num_samples < 2:
            raise invalid("num_samples", self.num_samples, "an integer >= 2")

    def partition(self, target: Target) -> ImportancePartition:
        samples, log_density = self._draws(target)
        shape = torch.Size((*target.batch_shape, samples.shape[-2]))
        try:
            samples, log_density = samples.expand(*shape, target.dim), log_density.expand(shape)
        except RuntimeError:
            expected = f"a shape that broadcasts to {(*shape, target.dim)}"
            raise invalid("samples.shape", tuple(samples.shape), expected) from None
        return ImportancePartition(target, samples, log_density)

    def _draws(self, target: Target) -> tuple[torch.Tensor, torch.Tensor]:
        if self.samples is not None and self.log_density is not None:
            return self.samples.to(target.dtype), self.log_density
        proposal = self.proposal
        if proposal is None:
            low, high = (
                torch.full((target.dim,), bound, dtype=target.dtype, device=target.device) for bound in target.bounds
            )
            proposal = torch.distributions.Independent(torch.distributions.Uniform(low, high), 1)
        devices = [target.device] if target.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            drawn = proposal.sample(torch.Size((self.num_samples,)))
            return drawn.movedim(0, -2).to(target.dtype), proposal.log_prob(drawn).movedim(0, -1)


@dataclass
class ImportancePartition:
    """The partition function on fixed draws of a proposal."""

    target: Target
    samples: torch.Tensor
    log_density: torch.Tensor

    def log_weights(self) -> torch.Tensor:
        """(*batch, M) logarithms of the importance weights; -inf outside the box."""
        low, high = self.target.bounds
        inside = ((self.samples >= low) & (self.samples <= high)).all(-1)
        log_weights = self.target.log_density(self.samples) - self.log_density
        return log_weights.masked_fill(~inside, -math.inf)

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        log_weights = self.log_weights()
        count = log_weights.shape[-1]
        value = log_weights.logsumexp(-1) - math.log(count)
        share = log_weights.detach().softmax(-1)
        error = ((share.square().sum(-1) - 1 / count).clamp_min(0) * count / (count - 1)).sqrt()
        return value, error

    def diagnostics(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {"pareto_k": pareto_k(self.log_weights())}

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        with torch.no_grad():
            log_weights = self.log_weights().double()
        shares = log_weights.reshape(-1, log_weights.shape[-1]).softmax(-1)
        samples = self.samples.reshape(shares.shape[0], -1, self.target.dim)
        cumulative = shares.cumsum(-1)
        index = torch.searchsorted(cumulative, uniforms() * cumulative[:, -1:]).clamp_max(samples.shape[1] - 1)
        drawn = samples.gather(1, index[..., None].expand(-1, -1, self.target.dim))
        return drawn.masked_fill(~cumulative[:, -1:, None].isfinite(), math.nan)


def pareto_k(log_weights: torch.Tensor) -> torch.Tensor:
    """Pareto k of importance weights (..., M) by ArviZ (Vehtari et al. 2024): (...); NaN where not finite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from arviz import psislw
    flat = log_weights.detach().double().reshape(-1, log_weights.shape[-1]).cpu()
    usable = ~flat.isnan().any(-1) & ~(flat == math.inf).any(-1) & flat.isfinite().any(-1)
    result = torch.full((flat.shape[0],), math.nan, dtype=torch.float64)
    if bool(usable.any()):
        rows = flat[usable]
        rows = rows - rows.amax(-1, keepdim=True)
        with np.errstate(over="ignore"):  # a heavy tail's largest fitted weights overflow inside; its k stays right
            _, k = psislw(rows.clamp_min(-700.0).numpy())
        result[usable] = torch.as_tensor(k, dtype=torch.float64).reshape(-1)
    return result.reshape(log_weights.shape[:-1]).to(log_weights.device)


NORMALIZERS: dict[str, Callable[[], Normalizer]] = {
    "quadrature": Quadrature,
    "importance": ImportanceSampling,
}


def normalizer_of(given: str | Normalizer) -> Normalizer:
    """The normaliser itself, or the one of that name with its defaults.

    Raises:
        UnknownName: no such name.
        ValueError: neither a name nor a normaliser.
    """
    if isinstance(given, str):
        if given not in NORMALIZERS:
            raise unknown("normalizer", given, NORMALIZERS)
        return NORMALIZERS[given]()
    if not callable(getattr(given, "partition", None)):
        raise invalid("normalizer", given, "'quadrature', 'importance' or an object with partition(target)")
    return given


__all__ = ["NORMALIZERS", "ImportancePartition", "ImportanceSampling", "Quadrature", "normalizer_of", "pareto_k"]
