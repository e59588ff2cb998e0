"""What a metric returns, and the standard errors of means, shares and quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .options import Evaluation

if TYPE_CHECKING:
    from .observation import Observation


@dataclass(frozen=True)
class Measurement:
    """One metric of R replicates: values and standard errors (R,) float64, and how many cases each rests on.

    A value that could not be had is NaN; `note` then says why.
    """

    value: np.ndarray
    error: np.ndarray
    n: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Metrics measured together: if `measure` raises, none of `names` can be had."""

    names: Callable[[Evaluation], tuple[str, ...]]
    measure: Callable[[Observation], dict[str, Measurement]]


def named(*names: str) -> Callable[[Evaluation], tuple[str, ...]]:
    """Names that do not depend on the evaluation."""
    return lambda evaluation: names


def exact(value: np.ndarray) -> Measurement:
    """Values without error, each from one case."""
    value = np.asarray(value, dtype=np.float64)
    return Measurement(value, np.full(value.shape, np.nan), np.ones(value.shape, dtype=int))


def mean(values: np.ndarray) -> Measurement:
    """Means of (R, n) and their standard errors."""
    n = values.shape[1]
    error = values.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(values), np.nan)
    return Measurement(values.mean(axis=1), error, np.full(len(values), n))


def share(hits: np.ndarray) -> Measurement:
    """Shares of (R, n) hits (NaN for a replicate without) and their binomial standard errors."""
    value, n = hits.mean(axis=1), hits.shape[1]
    return Measurement(value, np.sqrt(value * (1 - value) / n), np.full(len(hits), n))


def clustered(values: np.ndarray) -> Measurement:
    """Means of (R, clusters, n), with the error that the spread of the cluster means gives; n counts all cases."""
    replicates, _, n = values.shape
    across = mean(values.mean(axis=2))
    return Measurement(across.value, across.error, np.full(replicates, values.shape[1] * n))


def quantile(values: np.ndarray, q: float) -> Measurement:
    """The q-quantile of each row of (R, n) and its standard error.

    The error is half the distance between the order statistics one binomial standard deviation of rank to either side
    (David and Nagaraja, Order Statistics, 2003, section 7.1). A row with a value that is not finite gives NaN.
    """
    n = values.shape[1]
    half = np.sqrt(q * (1 - q) / n)
    usable = np.isfinite(values).all(axis=1, keepdims=True)
    low, value, high = np.quantile(np.where(usable, values, 0.0), [max(q - half, 0.0), q, min(q + half, 1.0)], axis=1)
    error = (high - low) / 2 if n > 1 else np.full(len(values), np.nan)
    gone = ~usable[:, 0]
    return Measurement(np.where(gone, np.nan, value), np.where(gone, np.nan, error), np.full(len(values), n))


def noted(measured: dict[str, Measurement], note: str) -> dict[str, Measurement]:
    """The same with a further note."""
    return {name: replace(m, note="; ".join(filter(None, [m.note, note]))) for name, m in measured.items()}


def scaled(measured: Measurement, factor: np.ndarray, note: str = "") -> Measurement:
    """Values and errors times a factor (R,), NaN where that is NaN."""
    return Measurement(measured.value * factor, measured.error * np.abs(factor), measured.n, note or measured.note)
