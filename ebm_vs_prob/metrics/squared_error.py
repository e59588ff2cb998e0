"""How far a regression's answer is from held-out ones: what it minimises, on data that it has not seen."""

from __future__ import annotations

import torch

from ..core.errors import NotMeasured
from .measurement import Group, Measurement, mean, named
from .observation import Observation, as_numpy


def squared_error(observed: Observation) -> dict[str, Measurement]:
    """Mean of |y - f(x)|^2 over the held-out pairs (R, N), of a method of principle `regression`.

    Its energy is half of it, by the curvature 1 that such methods declare. Least of all for the conditional mean, and
    never small on a task with many answers, so that other methods have no such number.
    """
    model = observed.model
    if model.method.principle != "regression":
        raise NotMeasured(f"{model.method.name} is no regression, whose one answer this is of")
    x, y = (observed.placed(part) for part in observed.test)
    with torch.no_grad():
        return {"squared_error": mean(2 * as_numpy(model.energy(x, y)))}


GROUPS = (Group(named("squared_error"), squared_error),)
