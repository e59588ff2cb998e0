"""What training left behind and what it took."""

from __future__ import annotations

import numpy as np

from ..energies.evaluation import weight_norm
from .measurement import Group, Measurement, exact, named
from .observation import Observation, as_numpy


def weights(observed: Observation) -> dict[str, Measurement]:
    """Euclidean norm of all parameters of a replicate; 0 for a model without any."""
    module = observed.model.module
    norms = as_numpy(weight_norm(module)) if any(True for _ in module.parameters()) else np.zeros(observed.replicates)
    return {"weight_norm": exact(norms)}


def cost(observed: Observation) -> dict[str, Measurement]:
    """Energy evaluations (forward 1, each backward 2, an example), multiply-adds and seconds of training."""
    names = ("energy_evaluations", "multiply_adds", "seconds")
    return {name: exact(np.array([getattr(spent, name) for spent in observed.model.cost])) for name in names}


GROUPS = (Group(named("weight_norm"), weights), Group(named("energy_evaluations", "multiply_adds", "seconds"), cost))
