"""Does descent find an answer, how long may a fixed step be for that, and what does the best of several starts find.

Near the answer set is within three thicknesses of it, within .01 where the data are thinner (`Observation.target`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.memory import once
from ..descent.answers import Search
from ..descent.search import descend
from .measurement import Group, Measurement, clustered, named, share
from .observation import Observation, as_numpy

#: The fixed steps that are tried, squared units over nats: half decades from 1e-6 to 10.
STEPS = 10.0 ** (np.arange(15) / 2 - 6)
#: Steps of one descent: enough to fill a batch, and few below the one that is looked for.
STEPS_AT_ONCE = 4
#: A step succeeds with this share of the starts.
ENOUGH = 0.9
#: Uniform points, over all inputs, that tell how often chance succeeds.
CHANCE_POINTS = 1024


def line_search(observed: Observation) -> dict[str, Measurement]:
    """Share of starts that the model's own inference by line search takes near the answer set, and of those that
    converge elsewhere; and share of inputs whose start of least energy ends near it."""
    near = observed.answer_distance <= observed.target[:, None, None]
    missed = np.where(observed.answered, 0.0, np.nan)
    energy = observed.answers.energy.detach().cpu().double().numpy()
    best = np.where(np.isfinite(energy), energy, np.inf).argmin(-1)
    best_near = np.take_along_axis(near, best[..., None], -1)[..., 0]
    spurious = observed.answers.converged.cpu().numpy() & ~near
    return {
        "descent_success_line_search": clustered(near + missed[:, None, None]),
        "answer_success": share(best_near + missed[:, None]),
        "spurious_ends": clustered(spurious + missed[:, None, None]),
    }


def critical_step(observed: Observation) -> dict[str, Measurement]:
    """The largest fixed step at which descent still succeeds: nine starts of ten end near the answer set.

    Descent is y - s ∇F with F in nats: as it is of a normalised model, times beta of an unnormalised energy. The steps
    are a grid of half decades from 1e-6 to 10, some at a time one more axis of starts, (R, K, steps, starts), in one
    descent of `max_steps`: from the largest on, until one has succeeded in each replicate. On a valley of curvature c a
    step above 2 / c throws a point off, so that the exact log-density has about 2 ε². Where no step of the grid
    succeeds there is none, NaN, and the note says so: a number for it would be the same at every thickness, and pass
    for a step that does not fall.
    """
    model, e = observed.model, observed.evaluation
    radius = observed.target
    scale = np.where(np.isfinite(observed.nats) & (observed.nats > 0), observed.nats, 1.0)
    starts = observed.placed(model.starts(observed.inputs.shape[1], e.starts, e.seed)).unsqueeze(2)
    x = observed.placed(observed.inputs[:, :, None, None])
    trained = np.isfinite(observed.nats) & [status.ok for status in model.status]
    finite, value = np.zeros_like(trained), np.full(len(trained), np.nan)
    for first in range(0, len(STEPS), STEPS_AT_ONCE):
        steps = STEPS[::-1][first : first + STEPS_AT_ONCE]
        lengths = torch.from_numpy(scale[:, None] * steps)[:, None, :, None]
        search = Search("fixed", lengths, e.max_steps, e.tolerance)
        found = descend(model.module, x, starts, bounds=observed.box.bounds, search=search)
        finite |= found.energy.isfinite().flatten(1).any(1).cpu().numpy()
        distance = observed.distance(observed.inputs, found.y.flatten(2, 3)).reshape(found.energy.shape)
        enough = (distance <= radius[:, None, None, None]).mean(axis=(1, 3)) >= ENOUGH
        largest = np.where(enough.any(axis=1), steps[enough.argmax(axis=1)], np.nan)
        value = np.where(np.isnan(value), largest, value)
        if not (trained & ~(finite & np.isfinite(value))).any():
            break
    known = trained & finite
    none = np.flatnonzero(known & np.isnan(value))
    note = f"no step of the grid succeeds in replicates {', '.join(map(str, none))}" if none.size else ""
    value = np.where(known, value, np.nan)
    each = observed.inputs.shape[1] * e.starts
    return {"critical_step": Measurement(value, np.full(value.shape, np.nan), np.full(value.shape, each), note)}


def chance_success(observed: Observation) -> dict[str, Measurement]:
    """Share of uniform points of the y-box that are near the answer set before any descent."""
    count = observed.inputs.shape[1]
    each = -(-CHANCE_POINTS // count)
    points = observed.model.starts(count, each, observed.evaluation.seed)
    radius = observed.target[:, None, None]

    def of(r: int, task: Any) -> torch.Tensor:
        x, y = observed.inputs[r].repeat_interleave(each, 0), points[r].flatten(0, 1)
        return once(task, "chance distances", x, y, compute=lambda: task.reference.distance(x, y))

    distance = as_numpy(observed.by_task(of)).reshape(-1, count, each)
    return {"chance_success": clustered((distance <= radius).astype(np.float64))}


GROUPS = (
    Group(named("descent_success_line_search", "answer_success", "spurious_ends"), line_search),
    Group(named("critical_step"), critical_step),
    Group(named("chance_success"), chance_success),
)
