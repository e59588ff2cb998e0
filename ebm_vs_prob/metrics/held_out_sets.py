"""Samples against the held-out answers that share their x, where there is no exact density: real data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from .measurement import Group, Measurement, exact, named
from .observation import Observation

NAMES = ("energy_score", "precision", "recall", "singletons")


def energy_score(draws: torch.Tensor, truth: torch.Tensor) -> float:
    """E|Y - y| - E|Y - Y'| / 2 for draws (m, d) of Y, meaned over the y in truth (k, d); least for the true law.

    Strictly proper (Gneiting and Raftery 2007, eq. 22 with beta = 1); unbiased in the number of draws.
    """
    m = len(draws)
    within = torch.cdist(draws, draws).sum() / (m * (m - 1))
    return float(torch.cdist(draws, truth).mean() - within / 2)


def precision_and_recall(draws: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Shares of draws (m, d) within, and of truth (k >= 2, d) with a draw within, the balls round the truth.

    The ball of a held-out answer reaches its nearest neighbour among those that share its x (Kynkäänniemi et al. 2019,
    k = 1). Recall too uses these balls (the coverage of Naeem et al. 2020): balls round draws would reward scatter.
    """
    apart = torch.cdist(truth, truth)
    radius = apart.fill_diagonal_(torch.inf).amin(1)
    inside = torch.cdist(draws, truth) <= radius
    return float(inside.any(1).double().mean()), float(inside.any(0).double().mean())


def _truth(task: Any, x: torch.Tensor) -> list[torch.Tensor]:
    return [rows[~rows.isnan().any(-1)] for rows in task.reference.answers(x)]


def held_out_sets(observed: Observation) -> dict[str, Measurement]:
    """Energy score, precision and recall at each input that at least two held-out answers share, meaned over inputs.

    Inputs with one held-out answer are left out and counted as `singletons`.
    """
    _needs_sets(observed)
    draws = observed.samples.detach().cpu().double()
    values = {name: np.full(observed.replicates, np.nan) for name in NAMES}
    errors = {name: np.full(observed.replicates, np.nan) for name in NAMES}
    n = np.zeros(observed.replicates, dtype=int)
    for r, task in enumerate(observed.tasks):
        sets = _truth(task, observed.distinct_inputs[r])
        values["singletons"][r] = sum(len(truth) < 2 for truth in sets)
        rows = [
            (energy_score(y, truth), *precision_and_recall(y, truth))
            for y, truth in zip(draws[r], sets, strict=True)
            if len(truth) >= 2 and bool(y.isfinite().all())
        ]
        n[r] = len(rows)
        if len(rows) < sum(len(truth) >= 2 for truth in sets) or not rows:
            continue
        for name, column in zip(("energy_score", "precision", "recall"), np.array(rows).T, strict=True):
            values[name][r] = column.mean()
            errors[name][r] = column.std(ddof=1) / np.sqrt(len(column)) if len(column) > 1 else np.nan
    measured = {name: Measurement(values[name], errors[name], n, observed.samples_note) for name in NAMES[:3]}
    return {**measured, "singletons": exact(values["singletons"])}


def consistency(observed: Observation) -> dict[str, Measurement]:
    """Share of samples whose reduction is the x they were drawn for: a sanity check, since x is a function of y."""
    _needs_sets(observed)
    if not hasattr(observed.tasks[0].reference, "reduce"):
        raise NotMeasured(f"{observed.tasks[0].name}: x is no function of y")
    draws = observed.samples.detach().cpu().double()
    finite = draws.isfinite().all(-1)
    reduced = observed.by_task(lambda r, task: task.reference.reduce(draws[r].nan_to_num()))
    equal = (reduced == observed.distinct_inputs.unsqueeze(2)).all(-1).double().masked_fill(~finite, torch.nan)
    by_input = equal.mean(-1).numpy()
    count = by_input.shape[1]
    error = by_input.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.full(len(by_input), np.nan)
    return {"consistency": Measurement(by_input.mean(axis=1), error, np.full(len(by_input), equal[0].numel()))}


def _needs_sets(observed: Observation) -> None:
    if observed.tasks[0].manifold_dim is not None:
        raise NotMeasured(f"{observed.tasks[0].name}: its truth is exact, so no held-out sets stand in for it")


GROUPS = (Group(named(*NAMES), held_out_sets), Group(named("consistency"), consistency))
