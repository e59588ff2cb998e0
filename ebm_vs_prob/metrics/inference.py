"""Does gradient descent find an answer, and in how many steps, by step rule."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch

from ..core.errors import NoExactReference
from ..descent.answers import Answers, Search
from ..descent.search import descend
from .measurement import Group, Measurement, clustered, named
from .observation import Observation, as_numpy
from .options import Evaluation

NO_SCALE = "thickness = 0 scales every step to nothing"


def line_search(observed: Observation) -> dict[str, Measurement]:
    """Share of starts that the model's own inference by line search takes within the target radius of an answer."""
    return _measured(observed, observed.answers, "line_search")


def steps(observed: Observation) -> dict[str, Measurement]:
    """The same by steps of set sizes, in data units squared over energy.

    `fixed` steps are as large at every thickness; `scaled` steps are a size times (thickness / reference thickness)²,
    as curvature grows, and NaN at thickness 0. All are one more axis of starts, (R, K, rules x sizes, starts), in one
    descent.
    """
    model, e = observed.model, observed.evaluation
    scales = {"fixed": np.ones(observed.replicates), "scaled": observed.thickness / e.reference_thickness}
    used = [rule for rule, scale in scales.items() if (scale > 0).any()]
    squared = torch.stack([torch.from_numpy(np.where(scales[rule] > 0, scales[rule], 1.0) ** 2) for rule in used], 1)
    lengths = (squared.unsqueeze(2) * torch.tensor(e.fixed_steps, dtype=torch.float64, device="cpu")).flatten(1)
    starts = observed.placed(model.starts(observed.inputs.shape[1], e.starts, e.seed))
    found = descend(
        model.module,
        observed.placed(observed.inputs[:, :, None, None]),
        starts.unsqueeze(2),
        bounds=observed.box.bounds,
        search=Search("fixed", lengths[:, None, :, None], e.max_steps, e.tolerance),
    )
    blank = np.full(observed.replicates, np.nan)
    result = {name: Measurement(blank, blank, np.zeros(blank.shape, dtype=int), NO_SCALE) for name in grid_names(e)}
    for k, (rule, size) in enumerate(itertools.product(used, e.fixed_steps)):
        of_size = Answers(found.y[:, :, k], None, found.energy[:, :, k], found.steps[:, :, k], found.converged[:, :, k])
        result |= _measured(observed, of_size, rule, f"@{size:g}", scales[rule] > 0)
    return result


def _measured(
    observed: Observation, answers: Answers, rule: str, suffix: str = "", applies: np.ndarray | bool = True
) -> dict[str, Measurement]:
    # A replicate without a single finite energy was not descended on; one that lost some starts failed at those.
    known = answers.energy.isfinite().flatten(1).any(1).cpu().numpy() & applies
    blank = np.where(known, 0.0, np.nan)[:, None, None]
    note = "" if np.all(applies) else NO_SCALE
    steps = clustered(as_numpy(answers.steps) + blank)
    measured = {"success": replace(steps, value=blank[:, 0, 0] + np.nan), "steps": replace(steps, note=note)}
    try:
        near = observed.distance(observed.inputs, answers.y) <= observed.evaluation.target_radius
        measured["success"] = replace(clustered(near + blank), note=note)
    except NoExactReference as error:  # how many steps are taken is known all the same
        measured["success"] = replace(measured["success"], note=str(error))
    return {f"descent_{what}_{rule}{suffix}": m for what, m in measured.items()}


def grid_names(evaluation: Evaluation) -> tuple[str, ...]:
    """Names of the metrics of a grid of steps: `descent_success_fixed@0.1`."""
    return tuple(
        f"descent_{what}_{rule}@{size:g}"
        for rule, size, what in itertools.product(("fixed", "scaled"), evaluation.fixed_steps, ("success", "steps"))
    )


GROUPS = (
    Group(named("descent_success_line_search", "descent_steps_line_search"), line_search),
    Group(grid_names, steps),
)
