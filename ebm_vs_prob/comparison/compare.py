"""Fitted models as ArviZ `InferenceData`, and the models of a task compared by expected log predictive density."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import invalid
from ..gibbs.trust import MAX_PARETO_K
from ..models.capabilities import DiagnosesChains
from ..models.model import Model
from ..tasks.base import Task
from .containers import arviz_module, as_numpy_array, inference_data
from .draw_scores import DataSplit, pairs, scored_draws, training_warnings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """Models ordered by their expected log pointwise predictive density.

    Attributes:
        table: what `az.compare` gives, one row a model, the best first: `rank`; `elpd`, the sum over the pairs in nats,
            and its standard error `se`; `elpd_diff` to the best and its standard error `dse`; the stacking `weight`
            (Yao et al. 2018); `p_loo`, the effective number of parameters; and beside them `estimate` ("held_out",
            "psis_loo" or "in_sample"), the number of `draws`, and `pareto_k`, the largest of the pairs. `p_loo` and
            `pareto_k` are NaN where nothing was left out.
        warnings: what speaks against the numbers, one line each: Pareto k above min(.7, 1 - 1 / log10 S) of S draws
            (Vehtari et al. 2024), draws of an approximate posterior, R-hat above 1.01, few effective
            draws, divergences, partition functions that cannot be trusted or that training was far from, in-sample
            scores, models left out.
        split: the data compared on.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...]
    split: DataSplit


def compare_models(
    models: Mapping[str, Model],
    task: Task,
    *,
    split: DataSplit = "test",
    replicate: int | None = None,
    examples: int = 256,
    seed: int = 0,
) -> Comparison:
    """Compare models of a task by `az.compare`: expected log pointwise predictive densities, paired over the same data.

    On "test" (the default) each pair's density is the mean over the model's draws, and nothing need be left out: the
    pairs were in no training set. On "train" it is leave-one-out cross-validation by Pareto-smoothed importance
    sampling (PSIS-LOO; Vehtari, Gelman and Gabry 2017, eq. 10) over draws of the posterior of one replicate, with
    Pareto k in the result; draws of chains count as many as are effective (the mean over `posterior_diagnostics`).
    Draws that come from no chains, of a variational posterior or an ensemble, are no draws of the posterior, and
    leaving out is right to the extent that they resemble it: the warnings say so. That needs draws: of a model with one
    set of weights it is the in-sample log score, which more weights always raise, and the result says so.

    Args:
        models: at least two, by the names of the table's rows, of the task's spaces; on "train" fitted to the same
            examples.
        task, split, replicate, examples, seed: as of `inference_data`.

    Raises:
        NotNormalised: a model that stands for no density.
        ValueError: as `inference_data`; fewer than two models; on "train", models fitted to other examples.
    """
    if not isinstance(models, Mapping) or len(models) < 2 or not all(isinstance(m, Model) for m in models.values()):
        raise invalid("models", models, "a mapping of at least two names to fitted models")
    az = arviz_module()
    said: list[str] = []
    found: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    first: tuple[torch.Tensor, torch.Tensor] | None = None
    for name, model in models.items():
        x, y = pairs(model, task, split, replicate, examples, seed)
        first = first or (x, y)
        if y.shape != first[1].shape or not (torch.equal(x, first[0]) and torch.equal(y, first[1])):
            raise invalid(f"models[{name!r}]", model, "a model fitted to the examples of the first: LOO is paired")
        scored = scored_draws(model, x, y, replicate)
        members = sorted(set(scored.replicates))
        said += [f"{name}: {line}" for line in [*scored.warnings, *training_warnings(model, members)]]
        strange = int((~scored.log_likelihood.isfinite()).any(0).sum())
        if strange:
            said.append(f"{name}: left out: its log-density is not finite at {strange} of {len(x)} pairs")
            continue
        effective = _effective(model, members[0]) if split == "train" else None
        found[name], rows[name], own = _elpd(scored.log_likelihood, split, effective)
        said += [f"{name}: {line}" for line in own]
    if len(found) < 2:
        raise invalid("models", list(models), f"two at least with finite log-densities ({'; '.join(said)})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        table = az.compare(_on_one_scale(found), ic="loo", scale="log")
    table = table.rename(columns={"elpd_loo": "elpd"}).drop(columns=["warning", "scale"])
    for column in ("estimate", "draws", "pareto_k"):
        table[column] = [rows[name][column] for name in table.index]
    return Comparison(table, tuple(said), split)


def _effective(model: Model, replicate: int) -> float | None:
    """How many draws the chains of a replicate are worth, the mean over what is followed; None without chains."""
    found = model.posterior_diagnostics() if isinstance(model, DiagnosesChains) else None
    return None if found is None else float(found.ess[replicate].nanmean())


def _elpd(
    log_likelihood: torch.Tensor, split: DataSplit, effective: float | None
) -> tuple[Any, dict[str, Any], list[str]]:
    """ArviZ's record of (D, n) log-densities, what the table says beside it, and warnings.

    `effective` is how many independent draws the chains behind them are worth, None where there are none.
    """
    import numpy as np
    import xarray as xr
    from arviz.stats import ELPDData

    az = arviz_module()
    draws, n = log_likelihood.shape
    if split == "train" and draws > 1:
        container = az.from_dict(log_likelihood={"y": as_numpy_array(log_likelihood)[None]})
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # the Pareto k that ArviZ warns of is read below
            elpd = az.loo(container, pointwise=True, reff=_relative(effective, draws), scale="log")
        k, limit = elpd["pareto_k"].values, min(MAX_PARETO_K, 1 - 1 / math.log10(draws))
        bad = int((~(k <= limit)).sum())
        said = []
        if effective is None:
            said.append(
                "draws of an approximate posterior, of no chains: its LOO is as good as they resemble the posterior"
            )
        if limit <= 0:
            said.append(f"{draws} draws are too few for LOO: more than 10 are needed for a Pareto k to say anything")
        elif bad:
            said.append(f"Pareto k above {limit:.2f} at {bad} of {n} pairs: its LOO by {draws} draws cannot be trusted")
        return elpd, {"estimate": "psis_loo", "draws": draws, "pareto_k": float(k.max())}, said
    pointwise = as_numpy_array(log_likelihood.logsumexp(0) - math.log(draws))
    values = {
        "elpd_loo": float(pointwise.sum()), "se": float(np.sqrt(n * pointwise.var())), "p_loo": math.nan,
        "n_samples": draws, "n_data_points": n, "warning": False, "loo_i": xr.DataArray(pointwise, dims="example"),
        "scale": "log",
    }  # fmt: skip
    elpd = ELPDData(data=list(values.values()), index=list(values))
    beside = {"estimate": "held_out" if split == "test" else "in_sample", "draws": draws, "pareto_k": math.nan}
    said = ["one draw: its in-sample log score, not LOO; compare on split = 'test'"] if split == "train" else []
    return elpd, beside, said


def _relative(effective: float | None, draws: int) -> float:
    """Effective draws over draws, at most 1: draws that are states far apart are independent."""
    return min(1.0, effective / draws) if effective is not None and effective > 0 else 1.0


def _on_one_scale(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same records, each pair's terms less the largest of the models: stacking exponentiates them.

    Differences and weights are the same; the sums and their errors stay as they are.
    """
    import numpy as np

    top = np.max([elpd["loo_i"].values for elpd in found.values()], axis=0)
    shifted = {}
    for name, elpd in found.items():
        shifted[name] = elpd.copy()
        shifted[name]["loo_i"] = elpd["loo_i"] - top
    return shifted


__all__ = ["Comparison", "compare_models", "inference_data"]
