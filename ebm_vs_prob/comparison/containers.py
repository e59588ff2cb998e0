"""Samples and training diagnostics as ArviZ `InferenceData`: the one module that touches ArviZ's container."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import NormalizerWarning, check_count
from ..models.capabilities import HasChains
from ..models.model import Model
from ..tasks.base import Task
from .draw_scores import DataSplit, pairs, scored_draws, training_warnings, weight_draws

if TYPE_CHECKING:
    import arviz


def to_netcdf(
    arrays: Mapping[str, np.ndarray],
    loss: np.ndarray,
    attributes: Mapping[str, str],
    posterior: np.ndarray | None = None,
) -> bytes:
    """A trial's samples and diagnostics as the bytes of a netCDF 4 file in ArviZ's layout.

    Groups: `posterior` (of models with draws of the weights, which are too many to keep: `log_density` (chain, draw,
    pair), nats, of the training pairs that are followed, and `r_hat`, `ess_bulk` (pair) of these),
    `posterior_predictive` (`y`, one chain, with the `x` each draw was made at), `observed_data` (test `x`, `y`),
    `log_likelihood` (`y`, of the observed data, one draw, nats) and `sample_stats` (`loss`, one draw a training step).

    Args:
        arrays: `samples_x` (m, dx), `samples_y` (m, dy), `data_x` (n, dx), `data_y` (n, dy), `data_log_likelihood`
            (n,); what is absent is left out.
        loss: (steps,) the training loss.
        attributes: what is written into the file's attributes, such as trial key and method.
        posterior: `PosteriorModel.posterior_trace` of the replicate, (C, T, K); None of a model without such draws.
    """
    import dask
    import xarray as xr

    def variables(prefix: str, dims: tuple[str, ...]) -> dict[str, Any]:
        named = {name: arrays.get(f"{prefix}_{name}") for name in ("x", "y")}
        return {
            name: ((*dims, f"{name}_dim"), value.reshape((1,) * (len(dims) - 1) + value.shape))
            for name, value in named.items()
            if value is not None and value.shape[-1] > 0
        }

    known = arrays.get("data_log_likelihood")
    groups = {
        "posterior": {} if posterior is None else _followed(posterior),
        "posterior_predictive": variables("samples", ("chain", "draw")),
        "sample_stats": {"loss": (("chain", "draw"), loss[np.newaxis])} if loss.size else {},
        "observed_data": variables("data", ("example",)),
        "log_likelihood": {} if known is None else {"y": (("chain", "draw", "example"), known[np.newaxis, np.newaxis])},
    }
    datasets = {name: xr.Dataset(group) for name, group in groups.items() if group}
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=dict(attributes)), **datasets})
    packed = {
        f"/{name}": {variable: {"zlib": True} for variable in group.variables} for name, group in datasets.items()
    }
    content = io.BytesIO()
    # In memory no temporary folder is needed. In a dask worker xarray would ask the scheduler for a lock, which nobody
    # else wants, and a file would be lost with the scheduler.
    with dask.config.set(scheduler="single-threaded"):
        tree.to_netcdf(content, engine="h5netcdf", encoding=packed)
    return content.getvalue()


def _followed(trace: np.ndarray) -> dict[str, Any]:
    """The variables of functions (C, T, K) followed along chains; of one chain, or fewer than 4 draws, no R-hat."""
    import arviz as az

    whole = az.convert_to_dataset({"log_density": trace}, dims={"log_density": ["pair"]})
    agree = len(trace) > 1 and trace.shape[1] > 3
    known = {"r_hat": az.rhat(whole), "ess_bulk": az.ess(whole, method="bulk")} if agree else {}
    return {
        "log_density": (("chain", "draw", "pair"), trace),
        **{name: (("pair",), found["log_density"].values) for name, found in known.items()},
    }


def read(file: str | Path | bytes) -> arviz.InferenceData:
    """The container of a trial's netCDF file, of that path or of those bytes, loaded into memory."""
    import arviz as az

    return az.from_netcdf(io.BytesIO(file) if isinstance(file, bytes) else str(file), engine="h5netcdf").load()


if TYPE_CHECKING:
    import arviz


