"""One replicate of a model by itself, for what is wanted of it and of no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.options import OptionBatch

if TYPE_CHECKING:
    from .model import Model


def alone(model: Model, r: int) -> Model | None:
    """Replicate `r` as a model of one, whose energies are its own up to rounding.

    None where what training made has not the shapes of what is built, so that it cannot be told whose is what.
    """
    setting = model.setting
    if setting.num_replicates == 1:
        return model
    options = OptionBatch(setting.options.replicates[r : r + 1], "options")
    one = replace(setting, tasks=setting.tasks[r : r + 1], seeds=setting.seeds[r : r + 1], options=options)
    method: Any = model.method
    own: Model = method.build(one)
    whole, state = model.module.state_dict(), {}
    for name, built in own.module.state_dict().items():
        value = whole.get(name)
        if value is not None and value.shape != built.shape:  # else it is one for all replicates
            value = value[r : r + 1]
        if value is None or value.shape != built.shape:
            return None
        state[name] = value
    if len(state) != len(whole):
        return None
    own.module.load_state_dict(state)
    own.restore({name: value[r : r + 1] for name, value in model.beside().items()})
    return own.finished(model.training.only(r))
