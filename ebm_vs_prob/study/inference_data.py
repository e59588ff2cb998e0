"""Samples and training diagnostics as ArviZ `InferenceData`: the one module that touches ArviZ's container."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    import arviz as az
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
    datasets: dict[str, Any] = {name: xr.Dataset(group) for name, group in groups.items() if group}
    container = az.InferenceData(attrs=dict(attributes), **datasets)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.nc"
        container.to_netcdf(str(path), engine="h5netcdf")
        return path.read_bytes()


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


def read(path: str | Path) -> arviz.InferenceData:
    """The container of a trial's netCDF file, loaded into memory."""
    import arviz as az

    return az.from_netcdf(str(path), engine="h5netcdf").load()
