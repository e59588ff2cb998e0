"""What was recorded while a model trained: how steep its loss became, and the thickness it learned."""

from __future__ import annotations

import numpy as np

from ..core.errors import NotMeasured
from .measurement import Group, Measurement, exact, named
from .observation import Observation, as_numpy


def _trace(observed: Observation, name: str) -> np.ndarray:
    """(R, steps) float64."""
    traces = observed.model.training.traces
    if name not in traces:
        raise NotMeasured(f"{observed.model.method.name}: its training records no {name}")
    return as_numpy(traces[name])


def gradient(observed: Observation) -> dict[str, Measurement]:
    """Largest norm of the loss's gradient in the network's parameters, as it is and times sigma².

    Over all steps, and over the last half of them: the largest of all is often that of the first steps, far from the
    data, which are the same however thin the data are.

    The loss of a likelihood is an energy over sigma², so its gradient grows by as much: sigma is the thickness that the
    model has at that step. An energy that is not divided by anything has the same value twice.
    """
    norm = _trace(observed, "gradient_norm")
    thickness = observed.model.training.traces.get("thickness")
    squared = np.ones_like(norm) if thickness is None else as_numpy(thickness) ** 2
    late = norm.shape[1] // 2
    return {
        "training_gradient_max": exact(norm.max(axis=1)),
        "training_gradient_max_scaled": exact((norm * squared).max(axis=1)),
        "training_gradient_late": exact(norm[:, late:].max(axis=1)),
        "training_gradient_late_scaled": exact((norm * squared)[:, late:].max(axis=1)),
    }


def thickness(observed: Observation) -> dict[str, Measurement]:
    """The standard deviation of the noise that the model had learned before its last step."""
    return {"learned_thickness": exact(_trace(observed, "thickness")[:, -1])}


GROUPS = (
    Group(
        named(
            "training_gradient_max",
            "training_gradient_max_scaled",
            "training_gradient_late",
            "training_gradient_late_scaled",
        ),
        gradient,
    ),
    Group(named("learned_thickness"), thickness),
)
