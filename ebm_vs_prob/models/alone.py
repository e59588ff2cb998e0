"""The energy of one replicate by itself, where many points are asked of it and of no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from ..core.options import OptionBatch
from ..energies.evaluation import energy_in_blocks

if TYPE_CHECKING:
    from torch import nn

    from ..training.method import Method
    from .model import Model


def energy_of(model: Model, r: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """E(x, y) of replicate `r`, (1, *n) without gradient, for x (1, *n, dx) and y (1, *n, dy).

    To rounding it is the replicate's part of what all of them give, at the cost of one.
    """
    module = _alone(model, r)
    if module is not None:
        return energy_in_blocks(module, x, y)
    return energy_in_blocks(model.module, x, y)[r : r + 1]


def _alone(model: Model, r: int) -> nn.Module | None:
    """The module of one replicate; None where what training made has not the shapes of what is built."""
    setting = model.setting
    options = OptionBatch(setting.options.replicates[r : r + 1], "options")
    one = replace(setting, tasks=setting.tasks[r : r + 1], seeds=setting.seeds[r : r + 1], options=options)
    method = cast("type[Method]", model.method)
    module = method.build(one).module
    whole, state = model.module.state_dict(), {}
    for name, built in module.state_dict().items():
        value = whole.get(name)
        if value is not None and value.shape != built.shape:  # else it is one for all replicates
            value = value[r : r + 1]
        if value is None or value.shape != built.shape:
            return None
        state[name] = value
    if len(state) != len(whole):
        return None
    module.load_state_dict(state)
    return module.requires_grad_(False).eval()
