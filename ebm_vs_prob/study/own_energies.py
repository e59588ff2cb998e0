"""Energies of the user's own, which a study names as `module:name`: known once imported, and tried as it is planned."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..core.budget import Budget
from ..core.errors import invalid, unknown
from ..core.registry import METHODS, TASKS
from ..core.spaces import Box
from ..core.text import printable
from .provenance import plugin_digests
from .registered import blamed

if TYPE_CHECKING:
    from torch import nn

    from ..tasks.base import Task
    from ..training.method import Method

#: What was imported for a study of this process. A record that names anything else runs nothing.
_KNOWN: dict[str, Callable[[Task], nn.Module]] = {}


def know_energy(module: str, name: str, field: str) -> None:
    """Make `module:name` an energy that trials may name; the module is imported.

    Raises:
        UnknownName: the module has no such name, with the nearest that it has and that can be called.
        ValueError: what has the name cannot be called.
    """
    held = vars(sys.modules[module])
    whole = f"{module}:{name}"
    if name not in held:
        names = [known for known, value in held.items() if callable(value) and not known.startswith("_")]
        raise unknown(f"energy at {field}:", whole, [f"{module}:{known}" for known in names])
    if not callable(held[name]):
        raise invalid(field, whole, f"what maps a task to an nn.Module, such as its class: this is {held[name]!r}")
    _KNOWN[whole] = held[name]


def energy_of(name: str) -> Callable[[Task], nn.Module]:
    """The factory `task -> nn.Module` that a study names `module:name`; an `UnknownName` where none of here did."""
    if name not in _KNOWN:
        raise unknown("energy", name, _KNOWN)
    return _KNOWN[name]


def brought_by(specification: Mapping[str, Any]) -> dict[str, str]:
    """`plugin_digests` of all that a trial's task, method and energy come from."""
    kinds = [TASKS.get(specification["task"]["name"]), METHODS.get(specification["method"]["name"])]
    network = specification["network"]
    if not isinstance(network, str):
        return plugin_digests(*kinds)
    factory = energy_of(network)
    modules = [network.partition(":")[0], *filter(None, [getattr(factory, "__module__", None)])]
    return plugin_digests(*kinds, *([factory] if isinstance(factory, type) else []), modules=modules)


def equivalent_widths(name: str, method: type[Method], options: Any, task: Task, where: str) -> tuple[int, ...]:
    """Widths of a network of one hidden layer that takes as many products as the energy, which is tried on the task.

    Args:
        where: the arm, in words.

    Raises:
        ValueError: no `nn.Module`, one that gives no energies of the task, or a method that cannot train it.
    """
    import torch

    from ..energies.graphs import EnumeratedEnergy
    from ..energies.replicated import Replicated
    from ..models.building import replicated
    from ..training.fitting import prepare

    factory, field = energy_of(name), f"{where}.network"
    with blamed(f"{field} = {name!r} on {task.name}"):
        replicated(factory, [task], [0])
    try:
        setting = prepare(
            method,
            task,
            [0],
            energy=factory,
            network=None,
            budget=Budget(),
            dtype=torch.float32,
            device="cpu",
            compile=False,
            options=options.model_dump(),
        )
        model = method.build(setting)
    except ValueError as error:
        _, refused, why = printable(error).rpartition("expected None: ")
        if not refused:
            raise ValueError(f"{field} = {name!r} on {task.name}: {why}") from error
        valid = f"an energy that {method.name} can train, or a table of options of `Network` ({why})"
        raise invalid(field, name, valid) from error
    with blamed(f"{field} = {name!r} on {task.name}"):
        energies = model.energy(*task.sample(2, seed=0, split="train")).detach()
        if not energies.isfinite().all():
            raise invalid("energies of two training pairs", energies.flatten().tolist(), "finite numbers")
        counted = (part for part in model.module.modules() if isinstance(part, (EnumeratedEnergy, Replicated)))
        products = float(next(counted, model.module).multiply_adds)  # type: ignore[arg-type]
    width = sum(space.dim for space in (task.x_space, task.y_space) if isinstance(space, Box))
    return width, max(1, math.ceil(products / (width + 1))), 1
