"""The number of each seed behind an interval, which a figure shows as dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..study.comparisons import GROWTHS, series
from ..study.effects import EFFECTS
from ..study.verdicts import Verdict
from .inputs import Inputs
from .intervals import weakest_cell


def seed_effects(inputs: Inputs, verdicts: Sequence[Verdict]) -> list[list[float]]:
    """Of each comparison the number of each seed, at the setting that it carries; NaN of a seed without one."""
    criteria = {criterion.id: criterion for criterion in inputs.study.criteria}
    rows = inputs.primary
    return [_effects(criteria[v.criterion], v, rows[rows["task"] == v.task], inputs) for v in verdicts]


def _effects(criterion: Any, verdict: Verdict, rows: Any, inputs: Inputs) -> list[float]:
    cell, seeds = weakest_cell(verdict), inputs.study.scales[inputs.scale].all_seeds
    if cell is None:
        return []
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