def inference_data(
    model: Model,
    task: Task,
    *,
    split: DataSplit = "test",
    replicate: int | None = None,
    examples: int = 256,
    inputs: int = 16,
    samples: int = 32,
    seed: int = 0,
) -> arviz.InferenceData:
    """A model on a task as ArviZ's container.

    Its draws are those of the posterior over the weights where the model has such draws (`posterior_log_prob`), else
    its replicates, the members of an ensemble; one replicate of such a model is one draw. They are one chain, but where
    they come from chains these stay apart, those of one replicate after those of another: of one `replicate`, `az.rhat`
    and `az.ess` are those of its chains. Replicates whose training failed are left out, and named in the attribute
    `warnings`.

    Groups: `posterior` (weights by name, (chain, draw, ...); absent where a model has none), `posterior_predictive`
    (`y` (chain, draw, input, ...), one chain, `samples` draws of each replicate at the first `inputs` x),
    `log_likelihood` (`y` (chain, draw, example), nats), `sample_stats` (`replicate` and `log_score`, the mean over the
    pairs, of each draw; of chains where known `diverging`, whether a transition since the draw before diverged, and
    `lp`, ln posterior in nats up to a constant), `observed_data` (`y`), `constant_data` (`x`, where the task has any).

    An energy-based model enters as exp(-beta E) / Z at its own beta.

    Args:
        task: of the spaces the model was fitted to; its test split gives the pairs.
        split: "test", or "train" for the first pairs that a replicate was trained on, which LOO needs.
        replicate: only this one; all by default, and on "train" the one there is.
        examples: pairs (x, y). seed: of test pairs and of draws.

    Raises:
        NotNormalised: a model that stands for no density.
        ValueError: a bad count, seed, split or replicate, a task that does not fit the model, or no replicate left.
    """
    az = arviz_module()
    x, y = pairs(model, task, split, replicate, examples, seed)
    for name, count in (("inputs", inputs), ("samples", samples)):
        check_count(name, count)
    scored = scored_draws(model, x, y, replicate)
    members = list(dict.fromkeys(scored.replicates))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NormalizerWarning)  # the log-densities have warned already
        drawn = model.sample(x[: 1 if not x.shape[-1] else inputs], samples, seed)[members]
    chains = model.num_chains if isinstance(model, HasChains) else None
    count = (chains or 0) * len(members) or 1
    known = model.posterior_statistics() if count > 1 and isinstance(model, HasChains) else {}

    def by_chain(value: torch.Tensor) -> Any:
        return as_numpy_array(value.unflatten(0, (count, -1)))

    groups: dict[str, Any] = {
        "posterior": {name: by_chain(value) for name, value in weight_draws(model, members).items()} or None,
        "posterior_predictive": {"y": as_numpy_array(drawn.transpose(1, 2).flatten(0, 1))[None]},
        "log_likelihood": {"y": by_chain(scored.log_likelihood)},
        "sample_stats": {
            "replicate": by_chain(torch.tensor(scored.replicates, dtype=torch.int64, device="cpu")),
            "log_score": by_chain(scored.log_likelihood.mean(-1)),
            **{name: as_numpy_array(value[members].flatten(0, 1)) for name, value in known.items()},
        },
        "observed_data": {"y": as_numpy_array(y)},
        "constant_data": {"x": as_numpy_array(x)} if x.shape[-1] else None,
    }
    dims = {"y": ["example", *[f"y_dim_{d}" for d in range(y.ndim - 1)]], "x": ["example", "x_dim"]}
    attributes = {
        "method": model.method.name,
        "task": repr(task),
        "split": split,
        "normalised": str(model.normalised),
        "warnings": "; ".join([*scored.warnings, *training_warnings(model, members)]),
    }
    predictive = groups.pop("posterior_predictive")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains", UserWarning)  # ArviZ takes many short chains for a mistake
        container = az.from_dict(**groups, dims=dims, attrs=attributes)
    container.add_groups(posterior_predictive=predictive, dims={"y": ["input", *dims["y"][1:]]})
    return container


def as_numpy_array(value: torch.Tensor) -> Any:
    return value.detach().cpu().numpy()


def arviz_module() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz
