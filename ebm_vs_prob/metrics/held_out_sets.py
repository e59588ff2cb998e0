"""Samples against the held-out answers that share their x, where there is no exact density: real data.

One held-out answer is enough for the energy score. `digits` leaves such inputs out, as precision and recall must; a
user's data, where an x rarely comes twice, does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..tasks.reference import HasHeldOut
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
    k = 1), of which equal ones are none. Recall too uses these balls (the coverage of Naeem et al. 2020): balls round
    draws would reward scatter.
    """
    apart = torch.cdist(truth, truth, compute_mode="donot_use_mm_for_euclid_dist")  # equal ones are exactly 0 apart
    radius = apart.masked_fill(apart == 0, torch.inf).amin(1)
    radius = radius.masked_fill(radius.isinf(), 0.0)
    inside = torch.cdist(draws, truth) <= radius
    return float(inside.any(1).double().mean()), float(inside.any(0).double().mean())


def _truth(task: Any, x: torch.Tensor) -> list[torch.Tensor]:
    return [rows[~rows.isnan().any(-1)] for rows in task.reference.held_out(x)]


def held_out_sets(observed: Observation) -> dict[str, Measurement]:
    """Energy score, precision and recall at each input that at least two held-out answers share, meaned over inputs.

    Inputs with one held-out answer are left out and counted as `singletons`. Where rows are all that is known, the
    energy score has them too.
    """
    _needs_sets(observed)
    draws = observed.samples.detach().cpu().double()
    fewest = 2 if observed.tasks[0].has_truth else 1
    scores = [_Meaned(observed.replicates) for _ in NAMES[:3]]
    singletons = np.zeros(observed.replicates)
    for r, task in enumerate(observed.tasks):
        sets = _truth(task, observed.distinct_inputs[r])
        singletons[r] = sum(len(truth) < 2 for truth in sets)
        finite = draws[r].isfinite().all(-1).all(-1).tolist()
        pairs = [(y, truth, ok) for y, truth, ok in zip(draws[r], sets, finite, strict=True) if len(truth) >= fewest]
        balls = [each for each in pairs if len(each[1]) >= 2]
        if all(ok for *_, ok in pairs):
            scores[0].put(r, [energy_score(y, truth) for y, truth, _ in pairs])
        if all(ok for *_, ok in balls):
            both = [precision_and_recall(y, truth) for y, truth, _ in balls]
            for k in (0, 1):
                scores[1 + k].put(r, [each[k] for each in both])
    lonely = "no two held-out answers share an x" if any(not score.n.all() for score in scores[1:]) else ""
    notes = ("", lonely, lonely)
    measured = {
        name: Measurement(score.value, score.error, score.n, "; ".join(filter(None, (observed.samples_note, note))))
        for name, score, note in zip(NAMES, scores, notes, strict=False)
    }
    return {**measured, "singletons": exact(singletons)}


class _Meaned:
    """Means over inputs with their standard errors, one a replicate; NaN until they are put."""

    def __init__(self, replicates: int) -> None:
        self.value, self.error = np.full(replicates, np.nan), np.full(replicates, np.nan)
        self.n = np.zeros(replicates, dtype=int)

    def put(self, r: int, values: list[float]) -> None:
        if values:
            self.value[r], self.n[r] = np.mean(values), len(values)
        if len(values) > 1:
            self.error[r] = np.std(values, ddof=1) / np.sqrt(len(values))


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
    if not isinstance(observed.tasks[0].reference, HasHeldOut):
        raise NotMeasured(f"{observed.tasks[0].name}: its law is known, so no held-out sets stand in for it")


GROUPS = (Group(named(*NAMES), held_out_sets), Group(named("consistency"), consistency))
