"""Does gradient descent find an answer, and in how many steps, by step rule."""

from __future__ import annotations

import numpy as np
import torch

from ..descent import descend
from ..model import Answers, StepRule
from .evaluation import Evaluation
from .measured import Group, Measured, NotMeasured, clustered, named
from .observed import Observed, as_numpy


def line_search(observed: Observed) -> dict[str, Measured]:
    """Share of starts that the model's own inference by line search takes within the target radius of an answer."""
    return _measured(observed, observed.answers, "line_search")


def fixed(observed: Observed) -> dict[str, Measured]:
    """The same by steps of one size, in data units squared over energy, each size at every thickness."""
    return _grid(observed, "fixed", np.ones(observed.replicates))


def scaled(observed: Observed) -> dict[str, Measured]:
    """The same by steps of a size times (thickness / reference thickness)², as curvature grows; NaN at thickness 0."""
    if not (observed.thickness > 0).any():
        raise NotMeasured("thickness = 0 scales every step to nothing")
    return _grid(observed, "scaled", observed.thickness / observed.evaluation.reference_thickness)


def _grid(observed: Observed, rule: StepRule, scale: np.ndarray) -> dict[str, Measured]:
    """All step sizes as one more axis of starts, (R, K, sizes, starts), in one descent."""
    model, e = observed.model, observed.evaluation
    starts = observed.placed(model.starts(observed.inputs.shape[1], e.starts, e.seed))
    found = descend(
        model.module,
        observed.placed(observed.inputs[:, :, None, None]),
        starts.unsqueeze(2),
        bounds=observed.box.bounds,
        step_rule=rule,
        step_size=torch.tensor(e.fixed_steps, dtype=torch.float64).unsqueeze(1),
        scale=torch.from_numpy(scale),
        max_steps=e.max_steps,
        tolerance=e.tolerance,
    )
    result: dict[str, Measured] = {}
    for k, size in enumerate(e.fixed_steps):
        of_size = Answers(found.y[:, :, k], None, found.energy[:, :, k], found.steps[:, :, k], found.converged[:, :, k])
        result |= _measured(observed, of_size, rule, f"@{size:g}", scale > 0)
    return result


def _measured(
    observed: Observed, answers: Answers, rule: str, suffix: str = "", applies: np.ndarray | bool = True
) -> dict[str, Measured]:
    # A replicate without a single finite energy was not descended on; one that lost some starts failed at those.
    known = answers.energy.isfinite().flatten(1).any(1).cpu().numpy() & applies
    blank = np.where(known, 0.0, np.nan)[:, None, None]
    near = observed.distance(observed.inputs, answers.y) <= observed.evaluation.target_radius
    note = "" if np.all(applies) else "thickness = 0 scales every step to nothing"
    measured = {"success": clustered(near + blank), "steps": clustered(as_numpy(answers.steps) + blank)}
    return {f"descent_{what}_{rule}{suffix}": Measured(m.value, m.error, m.n, note) for what, m in measured.items()}


def grid_names(rule: str, evaluation: Evaluation) -> tuple[str, ...]:
    """Names of the metrics of a grid of steps: `descent_success_fixed@0.1`."""
    return tuple(f"descent_{what}_{rule}@{size:g}" for size in evaluation.fixed_steps for what in ("success", "steps"))


GROUPS = (
    Group(named("descent_success_line_search", "descent_steps_line_search"), line_search),
    Group(lambda evaluation: grid_names("fixed", evaluation), fixed),
    Group(lambda evaluation: grid_names("scaled", evaluation), scaled),
)
