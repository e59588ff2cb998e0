"""The number of each seed behind an interval, which a figure shows as dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..study.comparisons import GROWTHS, Cell, series
from ..study.effects import EFFECTS
from ..study.verdicts import Verdict
from .inputs import Inputs
from .intervals import shown_cells


def seed_effects(inputs: Inputs, verdicts: Sequence[Verdict]) -> list[list[float]]:
    """Of each row of intervals the number of each seed, at the row's settings; NaN of a seed without one."""
    rows = inputs.primary
    return [_effects(v, cell, rows[rows["task"] == v.task], inputs) for v in verdicts for _, cell in shown_cells(v)]


def _effects(verdict: Verdict, cell: Cell, rows: Any, inputs: Inputs) -> list[float]:
    seeds = inputs.study.scales[inputs.scale].all_seeds
    own, other = rows[rows["arm"] == verdict.arm], rows[rows["arm"] == verdict.against]
    if verdict.kind in GROWTHS:
        if len(set(cell.at)) < 2:  # nothing to fit a growth to
            return []
        table = np.stack([series(own, verdict.metric, at, seeds) for at in cell.at], axis=1)
        return [float(GROWTHS[verdict.kind](cell.at, seed)) for seed in table]
    if verdict.kind not in EFFECTS:  # a share of many cells, each with arms of its own
        return []
    first, second = (series(of, verdict.metric, cell.at[0], seeds) for of in (own, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        return [float(value) for value in EFFECTS[verdict.kind](first, second)]
