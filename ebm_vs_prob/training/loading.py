"""Models on disk: one safetensors file, its specification as JSON in the header. Nothing on disk can run code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ..core.budget import Budget, Cost
from ..core.errors import invalid
from ..core.options import from_table
from ..core.process_state import default_state
from ..core.registry import TASKS
from ..energies.mlp import Network
from ..models.model import Model
from ..models.record import ReplicateStatus, Training
from ..models.saving import FORMAT, MODULE, TRACE
from ..tasks import get_task
from .fitting import get_method, prepare

if TYPE_CHECKING:
    from ..tasks.base import Task

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@default_state()
def load_model(path: str | Path, energy: Callable[[Task], nn.Module] | None = None, device: str = "cpu") -> Model:
    """Read a model that `model.save` wrote.

    `energy` is the factory the model was fitted with, where that was the user's own: code is never read from the file.

    Raises:
        ValueError: not such a file, one of another format or method version, or a missing factory.
        LookupError: a task or method that is not registered here.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})["ebm_vs_prob"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["format"] != FORMAT:
            raise invalid("path", str(path), f"a model of format {FORMAT}, not {header['format']}")
        return _rebuilt(header, arrays, energy, device, str(path))
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise invalid("path", str(path), f"a file that model.save wrote ({type(error).__name__}: {error})") from None


def _rebuilt(
    header: dict[str, Any],
    arrays: dict[str, torch.Tensor],
    energy: Callable[[Task], nn.Module] | None,
    device: str,
    path: str,
) -> Model:
    if header["network"] is None and energy is None:
        raise invalid("energy", None, f"the factory that {path} was fitted with: its energy is not the package's own")
    method = get_method(header["method"])
    if method.version != header["method_version"]:
        raise invalid(
            "path", path, f"a model of {method.name} version {method.version}, not {header['method_version']}"
        )
    tasks = [get_task(task["name"], **_options(TASKS.get(task["name"]), task["options"])) for task in header["tasks"]]
    network = header["network"]
    rows = [_options(method, row) for row in header["options"]]
    given = {name: [row[name] for row in rows] for name in rows[0]}
    model = method.build(
        prepare(
            method,
            tasks,
            header["seeds"],
            energy=energy,
            network=None if network is None else Network(**network),
            budget=Budget(**header["budget"]),
            dtype=_DTYPES[header["dtype"]],
            device=device,
            compile=False,
            options={name: column[0] if len(set(map(str, column))) == 1 else column for name, column in given.items()},
        )
    )
    state = {name.removeprefix(MODULE): value for name, value in arrays.items() if name.startswith(MODULE)}
    model.module.load_state_dict(state)
    training = Training(
        arrays["training.loss"],
        tuple(ReplicateStatus(*status) for status in header["status"]),
        tuple(Cost(**cost) for cost in header["cost"]),
        {name.removeprefix(TRACE): value for name, value in arrays.items() if name.startswith(TRACE)},
    )
    model.restore(arrays)
    return model.finished(training)


def _options(entry: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Options of a task or a method as they were given: JSON has lists for tuples."""
    given: dict[str, Any] = from_table(entry.Options, told, entry.name).model_dump()
    return given
