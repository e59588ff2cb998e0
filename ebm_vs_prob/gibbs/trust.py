"""What a partition function's diagnostics say against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_ASKED_FOR: ContextVar[bool] = ContextVar("doubts asked for", default=False)

#: Importance weights whose Pareto shape exceeds this say little of a partition function (Vehtari et al. 2024).
MAX_PARETO_K = 0.7
#: With fewer effective draws the error bar is itself a guess: ln Z moves by a fifth of a nat or more.
MIN_EFFECTIVE_SAMPLES = 25.0
#: Nats of stated error, that of so few effective draws, above which a log-partition function is doubted.
#: A smaller error that is honest says itself how far to trust it.
MAX_ERROR = MIN_EFFECTIVE_SAMPLES**-0.5
#: Nats by which the log-partition functions of training may be off before it is said.
MAX_PARTITION_GAP = 0.1


def doubts(log_z: torch.Tensor, beta: torch.Tensor, diagnostics: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Reasons not to trust partition functions, and for which of them each holds: bool, of the shape of `log_z`.

    A beta that is NaN, as of a replicate whose training failed, is no fault of the partition function.
    """
    known = ~beta.isnan()
    found = {"log Z is not finite": ~log_z.isfinite()}
    if "unresolved" in diagnostics:
        found["quadrature unresolved at its cap of nodes"] = diagnostics["unresolved"] & log_z.isfinite()
    if "pareto_k" in diagnostics:
        heavy = diagnostics["pareto_k"] > MAX_PARETO_K
        found[f"Pareto k above {MAX_PARETO_K}"] = heavy & ~diagnostics.get("confirmed", torch.zeros_like(heavy))
    if "acceptance" in diagnostics:
        few = diagnostics["effective_sample_size"] < MIN_EFFECTIVE_SAMPLES
        found[f"fewer than {MIN_EFFECTIVE_SAMPLES:.0f} effective annealed chains"] = few
    if "excess" in diagnostics:
        found["a second estimate of log Z is larger"] = diagnostics["excess"] > MAX_ERROR
    if "undrawn" in diagnostics:
        found["no Pareto k to be fitted and answers undrawn"] = diagnostics["undrawn"] & log_z.isfinite()
    return {reason: where & known for reason, where in found.items()}


def lines_of(found: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """A line for each reason that holds somewhere, which says in how many densities."""
    return tuple(
        f"{reason} in {int(where.sum())} of {where.numel()} densities"
        for reason, where in found.items()
        if bool(where.any())
    )


@contextmanager
def doubts_asked_for() -> Iterator[None]:
    """Within the block densities do not look for doubts to warn of, because the caller asks for them itself.

    They warn all the same when they are next evaluated outside of it.
    """
    token = _ASKED_FOR.set(True)
    try:
        yield
    finally:
        _ASKED_FOR.reset(token)


def warns() -> bool:
    """Whether a density looks for doubts and warns of them."""
    return not _ASKED_FOR.get()


__all__ = [
    "MAX_ERROR",
    "MAX_PARETO_K",
    "MAX_PARTITION_GAP",
    "MIN_EFFECTIVE_SAMPLES",
    "doubts",
    "doubts_asked_for",
    "lines_of",
    "warns",
]
