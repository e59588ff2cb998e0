"""Importance weights: ln of their mean with its error, and Pareto smoothing through ArviZ."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch

#: Log weights this far below the largest are as good as none; ArviZ wants finite numbers.
_NEGLIGIBLE = -700.0


def log_mean_weight(log_weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln (1/M) Σ_m w_m of log weights (..., M) in nats, and one standard error of it by the delta method, (...) each.

    ln Z where the w are importance weights. The error is that of independent draws, has no gradient, and understates
    itself where the proposal misses mass.
    """
    count = log_weights.shape[-1]
    share = log_weights.detach().softmax(-1)
    error = ((share.square().sum(-1) - 1 / count).clamp_min(0) * count / (count - 1)).sqrt()
    return log_weights.logsumexp(-1) - math.log(count), error


def pareto_smoothed(log_weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Importance weights whose largest are replaced by quantiles of the generalised Pareto distribution fitted to them.

    ArviZ's `psislw` (Vehtari, Simpson, Gelman, Yao and Gabry 2024, *Pareto smoothed importance sampling*, section 2).

    Args:
        log_weights: (..., M) natural logarithms, on any common scale; without gradient.

    Returns:
        Smoothed log weights (..., M) on the same scale, and the shape k (...), both float64: k above .7 says that
        averages with these weights are not to be trusted. k is inf where too few weights are in the tail to tell, -inf
        where more draws than the tail holds share the largest weight (bounded weights have no tail), and NaN, with the
        weights as given, where a log weight is NaN or +inf or all are -inf.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from arviz import psislw
    given = log_weights.detach().double()
    flat = given.reshape(-1, given.shape[-1]).cpu()
    usable = ~flat.isnan().any(-1) & ~(flat == math.inf).any(-1) & flat.isfinite().any(-1)
    shape = torch.full((flat.shape[0],), math.nan, dtype=torch.float64, device="cpu")
    smoothed = flat.clone()
    if bool(usable.any()):
        rows = flat[usable]
        top = rows.amax(-1, keepdim=True)
        below = rows - top
        # A heavy tail's largest fitted weights overflow inside, and its k stays right; a tail of next to nothing
        # divides by zero, and cannot be told.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            fitted, k = psislw(below.clamp_min(_NEGLIGIBLE).numpy(), normalize=False)
        fitted = torch.as_tensor(fitted, dtype=torch.float64, device="cpu").reshape(below.shape)
        k = torch.as_tensor(k, dtype=torch.float64, device="cpu").reshape(-1).nan_to_num(math.inf, math.inf, -math.inf)
        count = rows.shape[-1]
        shared = (below > -1e-9).sum(-1) > math.ceil(min(count / 5, 3 * math.sqrt(count)))  # ArviZ's length of a tail
        shape[usable] = torch.where(shared, -math.inf, k)
        smoothed[usable] = torch.where(shared.unsqueeze(-1) | (below < _NEGLIGIBLE), below, fitted) + top
    return smoothed.reshape(given.shape).to(given.device), shape.reshape(given.shape[:-1]).to(given.device)


def pareto_k(log_weights: torch.Tensor) -> torch.Tensor:
    """Pareto k of importance weights (..., M): (...), as `pareto_smoothed` gives it."""
    return pareto_smoothed(log_weights)[1]


__all__ = ["log_mean_weight", "pareto_k", "pareto_smoothed"]
